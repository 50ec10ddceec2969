"""Child: `faust -A app worker`, with a mark when the engine is handed its first batch.

The mark is taken once and then takes itself away. With a profile wanted, cProfile watches the main
thread from that moment; with stages wanted, clocks are around their functions (`stages.py`). With
a gate, nothing is fetched before that file is there, so that several workers begin together.
"""

from __future__ import annotations

import asyncio
import cProfile
from pathlib import Path
from typing import Any

from faust.cli.faust import cli

from app.streaming.engine import Engine
from app.streaming.transport import Consumer
from tests.bench.marks import arguments, mark
from tests.bench.stages import Stages, install

POLL_SECONDS = 0.005


def main() -> None:
    """Run the worker until it is told to stop."""
    told = arguments()
    profile = cProfile.Profile() if told.get("profile") else None
    stages = Stages() if told.get("stages") else None
    if told.get("gate"):
        _wait_at(Path(told["gate"]))
    if stages is not None:
        install(stages)
    handle = Engine.handle

    async def first(self: Engine, *given: Any, **named: Any) -> None:
        Engine.handle = handle  # type: ignore[method-assign]
        mark("first")
        if profile is not None:
            profile.enable()
        if stages is not None:
            stages.begin()
        await handle(self, *given, **named)

    Engine.handle = first  # type: ignore[method-assign]
    try:
        cli(["-A", "app", "worker", "-l", "warn"])
    finally:
        if profile is not None:
            profile.disable()
            profile.dump_stats(told["profile"])
        if stages is not None:
            stages.write(Path(told["stages"]))


def _wait_at(gate: Path) -> None:
    """Have the consumer, and its thread, ask for nothing before the gate's file is there."""
    ask, is_fed = Consumer._wait_next_records, Consumer.is_fed
    opened = False

    async def gated(self: Consumer, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's signature
        nonlocal opened
        if not gate.exists():  # noqa: ASYNC240 - another process's
            await asyncio.sleep(POLL_SECONDS)
            return None, None
        Consumer._wait_next_records = ask  # type: ignore[method-assign]
        opened = True
        self.feed.wake()
        return await ask(self, timeout)

    Consumer._wait_next_records = gated  # type: ignore[method-assign]
    # The thread keeps what it was given at its start.
    Consumer.is_fed = lambda self: opened and is_fed(self)  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
