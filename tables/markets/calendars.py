"""Named calendars of the library exchange-calendars, as plain integers.

pandas is imported here, when a calendar other than `24/7` is asked for, and nowhere else. The range
is fixed (`FIRST` to `LAST`, as far as the calendar goes): the library's default depends on today.
"""

from __future__ import annotations

import warnings
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Final

from tables.markets.market import AlwaysOpen, Market, SessionMarket

#: No record is earlier (`bars.earliest_event_time`).
FIRST: Final = "1990-01-01"
LAST: Final = "2040-12-31"
ALWAYS: Final = "24/7"
_SECOND: Final = 1_000_000_000

Pause = tuple[int, int]
Part = tuple[int, int]


class UnknownCalendarError(ValueError):
    """A calendar that exchange-calendars does not have, or that cannot be loaded."""


@lru_cache(maxsize=64)
def load_market(name: str, pauses: tuple[Pause, ...] = ()) -> Market:
    """Return the market of a calendar's name or alias: `XNYS`, `NYSE`, `CMES`, `24/7`.

    `pauses` are times of each local day without trade which the calendar does not know, as
    seconds after midnight `[begin, end)`: the hour of maintenance of Globex futures.

    Raises:
        UnknownCalendarError: there is none of this name, or the package is missing.
    """
    if name == ALWAYS:
        if pauses:
            raise UnknownCalendarError(f"calendar {ALWAYS!r} has no pauses")
        return AlwaysOpen()
    try:
        with warnings.catch_warnings():
            # exchange-calendars 4.13 reads `Series.values`, which pandas 3 warns of; this can go
            # with a release of it that does not.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            calendar = _calendar(name)
    except ImportError as error:
        raise UnknownCalendarError(
            f"calendar {name!r} needs a package: pip install exchange-calendars ({error})"
        ) from error
    parts = _parts(calendar)
    timezone = str(calendar.tz)
    label = name if not pauses else f"{name} with pauses"
    if pauses:
        from tables.markets.pauses import without_pauses

        parts = [(day, without_pauses(each, pauses, timezone)) for day, each in parts]
        parts = [(day, each) for day, each in parts if each]
    return SessionMarket(label, timezone, parts)


def _calendar(name: str) -> Any:
    try:
        import exchange_calendars  # type: ignore[import-untyped]
        from exchange_calendars.errors import InvalidCalendarName  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise UnknownCalendarError(
            f"calendar {name!r} needs exchange-calendars: pip install 'candlewick[markets]'"
        ) from None
    try:
        kind = type(exchange_calendars.get_calendar(name))
    except InvalidCalendarName:
        known = ", ".join(sorted(exchange_calendars.get_calendar_names(include_aliases=False)))
        raise UnknownCalendarError(f"unknown calendar {name!r}; expected one of {known}") from None
    begin, end = date.fromisoformat(FIRST), date.fromisoformat(LAST)
    earliest, latest = kind.bound_min(), kind.bound_max()
    if earliest is not None:
        begin = max(begin, earliest.date())
    if latest is not None:
        end = min(end, latest.date())
    return exchange_calendars.get_calendar(name, start=str(begin), end=str(end))


def _parts(calendar: Any) -> list[tuple[date, list[Part]]]:
    """One entry a session: its date, and its parts around a break."""
    import numpy as np

    table = calendar.schedule
    columns: dict[str, list[int]] = {}
    absent = np.iinfo(np.int64).min
    for column in ("open", "break_start", "break_end", "close"):
        stamps = table[column].dt.tz_convert(None).to_numpy().astype("datetime64[ns]")
        columns[column] = stamps.astype(np.int64).tolist()
    days: list[datetime] = list(table.index.to_pydatetime())
    found: list[tuple[date, list[Part]]] = []
    for day, opens, pause, resume, closes in zip(days, *columns.values(), strict=True):
        whole = [(opens, closes)] if pause == absent else [(opens, pause), (resume, closes)]
        found.append((day.date(), whole))
    return found
