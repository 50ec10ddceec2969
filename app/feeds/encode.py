"""Columns to JSON values, a chunk at a time and without a Python object a field.

A value is what `wire.encoder` would write of the same trade or quote, less what is absent: a
record without `type` is a trade on the topic `ticks` and a quote on `quotes`, and a missing field
is a null one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from app.contracts.wire import encoder
from app.feeds.columns import Origin, QuoteColumns, TickColumns, TradeColumns, Vocabulary
from app.feeds.partitioning import partition_of


class TickEncoder:
    """Writes trades and quotes of one vocabulary for a topic of `partitions` partitions."""

    def __init__(self, vocabulary: Vocabulary, partitions: int) -> None:
        self._vocabulary = vocabulary
        self._partitions = partitions
        self._heads: Any = pa.array([], pa.string())
        self._tails: Any = pa.array([], pa.string())
        #: The partition of each symbol, by its number.
        self.partitions = np.zeros(0, dtype=np.int64)
        #: The key of each symbol, by its number.
        self.keys: list[bytes] = []

    def encode(self, columns: TickColumns) -> list[bytes]:
        """One JSON value a record, in the columns' order; `value` of a row where it has one."""
        self._learn()
        parts: list[Any] = [self._heads.take(pa.array(columns.symbol))]
        parts += _trade(columns) if isinstance(columns, TradeColumns) else _quote(columns)
        parts += [self._tails.take(pa.array(columns.origin)), ""]
        joined = pa.compute.binary_join_element_wise(*parts)
        _, offsets, data = joined.buffers()
        text = data.to_pybytes()
        ends = np.frombuffer(offsets, dtype=np.int32, count=len(columns) + 1).tolist()
        values = [text[start:end] for start, end in pairwise(ends)]
        if columns.value is not None:
            for row, value in enumerate(columns.value.tolist()):
                if value is not None:
                    values[row] = value
        return values

    def _learn(self) -> None:
        """Prepare what the vocabulary has gained since the last chunk."""
        symbols, origins = self._vocabulary.symbols.values, self._vocabulary.origins.values
        if len(symbols) > len(self.keys):
            self.keys = [symbol.encode() for symbol in symbols]
            self.partitions = np.array(
                [partition_of(symbol, self._partitions) for symbol in symbols], dtype=np.int64
            )
            self._heads = pa.array(
                [f'{{"symbol":{encoder.encode(symbol).decode()}' for symbol in symbols]
            )
        if len(origins) > len(self._tails):
            self._tails = pa.array([_tail(origin) for origin in origins])


def _trade(columns: TradeColumns) -> list[Any]:
    parts = [
        ',"price":',
        _text(columns.price),
        ',"size":',
        _text(columns.size),
        *_order(columns),
    ]
    if columns.trade_id is not None:
        parts.append(pa.array([_identifier(value) for value in columns.trade_id], pa.string()))
    return parts


def _quote(columns: QuoteColumns) -> list[Any]:
    return [
        ',"bid":',
        _text(columns.bid),
        ',"ask":',
        _text(columns.ask),
        ',"bid_size":',
        _text(columns.bid_size),
        ',"ask_size":',
        _text(columns.ask_size),
        *_order(columns),
    ]


def _order(columns: TickColumns) -> list[Any]:
    return [',"event_time":', _text(columns.event_time), ',"sequence":', _text(columns.sequence)]


def _text(column: Any) -> Any:
    return pa.array(column).cast(pa.string())


def _tail(origin: Origin) -> str:
    fields = {"venue": origin.venue, "conditions": origin.conditions, "source": origin.source}
    present = {name: value for name, value in fields.items() if value}
    return "}" if not present else "," + encoder.encode(present).decode()[1:]


def _identifier(value: str | None) -> str:
    return "" if value is None else f',"trade_id":{encoder.encode(value).decode()}'
