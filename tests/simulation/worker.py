"""A worker process: the real engine in an application that does what Faust does around it.

As Faust: a rebalance stops the flow of batches, empties the agents' queues (but not what is just
on its way into one), and calls `on_revoked`; the group is joined again; `on_assigned` is called by
a task of its own, so the next rebalance may begin before it ends; then the consumer seeks to where
the states end and the flow goes on, of those partitions that the engine lets flow.

As `app/streaming/feeding.py`: fetches are made while others wait to be dealt out, and what waits is
joined, also where the partition was sought in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from aiokafka.errors import KafkaError
from faust.types import TP

from app.contracts.batch import RecordBatch
from app.observe.health import HealthState
from app.observe.metrics import Metrics
from app.settings import Settings
from app.streaming import merging
from app.streaming.engine import Engine
from app.streaming.protocols import Stage
from app.streaming.slim import SlimBatch
from tests.simulation.clients import wall_clock
from tests.simulation.group import Group, Member
from tests.simulation.loop import PROCESS
from tests.simulation.world import Entry, Process, World

#: Batches that wait for an agent.
QUEUED = 4
#: Seconds that the broker waits for something to send.
FETCH_WAIT = 0.15
#: How often an event loop is busy when something was fetched, and for how many seconds on average.
BUSY_SHARE, BUSY = 0.2, 0.05
#: Of each partition, as many fetches may wait to be dealt out.
FETCHES = 2
_MILLISECOND = 1_000_000
_SECOND = 1_000_000_000


class QuietMetrics(Metrics):
    """The real ones, shared by all workers of all histories; they are never scraped."""

    def watch(self, *arguments: Any) -> None:
        """Nothing: of one engine only, otherwise."""

    async def watch_event_loop(self, seconds: float = 0.0) -> None:
        """Nothing: there is no real loop to watch."""


class Consumer:
    """Faust's consumer, with our additions (app/streaming/transport.py)."""

    def __init__(self, world: World, flows: Callable[[TP], bool]) -> None:
        self._world = world
        self._flows = flows
        self.assignment: set[TP] = set()
        self.paused: set[TP] = set()
        self.positions: dict[TP, int] = {}
        self.ends: dict[TP, int] = {}
        #: How often a partition was sought: a fetch from before it is dropped.
        self.seeks: dict[TP, int] = {}
        self.flow = asyncio.Event()

    def known_ends(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """Log ends as of the last fetches."""
        return {tp: self.ends[tp] for tp in partitions if tp in self.ends}

    async def seek_sources(self, positions: Mapping[TP, int]) -> None:
        """Seek those that are assigned still, in the consumer's thread."""
        if positions:
            await asyncio.sleep(self._world.dice.expovariate(1 / 0.001))
            for tp, position in positions.items():
                if tp in self.assignment:
                    self._world.trace(f"seeks {tp.topic} {tp.partition} to {position}")
                    self.positions[tp] = position
                    self.seeks[tp] = self.seeks.get(tp, 0) + 1

    async def leave_group(self) -> None:
        """The worker leaves by itself, see `Worker.leave`."""

    def pause_partitions(self, partitions: Iterable[TP]) -> None:
        """Fetch them no more; what was fetched may still come."""
        self.paused.update(partitions)

    def resume_partitions(self, partitions: Iterable[TP]) -> None:
        """Fetch those of them that flow."""
        flows = self._flows
        self.paused.difference_update([tp for tp in partitions if flows(tp)])

    def group_offset(self, tp: TP) -> int:
        """The group's committed offset, as a restarted consumer would believe it."""
        return self._world.offsets.get(tp, 0)

    def assign(self, assigned: set[TP]) -> None:
        """A new assignment: read from the group's offsets, until there is a seek."""
        self.assignment, self.paused = set(assigned), set(assigned)
        self.ends = {}
        for tp in assigned:
            self.positions[tp] = self.group_offset(tp)
            self.seeks[tp] = self.seeks.get(tp, 0) + 1


class App:
    """What the engine needs of the Faust application."""

    def __init__(self, worker: Worker, world: World) -> None:
        self.consumer = Consumer(world, lambda tp: worker.engine.rebalances.flows(tp))
        self.rebalancing = False
        self.web = SimpleNamespace(web_app=SimpleNamespace(middlewares=[]))
        self._worker = worker

    async def crash(self, error: BaseException) -> None:
        """End the worker, which its supervisor starts again."""
        self._worker.crashed(error)


class Worker(Process):
    """A worker process."""

    def __init__(
        self, name: str, world: World, group: Group, settings: Settings, stages: Sequence[Stage],
        metrics: Metrics,
    ) -> None:  # fmt: skip
        super().__init__(name)
        self.world = world
        self.group = group
        self.engine = Engine(
            settings,
            stages,
            HealthState(),
            metrics,
            wall=lambda: round(wall_clock(PROCESS.get()) * _SECOND),
        )
        # The watchdog is a thread and looks at real loops: it is taken to run already.
        watchdog: Any = SimpleNamespace(started=True, stop=lambda: None)
        self.engine.watchdog = watchdog
        self.app = App(self, world)
        self.engine.attach(cast(Any, self.app))
        #: Why it ended by itself, if it did.
        self.fatal: BaseException | None = None
        self.leaving = False
        self._heartbeat = settings.broker.heartbeat_interval / _SECOND
        self._queues: dict[str, asyncio.Queue[RecordBatch]] = {
            stage.agent: asyncio.Queue(QUEUED) for stage in stages
        }
        #: What was fetched and not dealt out, fetches in their order.
        self._waiting: list[tuple[TP, list[SlimBatch]]] = []
        self._arrived, self._room = asyncio.Event(), asyncio.Event()
        self._recover = asyncio.Event()
        self._generation = 0
        self._revoking = False
        self._assigned: set[TP] = set()
        self._member: Member | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; everything that it does from now on belongs to this process."""
        works = [self._belong(), self._restore(), self._fetch(), self._deal()]
        works += map(self._agent, self._queues)
        for work in works:
            self._spawn(work)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        context = copy_context()
        context.run(PROCESS.set, self)
        loop: Any = asyncio.get_running_loop()
        task = loop.create_task(work, context=context)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and not self.world.over:
            # In Faust this ends the worker, too.
            self.crashed(cast(BaseException, task.exception()))

    def crashed(self, error: BaseException) -> None:
        """End because of an error."""
        if self.fatal is None and not self.leaving:
            self.fatal = error
            self.world.counts["ended by itself"] += 1
            self.world.tell(f"ends by itself: {error!r}")
            self._spawn(self.leave())

    async def leave(self) -> None:
        """Stop in order: `on_stop` of the table manager, then the consumer's."""
        if self.leaving:
            return
        self.leaving = True
        self.app.consumer.flow.clear()
        try:
            await self.engine.stop()
            with suppress(KafkaError):
                if self._member is not None:
                    await self.group.leave(self._member)
        finally:
            self.world.tell("has left")
            self.dead = True

    def leave_soon(self) -> None:
        """SIGTERM."""
        self._spawn(self.leave())

    # --- the group -------------------------------------------------------------------------

    async def _belong(self) -> None:
        while not self.leaving:
            member = self._member = Member(self.name, self.world.now)
            try:
                while not self.leaving:
                    await self._revoke()
                    generation, assigned = await self.group.join(member)
                    self._assign(generation, assigned)
                    while True:
                        await asyncio.sleep(self._heartbeat)
                        with suppress(KafkaError):
                            if not await self.group.heartbeat(member, generation):
                                break
                    if member not in self.group.members:
                        # It was thrown out, and is somebody else from now on.
                        break
            except KafkaError as error:
                self.world.trace(f"cannot join: {error!r}")
                await asyncio.sleep(0.1)

    async def _revoke(self) -> None:
        if self.leaving:
            return
        self.app.rebalancing = self._revoking = True
        self.app.consumer.flow.clear()
        for queue in self._queues.values():
            while not queue.empty():
                queue.get_nowait()
        await self.engine.on_revoked()

    def _assign(self, generation: int, assigned: set[TP]) -> None:
        self._generation, self._assigned, self._revoking = generation, assigned, False
        self.app.consumer.assign(assigned)
        self._recover.set()

    async def _restore(self) -> None:
        """Faust's recovery task."""
        world, engine, consumer = self.world, self.engine, self.app.consumer
        while True:
            await self._recover.wait()
            self._recover.clear()
            generation, assigned = self._generation, self._assigned
            engine.on_assigned(assigned, generation)
            await asyncio.sleep(world.dice.expovariate(1 / 0.002))
            if self._is_behind(generation):
                continue
            consumer.resume_partitions(assigned)
            # `perform_seek`: what has no state stays where it is, and is not fetched.
            flowing = [tp for tp in sorted(assigned) if engine.rebalances.flows(tp)]
            await consumer.seek_sources(engine.positions(flowing))
            if self._is_behind(generation):
                continue
            consumer.flow.set()
            self.app.rebalancing = False
            engine.on_delivering()

    def _is_behind(self, generation: int) -> bool:
        return self._generation != generation or self._revoking or self.leaving

    # --- batches ---------------------------------------------------------------------------

    async def _agent(self, agent: str) -> None:
        queue = self._queues[agent]
        while True:
            batch = await queue.get()
            await self.app.consumer.flow.wait()
            self.world.trace(f"{agent} handles {batch.partition}: {batch.base} to {batch.next}")
            await self.engine.handle(batch, agent)

    async def _fetch(self) -> None:
        consumer, world = self.app.consumer, self.world
        while True:
            await consumer.flow.wait()
            fetched_from = sorted(consumer.assignment - consumer.paused)
            wanted = {tp: consumer.positions[tp] for tp in fetched_from}
            seeks = {tp: consumer.seeks[tp] for tp in wanted}
            try:
                fetched = await world.request("records", lambda: self._answer(wanted))  # noqa: B023
            except KafkaError:
                continue
            for tp, (batches, end) in fetched.items():
                if tp not in consumer.assignment:
                    continue
                stray = world.happens("stray")
                sought = consumer.seeks[tp] != seeks[tp]
                if sought and not stray:
                    continue
                consumer.ends[tp] = end
                if not batches:
                    continue
                begin, following = batches[0].base, batches[-1].next
                if not sought:
                    consumer.positions[tp] = following
                    if stray and world.dice.random() < 0.5:
                        world.trace(f"a batch of {tp} is dropped")
                        continue
                world.trace(f"fetched {tp.topic} {tp.partition}: {begin} to {following}")
                self._waiting.append((tp, batches))
                self._arrived.set()
            if not any(batches for batches, _ in fetched.values()):
                await asyncio.sleep(FETCH_WAIT)
            while len(self._waiting) >= FETCHES * len(consumer.assignment) > 0:
                self._room.clear()
                await self._room.wait()

    async def _deal(self) -> None:
        """Join what waits, and give it to the agents."""
        world = self.world
        while True:
            await self._arrived.wait()
            await self.app.consumer.flow.wait()
            if world.dice.random() < BUSY_SHARE:
                # The event loop is busy, and more is fetched meanwhile.
                await asyncio.sleep(world.dice.expovariate(1 / BUSY))
            self._arrived.clear()
            taken, self._waiting = self._waiting, []
            self._room.set()
            joined: dict[TP, list[SlimBatch]] = {}
            for tp, batches in taken:
                joined.setdefault(tp, []).extend(batches)
            for tp, parts in joined.items():
                for batch in merging.merge_batches(tp.topic, tp.partition, parts):
                    # A rebalance may come while a batch waits here: it is behind it in the queue.
                    for key in self.engine.keys(tp):
                        await self._queues[key.agent].put(batch)

    def _answer(self, wanted: dict[TP, int]) -> dict[TP, tuple[list[SlimBatch], int]]:
        """The broker's: some of what there is behind each position, and the logs' ends."""
        world, answer = self.world, {}
        for tp, position in wanted.items():
            log = world.log(tp)
            begin = min(position, log.stable)
            end = min(log.stable, begin + world.dice.choice((1, 2, 5, 40)))
            answer[tp] = (_batches(begin, end, log.read(begin, end)), len(log.entries))
        return answer


def _batches(begin: int, end: int, records: list[tuple[int, Entry]]) -> list[SlimBatch]:
    """A record batch of each record, and of the holes before it; of holes alone, an empty one."""
    batches = []
    for index, (offset, entry) in enumerate(records):
        following = offset + 1 if index + 1 < len(records) else end
        batches.append(
            SlimBatch(
                begin,
                following,
                [entry.value],
                np.array([offset], dtype=np.int64),
                entry.timestamp * _MILLISECOND,
                None,
            )
        )
        begin = following
    if begin < end:
        batches.append(SlimBatch(begin, end, [], np.array([], dtype=np.int64), 0, None))
    return batches
