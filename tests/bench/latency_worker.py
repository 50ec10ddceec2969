"""Child: `faust -A app worker`, which notes when each batch of trades is in its rows.

A batch is applied without an `await`, so no reader of the memory sees a part of it: what is noted
is the moment after it. The notes stay in memory and are written when the worker has ended.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from faust.cli.faust import cli

from agents.bars import AGENT
from app.observe.latency import Runs, runs_of
from app.streaming.runner import PartitionRunner
from tests.bench.latency_figures import Int64Array
from tests.bench.marks import arguments

FILE = "applied.npz"
#: Moment (ns), partition, first offset, end.
Note = tuple[int, int, int, int]


def main() -> None:
    """Run the worker until it is told to stop."""
    notes: list[Note] = []
    appended: list[Runs] = []
    accept = PartitionRunner.accept

    def noted(self: PartitionRunner, batch: Any) -> bool:
        before = self.position
        accepted = accept(self, batch)
        if accepted and self.stage.agent == AGENT:
            notes.append((time.time_ns(), self.partition, before, self.position))
            appended.append(runs_of(batch.since(before).append_times))
        return accepted

    PartitionRunner.accept = noted  # type: ignore[method-assign]
    try:
        cli(["-A", "app", "worker", "-l", "warn"])
    finally:
        write(Path(arguments()["marks"]) / FILE, notes, appended)


def write(path: Path, notes: Sequence[Note], appended: Sequence[Runs]) -> None:
    """Write what was noted of each batch, and the runs of equal append times in it."""
    columns = np.array(notes, dtype=np.int64).reshape(-1, 4)
    np.savez(
        path,
        time=columns[:, 0],
        partition=columns[:, 1],
        begin=columns[:, 2],
        end=columns[:, 3],
        runs=np.array([len(each.times) for each in appended], dtype=np.int64),
        run_time=_joined([each.times for each in appended]),
        run_count=_joined([each.counts for each in appended]),
    )


def _joined(parts: Sequence[Int64Array]) -> Int64Array:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


if __name__ == "__main__":
    main()
