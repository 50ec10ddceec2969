"""`candlewick simulate` as a process of its own, for runs that need a market."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from app.run.environment import settings_environment
from app.settings import Settings

#: Seconds for its end, after which it is killed.
END_SECONDS = 30


@asynccontextmanager
async def simulating(
    settings: Settings, folder: Path, arguments: Sequence[str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run it until this is left, also where it was suspended; `folder/market.log` has its words."""
    with (folder / "market.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.cli", "simulate", *arguments),
            env=settings_environment(settings),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), END_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()
