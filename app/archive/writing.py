"""From batches of a reader that may repeat itself to files that hold each record once.

A flush writes new files, then one manifest that names them together with the offsets that they
hold. Whatever happens before the manifest is there leaves files that nobody names; a reader that
goes on at `next_offset` reads their records again.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa

from app.archive.columns import Decoded, Integers, decode, parquet_bytes
from app.archive.layout import DAY, LAYOUTS, RAW, day_of, folder
from app.archive.manifest import (
    ArchiveConflictError,
    ArchiveError,
    Change,
    Manifest,
    Part,
    Position,
    Span,
    State,
    commit,
    read_state,
    refresh,
)
from app.contracts.batch import RecordBatch
from app.durations import NANOSECONDS
from models.predicting.registry_store import Store

logger = logging.getLogger(__name__)

MINUTE: Final = 60 * NANOSECONDS["s"]

Place = tuple[str, int]


@dataclass(frozen=True)
class Limits:
    """When a flush is due: so many records, so many bytes of them, so long (ns) after the first."""

    rows: int = 500_000
    bytes: int = 128 * 1024 * 1024
    age: int = MINUTE


@dataclass
class _Pending:
    """What of a partition waits: batches one behind the other, behind what is held."""

    #: What the archive held when the first batch came; None: nothing of the partition.
    after: Position | None
    end: int
    batches: list[RecordBatch] = field(default_factory=list)

    def span(self, place: Place, log: str) -> Span:
        begin = last = self.batches[0].base
        if self.after is not None and self.after.goes_on(log):
            last = self.after.next
        lost = 0
        for each in self.batches:
            lost += max(0, each.base - last)
            last = each.next
        return Span(*place, begin, self.end, sum(map(len, self.batches)), log, lost)


class ArchiveWriter:
    """Writes partitions into an archive; one writer a partition, others are told apart and lose.

    Not for several threads at once.
    """

    def __init__(self, store: Store, limits: Limits | None = None) -> None:
        """Read where the archive stands.

        Raises:
            ArchiveError: its manifests cannot be read.
        """
        self._store = store
        self._limits = limits or Limits()
        self._name = secrets.token_hex(8)
        self._state = read_state(store)
        self._pending: dict[Place, _Pending] = {}
        self._logs: dict[Place, str] = {}
        self._skipped: dict[Place, int] = {}
        #: Files of commits that failed, and the numbers of the manifests that may name them.
        self._unsure: list[tuple[int, Part]] = []
        self._rows = self._bytes = 0
        self._since: int | None = None

    @property
    def state(self) -> State:
        """What the archive held when this writer looked last; not to be changed."""
        return self._state

    @property
    def rows(self) -> int:
        """Records that wait."""
        return self._rows

    @property
    def bytes(self) -> int:
        """Bytes of the records that wait."""
        return self._bytes

    @property
    def waits(self) -> bool:
        """Whether anything waits, be it markers without a record."""
        return bool(self._pending)

    def refresh(self) -> None:
        """Read what others have written since.

        Raises:
            ArchiveError: manifests cannot be read.
        """
        refresh(self._store, self._state)

    def begin(self, topic: str, partition: int, log: str) -> None:
        """Begin to write a partition, without anything that waits of it.

        Args:
            log: Kafka's id of the topic. Where the archive holds offsets of another log of that
                name, as after a reset, it holds nothing of this one.
        """
        self.drop([(topic, partition)])
        self._logs[topic, partition] = log

    def next_offset(self, topic: str, partition: int) -> int | None:
        """Return the offset behind the last record that the archive holds; a reader goes on there.

        None where it holds nothing of the partition: begin wherever the log begins.
        """
        held = self._state.positions.get((topic, partition))
        if held is None or not held.goes_on(self._logs.get((topic, partition), "")):
            return None
        return held.next

    def skip(self, topic: str, partition: int, offset: int) -> None:
        """Agree that records before an offset never come: the log does not have them any more."""
        self._skipped[topic, partition] = offset

    def drop(self, places: Collection[Place]) -> None:
        """Forget what waits of partitions that others write."""
        for place in places:
            self._pending.pop(place, None)
            self._skipped.pop(place, None)
            self._logs.pop(place, None)
        self._measure()

    def add(self, topic: str, batch: RecordBatch, now: int) -> None:
        """Take a batch; what of it is held or waits already is left out.

        Args:
            topic: the archive's name of it (`archive_name`).
            now: the present, ns.

        Raises:
            ArchiveError: records lack between what is held or waits and this batch.
        """
        place = (topic, batch.partition)
        pending = self._pending.get(place)
        expected = self.next_offset(*place) if pending is None else pending.end
        if expected is not None and batch.base < expected:
            if batch.next <= expected:
                return
            batch = batch.since(expected)
        if expected is not None and batch.base > max(expected, self._skipped.get(place, 0)):
            raise ArchiveError(
                f"{topic} partition {batch.partition}: the archive goes on at offset {expected}, "
                f"the records begin at {batch.base}"
            )
        if batch.next == batch.base:
            return
        if pending is None:
            after = self._state.positions.get(place)
            pending = self._pending[place] = _Pending(after, batch.base)
        pending.batches.append(batch)
        pending.end = batch.next
        self._rows += len(batch)
        self._bytes += sum(len(value) for value in batch.values if value is not None)
        if self._since is None:
            self._since = now

    def due(self, now: int) -> bool:
        """Return whether what waits should be flushed."""
        return self._since is not None and (
            self._rows >= self._limits.rows
            or self._bytes >= self._limits.bytes
            or now - self._since >= self._limits.age
        )

    def flush(self, now: int) -> Manifest | None:
        """Write what waits; None where there is nothing. Afterwards `next_offset` is behind it.

        After an error that is no conflict all of it waits still, and another flush tries again.

        Raises:
            ArchiveConflictError: another writer has some of the partitions; `drop` these, or begin
                with a new writer.
            OSError: the store cannot be written (a full disk, a server that is away).
        """
        self._settle()
        if not self._pending:
            return None
        change = Change(
            "flush",
            spans=[
                each.span(place, self._logs.get(place, "")) for place, each in self._pending.items()
            ],
        )
        try:
            for topic, day, rows in self._tables():
                change.added.append(write_part(self._store, topic, day, rows, now))
        except BaseException:
            # Whatever it is (clients of object stores have errors of their own), it goes on up.
            # Nobody names the files; on a full disk they would take what becomes free.
            self._remove(change.added)
            raise
        try:
            manifest = commit(
                self._store, self._state, change, writer=self._name, time=now, check=self._check
            )
        except ArchiveConflictError:
            self._remove(change.added)
            raise
        except BaseException:
            # Whatever it is, it goes on up: after any error, or an interrupt, the manifest may be
            # there or not, which shows once there is one of its number.
            self._unsure += [(self._state.number + 1, each) for each in change.added]
            raise
        self._pending.clear()
        self._measure()
        self._sweep()
        return manifest

    def _settle(self) -> None:
        """Leave out what an earlier flush committed although it failed: its answer was lost."""
        self.refresh()
        self._sweep()
        for place, pending in list(self._pending.items()):
            held = self._state.positions.get(place)
            if held is None or held.writer != self._name or held == pending.after:
                continue
            pending.batches = [
                each.since(held.next) for each in pending.batches if each.next > held.next
            ]
            pending.after = held
            if not pending.batches:
                del self._pending[place]
        self._check(self._state)
        self._measure()

    def _check(self, state: State) -> None:
        lost = [
            place
            for place, pending in self._pending.items()
            if state.positions.get(place) != pending.after
        ]
        if lost:
            (topic, partition), after = lost[0], self._pending[lost[0]].after
            held = state.positions.get(lost[0])
            raise ArchiveConflictError(
                f"{self._store.where('')}: another writer has written {topic} partition "
                f"{partition} up to offset {held and held.next}, this one was at "
                f"{after and after.next}; only one may run",
                lost,
            )

    def _sweep(self) -> None:
        """Remove the files of commits that turn out to have failed."""
        known = self._state.parts.keys() | self._state.removed.keys()
        over = [part for number, part in self._unsure if number <= self._state.number]
        self._unsure = [each for each in self._unsure if each[0] > self._state.number]
        self._remove(part for part in over if part.path not in known)

    def _remove(self, parts: Iterable[Part]) -> None:
        """Remove files that no manifest names; what stays, `clean` takes."""
        for part in parts:
            try:
                self._store.remove(part.path)
            except Exception as error:  # noqa: BLE001 - clients of object stores have their own
                logger.debug("%s: left for a clean-up: %r", self._store.where(part.path), error)

    def _measure(self) -> None:
        batches = [each for pending in self._pending.values() for each in pending.batches]
        self._rows = sum(map(len, batches))
        self._bytes = sum(len(v) for each in batches for v in each.values if v is not None)
        if not batches:
            self._since = None

    def _tables(self) -> Iterator[tuple[str, int, pa.Table]]:
        """Yield the rows that wait, by topic and day since 1970."""
        raw: list[tuple[pa.Table, Integers]] = []
        for topic in sorted({topic for topic, _ in self._pending}):
            found = [
                _decoded(topic, partition, pending.batches)
                for (other, partition), pending in sorted(self._pending.items())
                if other == topic
            ]
            raw += [(each.raw, each.raw_times) for each in found]
            if topic in LAYOUTS:
                for day, rows in _by_day([(each.rows, each.times) for each in found]):
                    yield topic, day, rows
        for day, rows in _by_day(raw):
            yield RAW, day, rows


def _decoded(topic: str, partition: int, batches: list[RecordBatch]) -> Decoded:
    return decode(
        topic,
        partition,
        [value for each in batches for value in each.values],
        np.concatenate([each.offsets for each in batches]),
        np.concatenate([each.append_times for each in batches]),
    )


def _by_day(found: list[tuple[pa.Table, Integers]]) -> Iterator[tuple[int, pa.Table]]:
    """Yield the rows of each day, in the order of the tables."""
    if not found:
        return
    rows = pa.concat_tables([table for table, _ in found])
    days = np.concatenate([times for _, times in found]) // DAY
    distinct = np.unique(days)
    for day in distinct:
        yield int(day), rows if len(distinct) == 1 else rows.filter(pa.array(days == day))


def write_part(store: Store, topic: str, day: int, rows: pa.Table, now: int) -> Part:
    """Write rows of one topic and day (since 1970) as a new file, which no manifest names yet.

    Its name begins with the time in ns: garbage is told by its age.
    """
    date = day_of(day)
    content = parquet_bytes(rows)
    path = f"{folder(topic, date)}/part-{now:020d}-{secrets.token_hex(8)}.parquet"
    store.create(path, content)
    return Part(path, topic, date.isoformat(), rows.num_rows, len(content))
