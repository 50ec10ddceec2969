"""From the values of a batch to one array a field, with the bad ones and the controls apart.

The compiled parser takes the usual trades; the rest, or everything where it is missing, goes one
by one through the full decoder. Both fill the same arrays with the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from app.contracts.wire import (
    ControlRecord,
    CorrectionRecord,
    TradeRecord,
    any_condition_decoder,
    control_decoder,
    trade_decoder,
)
from tables.columns import NO_SEQUENCE, Float64Array, Int64Array
from tables.identifiers import SEPARATOR, join_identity
from tables.packed_texts import PackedTexts
from tables.symbols import Conditions, Sources, Symbols
from tables.texts import compiled_parse

#: What decoding a value may raise; nothing else is a bad record.
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(slots=True)
class Parsed:
    """A batch, one row a value; rows that are not `good` hold nothing.

    `symbol` are codes of `Symbols`, `source` and `condition` those of `Sources` and `Conditions`.
    `dead` and `controls` name positions, in no order.
    """

    good: npt.NDArray[np.uint8]
    time: Int64Array
    price: Float64Array
    size: Float64Array
    sequence: Int64Array
    symbol: npt.NDArray[np.int32]
    source: npt.NDArray[np.int32]
    condition: npt.NDArray[np.int32]
    identities: PackedTexts
    #: Whether all rows are good, known without a look at them.
    complete: bool = False
    dead: list[tuple[int, str]] = field(default_factory=list)
    controls: list[tuple[int, ControlRecord]] = field(default_factory=list)

    @classmethod
    def empty(cls, count: int) -> Parsed:
        """No good row yet."""
        return cls(
            np.zeros(count, dtype=np.uint8),
            np.zeros(count, dtype=np.int64),
            np.zeros(count, dtype=np.float64),
            np.zeros(count, dtype=np.float64),
            np.zeros(count, dtype=np.int64),
            np.zeros(count, dtype=np.int32),
            np.zeros(count, dtype=np.int32),
            np.zeros(count, dtype=np.int32),
            PackedTexts.empty(count),
        )


class Parser:
    """Parses the batches of one partition. `compiled` false leaves the compiled parser out."""

    def __init__(
        self,
        symbols: Symbols,
        sources: Sources,
        conditions: Conditions,
        max_value_bytes: int,
        *,
        compiled: bool = True,
    ) -> None:
        self._symbols = symbols
        self._sources = sources
        self._conditions = conditions
        self._max_value_bytes = max_value_bytes
        self._compiled = compiled_parse if compiled else None

    def parse(self, values: Sequence[bytes | None]) -> Parsed:
        """Parse all values; a bad one becomes a dead entry with its reason."""
        self._sources.begin()
        self._conditions.begin()
        parsed = Parsed.empty(len(values))
        found = 0
        if self._compiled is not None:
            # `PackedValues` of app/streaming are found by their addresses.
            found, identities = self._compiled(
                values if isinstance(values, list) or hasattr(values, "begins") else list(values),
                self._max_value_bytes,
                self._symbols.table,
                self._sources.table,
                self._conditions.table,
                parsed.good,
                parsed.time,
                parsed.price,
                parsed.size,
                parsed.sequence,
                parsed.symbol,
                parsed.source,
                parsed.condition,
                parsed.identities.begin,
                parsed.identities.length,
            )
            parsed.identities.data = np.frombuffer(identities, dtype=np.uint8)
            self._conditions.refresh()
            if not self._conditions.valid.all():
                invalid = ~self._conditions.valid[parsed.condition]
                parsed.good[invalid] = 0
                found = int(parsed.good.sum())
                parsed.identities.length[invalid] = 0
        parsed.complete = found == len(values)
        if not parsed.complete:
            self._decode_rest(values, parsed)
        self._symbols.refresh()
        self._sources.refresh()
        self._conditions.refresh()
        return parsed

    def _decode_rest(self, values: Sequence[bytes | None], parsed: Parsed) -> None:
        positions: list[int] = []
        trades: list[TradeRecord] = []
        decode = trade_decoder.decode
        for position in np.flatnonzero(parsed.good == 0).tolist():
            value = values[position]
            if value is None:
                parsed.dead.append((position, "null"))
            elif len(value) > self._max_value_bytes:
                parsed.dead.append((position, "too_large"))
            else:
                try:
                    trade = decode(value)
                except DECODE_ERRORS:
                    self._not_a_trade(position, value, parsed)
                    continue
                if _has_separator(trade):
                    parsed.dead.append((position, "malformed"))
                else:
                    positions.append(position)
                    trades.append(trade)
        if trades:
            self._fill(parsed, np.array(positions), trades)

    def _not_a_trade(self, position: int, value: bytes, parsed: Parsed) -> None:
        if not value:
            parsed.dead.append((position, "empty"))
            return
        try:
            control = control_decoder.decode(value)
        except DECODE_ERRORS:
            parsed.dead.append((position, _fault(value)))
            return
        if isinstance(control, CorrectionRecord) and _has_separator(control):
            parsed.dead.append((position, "malformed"))
        else:
            parsed.controls.append((position, control))

    def _fill(self, parsed: Parsed, rows: Int64Array, trades: list[TradeRecord]) -> None:
        """Write decoded trades into their rows."""
        parsed.good[rows] = 1
        parsed.time[rows] = [trade.event_time for trade in trades]
        # Adding 0.0 turns -0.0 into 0.0, so that high and low do not depend on the order.
        parsed.price[rows] = np.array([trade.price for trade in trades]) + 0.0
        parsed.size[rows] = np.array([trade.size for trade in trades]) + 0.0
        parsed.sequence[rows] = [
            NO_SEQUENCE if trade.sequence is None else trade.sequence for trade in trades
        ]
        symbol = self._symbols.table.intern
        source = self._sources.table.intern
        parsed.symbol[rows] = [symbol(trade.symbol) for trade in trades]
        parsed.source[rows] = [
            0 if trade.source is None else source(trade.source) + 1 for trade in trades
        ]
        parsed.condition[rows] = [self._conditions.code_of(trade.conditions) for trade in trades]
        named = [
            (row, join_identity(trade.symbol, trade.venue, trade.trade_id))
            for row, trade in zip(rows.tolist(), trades, strict=True)
            if trade.trade_id is not None
        ]
        if named:
            parsed.identities.put([row for row, _ in named], [text for _, text in named])


def _has_separator(trade: TradeRecord | CorrectionRecord) -> bool:
    """Whether a name or id holds a NUL, which the contract refuses."""
    parts = (trade.venue, trade.source, trade.trade_id)
    return any(part is not None and SEPARATOR in part for part in parts)


def _fault(value: bytes) -> str:
    """Whether only the conditions are unknown."""
    try:
        trade = any_condition_decoder.decode(value)
    except DECODE_ERRORS:
        return "malformed"
    texts = (trade.trade_id, trade.venue, trade.source)
    bad = any(SEPARATOR in text for text in texts if text)
    return "malformed" if bad else "unknown_condition"
