"""An event loop on virtual time, driven by a seed: same seed, same interleaving.

Nothing waits in real time: when no callback is ready the clock jumps to the next timer. Callbacks
that are ready at once run in an order drawn from the seed, so every run tries another interleaving.
Functions for threads run in the loop, after a drawn delay.

Every callback belongs to the process that was current when its task began (`PROCESS`, a context
variable, so that tasks inherit it). The callbacks of a paused process wait until it goes on, those
of a dead one never run: `kill -STOP` and `kill -9` between any two steps.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any

#: Virtual seconds after which a history that goes on has hung.
END_OF_TIME = 5_000.0
#: Virtual seconds that a turn of the loop takes. Without them a wait for less than the clock's
#: resolution would come back at once, for ever: real time goes on by itself.
TURN = 1e-6
#: Steps of the loop after which a history that goes on has hung, whatever its clock says.
MOST_TURNS = 400_000


class HungError(AssertionError):
    """Nothing is left that could happen, or it goes on for ever."""


class Freezable:
    """What callbacks belong to: it runs, is paused, or is dead."""

    def __init__(self) -> None:
        self.dead = False
        self.paused = False
        #: Callbacks that were due while it was paused.
        self.held: list[Any] = []


#: The process that the running callback belongs to; none: the broker, or the history itself.
PROCESS: ContextVar[Any] = ContextVar("process", default=None)


class _Selector(selectors.BaseSelector):
    """Waits for nobody: it moves the loop's clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.turns = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise HungError("every task waits for another one")
        self.now += max(0.0, timeout) + TURN
        self.turns += 1
        if self.now > END_OF_TIME or self.turns > MOST_TURNS:
            raise HungError(f"still running after {self.now:.0f} virtual seconds")
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: Any) -> Any:
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def get_map(self) -> Any:
        return {}

    def get_key(self, fileobj: Any) -> Any:
        raise KeyError(fileobj)


class NumberedTask(asyncio.Task[Any]):
    """A task whose hash is its number: sets of tasks have the same order in every run."""

    def __init__(self, number: int, coroutine: Coroutine[Any, Any, Any], **options: Any) -> None:
        # The base class hashes the new task.
        self._number = number
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._number


class SeededLoop(asyncio.SelectorEventLoop):
    """`SelectorEventLoop` with virtual time and a drawn order of callbacks."""

    def __init__(self, dice: random.Random) -> None:
        self._virtual = _Selector()
        self._dice = dice
        self._tasks_made = 0
        super().__init__(self._virtual)
        self.set_task_factory(self._make)

    def _make(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, context: Context | None = None
    ) -> asyncio.Task[Any]:
        self._tasks_made += 1
        return NumberedTask(self._tasks_made, coroutine, loop=loop, context=context)

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual.now

    def _run_once(self) -> None:
        """`BaseEventLoop._run_once` without files, and with processes."""
        ready: deque[Any] = self._ready  # type: ignore[attr-defined]
        timers: list[Any] = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
        if ready:
            self._virtual.select(0.0)
        else:
            self._virtual.select(max(0.0, timers[0]._when - self.time()) if timers else None)
        now = self.time()
        while timers and timers[0]._when <= now:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            ready.append(timer)
        due = list(ready)
        ready.clear()
        if len(due) > 1:
            self._dice.shuffle(due)
        for handle in due:
            if handle._cancelled:
                continue
            process = handle._context.get(PROCESS)
            if process is None or not (process.dead or process.paused):
                handle._run()
            else:
                process.held.append(handle)

    def release(self, process: Freezable) -> None:
        """Let what a process has missed go on."""
        held, process.held = process.held, []
        self._ready.extend(held)  # type: ignore[attr-defined]

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, function: Callable[..., Any], *arguments: Any
    ) -> asyncio.Future[Any]:
        """Run the function in the loop, a little later; as a thread it cannot be cancelled."""
        done = self.create_future()

        def call() -> None:
            try:
                result, error = function(*arguments), None
            except Exception as raised:  # noqa: BLE001
                result, error = None, raised
            if done.cancelled():
                return
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)

        self.call_later(self._dice.expovariate(1 / 0.005), call)
        return done
