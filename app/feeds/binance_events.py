"""Binance's web-socket events `trade` and `bookTicker`, judged one by one.

Spot and USD-M futures send both under the same names. They are told apart by their fields, never by
a file's name: a trade of USD-M says which market it is of (`X`), a bookTicker of USD-M has times
(`T`, `E`), spot's has none.
"""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple

import msgspec

from app.contracts.records import MAX_NOTIONAL, MAX_PRICE, MAX_SIZE, MAX_TIME, SYMBOL_PATTERN

SPOT: Final = "BINANCE"
FUTURES: Final = "BINANCE-USDM"
#: The value of `X` in trades of the order book; others are of the insurance fund or have no price.
MARKET: Final = "MARKET"
#: A stamp from here on is in microseconds (`timeUnit=MICROSECOND`); in ms it would be year 5138.
_MICROSECONDS: Final = 10**14

_Symbol = Annotated[str, msgspec.Meta(pattern=SYMBOL_PATTERN.removesuffix("$") + r"\Z")]
_Number = Annotated[str, msgspec.Meta(pattern=r"^\d{1,15}(\.\d{1,20})?\Z")]
_Whole = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME)]
_Time = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME // 1_000)]


class TradeEvent(msgspec.Struct, rename={"symbol": "s", "id": "t", "price": "p", "size": "q",
                                          "time": "T", "market": "X"}, gc=False):  # fmt: skip
    """What is read of `{"e":"trade"}`."""

    symbol: _Symbol
    id: _Whole
    price: _Number
    size: _Number
    time: _Time
    market: str | None = None


class TickerEvent(msgspec.Struct, rename={"symbol": "s", "id": "u", "bid": "b", "bid_size": "B",
                                           "ask": "a", "ask_size": "A", "time": "T",
                                           "sent": "E"}, gc=False):  # fmt: skip
    """What is read of a bookTicker."""

    symbol: _Symbol
    id: _Whole
    bid: _Number
    bid_size: _Number
    ask: _Number
    ask_size: _Number
    time: _Time | None = None
    sent: _Time | None = None


class Trade(NamedTuple):
    """A trade of an order book; `time` in ns."""

    symbol: str
    price: float
    size: float
    time: int
    id: int
    venue: str


class Ticker(NamedTuple):
    """A best bid and offer; `time` in ns, None where the event has none."""

    symbol: str
    bid: float
    ask: float
    bid_size: float
    ask_size: float
    time: int | None
    id: int
    venue: str


def trade_of(event: TradeEvent) -> Trade:
    """The event as a trade.

    Raises:
        ValueError: without a price, or a number is out of the contract's bounds.
    """
    price, size = float(event.price), float(event.size)
    if not 0 < price <= MAX_PRICE or size > MAX_SIZE or price * size > MAX_NOTIONAL:
        raise ValueError(f"price {price} or size {size} is out of its bounds")
    venue = SPOT if event.market is None else FUTURES
    return Trade(event.symbol, price, size, _nanoseconds(event.time), event.id, venue)


def ticker_of(event: TickerEvent) -> Ticker:
    """The event as a quote, by the time of the transaction, else that of the event.

    Raises:
        ValueError: a number is out of the contract's bounds.
    """
    bid, ask = float(event.bid), float(event.ask)
    bid_size, ask_size = float(event.bid_size), float(event.ask_size)
    if max(bid, ask) > MAX_PRICE or max(bid_size, ask_size) > MAX_SIZE:
        raise ValueError("a number is out of its bounds")
    time = event.sent if event.time is None else event.time
    nanoseconds = None if time is None else _nanoseconds(time)
    return Ticker(event.symbol, bid, ask, bid_size, ask_size, nanoseconds, event.id, FUTURES)


def _nanoseconds(time: int) -> int:
    nanoseconds = time * (1_000 if time >= _MICROSECONDS else 1_000_000)
    if nanoseconds > MAX_TIME:
        raise ValueError(f"time {time} is out of its bounds")
    return nanoseconds
