"""The pauses of each rebalance from append times, and the steps that workers noted meanwhile."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

#: The environment's name for the folder of the workers' notes.
TRACE_FOLDER = "BENCH_TRACE_FOLDER"
#: Partition to the name of the worker that has it ready.
Owners = Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Happening:
    """One change among the workers; times in seconds since the epoch."""

    kind: str
    worker: str
    #: When the signal was sent, or the process started.
    began: float
    #: When every partition was ready again with one worker.
    settled: float
    before: Owners
    after: Owners

    @property
    def moved(self) -> set[int]:
        """The partitions that have another worker after it."""
        return {each for each, owner in self.after.items() if self.before.get(each) != owner}


@dataclass(frozen=True, slots=True)
class Pause:
    """The longest time without a bar of a partition, between two append times (epoch, s)."""

    partition: int
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.ended - self.began


@dataclass(frozen=True, slots=True)
class Step:
    """What a worker noted; times in seconds since the epoch."""

    worker: str
    step: str
    began: float
    ended: float
    partition: int | None = None

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


def longest_pause(partition: int, times: Sequence[float], begin: float, end: float) -> Pause:
    """The longest pause that ends in a span of time; it may have begun before.

    One that lasts to the end of the span is cut there.

    Args:
        times: of the partition's bars, in order.
    """
    known = [time for time in times if time < end]
    around = [*(known or [begin]), end]
    found = [Pause(partition, *pair) for pair in pairwise(around) if pair[1] > begin]
    return max(found, key=lambda pause: pause.seconds)


def pauses(
    times: Mapping[int, Sequence[float]], begin: float, end: float, chosen: Iterable[int]
) -> list[Pause]:
    """The longest pause of each chosen partition in a span of time."""
    return [longest_pause(each, times[each], begin, end) for each in sorted(chosen)]


def read_steps(folder: Path) -> list[Step]:
    """All that the workers noted, by their beginnings."""
    lines = [line for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    return sorted((Step(**json.loads(line)) for line in lines), key=lambda step: step.began)


def describe(seconds: Sequence[float]) -> str:
    """Median and worst as text; a dash where nothing was measured."""
    if not seconds:
        return f"{'-':>7}{'-':>8}"
    return f"{statistics.median(seconds):>7.2f}{max(seconds):>8.2f}"
