"""Which records of a partition's log count, which windows are closed: the semantics of
app/README.md, applied to whole chunks.

The watermark before each record is a running maximum over the log. It decides what is late and
which trade ids are remembered; where it has got to in the end, and where the last flush is,
decide which windows are closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from app.contracts.batch import RecordBatch
from app.contracts.wire import ClockRecord, FlushRecord
from app.durations import format_duration
from app.reconcile.batch import (
    Sums,
    Values,
    bar_values,
    in_order,
    quote_bar_values,
    quote_sums,
    trade_sums,
)
from tables.columns import Columns
from tables.configuration import BarsConfiguration
from tables.intake import Control, Intake
from tables.quote_columns import QuoteColumns
from tables.quote_intake import QuoteIntake
from tables.symbols import Sources, Symbols

MINUTE = 60_000_000_000
#: Before every event time, and after every one.
NEVER = -(1 << 62)
FOREVER = 1 << 62
#: Symbol, interval (`1m`), start in ns.
Key = tuple[str, str, int]
#: Interval index, symbol, start.
_Window = tuple[int, str, int]


@dataclass(frozen=True, slots=True)
class Span:
    """Starts of bars in ns: from `begin` to before `end`."""

    begin: int = NEVER
    end: int = FOREVER

    def holds(self, start: int) -> bool:
        """Whether a bar with this start belongs to it."""
        return self.begin <= start < self.end


@dataclass(slots=True)
class Recomputed:
    """What a log says of the bars in a span.

    Attributes:
        bars: values of the closed windows that have a bar.
        left_out: windows by why: `open`, `moving` (changed while the bars were read), `cut` (the
            log may have lost a record of it).
        moving: their keys.
    """

    bars: dict[Key, Values] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=lambda: {"open": 0, "moving": 0, "cut": 0})
    moving: set[Key] = field(default_factory=set)


class Identities:
    """Trade ids that are remembered, with the watermark at which each is forgotten."""

    def __init__(self, horizon: int) -> None:
        self._horizon = horizon
        self._until: dict[str, int] = {}

    def is_new(self, identity: str, time: int, watermark: int) -> bool:
        """Whether an id is not remembered at this watermark; then it is from now on."""
        until = self._until.get(identity)
        if until is not None and until > watermark:
            return False
        self._until[identity] = (time // MINUTE + 1) * MINUTE + self._horizon
        return True

    def forget(self, watermark: int) -> None:
        """Release what no later record can match; the watermark never goes back."""
        self._until = {each: until for each, until in self._until.items() if until > watermark}


class LogPartition:
    """One partition's log, taken chunk by chunk in its order.

    Args:
        configuration: of the deployment; policies that amend and fill-forward are not known here.
        agent: `bars` or `quotes`.
        partition: its number.
        span: the bars that are wanted.
        whole: whether the log begins with its first record, offset 0.
    """

    def __init__(
        self,
        configuration: BarsConfiguration,
        agent: str,
        partition: int,
        span: Span,
        *,
        whole: bool = True,
    ) -> None:
        self._configuration = configuration
        self._agent = agent
        self._span = span
        self.whole = whole
        self._symbols = Symbols(partition, configuration.partitions, configuration.max_symbols)
        self._sources = Sources()
        self._trades = Intake(configuration, self._symbols, self._sources)
        self._quotes = QuoteIntake(configuration, self._symbols, self._sources)
        self._identities = Identities(configuration.grace + configuration.correction_horizon)
        self._forgotten_at = NEVER
        self._maximum = NEVER
        self._flush = -1
        self._windows: dict[_Window, Sums] = {}
        self._marked: tuple[int, int] | None = None
        self._touched: set[_Window] = set()
        #: Bars that start at or before it may lack records.
        self.known_after = NEVER if whole else FOREVER

    @property
    def watermark(self) -> int:
        """Event time in ns up to which windows are closed."""
        return self._maximum - self._configuration.grace

    def take(self, batch: RecordBatch) -> None:
        """Take the next chunk, at most `MAX_BATCH_RECORDS` records."""
        if not len(batch):
            return
        if self.known_after == FOREVER:
            self.known_after = int(batch.append_times[0]) + self._configuration.max_ahead
        intake = self._trades if self._agent == "bars" else self._quotes
        steps, _ = intake.read(batch)
        for step in steps:
            if isinstance(step, Control):
                self._control(step, int(batch.offsets[step.position]))
            else:
                self._records(step)
        # Once a minute of event time: looking through all ids costs as many.
        if self.watermark >= self._forgotten_at + MINUTE:
            self._forgotten_at = self.watermark
            self._identities.forget(self.watermark)

    def mark(self) -> None:
        """From here on windows are moving: what they change may be published already or not."""
        if self._marked is None:
            self._marked = (self.watermark, self._flush)

    def result(self) -> Recomputed:
        """Return the bars of all that was taken."""
        found = Recomputed()
        values = bar_values if self._agent == "bars" else quote_bar_values
        now = (self.watermark, self._flush)
        marked = now if self._marked is None else self._marked
        lengths = self._configuration.intervals
        labels = [format_duration(length) for length in lengths]
        for window, sums in self._windows.items():
            interval, symbol, start = window
            end = start + lengths[interval]
            if start <= self.known_after:
                found.left_out["cut"] += 1
            elif not _closed(sums, end, *now):
                found.left_out["open"] += 1
            elif window in self._touched or not _closed(sums, end, *marked):
                found.left_out["moving"] += 1
                found.moving.add((symbol, labels[interval], start))
            elif (bar := values(sums)) is not None:
                found.bars[symbol, labels[interval], start] = bar
        return found

    def _control(self, step: Control, offset: int) -> None:
        record, configuration = step.record, self._configuration
        if isinstance(record, FlushRecord):
            self._flush = offset
        elif isinstance(record, ClockRecord):
            early = record.event_time < configuration.earliest_event_time
            if not early and record.event_time <= step.append_time + configuration.max_ahead:
                seen = min(record.event_time, step.append_time + configuration.clock_ahead)
                self._maximum = max(self._maximum, seen)

    def _records(self, records: Columns | QuoteColumns) -> None:
        configuration = self._configuration
        seen = np.minimum(records.time, records.append_time + configuration.clock_ahead)
        maxima = np.maximum.accumulate(np.concatenate(([self._maximum], seen)))
        self._maximum = int(maxima[-1])
        watermarks = maxima[:-1] - configuration.grace
        keep = records.time >= watermarks - configuration.correction_horizon
        if isinstance(records, Columns):
            self._count_once(records, watermarks, keep)
            # The policies that are known here have one class of intervals.
            keep &= self._trades.conditions.tables[0][records.condition] != 0
        else:
            keep &= (records.bid != 0.0) & (records.ask != 0.0) & (records.bid <= records.ask)
        if keep.any():
            self._sum(records.take(keep))

    def _count_once(
        self, trades: Columns, watermarks: npt.NDArray[np.int64], keep: npt.NDArray[np.bool_]
    ) -> None:
        """Clear `keep` of the trades whose id is remembered."""
        if trades.identifiers is None:
            return
        times, marks = trades.time.tolist(), watermarks.tolist()
        for index in np.flatnonzero(keep).tolist():
            identity = trades.identifiers[index]
            if identity is not None:
                keep[index] = self._identities.is_new(identity, times[index], marks[index])

    def _sum(self, records: Columns | QuoteColumns) -> None:
        span = self._span
        ordered = in_order(records)
        for interval, length in enumerate(self._configuration.intervals):
            start = ordered.time // length * length
            wanted = (start >= span.begin) & (start < span.end)
            if not wanted.any():
                continue
            part = ordered if wanted.all() else ordered.take(wanted)
            for code, begin, sums in self._reduced(part, length):
                window = (interval, self._symbols.names[code], begin)
                held = self._windows.get(window)
                if held is None:
                    self._windows[window] = sums
                else:
                    held.add(sums)
                if self._marked is not None:
                    self._touched.add(window)

    def _reduced(
        self, records: Columns | QuoteColumns, length: int
    ) -> Iterator[tuple[int, int, Sums]]:
        if isinstance(records, Columns):
            flags = self._trades.conditions.tables[0][records.condition]
            return trade_sums(records, flags, length)
        return quote_sums(records, length)


def _closed(sums: Sums, end: int, watermark: int, flush: int) -> bool:
    """Whether the watermark has reached a window's end, or a flush came after its first record."""
    return end <= watermark or sums.first < flush
