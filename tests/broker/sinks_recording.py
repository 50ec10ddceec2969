"""An outside system of tests: rows by their place in the log, told how often and by whom."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer

from app.connection import bootstrap_servers
from app.contracts.batch import RecordBatch
from app.settings import Settings
from app.sinks.consumer import SinkLoop
from app.sinks.driver import Culprit, Driver, Flushed, Place, SinkUnavailableError
from app.sinks.letters import DeadLetters
from app.topics import output_topic
from tests.broker.worker import worker_settings

WAIT_SECONDS = 60.0
BARS = "bars"


class Store:
    """What all drivers of a test write into."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Place, int], bytes] = {}
        #: Each write in its order: who, where, which offset.
        self.writes: list[tuple[str, Place, int]] = []
        self.available = True
        self.attempts = 0
        self._changed = asyncio.Event()

    def put(self, writer: str, place: Place, offset: int, value: bytes) -> None:
        self.rows[place, offset] = value
        self.writes.append((writer, place, offset))
        self._changed.set()

    def tried(self) -> None:
        """Somebody wants to write.

        Raises:
            SinkUnavailableError: it is away.
        """
        self.attempts += 1
        self._changed.set()
        if not self.available:
            raise SinkUnavailableError("the store is away")

    async def until(self, wanted: Callable[[], bool]) -> None:
        """Wait until writes or attempts have brought something about."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not wanted():
                self._changed.clear()
                await self._changed.wait()

    @property
    def repeats(self) -> Counter[tuple[Place, int]]:
        """How often each row was written."""
        return Counter((place, offset) for _, place, offset in self.writes)


class RecordingDriver(Driver):
    """Writes records as they are; those that begin with `bad` are culprits."""

    def __init__(self, store: Store, writer: str = "one", name: str = "redis") -> None:
        self.NAME = name  # type: ignore[misc]
        self.store, self.writer = store, writer
        self.held: deque[tuple[Place, RecordBatch]] = deque()
        #: After a write, before it is told; what waits here when it is cancelled was written.
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = 0
        #: Of which partitions it knows that they are replayed.
        self.replayed: set[Place] = set()

    @property
    def topics(self) -> Sequence[str]:
        return (BARS, "ticks")

    async def open(self) -> None:
        self.store.tried()

    async def close(self) -> None:
        self.held.clear()
        self.closed += 1

    async def check(self) -> Sequence[str]:
        self.store.tried()
        return ["it is there"]

    def replay(self, places: Collection[Place]) -> None:
        self.replayed |= set(places)

    def revoke(self, places: Collection[Place]) -> None:
        self.held = deque(each for each in self.held if each[0] not in places)

    def add(self, topic: str, batch: RecordBatch) -> None:
        self.held.append((Place(topic, batch.partition), batch))

    @property
    def held_bytes(self) -> int:
        return sum(len(value or b"") for _, batch in self.held for value in batch.values)

    def due(self, now: float) -> bool:
        return bool(self.held)

    async def flush(self, now: int) -> Flushed:
        self.store.tried()
        taken = list(self.held)
        positions: dict[Place, int] = {}
        culprits = []
        rows = 0
        for place, batch in taken:
            for value, offset in zip(batch.values, batch.offsets.tolist(), strict=True):
                assert value is not None
                if value.startswith(b"bad"):
                    culprits.append(Culprit(place, offset, "it is bad", value))
                else:
                    self.store.put(self.writer, place, offset, value)
                    rows += 1
            positions[place] = batch.next
        await self.gate.wait()
        for _ in taken:
            self.held.popleft()
        return Flushed(positions, rows, culprits)


def sinks_settings(kafka: Any, unique: str, folder: Any, **sinks: Any) -> Settings:
    """A deployment of bars with one sink, whose waits a test does not have to sit through."""
    chosen = {"drivers": ("redis",), "first_backoff": "10ms", "rest": "100ms", **sinks}
    return worker_settings(kafka, unique, folder, sinks=chosen)


@asynccontextmanager
async def running(settings: Settings, driver: RecordingDriver) -> AsyncIterator[SinkLoop]:
    """Run a loop; leaving it is the end of a process that was killed."""
    letters = DeadLetters(settings)
    loop = SinkLoop(settings, driver, letters)
    task = asyncio.create_task(loop.run())
    try:
        yield loop
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await letters.close()


async def publish(
    settings: Settings,
    partition: int,
    values: Iterable[bytes],
    *,
    abort: bool = False,
    topic: str = BARS,
) -> None:
    """Append values as one transaction."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers(settings),
        transactional_id=f"{settings.topic_prefix}{topic}{partition}",
    )
    await producer.start()
    try:
        await producer.begin_transaction()
        name = output_topic(settings, topic)
        for value in values:
            await producer.send(name, value, partition=partition)
        await producer.flush()
        await (producer.abort_transaction() if abort else producer.commit_transaction())
    finally:
        await producer.stop()


def numbered(count: int, stem: str) -> list[bytes]:
    """So many values."""
    return [f"{stem}{number}".encode() for number in range(count)]


def values_of(store: Store, partition: int) -> list[bytes]:
    """The rows of a partition of the bars, by offset."""
    found: Mapping[tuple[Place, int], bytes] = store.rows
    return [found[key] for key in sorted(found) if key[0] == Place(BARS, partition)]
