"""When markets are open, and what is known of an instrument: pure look-ups by event time.

Data that flows: a calendar's name -> `load_market` (once, the only place that imports pandas) ->
`Market` (plain integers of nanoseconds) -> `day_of`, `open_between`; a TOML file ->
`read_instruments` -> `Instruments`, by symbol.

Invariants:

- a market is a function of the calendar's name and the library's version, never of today: the
  library's own default range begins twenty years before the day on which it is asked;
- days follow each other without overlap, each event time has one, identifiers never go back;
- before a calendar's first session and after its last one a market is closed: no gap is found
  there, no feed stale, and days are the local dates. `Market.bounds` says where.
"""

from tables.markets.calendars import UnknownCalendarError, load_market
from tables.markets.days import TradingDays
from tables.markets.instruments import (
    Instrument,
    Instruments,
    InstrumentsError,
    Split,
    SymbolChange,
    read_instruments,
)
from tables.markets.market import AlwaysOpen, Day, Market, SessionMarket

__all__ = [
    "AlwaysOpen",
    "Day",
    "Instrument",
    "Instruments",
    "InstrumentsError",
    "Market",
    "SessionMarket",
    "Split",
    "SymbolChange",
    "TradingDays",
    "UnknownCalendarError",
    "load_market",
    "read_instruments",
]
