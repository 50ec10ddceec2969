"""One partition's log of ticks or of quotes to features: what trades and quotes have in common.

Semantics, per record in log order (the rules of app/README.md, *Semantics*, for `watermark`,
reasons, and bounds):

1. Dead records, with the reasons of the bars and quotes agents, change nothing.
2. `clock` moves the maximum, as there; `flush` releases all records and closes all windows;
   `historical` and `correction` do nothing here.
3. A record whose event time is before what was released is late. Else, where its trade id waits
   already, it is a duplicate (a later repetition with the same time is late); where the policy, or
   a quote's prices, rule it out, it is ignored. Else it waits.
4. Once the watermark has passed a record's time, it is released, in order of (event time,
   sequence, offset), into the windows; then windows that end by the watermark are closed.

So windows hold the same whatever the order of arrival within the grace, and whatever the batches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from app.contracts.batch import RecordBatch
from app.contracts.outputs import OutputRecord
from app.contracts.wire import ClockRecord, FlushRecord, encoder
from models.features.aggregates import Aggregate, Entry
from models.features.configuration import FeaturesConfiguration
from models.features.reordering import Reordering
from models.features.windows import FOREVER, FeatureRecord, FeatureWindows
from tables.columns import Int64Array
from tables.intake import Control, Dead
from tables.partition import NO_MAXIMUM, headers_of
from tables.symbols import Sources, Symbols

STATE_VERSION = 1
OUTCOMES = ("applied", "late", "duplicate", "ignored", "dead", "control")


class Timed(Protocol):
    """Columns of a segment, in log order."""

    position: Int64Array
    append_time: Int64Array
    time: Int64Array

    def __len__(self) -> int: ...


Records = TypeVar("Records", bound=Timed)


class FeatureStage(ABC, Generic[Records]):
    """State of one partition: `apply` a batch, then find outputs in `outputs`.

    Args:
        session_of: see `FeatureWindows`; None makes no days.
        header: what `header()` returned, to go on from.

    Raises:
        ValueError: the header is of another version.
    """

    kind: ClassVar[type[Aggregate]]

    def __init__(
        self,
        configuration: FeaturesConfiguration,
        partition: int,
        session_of: Callable[[int], int] | None = None,
        header: list[Any] | None = None,
    ) -> None:
        if header is not None and header[0] != STATE_VERSION:
            raise ValueError(
                f"features of version {header[0]}, this code reads {STATE_VERSION}: use --reset"
            )
        _, maximum, released, day, counts, sources = header or [
            STATE_VERSION, NO_MAXIMUM, NO_MAXIMUM, None, {}, []
        ]  # fmt: skip
        self.configuration = configuration
        self.maximum = maximum
        self.counts = dict.fromkeys(OUTCOMES, 0) | counts
        intake = configuration.intake
        self.symbols = Symbols(partition, intake.partitions, intake.max_symbols)
        self.sources = Sources(sources)
        self.windows = FeatureWindows(configuration, self.kind, session_of, self._publish)
        self.windows.day = day
        self._waiting = Reordering(configuration.max_pending)
        self._waiting.released = released
        #: Identities of the trades that wait, with their event times.
        self._identities: dict[str, int] = {}
        self.outputs: dict[str, list[OutputRecord]] = {"features": [], "late": [], "dead": []}
        self.changed: set[str] = self.windows.changed

    @property
    def watermark(self) -> int:
        """Event time in ns that is passed."""
        return int(self.maximum - self.configuration.intake.grace)

    def _publish(self, record: FeatureRecord) -> None:
        self.outputs["features"].append(
            OutputRecord(record.symbol.encode(), encoder.encode(record), [])
        )

    @abstractmethod
    def _read(self, batch: RecordBatch) -> tuple[Sequence[Records | Control], Dead]:
        """Steps in log order, and the dead."""

    @abstractmethod
    def _entries(self, records: Records) -> tuple[list[Entry], npt.NDArray[np.bool_]]:
        """One entry a record, and the mask of those that are not ignored."""

    def apply(self, batch: RecordBatch) -> None:
        """Take the next batch."""
        if not len(batch):
            return
        steps, dead = self._read(batch)
        for step in steps:
            if isinstance(step, Control):
                self._control(step, dead)
            else:
                self._take(step, batch)
        self.counts["dead"] += len(dead)
        for position, reason in sorted(dead):
            self._refuse("dead", None, reason, batch, position)

    def _refuse(
        self, output: str, key: bytes | None, reason: str, batch: RecordBatch, position: int
    ) -> None:
        headers = headers_of(reason, batch, position)
        self.outputs[output].append(OutputRecord(key, batch.values[position], headers))

    def _control(self, step: Control, dead: Dead) -> None:
        record, intake = step.record, self.configuration.intake
        if isinstance(record, ClockRecord):
            if record.event_time < intake.earliest_event_time:
                dead.append((step.position, "event_time_too_early"))
                return
            if record.event_time > step.append_time + intake.max_ahead:
                dead.append((step.position, "event_time_too_late"))
                return
            ahead = step.append_time + intake.clock_ahead
            self.maximum = max(self.maximum, min(record.event_time, ahead))
            self._release(self.watermark)
            self.windows.turn(self.watermark)
        elif isinstance(record, FlushRecord):
            for entry in self._waiting.all():
                self._let_go(entry)
            self.windows.close(FOREVER)
            self.windows.end_days()
        self.counts["control"] += 1

    def _take(self, records: Records, batch: RecordBatch) -> None:
        intake = self.configuration.intake
        seen = np.minimum(records.time, records.append_time + intake.clock_ahead)
        maxima = np.maximum.accumulate(np.concatenate(([self.maximum], seen)))
        watermarks: list[int] = (maxima - intake.grace).tolist()
        entries, wanted = self._entries(records)
        waiting, identities = self._waiting, self._identities
        changed, wants = self.changed, wanted.tolist()
        released = waiting.released
        for index, entry in enumerate(entries):
            # Late and ignored ones, too: each symbol that counts against the limit has a row.
            changed.add(entry[3])
            if entry[0] < watermarks[index] or entry[0] < released:
                self.counts["late"] += 1
                key = entry[3].encode()
                self._refuse("late", key, "late", batch, int(records.position[index]))
                continue
            if not wants[index]:
                self.counts["ignored"] += 1
                continue
            identity = entry[5]
            if identity is not None:
                # What the watermark has passed does not wait, though it leaves after the batch.
                time = identities.get(identity)
                if time is not None and time >= watermarks[index]:
                    self.counts["duplicate"] += 1
                    continue
                identities[identity] = entry[0]
            self.counts["applied"] += 1
            waiting.push(entry)
            if waiting.is_overfull():
                self._release(watermarks[index + 1])
                while waiting.is_overfull():
                    self._let_go(waiting.oldest())
                released = waiting.released
        self.maximum = int(maxima[-1])
        self._release(self.watermark)

    def _let_go(self, entry: Entry) -> None:
        if entry[5] is not None and self._identities.get(entry[5]) == entry[0]:
            del self._identities[entry[5]]
        self.changed.add(entry[3])
        self.windows.take(entry)

    def _release(self, watermark: int) -> None:
        for entry in self._waiting.before(watermark):
            self._let_go(entry)
        self.windows.close(watermark)

    # --- state -----------------------------------------------------------------------------

    def header(self) -> list[Any]:
        """What the partition keeps beside its symbols: plain values, the version first."""
        return [
            STATE_VERSION, self.maximum, self._waiting.released, self.windows.day,
            dict(self.counts), list(self.sources.names),
        ]  # fmt: skip

    def take_changes(self) -> list[tuple[str, list[Any]]]:
        """Symbols changed since the last call, by name, with their rows of plain values."""
        waiting = self._waiting.by_symbol()
        changed = sorted(self.changed)
        self.changed.clear()
        return [(name, [self.windows.row(name), waiting.get(name, [])]) for name in changed]

    def restore(self, name: str, row: list[Any]) -> None:
        """Take in a symbol's row."""
        windows, waiting = row
        self.symbols.restore(name)
        self.windows.restore(name, windows)
        self._waiting.restore([tuple(entry) for entry in waiting])
        self._identities.update((entry[5], entry[0]) for entry in waiting if entry[5] is not None)
