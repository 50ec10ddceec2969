"""A market's days and open times, of event times in ns since the epoch, UTC."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

_SECOND: Final = 1_000_000_000
_DAY: Final = 86_400 * _SECOND
_EPOCH: Final = date(1970, 1, 1)


class Day(NamedTuple):
    """What an event time is counted to: a session with what surrounds it, or a day without one.

    Attributes:
        identifier: the date as the number yyyymmdd, of the session or of the local calendar.
        start: first ns of the day.
        end: first ns after it; `start <= open < close <= end`.
        open: first ns of the session, None on a day without one.
        close: first ns after the session, None on a day without one.
    """

    identifier: int
    start: int
    end: int
    open: int | None
    close: int | None


class Market(ABC):
    """When one market is open. All times are ns since the epoch; intervals are half-open."""

    name: str
    #: First ns of the first session and first ns after the last one; None: without end.
    bounds: tuple[int, int] | None = None
    #: Whether no session has a break: then all of it is open.
    continuous: bool = True

    @abstractmethod
    def day_of(self, time: int) -> Day:
        """Return the day that holds `time`."""

    @abstractmethod
    def open_between(self, start: int, end: int) -> int:
        """Return how many ns of `[start, end)` the market is open; 0 where `end <= start`."""

    @abstractmethod
    def after_open(self, time: int, duration: int) -> int | None:
        """Return when `duration` ns (at least 1) of open time have passed since `time`.

        That is the smallest t with `open_between(time, t) == duration`; None where the calendar
        ends before.
        """

    @abstractmethod
    def is_open(self, time: int) -> bool:
        """Return whether the market is open at `time`; not in a break within the session."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash of all open times: it changes when a calendar's holidays do."""

    def session_of(self, time: int) -> int:
        """Return the identifier of the day that holds `time`: yyyymmdd."""
        return self.day_of(time).identifier

    def session(self, time: int) -> tuple[int, int] | None:
        """Return open and close of the session that holds `time` (breaks too); None outside."""
        day = self.day_of(time)
        if day.open is None or day.close is None or not day.open <= time < day.close:
            return None
        return day.open, day.close


class AlwaysOpen(Market):
    """Open all the time; a day is a UTC date."""

    name = "24/7"

    def day_of(self, time: int) -> Day:
        """Return the UTC date."""
        number = time // _DAY
        start = number * _DAY
        day = _EPOCH + timedelta(days=number)
        return Day(_identifier(day), start, start + _DAY, start, start + _DAY)

    def open_between(self, start: int, end: int) -> int:
        """Return the length of `[start, end)`."""
        return max(0, end - start)

    def after_open(self, time: int, duration: int) -> int | None:
        """Return the sum."""
        return time + duration

    def is_open(self, time: int) -> bool:
        """Return True."""
        return True

    @property
    def fingerprint(self) -> str:
        """Return the name: nothing can change."""
        return self.name


class SessionMarket(Market):
    """A market with sessions, which may have breaks.

    An event time within a session, from its open to its close, belongs to that session's day,
    whatever its date is: futures open the evening before. Any other time belongs to the day of its
    local date: trades before the open and after the close of a stock to its session, those of a
    weekend to a day of their own, without a session.
    """

    def __init__(
        self,
        name: str,
        timezone: str,
        sessions: Sequence[tuple[date, Sequence[tuple[int, int]]]],
    ) -> None:
        """Take the sessions in order: date, and the `[open, close)` of each part, in order.

        Raises:
            ValueError: there are none, or they are not in order.
        """
        if not sessions:
            raise ValueError(f"{name}: a market without sessions")
        self.name = name
        self._zone = ZoneInfo(timezone)
        self._dates = [day for day, _ in sessions]
        self._ranks = {day: rank for rank, day in enumerate(self._dates)}
        self._session_opens = [parts[0][0] for _, parts in sessions]
        self._session_closes = [parts[-1][1] for _, parts in sessions]
        self._opens = [begin for _, parts in sessions for begin, _ in parts]
        self._closes = [end for _, parts in sessions for _, end in parts]
        flat = [moment for _, parts in sessions for part in parts for moment in part]
        if flat != sorted(flat) or self._dates != sorted(self._ranks):
            raise ValueError(f"{name}: sessions overlap or are not in order")
        lengths = [end - begin for begin, end in zip(self._opens, self._closes, strict=True)]
        #: Open time before each part, and in the end all of it.
        self._before = [0, *accumulate(lengths)]
        self.bounds = (self._opens[0], self._closes[-1])
        self.continuous = all(len(parts) == 1 for _, parts in sessions)

    def day_of(self, time: int) -> Day:
        """Return the session's day, or that of the local date."""
        rank = bisect_right(self._session_opens, time) - 1
        if rank >= 0 and time < self._session_closes[rank]:
            return self._session_day(rank)
        local = datetime.fromtimestamp(time // _SECOND, UTC).astimezone(self._zone).date()
        of_date = self._ranks.get(local)
        if of_date is not None:
            return self._session_day(of_date)
        start, end = self._midnight(local), self._midnight(local + timedelta(days=1))
        if rank >= 0:
            start = max(start, self._session_closes[rank])
        if rank + 1 < len(self._session_opens):
            end = min(end, self._session_opens[rank + 1])
        return Day(_identifier(local), start, end, None, None)

    def open_between(self, start: int, end: int) -> int:
        """Return the difference of the open times before both."""
        return self._open_before(end) - self._open_before(start) if end > start else 0

    def after_open(self, time: int, duration: int) -> int | None:
        """Return the moment by looking up the open time before it."""
        wanted = self._open_before(time) + duration
        if wanted > self._before[-1]:
            return None
        part = bisect_left(self._before, wanted) - 1
        return self._opens[part] + wanted - self._before[part]

    def is_open(self, time: int) -> bool:
        """Return whether a part of a session holds the time."""
        part = bisect_right(self._opens, time) - 1
        return part >= 0 and time < self._closes[part]

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of all opens and closes."""
        return hashlib.sha256(json.dumps([self._opens, self._closes]).encode()).hexdigest()

    def _open_before(self, time: int) -> int:
        part = bisect_right(self._opens, time) - 1
        if part < 0:
            return 0
        return self._before[part] + min(time, self._closes[part]) - self._opens[part]

    def _session_day(self, rank: int) -> Day:
        day = self._dates[rank]
        begin, close = self._session_opens[rank], self._session_closes[rank]
        start = min(begin, self._midnight(day))
        end = max(close, self._midnight(day + timedelta(days=1)))
        if rank:
            start = max(start, self._session_closes[rank - 1])
        if rank + 1 < len(self._session_opens):
            end = min(end, self._session_opens[rank + 1])
        return Day(_identifier(day), start, end, begin, close)

    def _midnight(self, day: date) -> int:
        moment = datetime(day.year, day.month, day.day, tzinfo=self._zone)
        return int(moment.timestamp()) * _SECOND


def _identifier(day: date) -> int:
    return day.year * 10_000 + day.month * 100 + day.day
