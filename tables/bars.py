"""Trades of one partition to bars: the state machine that app/README.md describes.

A batch is taken in segments of trades between control records. Within a segment, trades whose
windows were all open before them (judged each by the watermark before it) are aggregated at
once; the few others are taken one by one. Closes and revisions then happen as *events* in log
order, so their order and content do not depend on where a batch begins or ends:

1. aggregate the ordinary trades into open windows;
2. the others, one by one: into the windows that are open to them, an event for each closed one;
3. an event for each window whose end the watermark has reached;
4. events by (position in the log, revisions before closes, end, interval, symbol).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from app.contracts.batch import RecordBatch
from app.contracts.outputs import OutputRecord
from app.contracts.wire import ClockRecord, FlushRecord, HistoricalRecord
from tables.columns import Columns, Int64Array
from tables.configuration import BarsConfiguration
from tables.events import CLOSE, REVISE, Causes, Event, event_order
from tables.filling import run_filling
from tables.grouping import Groups, group, roll_up, sort_order, to_partials
from tables.identifiers import MINUTE, Identifiers
from tables.intake import Control, Intake
from tables.partial import Partial
from tables.policies import CLOSING
from tables.publishing import Publisher
from tables.sessions import Sessions
from tables.single import is_amendment, single_partial
from tables.symbols import Sources, Symbols
from tables.windows import Reader, Windows

#: Before every event time: no record is late by it, no window closed.
NO_MAXIMUM = -(2**62)
OUTCOMES = ("applied", "revised", "late", "duplicate", "ignored", "dead", "control")


class BarsPartition:
    """State of one partition: `apply` a batch, then find outputs in `publisher`."""

    def __init__(
        self,
        configuration: BarsConfiguration,
        partition: int,
        read: Reader,
        source_names: list[str] | None = None,
    ) -> None:
        self.configuration = configuration
        self.partition = partition
        self.next: int | None = None
        self.maximum = NO_MAXIMUM
        self.historical = False
        self.counts = dict.fromkeys(OUTCOMES, 0)
        self.symbols = Symbols(partition, configuration.partitions, configuration.max_symbols)
        self.sources = Sources(source_names)
        self.windows = Windows(configuration, self.symbols, read)
        self.identifiers = Identifiers(configuration.grace + configuration.correction_horizon)
        self.changed: set[int] = set()
        self.touched: set[int] = set()
        self.sessions = Sessions(configuration.session_timezone, configuration.session_end)
        self.publisher = Publisher(
            configuration, self.symbols, self.sources, self.windows, self.sessions, self.changed
        )
        self._intake = Intake(configuration, self.symbols, self.sources)
        policy = configuration.policy
        self._classes = [policy.interval_class(length) for length in configuration.intervals]

    @property
    def watermark(self) -> int:
        """Event time in ns up to which windows are closed."""
        return self.maximum - self.configuration.grace

    def apply(self, batch: RecordBatch) -> None:
        """Take a batch whose `base` is `next`.

        Raises:
            ValueError: the batch does not begin where the state ends.
        """
        if self.next is not None and batch.base != self.next:
            raise ValueError(f"batch begins at {batch.base}, the state at {self.next}")
        if len(batch):
            steps, dead = self._intake.read(batch)
            for step in steps:
                if isinstance(step, Control):
                    self._control(step, batch, dead)
                else:
                    self._trades(step, batch)
            self._dead(batch, sorted(dead))
            self.identifiers.forget(self.watermark)
            if self.windows.flushed:
                self.windows.prune_flushed(self.watermark)
        self.next = batch.next

    def _dead(self, batch: RecordBatch, dead: list[tuple[int, str]]) -> None:
        self.counts["dead"] += len(dead)
        for position, reason in dead:
            headers = _headers(reason, batch, position)
            self.publisher.dead(OutputRecord(None, batch.values[position], headers), reason)

    def _control(self, step: Control, batch: RecordBatch, dead: list[tuple[int, str]]) -> None:
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
            self._run(self._closes(self.watermark, _one_cause), _one_cause)
        elif isinstance(record, HistoricalRecord):
            self.historical = True
        elif isinstance(record, FlushRecord):
            self._flush()
        self.counts["control"] += 1

    def _flush(self) -> None:
        events = self._closes(None, _one_cause)
        for event in events:
            if event.end > self.watermark:
                flushed = self.windows.flushed.setdefault(event.symbol, set())
                flushed.add((event.interval, event.start))
        self._run(events, _one_cause)
        self.historical = False

    def _trades(self, trades: Columns, batch: RecordBatch) -> None:
        """Take trades in as few segments as may be.

        After a flush, an amendment may close a window that another trade of the same segment
        would have opened: then they are taken one by one, until the watermark has passed.
        """
        done = 0
        if self.configuration.policy.amends:
            while done < len(trades) and self.windows.flushed:
                self._segment(trades.take(np.arange(done, done + 1)), batch)
                self.windows.prune_flushed(self.watermark)
                done += 1
        if done < len(trades):
            rest = trades if done == 0 else trades.take(np.arange(done, len(trades)))
            self._segment(rest, batch)

    def _segment(self, trades: Columns, batch: RecordBatch) -> None:
        configuration = self.configuration
        seen = np.minimum(trades.time, trades.append_time + configuration.clock_ahead)
        maxima = np.maximum.accumulate(np.concatenate(([self.maximum], seen)))
        watermarks = maxima[:-1] - configuration.grace
        keep = self._judge(trades, watermarks, batch)
        trades.identifiers = None
        others = self._others(trades, watermarks, keep)
        if others is None:
            chosen = trades if keep.all() else trades.take(keep)
            self.counts["applied"] += len(chosen)
            events: list[Event] = []
            if len(chosen):
                self._aggregate(chosen)
        else:
            ordinary = keep & ~others
            self.counts["applied"] += int(ordinary.sum())
            if ordinary.any():
                self._aggregate(trades.take(ordinary))
            events = self._one_by_one(trades, watermarks, np.flatnonzero(keep & others))
        self.maximum = int(maxima[-1])
        causes = _causes(maxima[1:], trades.position, configuration.grace)
        self._run(events + self._closes(self.watermark, causes), causes)

    def _judge(
        self, trades: Columns, watermarks: Int64Array, batch: RecordBatch
    ) -> npt.NDArray[np.bool_]:
        """Which trades are applied; the outcomes of the others are counted and sent."""
        late = trades.time < watermarks - self.configuration.correction_horizon
        keep = ~late
        if late.any():
            self.counts["late"] += int(late.sum())
            for index in np.flatnonzero(late).tolist():
                position = int(trades.position[index])
                key = self.symbols.names[int(trades.symbol[index])].encode()
                headers = _headers("late", batch, position)
                self.publisher.late(OutputRecord(key, batch.values[position], headers))
        if trades.identifiers is not None and trades.identifiers.count(None) < len(trades):
            self._deduplicate(trades, trades.identifiers, watermarks, keep)
        ignored = keep & (self._flag_union(trades) == 0)
        if ignored.any():
            self.counts["ignored"] += int(ignored.sum())
            keep &= ~ignored
        for code in _distinct(trades.symbol):
            if code not in self.publisher.states:
                self.publisher.state(code)
                self.changed.add(code)
        return keep

    def _flag_union(self, trades: Columns) -> npt.NDArray[np.int8]:
        tables = self._intake.conditions.tables
        union = tables[self._classes[0]][trades.condition]
        for interval_class in set(self._classes) - {self._classes[0]}:
            union = union | tables[interval_class][trades.condition]
        return union

    def _deduplicate(
        self,
        trades: Columns,
        identities: list[str | None],
        watermarks: Int64Array,
        keep: npt.NDArray[np.bool_],
    ) -> None:
        """Clear `keep` of duplicates, remember the ids of the others."""
        minutes = trades.time // MINUTE
        if keep.all() and None not in identities:
            every: list[str] = identities  # type: ignore[assignment]
            same = bool((minutes == minutes[0]).all())
            if self.identifiers.add_if_all_new(
                every, [int(minutes[0])] if same else minutes.tolist()
            ):
                return
        known = self.identifiers
        times, marks = trades.time.tolist(), watermarks.tolist()
        for index in np.flatnonzero(keep).tolist():
            identity = identities[index]
            if identity is None:
                continue
            if known.seen(identity, marks[index]):
                keep[index] = False
                self.counts["duplicate"] += 1
            else:
                known.add(identity, times[index])

    def _others(
        self, trades: Columns, watermarks: Int64Array, keep: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_] | None:
        """Trades to take one by one: behind the watermark, after a flush, amendments; or None."""
        others = trades.time < watermarks
        if self.windows.flushed:
            others |= np.isin(trades.symbol, list(self.windows.flushed))
        if self.configuration.policy.amends:
            for interval_class in set(self._classes):
                table = self._intake.conditions.tables[interval_class]
                others |= (table[trades.condition] & CLOSING) != 0
        others &= keep
        return others if others.any() else None

    def _aggregate(self, trades: Columns) -> None:
        """Merge ordinary trades, at least one, into open windows of every interval."""
        ordered = trades.take(sort_order(trades))
        tables = self._intake.conditions.tables
        made: list[tuple[int, int, Groups]] = []
        for interval, length in enumerate(self.configuration.intervals):
            interval_class = self._classes[interval]
            finer = [
                groups
                for other, other_class, groups in made
                if other_class == interval_class and length % other == 0
            ]
            if finer:
                groups = roll_up(finer[-1], length)
            else:
                groups = group(ordered, tables[interval_class][ordered.condition], length)
            made.append((length, interval_class, groups))
            add = self.windows.add
            for symbol, start, partial in to_partials(groups, ordered):
                add(interval, symbol, start, partial)
        symbols = _distinct(ordered.symbol)
        self.changed.update(symbols)
        self.touched.update(symbols)

    def _one_by_one(
        self, trades: Columns, watermarks: Int64Array, indexes: npt.NDArray[np.intp]
    ) -> list[Event]:
        """Take trades one by one: into windows open to them, events for the closed ones."""
        events: list[Event] = []
        horizon = self.configuration.correction_horizon
        for index in indexes.tolist():
            watermark = int(watermarks[index])
            symbol = int(trades.symbol[index])
            name = self.symbols.names[symbol]
            flushed = self.windows.flushed.get(symbol, ())
            time = int(trades.time[index])
            revised = False
            for interval, length in enumerate(self.configuration.intervals):
                table = self._intake.conditions.tables[self._classes[interval]]
                flags = int(table[trades.condition[index]])
                partial = single_partial(trades, index, flags)
                start = time // length * length
                amendment = is_amendment(flags, time, length, self.sessions, horizon)
                if start + length <= watermark or (interval, start) in flushed:
                    revised = True
                    end = start + length
                    events.append(
                        Event(
                            int(trades.position[index]), REVISE, interval, end, name, interval,
                            symbol, start, partial, amendment,
                        )
                    )  # fmt: skip
                elif amendment:
                    own = self.windows.opened(interval, symbol, start)
                    if own is None:
                        own = Partial.empty()
                        self.windows.add(interval, symbol, start, own)
                    own.amend(partial)
                else:
                    self.windows.add(interval, symbol, start, partial)
            self.counts["revised" if revised else "applied"] += 1
            self.changed.add(symbol)
            self.touched.add(symbol)
        return events

    def _closes(self, watermark: int | None, causes: Causes) -> list[Event]:
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
        self.changed.update(event.symbol for event in events)
        return events

    def _run(self, events: list[Event], causes: Causes) -> None:
        self.publisher.watermark = self.watermark
        if self.configuration.fill_forward:
            run_filling(self.publisher, self.symbols, events, self.watermark, causes)
            return
        events.sort(key=event_order)
        for event in events:
            self.publisher.happen(event)


def _causes(maxima: Int64Array, positions: Int64Array, grace: int) -> Causes:
    """Positions of the records that moved the watermark to the given ends."""

    def causes(ends: list[int]) -> list[int]:
        if not ends:
            return []
        first = np.searchsorted(maxima, np.array(ends, dtype=np.int64) + grace, side="left")
        found: list[int] = positions[np.minimum(first, len(maxima) - 1)].tolist()
        return found

    return causes


def _distinct(codes: npt.NDArray[np.int32]) -> list[int]:
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


def _headers(reason: str, batch: RecordBatch, position: int) -> list[tuple[str, bytes]]:
    offset = str(int(batch.offsets[position])).encode()
    return [*_shared_headers(reason, batch.topic, batch.partition), ("offset", offset)]
