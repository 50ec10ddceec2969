"""Child: `faust -A app worker`, with a mark when the engine is handed its first batch.

The mark is taken once and then takes itself away. With a profile wanted, cProfile watches the main
thread from that moment.
"""

from __future__ import annotations

import cProfile
from typing import Any

from faust.cli.faust import cli

from app.streaming.engine import Engine
from tests.bench.marks import arguments, mark


def main() -> None:
    """Run the worker until it is told to stop."""
    profile_file: str = arguments()["profile"] or ""
    profile = cProfile.Profile() if profile_file else None
    handle = Engine.handle

    async def first(self: Engine, *given: Any, **named: Any) -> None:
        Engine.handle = handle  # type: ignore[method-assign]
        mark("first")
        if profile is not None:
            profile.enable()
        await handle(self, *given, **named)

    Engine.handle = first  # type: ignore[method-assign]
    try:
        cli(["-A", "app", "worker", "-l", "warn"])
    finally:
        if profile is not None:
            profile.disable()
            profile.dump_stats(profile_file)


if __name__ == "__main__":
    main()
