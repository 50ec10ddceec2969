"""What bars and quote bars have in common: one partition's log, record by record, to windows.

A batch is taken in segments of records between control records. A segment's records are merged
into open windows, or become events where their window is closed; the windows whose end the
watermark has reached become events, too. Events happen in log order (tables/events.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from app.contracts.batch import RecordBatch
from app.contracts.outputs import OutputRecord
from app.contracts.wire import (
    BarRecord,
    ClockRecord,
    CorrectionRecord,
    FlushRecord,
    HistoricalRecord,
    QuoteBarRecord,
)
from tables.aggregate import Held
from tables.code_set import CodeSet
from tables.columns import Int64Array
from tables.configuration import BarsConfiguration
from tables.events import CLOSE, Causes, Event
from tables.identifiers import Identifiers
from tables.intake import Control, Dead
from tables.outbox import Outbox
from tables.symbols import Sources, Symbols
from tables.windows import Reader, Windows

#: Before every event time: no record is late by it, no window closed.
NO_MAXIMUM = -(2**62)
OUTCOMES = ("applied", "revised", "late", "duplicate", "ignored", "dead", "control")


class Timed(Protocol):
    """Columns of a segment, in log order; what lateness is judged by."""

    position: Int64Array
    append_time: Int64Array
    time: Int64Array
    symbol: npt.NDArray[np.int32]

    def __len__(self) -> int: ...


Records = TypeVar("Records", bound=Timed)


class WindowPublisher(Outbox, ABC, Generic[Held]):
    """An outbox that turns events into bars."""

    def __init__(
        self,
        lengths: tuple[int, ...],
        symbols: Symbols,
        sources: Sources,
        windows: Windows[Held],
        changed: CodeSet,
    ) -> None:
        super().__init__(lengths)
        self._symbols = symbols
        self._sources = sources
        self._windows = windows
        self._changed = changed

    @abstractmethod
    def happen(self, event: Event[Held]) -> None:
        """Let an event happen; events come in log order."""

    @property
    def closes_at_once(self) -> bool:
        """Whether windows close one like the other, whatever another one holds."""
        return False

    def close_all(self, interval: int, start: int, windows: dict[int, Held]) -> None:
        """Close the windows of one interval and start, in the order of the symbols' names."""
        symbols = sorted(windows, key=self._symbols.names.__getitem__)
        self.pending_bytes += self._publish_all(interval, start, symbols, windows)
        self._windows.keep_all_closed(interval, start, symbols, windows)

    @abstractmethod
    def _publish_all(
        self, interval: int, start: int, symbols: list[int], windows: dict[int, Held]
    ) -> int:
        """Publish them by the compiled module; the bytes of the records."""

    @abstractmethod
    def record(
        self, interval: int, symbol: int, start: int, partial: Held, *, is_final: bool
    ) -> BarRecord | QuoteBarRecord:
        """The bar of an aggregate that has one, as published."""

    def forming(
        self, interval: int, start: int, symbols: list[int], windows: dict[int, Held]
    ) -> Sequence[BarRecord | QuoteBarRecord]:
        """The bars of open windows of one interval and start, of symbols that have one there."""
        return [
            self.record(interval, symbol, start, windows[symbol], is_final=False)
            for symbol in symbols
        ]


class WindowedPartition(ABC, Generic[Held, Records]):
    """State of one partition: `apply` a batch, then find outputs in `publisher`."""

    #: What the windows hold.
    aggregate: ClassVar[type[Any]]
    publisher: WindowPublisher[Held]

    def __init__(
        self,
        configuration: BarsConfiguration,
        partition: int,
        read: Reader | None,
        source_names: list[str] | None = None,
    ) -> None:
        self.configuration = configuration
        self.partition = partition
        self.next: int | None = None
        self.maximum = NO_MAXIMUM
        self.historical = False
        self.counts = dict.fromkeys(OUTCOMES, 0)
        #: Ignored records by reason, where there is more than one.
        self.details: dict[str, int] = {}
        self.symbols = Symbols(partition, configuration.partitions, configuration.max_symbols)
        self.sources = Sources(source_names)
        self.windows: Windows[Held] = Windows(configuration, self.symbols, read, self.aggregate)
        self.identifiers = Identifiers(configuration.grace + configuration.correction_horizon)
        #: Symbols that a checkpoint has to take, and those whose forming bars have changed.
        self.changed, self.touched = CodeSet(), CodeSet()
        #: Symbols that have a state.
        self._known = CodeSet()

    @property
    def watermark(self) -> int:
        """Event time in ns up to which windows are closed."""
        return self.maximum - self.configuration.grace

    def begin(self, offset: int) -> None:
        """The log begins at `offset`; nothing of it was taken."""
        self.next = offset

    def more_rows(self) -> list[tuple[bytes, bytes | None]]:
        """Rows of this kind of partition alone, changed since the last call."""
        return []

    def restore_row(self, key: bytes, value: bytes) -> None:
        """Take in one of these rows; their prefixes are among `LOADED_PREFIXES`."""
        raise ValueError(f"unknown row {key!r}")

    def restored(self, version: int) -> None:
        """All rows are taken in; they are of this row version."""

    @abstractmethod
    def _read(self, batch: RecordBatch) -> tuple[Sequence[Records | Control], Dead]:
        """Steps in log order, and the dead."""

    @abstractmethod
    def _take(self, records: Records, batch: RecordBatch) -> None:
        """Take the records between two controls, at least one."""

    @abstractmethod
    def _run(self, events: list[Event[Held]], causes: Causes) -> None:
        """Let events happen, in their order."""

    def apply(self, batch: RecordBatch) -> None:
        """Take a batch whose `base` is `next`, up to a correction that waits for an answer.

        Raises:
            ValueError: the batch does not begin where the state ends.
        """
        if self.next is not None and batch.base != self.next:
            raise ValueError(f"batch begins at {batch.base}, the state at {self.next}")
        following = batch.next
        if len(batch):
            steps, dead = self._read(batch)
            for step in steps:
                if not isinstance(step, Control):
                    self._take(step, batch)
                elif not isinstance(step.record, CorrectionRecord):
                    self._control(step, dead)
                elif not self._correction(step, batch, dead):
                    following = int(batch.offsets[step.position])
                    dead = [each for each in dead if each[0] < step.position]
                    break
            self._dead(batch, sorted(dead))
            self.identifiers.forget(self.watermark)
            if self.windows.flushed:
                self.windows.prune_flushed(self.watermark)
        self.next = following

    def _correction(self, step: Control, batch: RecordBatch, dead: Dead) -> bool:
        """Take a correction; false where the log before it has to be read first."""
        raise TypeError("corrections are of trades")

    def _dead(self, batch: RecordBatch, dead: Dead) -> None:
        self.counts["dead"] += len(dead)
        for position, reason in dead:
            headers = headers_of(reason, batch, position)
            self.publisher.dead(OutputRecord(None, batch.values[position], headers), reason)

    def _control(self, step: Control, dead: Dead) -> None:
        record = step.record
        if isinstance(record, ClockRecord):
            if record.event_time < self.configuration.earliest_event_time:
                dead.append((step.position, "event_time_too_early"))
                return
            if record.event_time > step.append_time + self.configuration.max_ahead:
                dead.append((step.position, "event_time_too_late"))
                return
            ahead = step.append_time + self.configuration.clock_ahead
            self.maximum = max(self.maximum, min(record.event_time, ahead))
            self._close([], _one_cause)
        elif isinstance(record, HistoricalRecord):
            self.historical = True
        elif isinstance(record, FlushRecord):
            self._flush()
        self.counts["control"] += 1

    def _flush(self) -> None:
        self.historical = False
        if self.publisher.closes_at_once:
            self._close_groups(None)
            return
        events = self._closes(None, _one_cause)
        for event in events:
            if event.end > self.watermark:
                self._note_flushed(event.interval, event.start, event.symbol)
        self._run(events, _one_cause)

    def _note_flushed(self, interval: int, start: int, symbol: int) -> None:
        """A window was closed before its end."""
        self.windows.flushed.setdefault(symbol, set()).add((interval, start))

    def _maxima(self, records: Timed) -> Int64Array:
        """The maximum event time before the first record, and after each; shape (n + 1,)."""
        seen = np.minimum(records.time, records.append_time + self.configuration.clock_ahead)
        maxima: Int64Array = np.maximum.accumulate(np.concatenate(([self.maximum], seen)))
        return maxima

    def _in_time(
        self, records: Timed, watermarks: Int64Array, batch: RecordBatch
    ) -> npt.NDArray[np.bool_]:
        """Mask of the records that are not late; the late ones are counted and sent."""
        late = records.time < watermarks - self.configuration.correction_horizon
        if late.any():
            self.counts["late"] += int(late.sum())
            for index in np.flatnonzero(late).tolist():
                position = int(records.position[index])
                key = self.symbols.names[int(records.symbol[index])].encode()
                headers = headers_of("late", batch, position)
                self.publisher.late(OutputRecord(key, batch.values[position], headers))
        return ~late

    def _know(self, records: Timed) -> None:
        """Give each symbol that is new a state of its own."""
        if self._known.has_all(records.symbol):
            return
        for code in distinct(records.symbol):
            if code not in self.publisher.states:
                self.publisher.state(code)
                self.changed.add(code)
        self._known.add_all(records.symbol)

    def _close(self, events: list[Event[Held]], causes: Causes) -> None:
        """Let events happen, and the closes of windows whose end the watermark has reached.

        Without other events windows close one after the other: the cause follows from the end, so
        the order of events is that of ends, lengths and names.
        """
        if events or not self.publisher.closes_at_once:
            self._run(events + self._closes(self.watermark, causes), causes)
            return
        self._close_groups(self.watermark)

    def _close_groups(self, upto: int | None) -> None:
        """Close the windows that end at or before `upto` (ns), all where that is None.

        In the order of ends, lengths and names, as the events of one cause happen.
        """
        self.publisher.watermark = watermark = self.watermark
        for end, interval, start, windows in self.windows.take_groups(upto):
            if end > watermark:
                for symbol in windows:
                    self._note_flushed(interval, start, symbol)
            self.changed.update(windows)
            self.publisher.close_all(interval, start, windows)

    def _closes(self, watermark: int | None, causes: Causes) -> list[Event[Held]]:
        """Events of the windows to close, caused by the record that moved the watermark there."""
        ended = self.windows.take_ended(watermark)
        names, lengths = self.symbols.names, self.configuration.intervals
        found = causes([entry[0] for entry in ended])
        events = [
            Event(
                cause, CLOSE, end, lengths[interval], names[symbol], interval,
                symbol, start, partial, False,
            )
            for cause, (end, interval, symbol, start, partial) in zip(found, ended, strict=True)
        ]  # fmt: skip
        self.changed.update([event.symbol for event in events])
        return events


def causes_of(maxima: Int64Array, positions: Int64Array, grace: int) -> Causes:
    """Positions of the records that moved the watermark to the given ends."""

    def causes(ends: list[int]) -> list[int]:
        if not ends:
            return []
        first = np.searchsorted(maxima, np.array(ends, dtype=np.int64) + grace, side="left")
        found: list[int] = positions[np.minimum(first, len(maxima) - 1)].tolist()
        return found

    return causes


def distinct(codes: npt.NDArray[np.int32]) -> list[int]:
    """The codes that occur; they are small, so counting beats sorting."""
    found: list[int] = np.flatnonzero(np.bincount(codes)).tolist()
    return found


def _one_cause(ends: list[int]) -> list[int]:
    """A control record is the only one of its step."""
    return [0] * len(ends)


@lru_cache(maxsize=256)
def _shared_headers(reason: str, topic: str, partition: int) -> tuple[tuple[str, bytes], ...]:
    """Headers that many late and dead records have in common; waiting, they share them."""
    return (
        ("reason", reason.encode()),
        ("topic", topic.encode()),
        ("partition", str(partition).encode()),
    )


def headers_of(reason: str, batch: RecordBatch, position: int) -> list[tuple[str, bytes]]:
    """Headers of a late or dead record: why, and where it was."""
    offset = str(int(batch.offsets[position])).encode()
    return [*_shared_headers(reason, batch.topic, batch.partition), ("offset", offset)]
