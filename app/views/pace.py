"""When a view reads on: while the engine has more input waiting, it takes a small share of the CPU.

The same event loop runs both. A step of a view is some ten milliseconds; while the engine is
behind there is one every `PATIENCE` seconds, so that a view never stops for good.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

#: Seconds that a view waits for the engine, at most, before each step.
PATIENCE = 2.0
#: Seconds between two looks at the engine.
LOOK = 0.05


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
