"""From a batch to steps in log order: columns of good quotes and control records; the rest is dead.

The same rules in the same order as for trades (tables/intake.py), less conditions and notional.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.contracts.batch import RecordBatch
from app.contracts.forms import MAP_BYTES
from app.contracts.wire import ControlRecord, QuoteRecord, quote_control_decoder, quote_decoder
from tables.columns import NO_SEQUENCE, Float64Array, Int64Array
from tables.configuration import BarsConfiguration
from tables.identifiers import SEPARATOR
from tables.intake import Control, Dead, judge, register, split
from tables.parsing import DECODE_ERRORS
from tables.quote_columns import QuoteColumns
from tables.symbols import Sources, Symbols

#: How JSON writes the only character that a name must not hold; raw it is no JSON.
NUL_ESCAPE = b"\\u0000"


class QuoteIntake:
    """Parses and judges the batches of one partition of `quotes`."""

    def __init__(
        self, configuration: BarsConfiguration, symbols: Symbols, sources: Sources
    ) -> None:
        self._configuration = configuration
        self._symbols = symbols
        self._sources = sources

    def read(self, batch: RecordBatch) -> tuple[Sequence[QuoteColumns | Control], Dead]:
        """Split a batch into steps in log order and its dead (position, reason) in log order."""
        self._sources.begin()
        dead: Dead = []
        controls: list[tuple[int, ControlRecord]] = []
        positions, quotes = self._decode(batch.values, controls, dead)
        columns = self._columns(batch, np.array(positions, dtype=np.int64), quotes)
        if len(columns):
            good = judge(columns, self._configuration, self._symbols, dead)
            if good is not None:
                columns = columns.take(good)
        if len(columns):
            keep = register(columns, self._symbols, self._sources, dead)
            if keep is not None:
                columns = columns.take(keep)
            columns.source = self._sources.bits(columns.source)
        dead.sort()
        return list(split(columns, controls, batch)), dead

    def _decode(
        self,
        values: Sequence[bytes | None],
        controls: list[tuple[int, ControlRecord]],
        dead: Dead,
    ) -> tuple[list[int], list[QuoteRecord]]:
        limit = self._configuration.max_value_bytes
        positions: list[int] = []
        quotes: list[QuoteRecord] = []
        decode, decode_packed = quote_decoder.json, quote_decoder.packed
        for position, value in enumerate(values):
            if value is None:
                dead.append((position, "null"))
                continue
            if len(value) > limit:
                dead.append((position, "too_large"))
                continue
            try:
                # As `quote_decoder.decode` does, without a call: this is a worker's hot loop.
                packed = bool(value) and value[0] in MAP_BYTES
                quote = decode_packed(value) if packed else decode(value)
            except DECODE_ERRORS:
                _not_a_quote(position, value, controls, dead)
                continue
            if (packed or NUL_ESCAPE in value) and _has_separator(quote):
                dead.append((position, "malformed"))
                continue
            positions.append(position)
            quotes.append(quote)
        return positions, quotes

    def _columns(
        self, batch: RecordBatch, positions: Int64Array, quotes: list[QuoteRecord]
    ) -> QuoteColumns:
        symbol = self._symbols.table.intern
        source = self._sources.table.intern
        columns = QuoteColumns(
            positions,
            batch.offsets[positions],
            batch.append_times[positions],
            np.array([quote.event_time for quote in quotes], dtype=np.int64),
            np.array(
                [NO_SEQUENCE if quote.sequence is None else quote.sequence for quote in quotes],
                dtype=np.int64,
            ),
            np.array([symbol(quote.symbol) for quote in quotes], dtype=np.int32),
            _floats([quote.bid for quote in quotes]),
            _floats([quote.ask for quote in quotes]),
            _floats([quote.bid_size for quote in quotes]),
            _floats([quote.ask_size for quote in quotes]),
            np.array(
                [0 if quote.source is None else source(quote.source) + 1 for quote in quotes],
                dtype=np.int64,
            ),
        )
        self._symbols.refresh()
        self._sources.refresh()
        return columns


def _floats(values: list[float]) -> Float64Array:
    """Adding 0.0 turns -0.0 into 0.0, so that high and low do not depend on the order."""
    return np.array(values, dtype=np.float64) + 0.0


def _not_a_quote(
    position: int, value: bytes, controls: list[tuple[int, ControlRecord]], dead: Dead
) -> None:
    if not value:
        dead.append((position, "empty"))
        return
    try:
        controls.append((position, quote_control_decoder.decode(value)))
    except DECODE_ERRORS:
        dead.append((position, "malformed"))


def _has_separator(quote: QuoteRecord) -> bool:
    """Whether a name holds a NUL, which the contract refuses."""
    return any(part is not None and SEPARATOR in part for part in (quote.venue, quote.source))
