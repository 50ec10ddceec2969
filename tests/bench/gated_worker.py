"""Child: a worker of `candlewick run` that applies nothing before a file is there: the gate.

So that several workers can share out the partitions before the first of them begins.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from faust.cli.faust import cli

from app.run.attended import end_with_supervisor
from app.streaming.engine import Engine

#: Where the child finds the gate's path; the settings refuse names of their own that are unknown.
GATE = "BENCH_GATE"
POLL_SECONDS = 0.005


def main() -> None:
    """Run the worker until it is told to stop, or its supervisor ends."""
    end_with_supervisor()
    gate = os.environ[GATE]
    handle = Engine.handle

    async def gated(self: Engine, *given: Any, **named: Any) -> None:
        while not os.path.exists(gate):  # noqa: ASYNC110, ASYNC240 - another process's
            await asyncio.sleep(POLL_SECONDS)
        Engine.handle = handle  # type: ignore[method-assign]
        await handle(self, *given, **named)

    Engine.handle = gated  # type: ignore[method-assign]
    cli(["-A", "app", "--quiet", "worker", *sys.argv[1:]])


if __name__ == "__main__":
    main()
