"""What a measured process notes of itself, for the bench that started it: a small JSON file.

Times are `time.monotonic()`, which on Linux and macOS is the same clock in every process.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import psutil

#: Where a child finds what it must know.
ENVIRONMENT = "BENCH_CHILD"


def arguments() -> dict[str, Any]:
    """What the bench told this child."""
    told: dict[str, Any] = json.loads(os.environ[ENVIRONMENT])
    return told


def mark(name: str) -> None:
    """Note time and CPU seconds (all threads) of this moment under `name`."""
    now, worked = time.monotonic(), time.process_time()
    folder = Path(arguments()["marks"])
    text = json.dumps({"time": now, "cpu": worked, "memory": peak_memory(os.getpid())})
    # In place at once, so that a reader never sees a part.
    part = folder / f"{name}.part"
    part.write_text(text, encoding="utf-8")
    part.replace(folder / f"{name}.json")


def read_mark(folder: Path, name: str) -> dict[str, float] | None:
    """A child's mark, or None where it has not come so far."""
    try:
        found: dict[str, float] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found


def peak_memory(process_id: int) -> int:
    """Highest resident size of a process so far in bytes; the present one where none is known."""
    try:
        status = Path(f"/proc/{process_id}/status").read_text(encoding="utf-8")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        return int(psutil.Process(process_id).memory_info().rss)
