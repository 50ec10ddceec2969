"""A measured process: started in a folder of its own, waited for, always ended, by its id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.marks import ENVIRONMENT, read_mark

ROOT = Path(__file__).resolve().parents[2]
#: Seconds until a child that does not come to its end is given up.
PATIENCE = 180.0
STOP_SECONDS = 30.0


class ChildError(RuntimeError):
    """A measured process ended early or did not come to its end."""


@dataclass
class Child:
    """A running process and its folder."""

    process: subprocess.Popen[bytes]
    folder: Path

    def mark(self, name: str) -> dict[str, float]:
        """Wait for a mark of the child."""
        self.wait_until(lambda: read_mark(self.folder, name) is not None, f"mark {name!r}")
        found = read_mark(self.folder, name)
        assert found is not None
        return found

    def wait_until(self, reached: Callable[[], bool], what: str, pause: float = 0.05) -> None:
        """Wait for something that the child is to bring about.

        Raises:
            ChildError: the child ended before, or it took too long.
        """
        deadline = time.monotonic() + PATIENCE
        while not reached():
            if self.process.poll() is not None:
                raise ChildError(
                    f"it ended with {self.process.returncode} before {what}: {self.log}"
                )
            if time.monotonic() > deadline:
                raise ChildError(f"no {what} within {PATIENCE:g} s: {self.log}")
            time.sleep(pause)

    @property
    def log(self) -> str:
        """The end of what the child printed."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-4_000:]


@contextmanager
def running(
    module: str,
    folder: Path,
    told: dict[str, Any],
    *,
    arguments: Sequence[str] = (),
    environment: dict[str, str] | None = None,
    prefix: Sequence[str] = (),
    starting: Sequence[str] = (sys.executable, "-m"),
) -> Iterator[Child]:
    """Run `python -m module` with `told` to read; it is ended when the block is left.

    Args:
        folder: empty or new; holds marks, log and whatever the child keeps.
        prefix: command in front, which must pass on SIGTERM or end with its child.
        starting: another way to start the module than this Python.
    """
    folder.mkdir(parents=True)
    told = {**told, "marks": str(folder)}
    command = [*prefix, *starting, module, *arguments]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={
                **os.environ,
                **(environment or {}),
                "PYTHONPATH": str(ROOT),
                ENVIRONMENT: json.dumps(told),
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Child(process, folder)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
