"""One history: a log, workers that come and go, faults; and what must hold at its end.

The real `PartitionRunner` (batches, contiguity guard, checkpoints, restore) with the real bars
state runs on a simulated broker (world.py) in virtual time (loop.py); all of it follows from one
seed. At the end everything that `read_committed` readers see must be, byte for byte and in order,
what an independent reference (tests/oracle) says of the log.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from aiokafka.errors import ProducerFenced

from agents import bars
from agents.windowed import WindowedStage
from app.contracts.batch import RecordBatch
from app.observe.metrics import Metrics
from app.settings import CheckpointSettings, Settings
from app.streaming.runner import PartitionRunner, RunnerContext
from app.streaming.transaction import ProducerOptions
from tests.simulation.loop import SeededLoop
from tests.simulation.world import Consumer, Machine, Producer, Store, Weights, World
from tests.unit.bars_log import random_log

SETTINGS = Settings(
    agents=("bars",),  # type: ignore[arg-type]
    bars={"intervals": "1s,10s,1m", "correction_horizon": "30s"},  # type: ignore[arg-type]
    topics={"partitions": 1, "max_message_bytes": 16_384},  # type: ignore[arg-type]
)
STAGE: WindowedStage = bars.make_stage(SETTINGS)
METRICS = Metrics()
CHECKPOINT = CheckpointSettings()
MACHINES = ("one", "two", "three")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is drawn from the seed first; a shorter plan is another history.

    Attributes:
        seed: of all choices.
        records: in the log.
        faults: of workers: crashes, pauses, handovers, lost and stale disks.
    """

    seed: int
    records: int = 120
    faults: int = 6


@dataclass(slots=True)
class Outcome:
    """What a history has come to: the log, the outputs, and what happened, for a report."""

    log: list[tuple[int, int, bytes | None]]
    outputs: dict[str, list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]]
    events: list[str] = field(default_factory=list)


class Worker:
    """A worker process: a runner, and the loop that feeds it."""

    def __init__(self, world: World, name: str) -> None:
        self.machine = Machine(world, name)
        self.world = world
        self.wanted = True
        context = RunnerContext(
            connection={"machine": self.machine},
            request_timeout=1_000,
            group="group",
            checkpoint=CHECKPOINT,
            metrics=METRICS,
            producer_options=self._producer_options,
            folder=lambda agent, partition: Path(name) / f"{agent}-{partition}",
            failed=self._failed,
        )
        self.runner = PartitionRunner(STAGE, 0, context)
        self._tasks: set[asyncio.Task[None]] = set()

    def _producer_options(self, agent: str, partition: int) -> ProducerOptions:
        return ProducerOptions(
            connection={"machine": self.machine},
            transactional_id=f"{agent}.{partition}",
            transaction_timeout=1_000,
            request_timeout=1_000,
            max_request_bytes=1_000_000,
            compression=None,
        )

    def start(self) -> None:
        """Own the partition: restore, then read."""
        self._spawn(self._run())

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _failed(self, runner: PartitionRunner, error: BaseException) -> None:
        self.world.events.append(f"{self.machine.name}: dropped its state, {error!r}")
        if self.wanted:
            self._spawn(self._recover(error))

    async def _recover(self, error: BaseException) -> None:
        if isinstance(error, ProducerFenced):
            # As the engine does: the group says who owns the partition after a heartbeat.
            await asyncio.sleep(1.3)
        await self._restore()

    async def _restore(self) -> None:
        while self.wanted and not self.runner.ready:
            try:
                await self.runner.restore()
            except Exception as error:  # noqa: BLE001
                self.world.events.append(f"{self.machine.name}: not restored, {error!r}")
                await asyncio.sleep(0.2)

    async def _run(self) -> None:
        await self._restore()
        cursor = self.runner.position
        dice, source = self.world.dice, self.world.topic(STAGE.source)
        while self.wanted:
            await self.machine.io()
            if not self.runner.ready:
                await asyncio.sleep(0.05)
                continue
            # A fetch that was under way before a seek may still come, or one be dropped.
            stray = dice.random()
            base = cursor
            if stray < 0.02:
                base = max(0, cursor - dice.randint(1, 5))
            elif stray < 0.04:
                base = min(len(source.entries), cursor + dice.randint(1, 5))
            stop = min(len(source.entries), base + dice.choice((1, 2, 5, 40)))
            if stop <= base:
                await asyncio.sleep(0.05)
                continue
            await self.runner.room()
            if not self.runner.ready:
                continue
            self.runner.backlog = stop < len(source.entries)
            self.runner.accept(self._batch(base, stop))
            cursor = self.runner.position

    def _batch(self, base: int, stop: int) -> RecordBatch:
        entries = self.world.topic(STAGE.source).entries
        chosen = [(offset, entries[offset]) for offset in range(base, stop) if entries[offset].data]
        return RecordBatch(
            STAGE.source,
            0,
            base,
            stop,
            [entry.value for _, entry in chosen],
            np.array([offset for offset, _ in chosen], dtype=np.int64),
            np.array([entry.timestamp * 1_000_000 for _, entry in chosen], dtype=np.int64),
        )

    async def leave(self) -> None:
        """Hand the partition over in order."""
        self.wanted = False
        with suppress(TimeoutError):
            await asyncio.wait_for(self.runner.suspend(), 5)
        with suppress(TimeoutError):
            await asyncio.wait_for(self.runner.close(), 5)

    def die(self) -> None:
        """`kill -9`."""
        self.wanted = False
        self.machine.dead = True


class History:
    """Runs a plan."""

    def __init__(self, plan: Plan, planted: frozenset[str] = frozenset()) -> None:
        self.plan = plan
        self.dice = random.Random(plan.seed)
        self.world = World(self.dice, Weights.drawn(self.dice), planted)
        self.machines: dict[str, Machine] = {}
        self.zombies: list[Worker] = []
        self.snapshots: dict[str, dict[Path, dict[bytes, bytes]]] = {}

    def run(self) -> Outcome:
        """Run it to its end.

        Raises:
            HungError: it never ends.
        """
        loop = SeededLoop(self.dice)
        with _simulated(loop, self.machines):
            try:
                loop.run_until_complete(self._history())
            finally:
                tasks = asyncio.all_tasks(loop)
                for task in tasks:
                    task.cancel()
                loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
                loop.close()
        source = self.world.topic(STAGE.source)
        return Outcome(
            [(offset, entry.timestamp, entry.value) for offset, entry in source.committed()],
            {
                name: [
                    (entry.key, entry.value, entry.headers)
                    for _, entry in self.world.topic(topic).committed()
                ]
                for name, topic in STAGE.outputs.items()
            },
            self.world.events,
        )

    def _worker(self, name: str) -> Worker:
        worker = Worker(self.world, name)
        self.machines[name] = worker.machine
        self.world.events.append(f"{name}: takes over")
        worker.start()
        return worker

    async def _history(self) -> None:
        feed = asyncio.ensure_future(self._feed())
        owner = self._worker("one")
        for _ in range(self.plan.faults):
            await asyncio.sleep(self.dice.expovariate(1 / self.dice.choice((0.02, 0.3, 2.0))))
            owner = await self._fault(owner)
        await feed
        # From here on nothing fails, so that the history can end.
        self.world.weights = Weights()
        while self.world.group != len(self.world.topic(STAGE.source).entries):  # noqa: ASYNC110
            await asyncio.sleep(1.0)
        # Zombies have had their time.
        await asyncio.sleep(30.0)
        owner.wanted = False

    async def _feed(self) -> None:
        log = random_log(self.plan.seed, self.plan.records)
        for value, append in log:
            self.world.append(STAGE.source, value, append // 1_000_000)
            if self.dice.random() < 0.05:
                self.world.hole(STAGE.source)
            if self.dice.random() < 0.2:
                await asyncio.sleep(self.dice.expovariate(1 / 0.1))

    async def _fault(self, owner: Worker) -> Worker:
        name, dice = owner.machine.name, self.dice
        others = [each for each in MACHINES if each != name and not self._occupied(each)]
        kind = dice.choice(("crash", "crash", "pause", "handover", "lost disk", "stale disk"))
        self.world.events.append(f"{name}: {kind}")
        if kind == "pause" and others:
            owner.machine.pause()
            self.zombies.append(owner)
            following = self._worker(dice.choice(others))
            self._wake_later(owner)
            return following
        if kind == "handover":
            self.snapshots[name] = _copied(self.world.disks.get(name, {}))
            await owner.leave()
            return self._worker(dice.choice([name, *others]))
        owner.die()
        if kind == "lost disk":
            self.world.disks.pop(name, None)
        elif kind == "stale disk" and name in self.snapshots:
            self.world.disks[name] = _copied(self.snapshots[name])
        return self._worker(dice.choice([name, *others]))

    def _wake_later(self, zombie: Worker) -> None:
        """It runs on after the takeover, until the group tells it that the partition is gone."""
        loop = asyncio.get_running_loop()
        wakes = self.dice.expovariate(1.0)

        def forget() -> None:
            zombie.wanted = False

        loop.call_later(wakes, zombie.machine.resume)
        loop.call_later(wakes + self.dice.expovariate(1.0), forget)

    def _occupied(self, name: str) -> bool:
        return any(zombie.machine.name == name for zombie in self.zombies)


def _copied(disk: Mapping[Path, dict[bytes, bytes]]) -> dict[Path, dict[bytes, bytes]]:
    return {folder: dict(rows) for folder, rows in disk.items()}


@contextmanager
def _simulated(loop: SeededLoop, machines: Mapping[str, Machine]) -> Iterator[None]:
    """Put the simulated parts where the engine looks for the real ones."""
    clock = SimpleNamespace(
        monotonic=loop.time, perf_counter=loop.time, thread_time=loop.time, time=loop.time
    )

    def producer(*, machine: Machine, transactional_id: str, **options: Any) -> Producer:
        return Producer(machine, transactional_id)

    def store(folder: Path) -> Store:
        return Store(machines[folder.parts[0]], folder)

    @asynccontextmanager
    async def reader(connection: Mapping[str, Any], milliseconds: int) -> AsyncIterator[Consumer]:
        yield Consumer(connection["machine"])

    async def topic_ids(client: Any, topics: list[str]) -> dict[str, str]:
        return {topic: f"id of {topic}" for topic in topics}

    with (
        patch("app.streaming.transaction.AIOKafkaProducer", producer),
        patch("app.streaming.runner.PartitionStore", store),
        patch("app.streaming.runner.changelog_reader", reader),
        patch("app.streaming.runner.topic_ids", topic_ids),
        patch("app.streaming.runner.time", clock),
        patch("app.streaming.restore.time", clock),
    ):
        yield
