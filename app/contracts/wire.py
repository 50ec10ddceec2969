"""The msgspec twins of `records.py`, for the hot path: one decoder pass, no coercion.

Bounds that msgspec can hold are declared here; what needs arithmetic over several fields or the
state of a partition (notional, times against the append time, symbols of another partition) is
judged over columns in `tables/intake.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from app.contracts.conditions import CONDITIONS
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


class TradeRecord(
    msgspec.Struct, tag_field="type", tag="trade", forbid_unknown_fields=True, gc=False
):
    """A `Trade` as decoded; a record without `type` is a trade."""

    symbol: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    price: Annotated[float, msgspec.Meta(ge=-MAX_PRICE, le=MAX_PRICE)]
    size: Annotated[float, msgspec.Meta(ge=0, le=MAX_SIZE)]
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

    symbol: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    price: Annotated[float, msgspec.Meta(ge=-MAX_PRICE, le=MAX_PRICE)]
    size: Annotated[float, msgspec.Meta(ge=0, le=MAX_SIZE)]
    event_time: Nanoseconds
    trade_id: Text | None = None
    sequence: Nanoseconds | None = None
    venue: Text | None = None
    conditions: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_CONDITIONS)] = ()
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


ControlRecord = ClockRecord | HistoricalRecord | FlushRecord
TickRecord = TradeRecord | ControlRecord

trade_decoder = msgspec.json.Decoder(TradeRecord)
any_condition_decoder = msgspec.json.Decoder(AnyConditionRecord)
#: A control record always carries `type`; a trade without one is the trade decoder's.
control_decoder = msgspec.json.Decoder(ControlRecord)
bar_decoder = msgspec.json.Decoder(BarRecord)
encoder = msgspec.json.Encoder()
