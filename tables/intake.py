"""From a batch to steps in log order: columns of good trades and control records; the rest is dead.

Reasons are judged in the order that app/README.md gives, by masks over columns; only records
that are bad, or bring a new symbol or source, are looked at one by one. Where there is none of
them, as in nearly all batches, one compiled pass says so (tables/judging.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from app.contracts.batch import RecordBatch
from app.contracts.records import MAX_NOTIONAL
from app.contracts.wire import ControlRecord
from tables.columns import Columns, Int64Array
from tables.configuration import BarsConfiguration
from tables.judging import compiled_judging
from tables.parsing import Parsed, Parser
from tables.symbols import Conditions, Sources, Symbols

Dead = list[tuple[int, str]]


class Positioned(Protocol):
    """Columns of trades or quotes, as far as they are judged alike."""

    position: Int64Array
    append_time: Int64Array
    time: Int64Array
    symbol: npt.NDArray[np.int32]
    source: Int64Array

    def __len__(self) -> int: ...

    def take(self, chosen: Int64Array | npt.NDArray[np.bool_]) -> Self: ...


Records = TypeVar("Records", bound=Positioned)


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
        ordinary = self._ordinary(batch, parsed)
        if ordinary is not None:
            return [ordinary], []
        columns = self._columns(batch, parsed)
        steps = list(split(columns, parsed.controls, batch))
        parsed.dead.sort()
        return steps, parsed.dead

    def _ordinary(self, batch: RecordBatch, parsed: Parsed) -> Columns | None:
        """All of a batch, where each record is a good trade of a symbol and source known."""
        if compiled_judging is None or not parsed.complete or not len(batch):
            return None
        configuration = self._configuration
        masks = np.empty(len(batch), dtype=np.int64)
        known = compiled_judging.known_trades(
            *(parsed.time, batch.append_times, parsed.symbol, parsed.source),
            *(parsed.price, parsed.size, self._symbols.ordinary, self._sources.by_code),
            *(configuration.earliest_event_time, configuration.max_ahead, MAX_NOTIONAL, masks),
        )
        return self._all(batch, parsed, masks) if known else None

    def _all(self, batch: RecordBatch, parsed: Parsed, source: Int64Array) -> Columns:
        """All rows of a batch, whether good or not."""
        return Columns(
            np.arange(len(batch), dtype=np.int64),
            batch.offsets,
            batch.append_times,
            parsed.time,
            parsed.sequence,
            parsed.symbol,
            parsed.price,
            parsed.size,
            parsed.condition,
            source,
            parsed.identities,
        )

    def _columns(self, batch: RecordBatch, parsed: Parsed) -> Columns:
        columns = self._all(batch, parsed, parsed.source.astype(np.int64))
        if not parsed.good.all():
            columns = columns.take(parsed.good.astype(np.bool_))
        if len(columns):
            large = np.abs(columns.price * columns.size) > MAX_NOTIONAL
            good = judge(columns, self._configuration, self._symbols, parsed.dead, large)
            if good is not None:
                columns = columns.take(good)
        if len(columns):
            keep = register(columns, self._symbols, self._sources, parsed.dead)
            if keep is not None:
                columns = columns.take(keep)
            columns.source = self._sources.bits(columns.source)
        return columns


def split(
    columns: Records, controls: list[tuple[int, ControlRecord]], batch: RecordBatch
) -> Iterator[Records | Control]:
    """Columns and controls in log order."""
    done = 0
    for position, record in controls:
        upto = int(np.searchsorted(columns.position, position))
        if upto > done:
            yield columns.take(np.arange(done, upto))
        done = upto
        yield Control(position, int(batch.append_times[position]), record)
    if done < len(columns):
        yield columns if done == 0 else columns.take(np.arange(done, len(columns)))


def judge(
    columns: Positioned,
    configuration: BarsConfiguration,
    symbols: Symbols,
    dead: Dead,
    large: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.bool_] | None:
    """Mask of the good records, or None where all are; the others become dead."""
    early = columns.time < configuration.earliest_event_time
    late = columns.time > columns.append_time + configuration.max_ahead
    faulty = symbols.faulty(columns.symbol)
    bad = early | late | faulty
    if large is not None:
        bad |= large
    if not bad.any():
        return None
    for index in np.flatnonzero(bad).tolist():
        fault = symbols.faults[int(columns.symbol[index])]
        if fault == "bad_symbol":
            reason = fault
        elif early[index]:
            reason = "event_time_too_early"
        elif late[index]:
            reason = "event_time_too_late"
        elif large is not None and large[index]:
            reason = "notional_too_large"
        else:
            reason = str(fault)
        dead.append((int(columns.position[index]), reason))
    return ~bad


def register(
    columns: Positioned, symbols: Symbols, sources: Sources, dead: Dead
) -> npt.NDArray[np.bool_] | None:
    """Make every symbol and source of the good records known, in log order.

    The mask of those that fit, or None where all do; the others become dead.
    """
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
