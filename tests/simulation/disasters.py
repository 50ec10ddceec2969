"""The machines of a history: workers start on them, and faults happen to them.

A fault is drawn with dice of its own, so leaving one out changes no other. A machine whose worker
has ended gets another one from its supervisor after a while; a paused one wakes up, sometimes long
after the group has given its partitions to others (a zombie).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence

from faust.types import TP

from app.exits import OperatorError
from tests.simulation.clients import DAMAGED
from tests.simulation.group import Group
from tests.simulation.loop import SeededLoop
from tests.simulation.plan import KINDS
from tests.simulation.worker import Worker
from tests.simulation.world import World

#: Ends that faults explain: a zombie may fence twice, a disk be full for long.
EXPLAINED = ("was fenced twice", "cannot be restored since")


class Disasters:
    """What happens to the workers."""

    def __init__(
        self, world: World, group: Group, make: Callable[[str], Worker], machines: Sequence[str]
    ) -> None:
        self._world = world
        self._group = group
        self._make = make
        self._machines = machines
        #: All that there were, the dead ones too.
        self.workers: list[Worker] = []
        self._current: dict[str, Worker] = {}
        self._calm = False

    def running(self) -> Iterator[Worker]:
        """Those that live."""
        return (worker for worker in self._current.values() if not worker.dead)

    @property
    def unexplained(self) -> list[str]:
        """Workers that ended by themselves for a reason that no fault explains."""
        return [
            f"{worker.name} ended by itself: {worker.fatal!r}"
            for worker in self.workers
            if worker.fatal is not None
            and not (
                isinstance(worker.fatal, OperatorError)
                and any(text in str(worker.fatal) for text in EXPLAINED)
            )
        ]

    def start(self, name: str) -> None:
        """A worker process on a machine, which its supervisor watches."""
        worker = self._make(name)
        self.workers.append(worker)
        self._current[name] = worker
        self._world.tell(f"{name} starts")
        worker.start()
        self._watch(worker)

    def _watch(self, worker: Worker) -> None:
        """Its supervisor: another one follows, a while after its end."""
        world = self._world

        def look() -> None:
            if world.over or self._current.get(worker.name) is not worker:
                return
            if not worker.dead:
                world.later(0.2, look)
                return
            quick = self._calm or world.dice.random() < 0.7
            delay = world.dice.expovariate(1 / (0.2 if quick else 3.0))
            world.later(delay, lambda: self._replace(worker))

        world.later(0.2, look)

    def _replace(self, worker: Worker) -> None:
        if not self._world.over and self._current.get(worker.name) is worker:
            self.start(worker.name)

    def calm(self) -> None:
        """Nothing happens any more, and what is paused goes on."""
        self._calm = True
        self._world.away_until = 0.0
        for worker in self.running():
            worker.arm(1 << 30, lambda: None)
            self._wake(worker)

    # --- faults ----------------------------------------------------------------------------

    def happen(self, dice: random.Random) -> None:
        """The next fault."""
        kind = dice.choice(KINDS)
        living = [worker for worker in self.running() if not worker.paused]
        # Drawn in any case, so that the same dice give the same fault.
        choice, steps, seconds = dice.random(), dice.randint(0, 25), dice.expovariate(0.5)
        world = self._world
        if kind == "rebalance":
            world.tell("a rebalance for no reason")
            self._group.disturb()
        elif kind == "broker away":
            world.tell(f"the broker is away for {seconds:.1f} s")
            world.away_until = world.now + seconds
        elif kind == "join":
            free = [name for name in self._machines if name not in self._current]
            if not free:
                return
            self.start(free[int(choice * len(free))])
        elif kind.startswith("group offset"):
            self._move_offsets(kind, dice)
        elif living:
            self._befall(living[int(choice * len(living))], kind, steps, seconds, dice)
        else:
            return
        world.counts[kind] += 1

    def _befall(
        self, worker: Worker, kind: str, steps: int, seconds: float, dice: random.Random
    ) -> None:
        world = self._world
        world.tell(f"{worker.name}: {kind}")
        if kind == "crash":
            self._kill(worker)
        elif kind == "crash at a step":
            worker.arm(steps, lambda: self._kill(worker))
        elif kind == "pause":
            self._pause(worker, seconds)
        elif kind == "pause at a step":
            worker.arm(steps, lambda: self._pause(worker, seconds))
        elif kind == "leave":
            worker.leave_soon()
        elif kind == "full disk":
            weight, world.weights.fail_write = world.weights.fail_write, 1.0
            world.later(seconds, lambda: self._free_disk(weight))
        elif kind == "clock jump":
            worker.wall_offset += dice.choice((-3600.0, 3.0, 90_000.0))
            worker.monotonic_offset += dice.choice((0.0, 0.5, 20.0, 300.0))
        else:
            self._kill(worker)
            self._spoil(world.disks.get(worker.name, {}), kind, dice)

    def _free_disk(self, weight: float) -> None:
        self._world.weights.fail_write = 0.0 if self._calm else weight

    def _spoil(self, disk: dict[str, list[dict[bytes, object]]], kind: str, dice: object) -> None:
        assert isinstance(dice, random.Random)
        if kind == "lost disk":
            disk.clear()
            return
        for writes in disk.values():
            if kind == "stale disk":
                del writes[dice.randint(0, len(writes)) :]
            elif kind == "damaged disk" and dice.random() < 0.7:
                writes.append({DAMAGED: b""})

    def _kill(self, worker: Worker) -> None:
        self._world.tell(f"{worker.name} is killed")
        worker.dead = True

    def _pause(self, worker: Worker, seconds: float) -> None:
        self._world.tell(f"{worker.name} is paused for {seconds:.1f} s")
        worker.paused = True
        self._world.later(seconds, lambda: self._wake(worker))

    def _wake(self, worker: Worker) -> None:
        if worker.paused and not worker.dead:
            self._world.tell(f"{worker.name} goes on")
            worker.paused = False
            loop = asyncio.get_running_loop()
            assert isinstance(loop, SeededLoop)
            loop.release(worker)

    def _move_offsets(self, kind: str, dice: random.Random) -> None:
        world = self._world
        world.tell(kind)
        for tp in sorted(world.offsets):
            if kind == "group offset lost":
                del world.offsets[tp]
            else:
                world.offsets[TP(*tp)] = dice.randint(0, len(world.log(tp).entries))
