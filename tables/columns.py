"""From the values of a batch to one array a field, with the bad ones and the controls apart.

Values are decoded one by one: `decode_lines` over the joined values is no faster with the full
contract (0.58 us against 0.53 us a record) and lets wrong neighbours through (an empty value
makes up for one that holds two objects).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from app.contracts.wire import (
    ControlRecord,
    TradeRecord,
    any_condition_decoder,
    control_decoder,
    trade_decoder,
)

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]

#: What decoding a value may raise; nothing else is a bad record.
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
NO_SEQUENCE = -1


@dataclass(slots=True)
class Decoded:
    """A batch after decoding, in log order.

    `positions` are indexes into the batch; `dead` and `controls` name theirs.
    """

    positions: list[int]
    trades: list[TradeRecord]
    dead: list[tuple[int, str]] = field(default_factory=list)
    controls: list[tuple[int, ControlRecord]] = field(default_factory=list)


def decode(values: Sequence[bytes | None], max_value_bytes: int) -> Decoded:
    """Decode all values; a bad one becomes a dead entry with its reason."""
    if None not in values and max(map(len, values), default=0) <= max_value_bytes:  # type: ignore[arg-type]
        try:
            trades = list(map(trade_decoder.decode, values))  # type: ignore[arg-type]
        except DECODE_ERRORS:
            # Some value is a control or bad: one by one below, so that its neighbours go on.
            return _decode_each(values, max_value_bytes)
        return Decoded(list(range(len(trades))), trades)
    return _decode_each(values, max_value_bytes)


def _decode_each(values: Sequence[bytes | None], max_value_bytes: int) -> Decoded:
    result = Decoded([], [])
    decode_trade = trade_decoder.decode
    add_trade, add_position = result.trades.append, result.positions.append
    for position, value in enumerate(values):
        if value is None:
            result.dead.append((position, "null"))
            continue
        if len(value) > max_value_bytes:
            result.dead.append((position, "too_large"))
            continue
        try:
            trade = decode_trade(value)
        except DECODE_ERRORS:
            _decode_other(position, value, result)
        else:
            add_trade(trade)
            add_position(position)
    return result


def _decode_other(position: int, value: bytes, result: Decoded) -> None:
    if not value:
        result.dead.append((position, "empty"))
        return
    try:
        result.controls.append((position, control_decoder.decode(value)))
    except DECODE_ERRORS:
        result.dead.append((position, _fault(value)))


def _fault(value: bytes) -> str:
    """Whether only the conditions are unknown."""
    try:
        trade = any_condition_decoder.decode(value)
    except DECODE_ERRORS:
        return "malformed"
    texts = (trade.trade_id, trade.venue, trade.source)
    return "malformed" if any("\0" in text for text in texts if text) else "unknown_condition"


@dataclass(slots=True)
class Columns:
    """The trades of a segment, one entry a trade, in log order.

    `time`, `append_time` in ns; `symbol` are codes of `Symbols`; `condition` indexes the flag
    tables of the policy; `source` is a one-bit mask; `identifiers` are None where no trade has one.
    """

    position: Int64Array
    offset: Int64Array
    append_time: Int64Array
    time: Int64Array
    sequence: Int64Array
    symbol: npt.NDArray[np.int32]
    price: Float64Array
    size: Float64Array
    condition: npt.NDArray[np.int32]
    source: Int64Array
    identifiers: list[str | None] | None

    def __len__(self) -> int:
        return len(self.time)

    def take(self, chosen: Int64Array | npt.NDArray[np.bool_]) -> Columns:
        """The chosen trades, by mask or by index."""
        identifiers = self.identifiers
        if identifiers is not None:
            indexes = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
            identifiers = [identifiers[index] for index in indexes.tolist()]
        return Columns(
            self.position[chosen],
            self.offset[chosen],
            self.append_time[chosen],
            self.time[chosen],
            self.sequence[chosen],
            self.symbol[chosen],
            self.price[chosen],
            self.size[chosen],
            self.condition[chosen],
            self.source[chosen],
            identifiers,
        )


def sequence_column(trades: list[TradeRecord]) -> Int64Array:
    """Sequences, with `NO_SEQUENCE` (before any) where there is none."""
    sequences = [trade.sequence for trade in trades]
    if None not in sequences:
        return np.array(sequences, dtype=np.int64)
    return np.array(
        [NO_SEQUENCE if sequence is None else sequence for sequence in sequences], dtype=np.int64
    )
