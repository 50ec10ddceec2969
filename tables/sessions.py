"""Session ends and dates in a time zone, of event times in ns; memoised by quarter of an hour."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

_QUARTER = 900_000_000_000
_SECOND = 1_000_000_000


class Sessions:
    """One session end a date. `session_end` in ns after local midnight."""

    def __init__(self, timezone: str, session_end: int) -> None:
        zone = ZoneInfo(timezone)
        seconds = session_end // _SECOND

        # Offsets of time zones change at quarters of an hour only.
        @lru_cache(maxsize=4096)
        def date_of_quarter(quarter: int) -> date:
            moment = datetime.fromtimestamp(quarter * _QUARTER // _SECOND, tz=UTC)
            return moment.astimezone(zone).date()

        @lru_cache(maxsize=512)
        def end_of(day: date) -> int:
            clock = (datetime.min + timedelta(seconds=seconds)).time()
            local = datetime.combine(day, clock, tzinfo=zone)
            return int(local.timestamp()) * _SECOND

        self._date_of_quarter = date_of_quarter
        self._end_of = end_of

    def date_of(self, time: int) -> date:
        """Local date of an event time."""
        return self._date_of_quarter(time // _QUARTER)

    def end_of_date(self, time: int) -> int:
        """The session end, in ns since the epoch, of the local date of an event time."""
        return self._end_of(self.date_of(time))
