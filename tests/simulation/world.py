"""A simulated Kafka for one partition: log, changelog, outputs, transactions; and its faults.

What the broker promises, and no more: a new producer with a transactional id fences the last one
and aborts its open transaction; of a transaction all or nothing is committed; `read_committed`
readers see committed records below the first open transaction. Answers may be late or lost.

The engine's own code runs on it: `Producer` and `Consumer` stand in for aiokafka's classes, `Store`
for RocksDB (rows in a write batch are there together or not at all).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, ProducerFenced

from app.streaming.store import Position

Headers = list[tuple[str, bytes]]


@dataclass(slots=True)
class Entry:
    """A record, or the marker that ends a transaction (no key, value nor `data`)."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    data: bool
    owner: tuple[str, int] | None
    timestamp: int = 0
    committed: bool = False
    decided: bool = False


@dataclass(slots=True)
class Topic:
    """One partition of a topic."""

    entries: list[Entry] = field(default_factory=list)

    @property
    def stable(self) -> int:
        """The last stable offset: nothing before it is open."""
        for offset, entry in enumerate(self.entries):
            if not entry.decided:
                return offset
        return len(self.entries)

    def committed(self) -> list[tuple[int, Entry]]:
        """What a `read_committed` reader sees."""
        end = self.stable
        return [
            (offset, entry)
            for offset, entry in enumerate(self.entries[:end])
            if entry.data and entry.committed
        ]


@dataclass(slots=True)
class Weights:
    """How likely each fault is, drawn for each history: some show only beside frequent others."""

    fail_send: float = 0.0
    lose_answer: float = 0.0
    delay: float = 0.002

    @classmethod
    def drawn(cls, dice: random.Random) -> Weights:
        """Zero, rare or frequent."""

        def weight() -> float:
            return dice.choice((0.0, 0.0, 0.01, 0.1))

        return cls(weight(), weight(), dice.choice((0.0005, 0.01, 0.2)))


class World:
    """The broker, and the machines that workers run on."""

    def __init__(self, dice: random.Random, weights: Weights, planted: frozenset[str]) -> None:
        self.dice = dice
        self.weights = weights
        #: Faults of the engine that a mutation test has planted here.
        self.planted = planted
        self.topics: dict[str, Topic] = {}
        self.epochs: dict[str, int] = {}
        self.group: int | None = None
        self.disks: dict[str, dict[Path, dict[bytes, bytes]]] = {}
        self.events: list[str] = []

    def topic(self, name: str) -> Topic:
        """The topic's partition, made when first asked for."""
        return self.topics.setdefault(name, Topic())

    def append(self, name: str, value: bytes | None, timestamp: int) -> None:
        """A record of another program, committed at once."""
        entry = Entry(None, value, [], data=True, owner=None, timestamp=timestamp)
        entry.committed = entry.decided = True
        self.topic(name).entries.append(entry)

    def hole(self, name: str) -> None:
        """An offset without a record, as a transaction's marker leaves it."""
        entry = Entry(None, None, [], data=False, owner=None)
        entry.decided = True
        self.topic(name).entries.append(entry)

    def end(self, owner: tuple[str, int], *, commit: bool) -> None:
        """Decide a transaction, with a marker in each partition that it wrote to."""
        for topic in self.topics.values():
            mine = [each for each in topic.entries if each.owner == owner and not each.decided]
            for entry in mine:
                entry.committed, entry.decided = commit, True
            if mine:
                marker = Entry(None, None, [], data=False, owner=None)
                marker.decided = True
                topic.entries.append(marker)


class Machine:
    """Where one worker process runs; it may stop for a while, or for ever."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.dead = False
        self._running = asyncio.Event()
        self._running.set()

    def pause(self) -> None:
        """Nothing of it goes on, until `resume`."""
        self._running.clear()

    def resume(self) -> None:
        """It goes on where it was, and does not know that it was away."""
        self._running.set()

    async def io(self) -> None:
        """A request on its way: late, failed, or never answered because the process is gone."""
        world = self.world
        await asyncio.sleep(world.dice.expovariate(1 / world.weights.delay))
        await self._running.wait()
        if self.dead:
            await asyncio.Event().wait()


class Batch:
    """aiokafka's batch builder."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes | None, bytes | None, Headers]] = []

    def append(self, *, timestamp: None, key: Any, value: Any, headers: Headers) -> object | None:
        """Add a record; None where the batch is full, which it is soon here."""
        if len(self.records) >= 7:
            return None
        self.records.append((key, value, headers))
        return self

    def close(self) -> None:
        """Nothing is added any more."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The answer to a batch."""

    offset: int


class Producer:
    """`AIOKafkaProducer`, as far as the engine uses it."""

    client: Any = None

    def __init__(self, machine: Machine, transactional_id: str) -> None:
        self._machine, self._world = machine, machine.world
        self._id = transactional_id
        self._epoch = -1
        self._offset: int | None = None
        self._last: dict[str, asyncio.Future[Sent]] = {}

    @property
    def _owner(self) -> tuple[str, int]:
        return self._id, self._epoch

    async def start(self) -> None:
        """Become the only owner of the transactional id."""
        await self._machine.io()
        world = self._world
        if "no fencing" in world.planted and self._epoch < 0:
            self._epoch = world.epochs.setdefault(self._id, 0)
            return
        world.end((self._id, world.epochs.get(self._id, -1)), commit=False)
        self._epoch = world.epochs[self._id] = world.epochs.get(self._id, -1) + 1

    def _check(self) -> None:
        if self._world.epochs.get(self._id) != self._epoch:
            raise ProducerFenced

    async def begin_transaction(self) -> None:
        """Local, as in Kafka."""
        self._offset = None
        self._last = {}

    def create_batch(self) -> Batch:
        """An empty batch."""
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> Any:
        """Hand a batch over; its answer comes later, batches of a topic stay in their order."""
        work = self._append(batch, topic, self._last.get(topic))
        self._last[topic] = asyncio.ensure_future(work)
        return self._last[topic]

    async def _append(self, batch: Batch, topic: str, before: asyncio.Future[Sent] | None) -> Sent:
        if before is not None:
            await asyncio.wait([before])
            if before.exception() is not None:
                raise KafkaConnectionError("simulated: a batch before it failed")
        await self._machine.io()
        self._check()
        world = self._world
        if world.dice.random() < world.weights.fail_send:
            raise KafkaConnectionError("simulated: a send failed")
        entries = world.topic(topic).entries
        offset = len(entries)
        for key, value, headers in batch.records:
            entries.append(Entry(key, value, headers, data=True, owner=self._owner))
        if world.dice.random() < world.weights.lose_answer:
            raise KafkaConnectionError("simulated: the answer to a send was lost")
        return Sent(offset)

    async def send_offsets_to_transaction(self, offsets: dict[Any, int], group: str) -> None:
        """The group's offset is part of the transaction."""
        await self._machine.io()
        self._check()
        (self._offset,) = offsets.values()

    async def commit_transaction(self) -> None:
        """All or nothing; the answer may be lost either way."""
        await self._machine.io()
        self._check()
        world = self._world
        if world.dice.random() < world.weights.fail_send:
            raise KafkaConnectionError("simulated: the commit did not arrive")
        world.end(self._owner, commit=True)
        world.group = self._offset
        await self._machine.io()
        if world.dice.random() < world.weights.lose_answer:
            raise KafkaConnectionError("simulated: the answer to the commit was lost")

    async def stop(self) -> None:
        """Close; an open transaction stays open until it is fenced."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A record as aiokafka gives it."""

    key: bytes | None
    value: bytes | None


class Consumer:
    """`AIOKafkaConsumer` of committed records, as far as a restore uses it."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self._world = machine, machine.world
        self._position = 0

    async def beginning_offsets(self, partitions: Iterable[Any]) -> dict[Any, int]:
        """Nothing was deleted."""
        await self._machine.io()
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: Iterable[Any]) -> dict[Any, int]:
        """The last stable offsets."""
        await self._machine.io()
        return {tp: self._world.topic(tp.topic).stable for tp in partitions}

    def assign(self, partitions: list[Any]) -> None:
        """One partition."""

    def seek(self, partition: Any, offset: int) -> None:
        """Where to go on."""
        self._position = offset

    async def getmany(self, partition: TopicPartition, *, timeout_ms: int) -> dict[Any, Any]:
        """Some records, not all at once."""
        await self._machine.io()
        topic = self._world.topic(partition.topic)
        stop = min(topic.stable, self._position + self._world.dice.randint(1, 40))
        found = [
            Fetched(entry.key, entry.value)
            for offset, entry in topic.committed()
            if self._position <= offset < stop
        ]
        self._position = stop
        return {partition: found}

    async def position(self, partition: Any) -> int:
        """Also over markers and aborted records."""
        return self._position


class Store:
    """RocksDB on a machine's disk: what was written is there after a crash."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.folder = folder
        self._machine = machine
        self._disk = machine.world.disks.setdefault(machine.name, {})
        self._rows = self._disk.setdefault(folder, {})

    @property
    def position(self) -> Position | None:
        """How far it is."""
        found: Any = self._rows.get(b"\0position")
        return found

    def get(self, key: bytes) -> bytes | None:
        """One row."""
        return self._rows.get(key)

    def rows(self, prefixes: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
        """The rows with these prefixes, in key order."""
        chosen = tuple(prefixes)
        return [(key, self._rows[key]) for key in sorted(self._rows) if key.startswith(chosen)]

    def write(
        self, rows: Iterable[tuple[bytes, bytes | None]], following: int, changelog_id: str
    ) -> None:
        """Rows and position together."""
        if self._machine.dead:
            return
        for key, value in rows:
            if value is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value
        position: Any = Position(following, changelog_id, 0.0)
        self._rows[b"\0position"] = position

    def clear(self) -> None:
        """Empty it."""
        self._rows.clear()

    def close(self) -> None:
        """Nothing is open."""
