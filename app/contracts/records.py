"""The records of the topics, as pydantic models: the published contract.

JSON Schema comes from these (`candlewick topics --schema`). The hot path decodes with
the msgspec twins in `wire.py`; `tests/unit/test_contracts.py` holds the two equal.
Times are event times in integer nanoseconds since the epoch, UTC.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.contracts.conditions import mask_of

SYMBOL_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/^=+-]{0,31}$"
MAX_PRICE = 1e12
MAX_SIZE = 1e12
#: Bound of |price x size| of one trade; keeps a batch's sums within 63 bits (tables/sums.py).
MAX_NOTIONAL = 1e14
MAX_TIME = 2**63 - 1
MAX_TEXT = 64
MAX_CONDITIONS = 8


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    mask_of(names)
    return names


Symbol = Annotated[str, Field(pattern=SYMBOL_PATTERN)]
#: No NUL: the engine joins names with it.
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"^[^\x00]+$")]
Nanoseconds = Annotated[int, Field(ge=0, le=MAX_TIME, strict=True)]
Price = Annotated[float, Field(ge=-MAX_PRICE, le=MAX_PRICE, strict=True)]
Size = Annotated[float, Field(ge=0, le=MAX_SIZE, strict=True)]
Conditions = Annotated[tuple[str, ...], Field(max_length=MAX_CONDITIONS), AfterValidator(_known)]


class Contract(BaseModel):
    """Base of all records: unknown fields are refused, values are never coerced from text."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Trade(Contract):
    """One trade. `sequence` orders, `trade_id` identifies (de-duplication).

    Prices may be negative (futures), sizes may be zero (they still set prices).
    """

    type: Literal["trade"] = "trade"
    symbol: Symbol
    price: Price
    size: Size
    event_time: Nanoseconds
    trade_id: Text | None = None
    sequence: Nanoseconds | None = None
    venue: Text | None = None
    conditions: Conditions = ()
    source: Text | None = None


class Quote(Contract):
    """One best bid and offer, both sides known (adapters merge one-sided updates).

    A price of zero is a side without a quote; zero and crossed (bid above ask) quotes are
    ignored and counted. Sizes are in the venue's units, zero where the feed has none.
    """

    type: Literal["quote"] = "quote"
    symbol: Symbol
    bid: Price
    ask: Price
    bid_size: Size = 0.0
    ask_size: Size = 0.0
    event_time: Nanoseconds
    sequence: Nanoseconds | None = None
    venue: Text | None = None
    source: Text | None = None


class Clock(Contract):
    """Control record: the data's clock has reached `event_time` although nothing traded."""

    type: Literal["clock"]
    event_time: Nanoseconds


class Historical(Contract):
    """Control record: a replayer owns this partition's time; no owner clock is written."""

    type: Literal["historical"]


class Flush(Contract):
    """Control record: close every open window, move no watermark, end the historical mode."""

    type: Literal["flush"]


class Correction(Contract):
    """Control record: what the venue says later of a trade it has reported (cancel, correct).

    The trade is named by its `trade_id`, or by (`original_event_time`, `original_sequence`) with
    its venue, price and size. `event_time` is that of the correction. `new_price` and `new_size`
    are given by `correct` alone.
    """

    type: Literal["correction"]
    action: Literal["cancel", "correct"]
    symbol: Symbol
    event_time: Nanoseconds
    venue: Text | None = None
    trade_id: Text | None = None
    original_event_time: Nanoseconds | None = None
    original_sequence: Nanoseconds | None = None
    original_price: Price | None = None
    original_size: Size | None = None
    new_price: Price | None = None
    new_size: Size | None = None
    source: Text | None = None


class Bar(Contract):
    """One version of a bar over `[start, start + interval)`; the highest `revision` holds.

    `trades` and `volume` count the volume-eligible trades of the policy, `vwap` is
    sum(price x size) / sum(size) over its price-eligible trades (null when that size is 0).
    `filled` marks a fill-forward bar (open = high = low = close = previous close).
    """

    symbol: Symbol
    interval: str
    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float | None
    trades: int
    revision: Annotated[int, Field(ge=0)]
    is_final: bool
    filled: bool
    sources: tuple[str, ...]


class ActivityBar(Contract):
    """One bar by activity; (symbol, interval, number) names it, published once.

    `interval` is its type (`tick:1000`), `number` counts the symbol's bars of it from 0. `start`
    and `end` are the event times of its first and last trade in log order.
    """

    symbol: Symbol
    interval: str
    number: Annotated[int, Field(ge=0)]
    start: int
    end: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float | None
    trades: int
    revision: Annotated[int, Field(ge=0)]
    is_final: bool


class Indicators(Contract):
    """The indicators of one version of a bar, which has the same symbol, interval and start.

    `values` has each output by the name that it was asked for by (`RSI(14)`,
    `MACD(12,26,9).signal`), null in its warm-up and where it has none. `revision` is that of the
    bar. `exact` is false where an older bar was revised meanwhile, until that has left all windows.
    """

    symbol: Symbol
    interval: str
    start: int
    revision: Annotated[int, Field(ge=0)]
    exact: bool
    values: dict[str, float | None]


class Anomaly(Contract):
    """The score of one version of a bar; `source` says whether it is one of trades or quotes.

    `score` and `threshold` are from 0 to 1; `is_anomaly` where an episode begins or grows. `reason`
    is what was most surprising, `rules` those that hold, `features` robust z or multiples of the
    mean. `learned` is false for a revision that came too late to be learned.
    """

    symbol: Symbol
    interval: str
    start: int
    revision: Annotated[int, Field(ge=0)]
    source: Literal["bars", "quotes.bars"]
    score: float
    threshold: float
    is_anomaly: bool
    reason: str
    rules: tuple[str, ...]
    features: dict[str, float]
    learned: bool


class QuoteBar(Contract):
    """One version of a quote bar over `[start, start + interval)`; the highest `revision` holds.

    Bid, ask and mid each have open, high, low and close of their own; mid is (bid + ask) / 2 of
    each quote, so its high is not the mean of the others' highs. `bid_size` and `ask_size` are
    those of the closing quote, `spread` is the mean of ask - bid over the `quotes` taken.
    """

    symbol: Symbol
    interval: str
    start: int
    bid_open: float
    bid_high: float
    bid_low: float
    bid_close: float
    ask_open: float
    ask_high: float
    ask_low: float
    ask_close: float
    mid_open: float
    mid_high: float
    mid_low: float
    mid_close: float
    bid_size: float
    ask_size: float
    spread: float
    quotes: int
    revision: Annotated[int, Field(ge=0)]
    is_final: bool
    sources: tuple[str, ...]
