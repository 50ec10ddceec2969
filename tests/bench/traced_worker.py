"""Child: the application under a trace, `faust -A tests.bench.traced_worker worker`.

Wraps the steps of a rebalance, each where it happens, and notes when it began and ended: a line of
JSON each, in the folder that an environment name says. Times are seconds since the epoch, so that
those of several workers and the broker's append times can be compared on one machine.
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.application import app, settings
from app.streaming.runner import PartitionRunner
from tests.bench.pauses import TRACE_FOLDER
from tests.bench.traced_steps import STEPS

__all__ = ["app"]

_file = (Path(os.environ[TRACE_FOLDER]) / f"{settings.worker}.jsonl").open(
    "a", buffering=1, encoding="utf-8"
)


def note(step: str, began: float, ended: float, **more: object) -> None:
    """Write one line."""
    line = {"worker": settings.worker, "step": step, "began": began, "ended": ended, **more}
    _file.write(json.dumps(line) + "\n")


def trace(owner: object, name: str, step: str, about: Callable[..., dict[str, object]]) -> None:
    """Wrap a coroutine function of a class or a module."""
    plain: Any = getattr(owner, name)

    @functools.wraps(plain)
    async def traced(first: Any, *given: Any, **named: Any) -> Any:
        began = time.time()
        try:
            return await plain(first, *given, **named)
        finally:
            note(step, began, time.time(), **about(first))

    setattr(owner, name, traced)


def _nothing(_: object) -> dict[str, object]:
    return {}


def _partition(owner: PartitionRunner) -> dict[str, object]:
    return {"partition": owner.partition}


def _trace_accept() -> None:
    """The first batch that is applied after a restore or a resume."""
    accept, resume = PartitionRunner.accept, PartitionRunner.resume
    waiting: dict[PartitionRunner, float] = {}

    def resumed(self: PartitionRunner) -> None:
        waiting[self] = time.time()
        resume(self)

    def accepted(self: PartitionRunner, batch: Any) -> bool:
        applied = accept(self, batch)
        if applied and self in waiting:
            note("first batch", waiting.pop(self), time.time(), partition=self.partition)
        return applied

    PartitionRunner.resume = resumed  # type: ignore[method-assign]
    PartitionRunner.accept = accepted  # type: ignore[method-assign]


for owner, name, step in STEPS:
    trace(owner, name, step, _partition if owner is PartitionRunner else _nothing)
_trace_accept()
note("start", time.time(), time.time())
