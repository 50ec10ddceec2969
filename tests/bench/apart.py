"""A bench apart from its surroundings: no settings of the caller, a folder of its own, an end."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from app.settings import PREFIX


def say(text: str) -> None:
    """Print progress at once."""
    print(text, flush=True)


def stop(number: int, _frame: FrameType | None) -> None:
    """Leave all blocks, which ends every process of ours."""
    raise SystemExit(f"bench stopped by {signal.Signals(number).name}")


@contextmanager
def apart(name: str, *, limit_seconds: int = 0) -> Iterator[Path]:
    """Give a temporary folder; no setting of the caller may change what is measured in it.

    Args:
        limit_seconds: after which it ends by itself; 0: never.
    """
    signal.signal(signal.SIGTERM, stop)
    if limit_seconds:
        signal.signal(signal.SIGALRM, stop)
        signal.alarm(limit_seconds)
    # Topics that were just made: the first requests may come too early, and are repeated.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    for variable in [each for each in os.environ if each.startswith(PREFIX)]:
        del os.environ[variable]
    with tempfile.TemporaryDirectory(prefix=f"candlewick-{name}-") as folder:
        empty = Path(folder) / "empty.toml"
        empty.touch()
        os.environ["CANDLEWICK_CONFIG"] = str(empty)
        # The engine is measured, not what writes beside it.
        os.environ["CANDLEWICK_SINKS__DRIVERS"] = "none"
        yield Path(folder)
