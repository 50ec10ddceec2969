"""What stands in for aiokafka's classes and RocksDB, as far as the engine uses them.

They keep aiokafka's manners where the engine may depend on them: the states of a transactional
producer (a second `begin_transaction` within a transaction is an error), batches of a partition in
their order, a commit that goes on where the task that waits for it is cancelled. A producer does
*not* refuse to commit because a batch has timed out: that is the engine's to see.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from faust.types import TP

from app.streaming.store import Position, StoreDamagedError, StoreInUseError
from tests.simulation.loop import PROCESS
from tests.simulation.world import Headers, Process, World

#: Records of a producer's batch: soon full, so that a checkpoint has several.
BATCH_RECORDS = 5
#: Of a store's rows, the changelog position.
POSITION = b"\0position"
#: Of a disk that must not be read any more.
DAMAGED = b"\0damaged"


def _tp(partition: TopicPartition) -> TP:
    return TP(partition.topic, partition.partition)


class Batch:
    """aiokafka's batch builder."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes | None, bytes | None, Headers]] = []

    def append(self, *, timestamp: None, key: Any, value: Any, headers: Headers) -> object | None:
        """Add a record; None where the batch is full."""
        if len(self.records) >= BATCH_RECORDS:
            return None
        self.records.append((key, value, headers))
        return self

    def close(self) -> None:
        """Nothing is added any more."""

    def size(self) -> int:
        """Its bytes; nobody asks how many."""
        return len(self.records)


@dataclass(frozen=True, slots=True)
class Sent:
    """The answer to a batch or record."""

    offset: int


class SideProducer:
    """`AIOKafkaProducer` without transactions: forming bars and clock records."""

    client: Any = None

    def __init__(self, world: World) -> None:
        self._world = world

    async def start(self) -> None:
        """Find the broker."""
        world = self._world
        if world.happens("fail_side"):
            raise KafkaConnectionError("simulated: the side producer finds no broker")
        await world.request("a side producer", lambda: None)

    async def send(self, topic: str, *, value: bytes, partition: int) -> asyncio.Future[Sent]:
        """Append a record outside any transaction; its answer comes later."""
        world, tp = self._world, TP(topic, partition)
        if world.happens("fail_side"):
            failed: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
            failed.set_exception(KafkaConnectionError("simulated: a record was not sent"))
            return failed

        def append() -> Sent:
            if b'"clock"' in value:
                world.counts["clock record"] += 1
                world.tell(f"a clock record comes to {topic} {partition}")
            return Sent(world.append(tp, value))

        return asyncio.ensure_future(world.request(f"a record for {topic} {partition}", append))

    async def stop(self) -> None:
        """Close."""


class Producer(SideProducer):
    """`AIOKafkaProducer` with a transactional id."""

    def __init__(self, world: World, transactional_id: str, timeout: float) -> None:
        super().__init__(world)
        self._timeout = timeout
        self._id = transactional_id
        self._epoch = -1
        self._state = "new"
        self._last: dict[TP, asyncio.Future[Sent]] = {}

    async def start(self) -> None:
        """Become the only owner of the transactional id."""
        world = self._world
        self._epoch = await world.request(f"{self._id} for itself", lambda: world.fence(self._id))
        self._state = "ready"
        world.trace(f"owns {self._id} with epoch {self._epoch}")

    def _become(self, state: str, *before: str) -> None:
        # As aiokafka's transaction manager.
        assert self._state in before, f"Invalid state transition {self._state} -> {state}"
        self._state = state

    async def begin_transaction(self) -> None:
        """Local, as in Kafka."""
        self._become("open", "ready")
        self._last = {}

    def create_batch(self) -> Batch:
        """An empty batch."""
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> Any:
        """Hand a batch over; its answer comes later, batches of a partition stay in their order."""
        tp = TP(topic, partition)
        self._last[tp] = asyncio.ensure_future(self._append(batch, tp, self._last.get(tp)))
        return self._last[tp]

    async def send_and_wait(self, topic: str, **record: Any) -> Sent:
        """One record of the transaction."""
        batch = Batch()
        batch.append(
            timestamp=None, key=record.get("key"), value=record.get("value"),
            headers=record.get("headers") or [],
        )  # fmt: skip
        sent: Sent = await (await self.send_batch(batch, topic, partition=record["partition"]))
        return sent

    async def _append(self, batch: Batch, tp: TP, before: asyncio.Future[Sent] | None) -> Sent:
        if before is not None:
            await asyncio.wait([before])
            if before.exception() is not None:
                raise KafkaConnectionError("simulated: a batch before it failed")
        world = self._world

        def append() -> Sent:
            transaction = world.transaction(self._id, self._epoch, self._timeout)
            return Sent(world.write(transaction, tp, batch.records))

        return await world.request(f"{len(batch.records)} records for {tp}", append)

    async def send_offsets_to_transaction(self, offsets: dict[Any, int], group: str) -> None:
        """The group's offset is part of the transaction."""
        world = self._world

        def note() -> None:
            transaction = world.transaction(self._id, self._epoch, self._timeout)
            transaction.offsets.update({_tp(tp): offset for tp, offset in offsets.items()})

        await world.request("offsets in its transaction", note)

    async def commit_transaction(self) -> None:
        """All or nothing; the answer may be lost either way."""
        self._become("ending", "open")
        await asyncio.shield(asyncio.ensure_future(self._end(commit=True)))

    async def abort_transaction(self) -> None:
        """Nothing of it."""
        self._become("ending", "open")
        await asyncio.shield(asyncio.ensure_future(self._end(commit=False)))

    async def _end(self, *, commit: bool) -> None:
        world = self._world
        if self._last:
            await asyncio.wait(self._last.values())

        def end() -> None:
            world.check(self._id, self._epoch)
            transaction = world.transactions.get(self._id)
            if transaction is not None and not transaction.ending:
                world.end(transaction, commit=commit)

        try:
            await world.request("the end of its transaction", end)
        except Exception:
            self._state = "broken"
            raise
        self._state = "ready"

    async def stop(self) -> None:
        """Close; an open transaction stays open until it is fenced or timed out."""
        await asyncio.sleep(self._world.dice.expovariate(1 / 0.005))


@dataclass(frozen=True, slots=True)
class Fetched:
    """A record as aiokafka gives it; its append time is in ms."""

    key: bytes | None
    value: bytes | None
    offset: int
    timestamp: int


class Reader:
    """`AIOKafkaConsumer` of committed records, as far as a restore or a recall uses it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._position = 0

    async def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[Any, int]:
        """Nothing was deleted."""
        return await self._world.request("first offsets", lambda: dict.fromkeys(partitions, 0))

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[Any, int]:
        """The last stable offsets."""
        world = self._world
        return await world.request(
            "last offsets", lambda: {tp: world.log(_tp(tp)).stable for tp in partitions}
        )

    def assign(self, partitions: list[TopicPartition]) -> None:
        """One partition."""

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Where to go on."""
        self._position = offset

    async def getmany(self, partition: TopicPartition, *, timeout_ms: int) -> dict[Any, Any]:
        """Some records, not all at once."""
        world = self._world
        log, begin = world.log(_tp(partition)), self._position

        def read() -> tuple[int, list[Fetched]]:
            end = min(log.stable, begin + world.dice.choice((3, 20, 200)))
            return end, [
                Fetched(entry.key, entry.value, offset, entry.timestamp)
                for offset, entry in log.read(begin, end)
            ]

        self._position, found = await world.request(f"rows of {partition}", read)
        return {partition: found}

    async def position(self, partition: TopicPartition) -> int:
        """Also over markers and aborted records."""
        return self._position


class Store:
    """RocksDB on a machine's disk: what was written is there after a crash of the process.

    A folder's history of writes is kept, so that a disk can go back to an earlier one.
    """

    def __init__(self, world: World, folder: Path) -> None:
        process: Process = PROCESS.get()
        self.folder = folder
        self._world, self._process = world, process
        if str(folder) in process.locks:
            raise StoreInUseError(f"{folder} is open in another process")
        process.locks.add(str(folder))
        self._writes = world.disks.setdefault(process.name, {}).setdefault(str(folder), [])
        self._rows: dict[bytes, Any] = {}
        for written in self._writes:
            self._rows.update(written)
        self._broken = False

    def _check(self) -> None:
        if DAMAGED in self._rows:
            raise StoreDamagedError(f"simulated: {self.folder} cannot be read")

    @property
    def position(self) -> Position | None:
        """How far it is."""
        self._check()
        found: Position | None = self._rows.get(POSITION)
        return found

    def get(self, key: bytes) -> bytes | None:
        """One row."""
        self._check()
        return self._rows.get(key)

    def rows(self, prefixes: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """The rows with these prefixes, in key order."""
        self._check()
        chosen = tuple(prefixes)
        for key in sorted(self._rows):
            if key.startswith(chosen) and self._rows[key] is not None:
                yield key, self._rows[key]

    def write(
        self, rows: Iterable[tuple[bytes, bytes | None]], following: int, changelog_id: str
    ) -> None:
        """Rows and position together; after a write that failed none succeeds any more."""
        if self._process.step() and self._process.dead:
            return
        if self._broken or self._world.happens("fail_write"):
            self._broken = True
            raise StoreDamagedError(f"simulated: {self.folder} cannot be written")
        position = Position(following, changelog_id, wall_clock(self._process))
        written: dict[bytes, Any] = {**dict(rows), POSITION: position}
        self._writes.append(written)
        self._rows.update(written)
        self._process.step()

    def clear(self) -> None:
        """Empty it; it is opened anew."""
        self._writes.clear()
        self._rows.clear()
        self._broken = False

    def close(self) -> None:
        """Release the lock."""
        self._process.locks.discard(str(self.folder))

    def content(self) -> dict[bytes, bytes]:
        """All rows, for the judge."""
        return {key: row for key, row in self._rows.items() if row is not None and key != POSITION}


def wall_clock(process: Process | None) -> float:
    """Seconds since the epoch, as the process has them."""
    offset = 0.0 if process is None else process.wall_offset
    return 1_700_000_000.0 + asyncio.get_running_loop().time() + offset


def changelog_readers(world: World) -> Any:
    """What stands in for `changelog_reader`."""

    @asynccontextmanager
    async def reader(connection: Mapping[str, Any], milliseconds: int) -> AsyncIterator[Reader]:
        await world.request("a reader of its own", lambda: None)
        yield Reader(world)

    return reader
