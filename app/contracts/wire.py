"""The msgspec twins of `records.py`, for the hot path: one decoder pass, no coercion.

Bounds that msgspec can hold are declared here; what needs arithmetic over several fields or the
state of a partition (notional, times against the append time, symbols of another partition) is
judged over columns in `tables/intake.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from app.contracts.conditions import CONDITIONS
from app.contracts.forms import RecordDecoder
from app.contracts.records import (
    MAX_CONDITIONS,
    MAX_PRICE,
    MAX_SIZE,
    MAX_TEXT,
    MAX_TIME,
)

#: Of the vocabulary alone: decoding then hands out the same few strings, hashed once.
Condition: Any = Literal[CONDITIONS]
ConditionNames = Annotated[tuple[Condition, ...], msgspec.Meta(max_length=MAX_CONDITIONS)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME)]
Price = Annotated[float, msgspec.Meta(ge=-MAX_PRICE, le=MAX_PRICE)]
Size = Annotated[float, msgspec.Meta(ge=0, le=MAX_SIZE)]
Symbol = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
#: Bounded: a state may be kept as numbers of 64 bits.
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME)]


class TradeRecord(
    msgspec.Struct, tag_field="type", tag="trade", forbid_unknown_fields=True, gc=False
):
    """A `Trade` as decoded; a record without `type` is a trade."""

    symbol: Symbol
    price: Price
    size: Size
    event_time: Nanoseconds
    trade_id: Text | None = None
    sequence: Nanoseconds | None = None
    venue: Text | None = None
    conditions: ConditionNames = ()
    source: Text | None = None


class AnyConditionRecord(
    msgspec.Struct, tag_field="type", tag="trade", forbid_unknown_fields=True, gc=False
):
    """A `TradeRecord` but for its conditions, to tell an unknown one from other faults."""

    symbol: Symbol
    price: Price
    size: Size
    event_time: Nanoseconds
    trade_id: Text | None = None
    sequence: Nanoseconds | None = None
    venue: Text | None = None
    conditions: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_CONDITIONS)] = ()
    source: Text | None = None


class QuoteRecord(
    msgspec.Struct, tag_field="type", tag="quote", forbid_unknown_fields=True, gc=False
):
    """A `Quote` as decoded; on the topic `quotes` a record without `type` is a quote."""

    symbol: Symbol
    bid: Price
    ask: Price
    event_time: Nanoseconds
    bid_size: Size = 0.0
    ask_size: Size = 0.0
    sequence: Nanoseconds | None = None
    venue: Text | None = None
    source: Text | None = None


class ClockRecord(
    msgspec.Struct, tag_field="type", tag="clock", forbid_unknown_fields=True, gc=False
):
    """A `Clock` as decoded."""

    event_time: Nanoseconds


class HistoricalRecord(
    msgspec.Struct, tag_field="type", tag="historical", forbid_unknown_fields=True, gc=False
):
    """A `Historical` as decoded."""


class FlushRecord(
    msgspec.Struct, tag_field="type", tag="flush", forbid_unknown_fields=True, gc=False
):
    """A `Flush` as decoded."""


class CorrectionRecord(
    msgspec.Struct, tag_field="type", tag="correction", forbid_unknown_fields=True, gc=False
):
    """A `Correction` as decoded."""

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


class BarRecord(msgspec.Struct, gc=False):
    """A `Bar` as encoded; the field order is part of the bytes."""

    symbol: str
    interval: str
    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float | None
    trades: int
    revision: int
    is_final: bool
    filled: bool
    sources: tuple[str, ...]


class BarInput(BarRecord, forbid_unknown_fields=True, gc=False):
    """A `Bar` as decoded by the stages behind: bounded, whoever wrote it."""

    symbol: Symbol
    interval: Annotated[str, msgspec.Meta(max_length=16)]
    start: Nanoseconds
    open: Price
    high: Price
    low: Price
    close: Price
    # A sum of sizes.
    volume: Annotated[float, msgspec.Meta(ge=0, le=1e18)]
    vwap: Price | None
    trades: Count
    revision: Count
    is_final: bool
    filled: bool
    sources: tuple[str, ...]


class IndicatorsRecord(msgspec.Struct, gc=False):
    """An `Indicators` as encoded; the field order is part of the bytes."""

    symbol: str
    interval: str
    start: int
    revision: int
    exact: bool
    values: dict[str, float | None]


class AnomalyRecord(msgspec.Struct, gc=False):
    """An `Anomaly` as encoded; the field order is part of the bytes."""

    symbol: str
    interval: str
    start: int
    revision: int
    source: str
    score: float
    threshold: float
    is_anomaly: bool
    reason: str
    rules: tuple[str, ...]
    features: dict[str, float]
    learned: bool


class QuoteBarRecord(msgspec.Struct, gc=False):
    """A `QuoteBar` as encoded; the field order is part of the bytes."""

    symbol: str
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
    revision: int
    is_final: bool
    sources: tuple[str, ...]


class QuoteBarInput(QuoteBarRecord, forbid_unknown_fields=True, gc=False):
    """A `QuoteBar` as decoded by the stages behind: bounded, whoever wrote it."""

    symbol: Symbol
    interval: Annotated[str, msgspec.Meta(max_length=16)]
    start: Nanoseconds
    bid_open: Price
    bid_high: Price
    bid_low: Price
    bid_close: Price
    ask_open: Price
    ask_high: Price
    ask_low: Price
    ask_close: Price
    mid_open: Price
    mid_high: Price
    mid_low: Price
    mid_close: Price
    bid_size: Size
    ask_size: Size
    spread: Price
    quotes: Count
    revision: Count
    is_final: bool
    sources: tuple[str, ...]


ControlRecord = ClockRecord | HistoricalRecord | FlushRecord | CorrectionRecord

QuoteControlRecord = ClockRecord | HistoricalRecord | FlushRecord

# Of inputs: JSON or MessagePack.
trade_decoder = RecordDecoder[TradeRecord](TradeRecord)
any_condition_decoder = RecordDecoder[AnyConditionRecord](AnyConditionRecord)
#: A control record always carries `type`; a trade without one is the trade decoder's.
control_decoder = RecordDecoder[ControlRecord](ControlRecord)
#: On the topic `quotes`: corrections are of trades.
quote_control_decoder = RecordDecoder[QuoteControlRecord](QuoteControlRecord)
quote_decoder = RecordDecoder[QuoteRecord](QuoteRecord)
# Of outputs, which are JSON.
quote_bar_decoder = msgspec.json.Decoder(QuoteBarRecord)
quote_bar_input_decoder = msgspec.json.Decoder(QuoteBarInput)
bar_decoder = msgspec.json.Decoder(BarRecord)
bar_input_decoder = msgspec.json.Decoder(BarInput)
encoder = msgspec.json.Encoder()
