"""How long records take from the log to where they are seen: exact, without a loop over them.

Kafka gives the records of one producer batch one append time, so the append times of a fetch are
a few runs of equal values. A run is put into its bucket with its number of records.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

NANOSECONDS = 1_000_000_000
#: What a batch has led to: at least one output, or changed state rows alone.
OUTPUT, STATE = "output", "state"
_ONE = np.ones(1, dtype=np.int64)
#: Records of a batch as it comes live.
_FEW = 100


class Runs(NamedTuple):
    """Append times (int64, ns since the epoch) and how many records have each (int64)."""

    times: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]


def runs_of(times: npt.NDArray[np.int64]) -> Runs:
    """Return the runs of equal neighbours of a batch's append times; shape (records,).

    They hold no reference to it: a batch may be kept for a second.
    """
    if len(times) == 1:
        return Runs(times.copy(), _ONE)
    if 0 < len(times) <= _FEW:
        # One run mostly: a third of the time.
        each = times.tolist()
        if each.count(each[0]) == len(each):
            return Runs(times[:1].copy(), np.array([len(each)]))
    edges = np.flatnonzero(times[1:] != times[:-1]) + 1
    if not len(edges):
        return Runs(times[:1].copy(), np.array([len(times)] if len(times) else [], dtype=np.int64))
    begins = np.concatenate(([0], edges))
    return Runs(times[begins], np.diff(begins, append=len(times)))


class Uncommitted:
    """The append times of the batches that no checkpoint has committed yet."""

    def __init__(self) -> None:
        self._runs: dict[str, list[Runs]] = {OUTPUT: [], STATE: []}

    def add(self, runs: Runs, *, made_output: bool) -> None:
        """Add a batch that was applied."""
        if len(runs.counts):
            self._runs[OUTPUT if made_output else STATE].append(runs)

    def by_effect(self) -> Iterator[tuple[str, Runs]]:
        """All runs of each effect that there is."""
        for effect, runs in self._runs.items():
            if runs:
                times, counts = zip(*runs, strict=True)
                yield effect, Runs(np.concatenate(times), np.concatenate(counts))


class WeightedHistogram(Collector):
    """A histogram whose observations come many at a time; prometheus_client's takes one.

    Args:
        name: of the family, in seconds.
        labels: their names.
        bounds: upper ends of the buckets in seconds, ascending; infinity is added.
    """

    def __init__(
        self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float]
    ) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._bounds = list(bounds)
        self._names = [*map(floatToGoString, bounds), "+Inf"]
        self._counts: dict[tuple[str, ...], npt.NDArray[np.int64]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def observe(self, labels: tuple[str, ...], runs: Runs, now: float) -> int:
        """Add each record with the seconds from its append time to `now`, at least 0.

        Args:
            now: wall clock, seconds since the epoch.

        Returns:
            How many records were appended later than `now`, by the broker's clock: it is ahead of
            ours by more than they took.
        """
        counts = self._counts.get(labels)
        if counts is None:
            # In this order: a scrape in another thread looks for the sum of what it finds.
            self._sums[labels] = 0.0
            counts = self._counts[labels] = np.zeros(len(self._names), dtype=np.int64)
        if len(runs.times) == 1:
            # Live, a batch is one run mostly: a tenth of the time.
            each, count = now - runs.times.item(0) / NANOSECONDS, runs.counts.item(0)
            counts[bisect_left(self._bounds, each)] += count
            self._sums[labels] += max(0.0, each) * count
            return count if each < 0 else 0
        seconds = now - runs.times / NANOSECONDS
        np.add.at(counts, np.searchsorted(self._bounds, seconds), runs.counts)
        self._sums[labels] += float(np.maximum(seconds, 0.0) @ runs.counts)
        return int(runs.counts[seconds < 0].sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The family, for a scrape."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for labels, counts in self._counts.copy().items():
            buckets = list(zip(self._names, map(float, np.cumsum(counts)), strict=True))
            family.add_metric(labels, buckets=buckets, sum_value=self._sums[labels])
        yield family
