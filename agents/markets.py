"""When the symbols' markets are open, of settings: what agents give to pure code."""

from __future__ import annotations

from app.settings import PREFIX, Settings, SettingsError
from tables.markets import (
    Instrument,
    Instruments,
    InstrumentsError,
    UnknownCalendarError,
    load_market,
    read_instruments,
)


def market_context(settings: Settings) -> Instruments:
    """The instruments of `markets`: file and calendars are read only where they are set.

    Raises:
        SettingsError: a calendar that there is not, or a file that cannot be used.
    """
    chosen = settings.markets
    try:
        load_market(chosen.calendar)
    except UnknownCalendarError as error:
        raise SettingsError(f"{PREFIX}MARKETS__CALENDAR={chosen.calendar!r}: {error}") from error
    if chosen.instruments is None:
        return Instruments(default=Instrument(symbol="*", calendar=chosen.calendar))
    try:
        return read_instruments(chosen.instruments, chosen.calendar)
    except InstrumentsError as error:
        raise SettingsError(
            f"{PREFIX}MARKETS__INSTRUMENTS={str(chosen.instruments)!r}: {error}"
        ) from error
