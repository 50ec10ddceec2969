"""From a batch to steps in log order: columns of good trades and control records; the rest is dead.

Reasons are judged in the order that app/README.md gives, by masks over columns; only records
that are bad, or bring a new symbol or source, are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.contracts.batch import RecordBatch
from app.contracts.records import MAX_NOTIONAL
from app.contracts.wire import ControlRecord
from tables.columns import Columns
from tables.configuration import BarsConfiguration
from tables.parsing import Parsed, Parser
from tables.symbols import Conditions, Sources, Symbols

Dead = list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Control:
    """A control record at its place in the log; `append_time` in ns."""

    position: int
    append_time: int
    record: ControlRecord


class Intake:
    """Parses and judges the batches of one partition."""

    def __init__(
        self, configuration: BarsConfiguration, symbols: Symbols, sources: Sources
    ) -> None:
        self._configuration = configuration
        self._symbols = symbols
        self._sources = sources
        self.conditions = Conditions(configuration.policy)
        self._parser = Parser(symbols, sources, self.conditions, configuration.max_value_bytes)

    def read(self, batch: RecordBatch) -> tuple[list[Columns | Control], Dead]:
        """Split a batch into steps in log order and its dead (position, reason) in log order."""
        parsed = self._parser.parse(batch.values)
        columns = self._columns(batch, parsed)
        steps = list(self._steps(batch, parsed, columns))
        parsed.dead.sort()
        return steps, parsed.dead

    def _steps(
        self, batch: RecordBatch, parsed: Parsed, columns: Columns
    ) -> Iterator[Columns | Control]:
        done = 0
        for position, record in parsed.controls:
            upto = int(np.searchsorted(columns.position, position))
            if upto > done:
                yield columns.take(np.arange(done, upto))
            done = upto
            yield Control(position, int(batch.append_times[position]), record)
        if done < len(columns):
            yield columns if done == 0 else columns.take(np.arange(done, len(columns)))

    def _columns(self, batch: RecordBatch, parsed: Parsed) -> Columns:
        columns = Columns(
            np.arange(len(batch), dtype=np.int64),
            batch.offsets,
            batch.append_times,
            parsed.time,
            parsed.sequence,
            parsed.symbol,
            parsed.price,
            parsed.size,
            parsed.condition,
            parsed.source.astype(np.int64),
            parsed.identities,
        )
        if not parsed.good.all():
            columns = columns.take(parsed.good.astype(np.bool_))
        if len(columns):
            good = self._judge(columns, parsed.dead)
            if good is not None:
                columns = columns.take(good)
        if len(columns):
            keep = self._register(columns, parsed.dead)
            if keep is not None:
                columns = columns.take(keep)
            columns.source = self._sources.bits(columns.source)
        return columns

    def _judge(self, columns: Columns, dead: Dead) -> npt.NDArray[np.bool_] | None:
        """Mask of the good trades, or None where all are; the others become dead."""
        configuration = self._configuration
        early = columns.time < configuration.earliest_event_time
        late = columns.time > columns.append_time + configuration.max_ahead
        large = np.abs(columns.price * columns.size) > MAX_NOTIONAL
        faulty = self._symbols.faulty(columns.symbol)
        bad = early | late | large | faulty
        if not bad.any():
            return None
        for index in np.flatnonzero(bad).tolist():
            fault = self._symbols.faults[int(columns.symbol[index])]
            if fault == "bad_symbol":
                reason = fault
            elif early[index]:
                reason = "event_time_too_early"
            elif late[index]:
                reason = "event_time_too_late"
            elif large[index]:
                reason = "notional_too_large"
            else:
                reason = str(fault)
            dead.append((int(columns.position[index]), reason))
        return ~bad

    def _register(self, columns: Columns, dead: Dead) -> npt.NDArray[np.bool_] | None:
        """Make every symbol and source of the good trades known, in log order.

        The mask of those that fit, or None where all do; the others become dead.
        """
        symbols, sources = self._symbols, self._sources
        if symbols.all_registered(columns.symbol) and (sources.bits(columns.source) >= 0).all():
            return None
        keep = np.ones(len(columns), dtype=np.bool_)
        for index, (symbol, source) in enumerate(
            zip(columns.symbol.tolist(), columns.source.tolist(), strict=True)
        ):
            if not symbols.registered[symbol] and symbols.count >= symbols.limit:
                reason = "too_many_symbols"
            elif not sources.add(source):
                reason = "too_many_sources"
            else:
                symbols.register(symbol)
                continue
            keep[index] = False
            dead.append((int(columns.position[index]), reason))
        return None if keep.all() else keep
