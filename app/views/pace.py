"""When a view reads on: while the engine works through input, it takes next to no CPU.

The same event loop runs both. A step of a view may be a producer batch of some thousand bars a
partition; while the engine is busy there is one every `PATIENCE` seconds, so that a view never
stops for good. Busy is not behind: at a steady rate that leaves the CPU half idle there
is always a little input waiting, and the pages must move all the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

#: Seconds that a view waits for the engine, at most, before each step.
PATIENCE = 10.0
#: Seconds between two looks at the engine; some fetches long.
LOOK = 0.1
#: Share of the time spent on applying batches from which the engine is busy. Reading through a log
#: at full speed it is above a half: fetching and publishing take the rest.
BUSY_SHARE = 0.25


class Load:
    """How busy the engine was since the last look.

    Args:
        applied: seconds that it has spent on applying batches so far.
    """

    def __init__(
        self, applied: Callable[[], float], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._applied = applied
        self._now = now
        self._before = applied()
        self._looked = now()

    def is_busy(self) -> bool:
        """Whether it was busy since the last call."""
        applied, now = self._applied(), self._now()
        spent, passed = applied - self._before, now - self._looked
        self._before, self._looked = applied, now
        return spent > BUSY_SHARE * passed


async def give_way(
    is_busy: Callable[[], bool],
    *,
    patience: float = PATIENCE,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> float:
    """Wait while the engine is busy, at most `patience` seconds; the seconds waited."""
    began = now()
    while is_busy() and now() - began < patience:
        await sleep(LOOK)
    return now() - began
