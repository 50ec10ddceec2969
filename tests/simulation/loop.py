"""An event loop on virtual time, driven by a seed: same seed, same interleaving.

Nothing waits in real time: when no callback is ready the clock jumps to the next timer. Callbacks
that are ready at once run in an order drawn from the seed, so every run tries another interleaving.
Functions for threads run in the loop, after a drawn delay.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections import deque
from collections.abc import Callable
from typing import Any

#: Virtual seconds after which a history that goes on has hung.
END_OF_TIME = 100_000.0


class HungError(AssertionError):
    """Nothing is left that could happen, or it goes on for ever."""


class _Selector(selectors.BaseSelector):
    """Waits for nobody: it moves the loop's clock."""

    def __init__(self) -> None:
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise HungError("every task waits for another one")
        self.now += max(0.0, timeout)
        if self.now > END_OF_TIME:
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


class SeededLoop(asyncio.SelectorEventLoop):
    """`SelectorEventLoop` with virtual time and a drawn order of callbacks."""

    def __init__(self, dice: random.Random) -> None:
        self._virtual = _Selector()
        self._dice = dice
        super().__init__(self._virtual)

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual.now

    def _run_once(self) -> None:
        ready: deque[Any] = self._ready  # type: ignore[attr-defined]
        if len(ready) > 1:
            mixed = list(ready)
            self._dice.shuffle(mixed)
            ready.clear()
            ready.extend(mixed)
        super()._run_once()  # type: ignore[misc]

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, function: Callable[..., Any], *arguments: Any
    ) -> asyncio.Future[Any]:
        """Run the function in the loop, a little later."""
        done = self.create_future()

        def call() -> None:
            if done.cancelled():
                return
            try:
                done.set_result(function(*arguments))
            except Exception as error:  # noqa: BLE001
                done.set_exception(error)

        self.call_later(self._dice.expovariate(1 / 0.005), call)
        return done
