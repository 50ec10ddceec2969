"""Which records of a partition's log count: the semantics of app/README.md, applied to whole
chunks.

The watermark before each record is a running maximum over the log. It decides what is late and
which trade ids are remembered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.contracts.batch import RecordBatch
from app.contracts.wire import ClockRecord, CorrectionRecord, FlushRecord
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


@dataclass(frozen=True, slots=True)
class Span:
    """Starts of bars in ns: from `begin` to before `end`."""

    begin: int = NEVER
    end: int = FOREVER

    def holds(self, start: int) -> bool:
        """Whether a bar with this start belongs to it."""
        return self.begin <= start < self.end


@dataclass(frozen=True, slots=True)
class Correction:
    """A correction at its offset, with the watermark in ns by which it is judged."""

    offset: int
    watermark: int
    record: CorrectionRecord


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


class Judge:
    """One partition's log, taken chunk by chunk in its order.

    Args:
        configuration: of the deployment; policies that amend and fill-forward are not known here.
        agent: `bars` or `quotes`.
        partition: its number.

    Attributes:
        flushes: offsets of the flushes so far, ascending.
    """

    def __init__(self, configuration: BarsConfiguration, agent: str, partition: int) -> None:
        self._configuration = configuration
        self._symbols = Symbols(partition, configuration.partitions, configuration.max_symbols)
        sources = Sources()
        self._trades = Intake(configuration, self._symbols, sources)
        self._quotes = QuoteIntake(configuration, self._symbols, sources)
        self._intake = self._trades if agent == "bars" else self._quotes
        self._identities = Identities(configuration.grace + configuration.correction_horizon)
        self._forgotten_at = NEVER
        self._maximum = NEVER
        self.flushes: list[int] = []

    @property
    def watermark(self) -> int:
        """Event time in ns up to which windows are closed."""
        return self._maximum - self._configuration.grace

    @property
    def symbols(self) -> list[str]:
        """The symbols by their codes."""
        return self._symbols.names

    def flags(self, trades: Columns) -> npt.NDArray[np.int8]:
        """Return what each trade of the chunk taken last may set, shape (n,)."""
        # The policies that are known here have one class of intervals.
        return self._trades.conditions.tables[0][trades.condition]

    def take(self, batch: RecordBatch) -> Iterator[Columns | QuoteColumns | Correction]:
        """Yield what counts of the next chunk, in log order; to be taken to the end.

        Args:
            batch: at most `MAX_BATCH_RECORDS` records.
        """
        steps, _ = self._intake.read(batch)
        for step in steps:
            if not isinstance(step, Control):
                kept = self._counting(step)
                if len(kept):
                    yield kept
            elif isinstance(step.record, CorrectionRecord):
                yield Correction(int(batch.offsets[step.position]), self.watermark, step.record)
            else:
                self._control(step, int(batch.offsets[step.position]))
        # Once a minute of event time: looking through all ids costs as many.
        if self.watermark >= self._forgotten_at + MINUTE:
            self._forgotten_at = self.watermark
            self._identities.forget(self.watermark)

    def _control(self, step: Control, offset: int) -> None:
        record, configuration = step.record, self._configuration
        if isinstance(record, FlushRecord):
            self.flushes.append(offset)
        elif isinstance(record, ClockRecord):
            early = record.event_time < configuration.earliest_event_time
            if not early and record.event_time <= step.append_time + configuration.max_ahead:
                seen = min(record.event_time, step.append_time + configuration.clock_ahead)
                self._maximum = max(self._maximum, seen)

    def _counting(self, records: Columns | QuoteColumns) -> Columns | QuoteColumns:
        """Return the records that are neither late nor duplicate nor ignored."""
        configuration = self._configuration
        seen = np.minimum(records.time, records.append_time + configuration.clock_ahead)
        maxima = np.maximum.accumulate(np.concatenate(([self._maximum], seen)))
        self._maximum = int(maxima[-1])
        watermarks = maxima[:-1] - configuration.grace
        keep = records.time >= watermarks - configuration.correction_horizon
        if isinstance(records, Columns):
            self._count_once(records, watermarks, keep)
            keep &= self.flags(records) != 0
        else:
            keep &= (records.bid != 0.0) & (records.ask != 0.0) & (records.bid <= records.ask)
        return records if keep.all() else records.take(keep)

    def _count_once(
        self, trades: Columns, watermarks: npt.NDArray[np.int64], keep: npt.NDArray[np.bool_]
    ) -> None:
        """Clear `keep` of the trades whose id is remembered."""
        if trades.identifiers is None:
            return
        times, marks = trades.time.tolist(), watermarks.tolist()
        identities = trades.identifiers.texts()
        for index in np.flatnonzero(keep).tolist():
            identity = identities[index]
            if identity is not None:
                keep[index] = self._identities.is_new(identity, times[index], marks[index])
