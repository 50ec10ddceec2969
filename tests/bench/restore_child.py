"""Child: restores a view or a stage's state as a worker does, with a mark at each step.

What runs is the worker's own code, `Views` and `PartitionRunner`, without Faust around it. A folder
that is not there is restored from the topic, one that is from the folder.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from faust.types import TP

import app.streaming.runner as runner_module
from agents.bars import AGENT, make_stage
from agents.windowed import WindowedState
from app.observe.health import HealthState
from app.observe.metrics import Metrics
from app.settings import Settings, load_settings
from app.streaming import slim
from app.streaming.engine import Engine
from app.streaming.runner import PartitionRunner
from app.streaming.store import PartitionStore
from app.streaming.tuning import tune_process
from app.topics import source_topic
from app.views.follower import Views
from app.views.partition import ViewPartition
from tests.bench.marks import arguments, mark

PAUSE = 0.002


class WrongRowsError(RuntimeError):
    """What was restored is not what was published."""


@dataclass
class IdleEngine:
    """What a view asks of the engine, of one that has nothing else to do."""

    stages: dict[str, Any]
    runners: dict[TP, Any] = field(default_factory=dict)
    request_timeout: int = 15_000
    applied_seconds: float = 0.0


def check(what: str, found: int, expected: int) -> None:
    """Compare two counts.

    Raises:
        WrongRowsError: they differ.
    """
    if found != expected:
        raise WrongRowsError(f"{what}: {found} instead of {expected}")


async def view(settings: Settings, rows: int) -> None:
    """Follow the bars until the view is whole, then read every row of it."""
    stage = make_stage(settings)
    views = Views(settings, cast(Any, IdleEngine({stage.agent: stage})))
    tune_process()
    mark("begin")
    views.assigned([TP(source_topic(settings, AGENT), 0)])
    try:
        while True:
            followed = views.get(AGENT, 0)
            if followed is not None and followed.whole and followed.view is not None:
                break
            await asyncio.sleep(PAUSE)
        mark("restored")
        check("rows of the view", followed.view.rows, rows)
        check("bars read", _read(followed.view), rows)
        mark("read")
    finally:
        await views.stop()


def _read(opened: ViewPartition) -> int:
    return sum(
        len(opened.history(series.symbol, series.length, opened.keep)) for series in opened.series()
    )


async def state(settings: Settings, rows: int) -> None:
    """Restore partition 0 of the bars stage, then read every row of its store.

    Begins after the fencing of the previous owner: that costs the same with any number of rows.
    """
    stage = make_stage(settings)
    slim.register(stage.changelog, keyed=True)
    engine = Engine(settings, [stage], HealthState(), Metrics())
    runner = PartitionRunner(stage, 0, engine._make_context())
    opened, load = runner_module.PartitionStore, stage.load

    def open_store(folder: Path) -> PartitionStore:
        mark("begin")
        return opened(folder)

    def load_state(*given: Any) -> WindowedState:
        mark("caught")
        loaded = load(*given)
        mark("restored")
        return loaded

    runner_module.PartitionStore = open_store  # type: ignore[misc, assignment]
    stage.load = load_state  # type: ignore[method-assign]
    tune_process()
    try:
        await runner.restore()
        assert runner.store is not None
        # All but the store's own one, its position.
        found = sum(1 for _ in runner.store.rows([b""])) - 1
        check("rows of the store", found, rows)
        mark("read")
    finally:
        await runner.close()


def main() -> None:
    """Do what the bench told."""
    told = arguments()
    slim.install()
    settings = load_settings()
    asyncio.run((view if told["way"] == "view" else state)(settings, told["rows"]))
    mark("stopped")


if __name__ == "__main__":
    main()
