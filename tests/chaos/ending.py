"""How a command of chaos ends: by a signal, with a report, and the exit code."""

from __future__ import annotations

import asyncio
import json
import platform
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from app.broker import KAFKA_VERSION
from app.run.environment import ROOT

PACKAGES = ("candlewick", "faust-streaming", "aiokafka", "rocksdict", "confluent-kafka")
#: The exit code of what was interrupted.
INTERRUPTED = 130


class Findings(ABC):
    """What a run has found, as text and as JSON."""

    @property
    @abstractmethod
    def faults_found(self) -> list[str]:
        """Why the run fails; empty where it passes."""

    @property
    def passes(self) -> bool:
        """Whether nothing was lost, doubled or wrong, and enough was tried."""
        return not self.faults_found

    @abstractmethod
    def text(self) -> str:
        """Of the terminal."""

    @abstractmethod
    def document(self) -> dict[str, Any]:
        """The same as JSON."""

    def verdict_lines(self) -> list[str]:
        """The last lines of the text."""
        found = [f"FINDING: {each}" for each in self.faults_found]
        return [*found, "PASSES" if self.passes else "FAILS"]

    def write(self, path: Path) -> None:
        """Write the document."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.document(), indent=1) + "\n", encoding="utf-8")


Found = TypeVar("Found", bound=Findings)


def run_to_its_end(run: Coroutine[Any, Any, Found]) -> Found | None:
    """Run it; None where it was interrupted, by Ctrl-C or a signal to end, and has ended all."""

    async def ended_by_signal() -> Found:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        # As Ctrl-C does: everything is ended and unmounted on the way out.
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
        return await run

    try:
        return asyncio.run(ended_by_signal())
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("interrupted; everything was ended", file=sys.stderr)
        return None


def tell(report: Findings | None, path: Path) -> int:
    """Write and print a report; return the exit code."""
    if report is None:
        return INTERRUPTED
    report.write(path)
    print(report.text())
    print(f"report: {path}")
    return 0 if report.passes else 1


def versions() -> dict[str, str]:
    """Return the versions of what runs, by name."""
    found = {name: version(name) for name in PACKAGES}
    return found | {"python": platform.python_version(), "kafka": KAFKA_VERSION}


def machine() -> str:
    """Return the versions as a line."""
    return ", ".join(f"{name} {number}" for name, number in versions().items())


def commit() -> str:
    """Return what git calls the checkout."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()
