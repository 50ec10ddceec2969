"""One history: logs, workers that come and go, faults; and what there is at its end.

`History(Plan(seed)).run()` gives an `Outcome`, which `tests.simulation.judge.faults` compares with
the reference. All of it follows from the plan.

For planted faults: the engine's own names are looked up when they are used, so a patch on
`app.streaming.{engine,runner,restore,restored_state,transaction,side}` (methods of `Engine`,
`PartitionRunner`, `TransactionalProducer`, `SideChannel`, `catch_up`, ...), on `tables` or on
`agents` holds for a whole `run()`. What stands in for the outside is put at
`app.streaming.{transaction,side}.AIOKafkaProducer`, at
`app.streaming.runner.{PartitionStore,changelog_reader,topic_ids}`, and as `time` of every module of
`app.streaming`. The group's committed offset, which nothing must believe, is
`engine.app.consumer.group_offset(tp)`. `planted={"no fencing"}` has the coordinator let every owner
of a transactional id write.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from faust.types import TP

from agents import bars, indicators
from app.settings import Settings
from app.streaming.runner import RunnerKey
from tests.simulation.clients import Producer, SideProducer, Store, changelog_readers, wall_clock
from tests.simulation.disasters import Disasters
from tests.simulation.group import Group
from tests.simulation.loop import PROCESS, HungError, SeededLoop
from tests.simulation.plan import Plan, Weights
from tests.simulation.second_stage import FoldStage
from tests.simulation.ticks import PARTITIONS, source_log
from tests.simulation.worker import QuietMetrics, Worker
from tests.simulation.world import Headers, World

MACHINES = ("one", "two", "three")
#: Short time-outs, so that a history is short.
CHOSEN: dict[str, Any] = {
    "agents": ("bars", "indicators"),
    "data_dir": Path("simulated"),
    "broker": {
        "url": "kafka://simulated:9092",
        "session_timeout": "2s",
        "heartbeat_interval": "300ms",
        "transaction_timeout": "3s",
    },
    "bars": {"intervals": "1s,10s,1m", "correction_horizon": "30s"},
    "indicators": {"default": "SMA(3),EMA(3)"},
    "topics": {"partitions": PARTITIONS, "max_message_bytes": 16_384},
}
SETTINGS_OF = {name: Settings(worker=name, **CHOSEN) for name in MACHINES}
SETTINGS = SETTINGS_OF["one"]
STAGE = bars.make_stage(SETTINGS)
FOLD = FoldStage(STAGE.outputs["bars"], "simulated.")
#: It holds next to nothing in memory, so that it reads its rows all the time.
INDICATORS = indicators.make_stage(SETTINGS, max_entries=1)
STAGES = (STAGE, FOLD, INDICATORS)
SOURCES = [
    TP(topic, number) for topic in (STAGE.source, FOLD.source) for number in range(PARTITIONS)
]
METRICS = QuietMetrics()
#: Seconds of session time-out, as in the settings.
SESSION = 2.0
#: Virtual seconds in which all must be drained once nothing fails any more.
PATIENCE = 60.0
Records = list[tuple[bytes | None, bytes | None, Headers]]


@dataclass(slots=True)
class Outcome:
    """What a history has come to.

    Attributes:
        logs: by partition of ticks, (offset, append time in ms, value) of each record.
        outputs: by topic and partition, what `read_committed` readers see.
        torn: stores that are not what their changelog says, markers that went back, workers that
            ended for a reason that no fault explains: one line each.
        events: what happened, in order.
        counts: faults and events by kind.
    """

    logs: dict[int, list[tuple[int, int, bytes | None]]]
    outputs: dict[TP, Records]
    torn: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class History:
    """Runs a plan."""

    def __init__(
        self, plan: Plan, planted: frozenset[str] = frozenset(), *, tracing: bool = False
    ) -> None:
        self.plan = plan
        self.world = World(plan.noisy_dice(), plan.weights(), planted)
        self.world.tracing = tracing
        self.disasters: Disasters | None = None

    def run(self) -> Outcome:
        """Run it to its end.

        Raises:
            HungError: it never ends, or its workers do not drain the logs.
        """
        loop = SeededLoop(self.world.dice)
        try:
            with simulated(self.world, loop):
                try:
                    loop.run_until_complete(self._history())
                finally:
                    self._run_out(loop)
        except HungError as error:
            events = "\n".join(self.world.events)
            raise HungError(f"{error}\n{events}") from None
        return self._outcome()

    def _run_out(self, loop: SeededLoop) -> None:
        """End what is under way, also of the dead, so that no task is left to the collector."""
        world = self.world
        world.over, world.weights, world.away_until = True, Weights(), 0.0
        for worker in self.disasters.workers if self.disasters else ():
            worker.dead = worker.paused = False
            loop.release(worker)
        for _ in range(5):
            tasks = asyncio.all_tasks(loop)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            with suppress(HungError):
                loop.run_until_complete(asyncio.wait(tasks, timeout=20.0))
        loop.close()

    # --- the story -------------------------------------------------------------------------

    async def _history(self) -> None:
        world, plan = self.world, self.plan
        shape = plan.dice("shape")
        group = Group(
            world, SOURCES, SESSION,
            sticky=shape.random() < 0.6, together=shape.random() < 0.5,
        )  # fmt: skip

        def worker(name: str) -> Worker:
            return Worker(name, world, group, SETTINGS_OF[name], STAGES, METRICS)

        disasters = self.disasters = Disasters(world, group, worker, MACHINES)
        for name in MACHINES[: shape.choice((1, 2, 2, 3))]:
            disasters.start(name)
        pace = shape.choice((0.02, 0.1, 0.3))
        feeds = [asyncio.ensure_future(self._feed(each, pace)) for each in range(PARTITIONS)]
        for number in plan.fault_numbers():
            dice = plan.dice(f"fault {number}")
            await asyncio.sleep(dice.expovariate(1 / dice.choice((0.05, 0.5, 2.0))))
            disasters.happen(dice)
        for feed in feeds:
            await feed
        # From here on nothing fails, so that the history can end.
        world.weights = Weights()
        disasters.calm()
        for number in range(PARTITIONS):
            world.append(TP(STAGE.source, number), b'{"type":"flush"}')
        began = world.now
        while not self._drained():
            if world.now > began + PATIENCE:
                raise HungError(f"not drained after {PATIENCE:.0f} s: {self._positions()}")
            await asyncio.sleep(0.5)
        self._examine()

    async def _feed(self, partition: int, pace: float) -> None:
        world, tp = self.world, TP(STAGE.source, partition)
        dice = self.plan.dice(f"feed {partition}")
        for value, append in source_log(self.plan, partition):
            world.append(tp, value, append)
            if dice.random() < 0.06:
                for _ in range(dice.randint(1, 3)):
                    world.hole(tp, aborted=dice.random() < 0.5)
            if dice.random() < 0.3:
                await asyncio.sleep(dice.expovariate(1 / pace))

    def _runners(self) -> Iterator[tuple[RunnerKey, Worker, Any]]:
        assert self.disasters is not None
        for worker in self.disasters.running():
            for key, runner in worker.engine.runners.items():
                yield key, worker, runner

    def _drained(self) -> bool:
        """Every source is owned by one worker, which is at its end and has published all."""
        done = {}
        for key, worker, runner in self._runners():
            if key in done or worker.app.rebalancing:
                return False
            log = self.world.log(key.tp)
            done[key] = (
                runner.ready
                and runner.position == log.stable == len(log.entries)
                and runner._dirty_since is None
                and not runner._busy.locked()
            )
        return len(done) == len(STAGES) * PARTITIONS and all(done.values())

    def _positions(self) -> list[str]:
        return [
            f"{worker.name} {runner.name}: {'ready' if runner.ready else 'not ready'} "
            f"at {runner.position} of {len(self.world.log(key.tp).entries)}"
            for key, worker, runner in self._runners()
        ]

    # --- the end ---------------------------------------------------------------------------

    def _examine(self) -> None:
        """What must hold besides the outputs; run while the workers still have their stores."""
        self.torn: list[str] = []
        for tp, worker, runner in self._runners():
            changelog = self.world.log(TP(runner.stage.changelog, tp.partition))
            rows: dict[bytes, bytes] = {}
            for _, entry in changelog.committed():
                assert entry.key is not None
                if entry.value is None:
                    rows.pop(entry.key, None)
                else:
                    rows[entry.key] = entry.value
            there = runner.store.content()
            if there != rows:
                keys = sorted(key for key in {*rows, *there} if rows.get(key) != there.get(key))
                self.torn.append(f"{worker.name}: the store of {tp} differs in {keys[:5]}")
        assert self.disasters is not None
        self.torn += self.disasters.unexplained

    def _outcome(self) -> Outcome:
        world = self.world
        source = STAGE.source
        topics = [topic for stage in STAGES for topic in stage.outputs.values()]
        return Outcome(
            {
                number: [
                    (offset, entry.timestamp, entry.value)
                    for offset, entry in world.log(TP(source, number)).committed()
                ]
                for number in range(PARTITIONS)
            },
            {
                TP(topic, number): [
                    (entry.key, entry.value, entry.headers)
                    for _, entry in world.log(TP(topic, number)).committed()
                ]
                for topic in topics
                for number in range(PARTITIONS)
            },
            self.torn,
            world.events,
            world.counts,
        )


@contextmanager
def patched_clocks(clock: object) -> Iterator[None]:
    """Give another `time` to every module of the engine that reads one."""
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith("app.streaming.") and getattr(module, "time", None) is time:
                stack.enter_context(patch.object(module, "time", clock))
        yield


@contextmanager
def simulated(world: World, loop: SeededLoop) -> Iterator[None]:
    """Put the simulated parts where the engine looks for the real ones."""
    dice = random.Random(world.dice.random())

    def monotonic() -> float:
        process = PROCESS.get()
        return loop.time() + (0.0 if process is None else process.monotonic_offset)

    def cpu() -> float:
        # So freezing a checkpoint seems to cost up to 10 ms.
        return loop.time() + dice.random() * 0.01

    clock = SimpleNamespace(
        monotonic=monotonic,
        perf_counter=loop.time,
        thread_time=cpu,
        time=lambda: wall_clock(PROCESS.get()),
    )

    def producer(**options: Any) -> Any:
        transactional_id = options.get("transactional_id")
        if transactional_id is None:
            return SideProducer(world)
        return Producer(world, transactional_id, options["transaction_timeout_ms"] / 1000)

    def store(folder: Path) -> Store:
        return Store(world, folder)

    async def topic_ids(client: Any, topics: list[str]) -> dict[str, str]:
        ids = {topic: f"id of {topic}" for topic in topics}
        return await world.request("topic ids", lambda: ids)

    with (
        patch("app.streaming.transaction.AIOKafkaProducer", producer),
        patch("app.streaming.side.AIOKafkaProducer", producer),
        patch("app.streaming.runner.PartitionStore", store),
        patch("app.streaming.runner.changelog_reader", changelog_readers(world)),
        patch("app.streaming.runner.topic_ids", topic_ids),
        patched_clocks(clock),
        # Five times as seldom as in life: nothing depends on how often they look.
        patch("app.streaming.side.CLOCK_SECONDS", 0.25),
        patch("app.streaming.side.FORMING_SECONDS", 1.0),
    ):
        yield
