"""The sink of latest values: the newest record of each key, in Redis.

Data that flows: batches -> the newest record of each key (`newest.py`, in a thread) -> one script
call for a hundred keys, many calls in one go (`redis_store.py`). Of many records of a key only the
last is written, so a replay or a backlog costs the server little; while the server is away what
waits shrinks to one record a key with each attempt.

A cache is no log: what Redis acknowledged and then lost, with its process or by eviction, is there
again with the next record of its key, or with `candlewick sink replay`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import ClassVar, Final

from app.contracts.batch import RecordBatch
from app.durations import NANOSECONDS
from app.settings import Settings
from app.sinks.driver import Driver, Flushed, Place
from app.sinks.newest import SUBJECTS, Entry, Newest, NewestReader
from app.sinks.points import Inputs
from app.sinks.redis_store import LatestStore
from app.topics import INPUTS

#: Keys and bytes that go to the server in one go.
ROUND_KEYS: Final = 1_000
ROUND_BYTES: Final = 4 * 1024 * 1024
#: Records that wait before they are read at once: some 50 ms of a thread.
DUE_RECORDS: Final = 50_000
#: About what a record costs beside its bytes.
RECORD_BYTES: Final = 120


class RedisDriver(Driver):
    """Writes latest values; see the module."""

    NAME: ClassVar[str] = "redis"

    def __init__(self, settings: Settings) -> None:
        """Begin.

        Raises:
            SettingsError: as `LatestStore`.
        """
        self._settings = settings
        self._store = LatestStore(settings, settings.sinks.timeout / NANOSECONDS["s"])
        self._delay = settings.redis.delay / NANOSECONDS["s"]
        self._readers: dict[Place, NewestReader] = {}
        self._batches: list[tuple[Place, RecordBatch]] = []
        self._held: dict[Place, Newest] = {}
        #: Places that went to another writer since the flush began.
        self._revoked: set[Place] = set()
        self._records = self._batch_bytes = self._entry_bytes = 0
        self._since: float | None = None
        #: Of flushes that failed later on.
        self._rows, self._older = 0, 0

    @property
    def topics(self) -> Sequence[str]:
        """Those whose latest values are kept."""
        ticks = self._settings.sinks.ticks
        return tuple(topic for topic in SUBJECTS if ticks or topic not in INPUTS)

    async def open(self) -> None:
        """Connect, and see that a value can be written."""
        await self._store.open()

    async def close(self) -> None:
        """Let go of the connections and of what is held."""
        self._drop(None)
        await self._store.close()

    async def check(self) -> Sequence[str]:
        """Return what server it is, and what it has room for."""
        await self._store.open()
        seconds = self._settings.redis.time_to_live / NANOSECONDS["s"]
        lasting = f"live for {seconds:g} s" if seconds else "live for ever"
        return [
            *await self._store.describe(),
            f"keys {self._store.namespace}:TOPIC:SYMBOL... can be written; they {lasting}",
        ]

    async def assign(self, places: Collection[Place]) -> Mapping[Place, int]:
        """Begin to write partitions; the group's positions hold."""
        self.revoke(places)
        return {}

    def revoke(self, places: Collection[Place]) -> None:
        """Drop what is held of partitions."""
        self._drop(set(places))

    def _drop(self, places: set[Place] | None) -> None:
        """Drop what is held of some partitions, or of all."""
        gone = set(self._readers) if places is None else places
        self._revoked |= gone
        self._batches = [each for each in self._batches if each[0] not in gone]
        for place in gone:
            self._readers.pop(place, None)
            self._held.pop(place, None)
        self._records = sum(len(batch) for _, batch in self._batches)
        self._batch_bytes = sum(_bytes_of(batch) for _, batch in self._batches)
        self._entry_bytes = sum(
            _size(key, entry) for each in self._held.values() for key, entry in each.entries.items()
        )

    def add(self, topic: str, batch: RecordBatch) -> None:
        """Take the next records of a partition; they are read at the flush."""
        place = Place(topic, batch.partition)
        if place not in self._readers:
            namespace, inputs = self._store.namespace, None
            if topic in INPUTS:
                bars = self._settings.bars
                inputs = Inputs(
                    batch.partition,
                    self._settings.topics.partitions,
                    bars.earliest_event_time,
                    bars.max_ahead,
                )
            self._readers[place] = NewestReader(topic, namespace, inputs)
        self._batches.append((place, batch))
        self._records += len(batch)
        self._batch_bytes += _bytes_of(batch)

    @property
    def held_bytes(self) -> int:
        """About what batches, and the newest records that are not written, take."""
        return self._batch_bytes + self._entry_bytes

    def due(self, now: float) -> bool:
        """Whether the oldest record has waited for `redis.delay`, or many wait."""
        if not self._batches and not self._held:
            return False
        if self._since is None:
            # Who asks has the clock: it begins when it is first seen that something waits.
            self._since = now
        return self._records >= DUE_RECORDS or now - self._since >= self._delay

    async def flush(self, now: int) -> Flushed:
        """Write the newest record of each key, unless the server has a newer one."""
        self._revoked.clear()
        taken = list(self._batches)
        readers = dict(self._readers)
        self._merge(await asyncio.to_thread(_fold, taken, readers))
        rest = {id(batch) for _, batch in taken}
        self._batches = [each for each in self._batches if id(each[1]) not in rest]
        self._records = sum(len(batch) for _, batch in self._batches)
        self._batch_bytes = sum(_bytes_of(batch) for _, batch in self._batches)
        while part := self._next_round():
            written = await self._store.write(
                [(key, entry) for _, key, entry in part], self._settings.redis.time_to_live
            )
            self._rows += written
            self._older += len(part) - written
            self._forget(part)
        return self._done()

    def _merge(self, folded: Mapping[Place, Newest]) -> None:
        for place, newest in folded.items():
            if place in self._revoked:
                continue
            held = self._held.setdefault(place, Newest(0))
            before = sum(
                _size(key, held.entries[key]) for key in newest.entries.keys() & held.entries
            )
            held.merge(newest)
            after = sum(_size(key, held.entries[key]) for key in newest.entries)
            self._entry_bytes += after - before

    def _next_round(self) -> list[tuple[Place, bytes, Entry]]:
        """Return what goes to the server next; nothing where all has."""
        found: list[tuple[Place, bytes, Entry]] = []
        size = 0
        for place, held in self._held.items():
            for key, entry in islice(held.entries.items(), ROUND_KEYS - len(found)):
                found.append((place, key, entry))
                size += len(key) + len(entry[1])
                if size >= ROUND_BYTES:
                    return found
        return found

    def _forget(self, part: Sequence[tuple[Place, bytes, Entry]]) -> None:
        """Hold no longer what has been written, unless its partition went meanwhile."""
        for place, key, entry in part:
            held = self._held.get(place)
            if held is not None and held.entries.get(key) is entry:
                del held.entries[key]
                self._entry_bytes -= _size(key, entry)

    def _done(self) -> Flushed:
        passed: Counter[str] = Counter()
        for held in self._held.values():
            passed.update(held.passed)
        if self._older:
            passed["older"] += self._older
        done = Flushed(
            positions={place: held.next for place, held in self._held.items()},
            rows=self._rows,
            passed=passed,
        )
        self._held.clear()
        self._rows = self._older = 0
        self._since = None
        return done


def _fold(
    batches: Sequence[tuple[Place, RecordBatch]], readers: Mapping[Place, NewestReader]
) -> dict[Place, Newest]:
    """Return the newest records of each partition."""
    found: dict[Place, Newest] = {}
    for place, batch in batches:
        newest = readers[place].take(batch)
        if place in found:
            found[place].merge(newest)
        else:
            found[place] = newest
    return found


def _bytes_of(batch: RecordBatch) -> int:
    values = sum(len(value) for value in batch.values if value is not None)
    return values + RECORD_BYTES * len(batch.values)


def _size(key: bytes, entry: Entry) -> int:
    return len(key) + len(entry[1]) + RECORD_BYTES
