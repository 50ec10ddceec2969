"""A driver, a consumer and a clock that tests of the sinks' loop steer; time passes by waiting."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from aiokafka import TopicPartition

from app.contracts.batch import RecordBatch
from app.settings import Settings
from app.sinks.consumer import SinkLoop
from app.sinks.driver import Culprit, Driver, Flushed, Place
from app.sinks.letters import Letter
from app.streaming.slim import SlimBatch
from tests.notify.notes import Greatest, Time

BARS = TopicPartition("t.d.bars", 0)
OTHER = TopicPartition("t.d.bars", 1)
TICKS = TopicPartition("t.ticks", 0)
#: Steps of the event loop for something to come about.
STEPS = 50_000
Event = tuple[Any, ...]


def sink_settings(**sinks: Any) -> Settings:
    """Settings of a deployment of bars; `sinks` are changes of that group."""
    chosen: dict[str, Any] = {
        "deployment": "d",
        "topic_prefix": "t.",
        "agents": ("bars",),
        "sinks": {"drivers": ("redis",), **sinks},
    }
    return Settings(**chosen)


class FakeLog:
    """Partitions as the broker has them: record batches one behind the other."""

    def __init__(self) -> None:
        self.batches: dict[TopicPartition, list[SlimBatch]] = {}

    def end(self, tp: TopicPartition) -> int:
        found = self.batches.get(tp)
        return found[-1].next if found else 0

    def append(self, tp: TopicPartition, *values: bytes, markers: int = 0) -> None:
        """Append a batch of values and, behind it, so many markers of transactions."""
        base = self.end(tp)
        following = base + len(values) + markers
        offsets = np.arange(base, base + len(values), dtype=np.int64)
        batch = SlimBatch(base, following, list(values), offsets, 1_000_000, None)
        self.batches.setdefault(tp, []).append(batch)


class FakeDriver(Driver):
    """Notes what it is asked; writes into a list.

    Args:
        records: how many make a flush due.
    """

    NAME = "redis"

    def __init__(self, events: list[Event], clock: Time, records: int = 1) -> None:
        self.events, self.clock, self.records = events, clock, records
        self.names: Sequence[str] = ("bars", "ticks")
        #: Every write in its order, with repeats.
        self.written: list[tuple[Place, int, bytes]] = []
        self.kept: dict[Place, int] = {}
        self.is_culprit: Callable[[bytes], bool] = lambda value: False
        #: Raised by the next calls, one each; None: that call works.
        self.faults: dict[str, deque[BaseException | None]] = {}
        #: When each call was made.
        self.times: list[tuple[str, float]] = []
        self.closed, self.gate = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.held: list[tuple[Place, RecordBatch]] = []
        #: Flushes that began while another one was under way.
        self.overlaps = 0
        self._writing = False

    def take_meanwhile(self) -> None:
        """Take records while a flush is under way."""
        self.TAKES_MEANWHILE = True  # type: ignore[misc]

    def fail(self, call: str, *faults: BaseException | None) -> None:
        """Have the next calls raise."""
        self.faults.setdefault(call, deque()).extend(faults)

    def _called(self, call: str, *details: Any) -> None:
        self.events.append((call, *details))
        self.times.append((call, self.clock.now))
        waiting = self.faults.get(call)
        fault = waiting.popleft() if waiting else None
        if fault is not None:
            raise fault

    @property
    def topics(self) -> Sequence[str]:
        return self.names

    async def open(self) -> None:
        self._called("open")

    async def close(self) -> None:
        self.held.clear()
        self.closed.set()
        self._called("close")

    async def check(self) -> Sequence[str]:
        self._called("check")
        return ["it is there"]

    async def assign(self, places: Collection[Place]) -> Mapping[Place, int]:
        self._called("assign", tuple(sorted(places)))
        return {place: self.kept[place] for place in places if place in self.kept}

    def revoke(self, places: Collection[Place]) -> None:
        self.held = [each for each in self.held if each[0] not in places]
        self._called("revoke", tuple(sorted(places)))

    def add(self, topic: str, batch: RecordBatch) -> None:
        place = Place(topic, batch.partition)
        self._called("add", place, batch.base, batch.next)
        self.held.append((place, batch))

    @property
    def held_bytes(self) -> int:
        return sum(len(value or b"") for _, batch in self.held for value in batch.values)

    def due(self, now: float) -> bool:
        assert now == self.clock.now
        return sum(len(batch) for _, batch in self.held) >= self.records

    async def flush(self, now: int) -> Flushed:
        taken = list(self.held)
        self.events.append(("writing",))
        self.overlaps += self._writing
        self._writing = True
        try:
            await self.gate.wait()
        finally:
            self._writing = False
        self._called("flush")
        positions: dict[Place, int] = {}
        culprits = []
        rows = passed = 0
        for place, batch in taken:
            for value, offset in zip(batch.values, batch.offsets.tolist(), strict=True):
                if not value:
                    passed += 1
                elif self.is_culprit(value):
                    culprits.append(Culprit(place, offset, "it is bad", value))
                else:
                    rows += 1
                    self.written.append((place, offset, value))
            positions[place] = batch.next
        self.held = self.held[len(taken) :]
        return Flushed(positions, rows, culprits, {"control": passed} if passed else {})


class FakeReader:
    """A consumer of a `FakeLog` whose group is this one dictionary of offsets."""

    def __init__(
        self, log: FakeLog, committed: dict[TopicPartition, int], events: list[Event], clock: Time
    ) -> None:
        self.log, self.offsets, self.events, self.clock = log, committed, events, clock
        self.owned: set[TopicPartition] = set()
        self.positions: dict[TopicPartition, int] = {}
        self.stopped: set[TopicPartition] = set()
        self.listener: Any = None
        #: Done by the next calls of `getmany`, one each.
        self.script: deque[Callable[[], Any]] = deque()
        self.fail_commits: deque[BaseException] = deque()
        self._topics: set[str] = set()
        self._joining = False

    def subscribe(self, *, topics: Sequence[str], listener: Any) -> None:
        self._topics, self.listener, self._joining = set(topics), listener, True

    async def join(self, owned: Iterable[TopicPartition]) -> None:
        """The group gives these partitions."""
        self.owned, self.stopped, self._joining = set(owned), set(), False
        self.positions = {tp: self.offsets.get(tp, 0) for tp in self.owned}
        await self.listener.on_partitions_assigned(self.owned)

    async def rebalance(self, owned: Iterable[TopicPartition]) -> None:
        """The group takes all partitions, and then gives these."""
        await self.listener.on_partitions_revoked(self.owned)
        await self.join(owned)

    async def getmany(self, *, timeout_ms: int) -> Mapping[TopicPartition, Sequence[Any]]:
        if self._joining:
            await self.join(tp for tp in self.log.batches if tp.topic in self._topics)
        if self.script:
            found = self.script.popleft()()
            if asyncio.iscoroutine(found):
                await found
        fetched = {}
        for tp in sorted(self.owned - self.stopped):
            batch = next((b for b in self.log.batches[tp] if b.next > self.positions[tp]), None)
            if batch is not None:
                fetched[tp] = [_since(batch, self.positions[tp])]
                self.positions[tp] = batch.next
        await asyncio.sleep(0)
        if not fetched:
            self.clock.now += timeout_ms / 1_000
        return fetched

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        if self.fail_commits:
            raise self.fail_commits.popleft()
        assert offsets.keys() <= self.owned
        self.events.append(("commit", dict(offsets)))
        self.offsets.update(offsets)

    async def committed(self, partition: TopicPartition) -> int | None:
        return self.offsets.get(partition)

    async def beginning_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def end_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        return {tp: self.log.end(tp) for tp in partitions}

    def last_stable_offset(self, partition: TopicPartition) -> int | None:
        return self.log.end(partition)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        assert partition in self.owned
        self.events.append(("seek", partition, offset))
        self.positions[partition] = offset

    def paused(self) -> set[TopicPartition]:
        return set(self.stopped)

    def pause(self, *partitions: TopicPartition) -> None:
        assert self.owned.issuperset(partitions)
        self.stopped.update(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        assert self.stopped.issuperset(partitions)
        self.stopped.difference_update(partitions)


def _since(batch: SlimBatch, position: int) -> SlimBatch:
    """A fetch that begins in the middle of a record batch."""
    skip = max(0, position - batch.base)
    return SlimBatch(
        max(batch.base, position),
        batch.next,
        batch.values[skip:],
        batch.offsets[skip:],
        batch.append_time,
        None,
    )


class World:
    """A loop with its fakes; `events` is what happened, in its order."""

    def __init__(self, settings: Settings | None = None, records: int = 1) -> None:
        self.events: list[Event] = []
        self.clock, self.log = Time(), FakeLog()
        self.committed: dict[TopicPartition, int] = {}
        self.driver = FakeDriver(self.events, self.clock, records)
        #: A consumer for each time that the loop has joined.
        self.readers: list[FakeReader] = []
        self.fail_letters: deque[BaseException] = deque()
        self.loop = SinkLoop(
            settings or sink_settings(),
            self.driver,
            self._bury,
            connect=self._connect,
            monotonic=self.clock.monotonic,
            now=lambda: 7,
            sleep=self.clock.sleep,
            chance=Greatest(),
        )

    @property
    def reader(self) -> FakeReader:
        return self.readers[-1]

    async def _bury(self, letters: Sequence[Letter]) -> None:
        if self.fail_letters:
            raise self.fail_letters.popleft()
        for each in letters:
            self.events.append(("letter", each.topic, each.culprit.offset, each.culprit.value))

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[FakeReader]:
        self.events.append(("join",))
        self.readers.append(FakeReader(self.log, self.committed, self.events, self.clock))
        yield self.readers[-1]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the loop; leaving it is the end of a process that was killed."""
        task = asyncio.create_task(self.loop.run())
        try:
            yield
            assert not task.done(), "the loop has ended by itself"
            assert self.driver.overlaps == 0, "two writers at once"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, wanted: Callable[[], bool]) -> None:
        """Let the loop run until something has come about."""
        for _ in range(STEPS):
            if wanted():
                return
            await asyncio.sleep(0)
        raise AssertionError(f"it does not come about; {self.events[-20:]}")

    async def steps(self, count: int = 200) -> None:
        """Let the loop run for a while."""
        for _ in range(count):
            await asyncio.sleep(0)

    async def written(self, *parts: TopicPartition) -> None:
        """Let the loop run until the group knows that all is written."""
        wanted = parts or tuple(self.log.batches)
        await self.until(
            lambda: all(self.committed.get(tp, 0) == self.log.end(tp) for tp in wanted)
        )

    def of(self, *kinds: str) -> list[Event]:
        """The events of some kinds."""
        return [event for event in self.events if event[0] in kinds]
