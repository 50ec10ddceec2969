"""Drift of features: do they still lie where they lay in the rows a version was trained on?

The *population stability index* of a feature (Lewis, An Introduction to Credit Scoring, 1994;
Siddiqi, Credit Risk Scorecards, 2006), over bins with the shares e in training and l live:

    PSI = sum over bins of (l - e) x ln(l / e)

It is 0 for equal shares and above 0 for all others; the symmetric divergence of Kullback and
Leibler (1951). By custom a shift is none below 0.1, moderate to 0.25, major above. Of n independent
rows of an unshifted feature it comes to (bins - 1) x (1/n + 1/training rows) on average (Yurdakul
and Naranjo, Journal of Risk Model Validation 14(4), 2020), which is why there is none of few rows.
Rows that are not independent, as those of a long moving average of one symbol, count for fewer:
such features show a shift where there is only another mood of the market.

*Bins* are cut at the deciles of the training rows. A value that fills two deciles or more gets a
bin of its own, so a constant has one below it, its own, one above. NaN is a bin, too.

*Empty bins*: training shares are of half a row more a bin; live shares are of bins / 2 rows more,
which lie as the training rows do. So no share is 0, and no live rows at all give 0.

*Forgetting*: live counts are of the open day and the last `KEPT_DAYS` days of event time that had
rows. Whole days, since features of the time of day drift within each; a trading week of them, so
that half an open day weighs little; dropped and not halved, so that counts remain whole numbers
that add up over partitions. A normal feature that shifts by one standard deviation comes to 0.1 at
the end of the second day, and passes 0.25 within the fourth.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tables.learning import Learner, State

Rows = npt.NDArray[np.float32]
Counts = tuple[tuple[int, ...], ...]
#: Of a `FeatureSet`.
FeatureRow = tuple[float | None, ...]

#: A PSI from here on is a moderate shift, and a major one.
MODERATE_SHIFT: Final = 0.1
MAJOR_SHIFT: Final = 0.25
#: Bins of present values, at most.
BINS: Final = 10
#: Of fewer live rows there is no PSI; of so many, one feature in a thousand passes 0.06 by chance.
LEAST_ROWS: Final = 500
#: Days that count beside the open one.
KEPT_DAYS: Final = 5
#: As many rows at a time as a byte can count.
_CHUNK: Final = 255
_TINY: Final = float(np.finfo(np.float32).tiny)
_GREATEST: Final = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class DriftReference:
    """Where the features of the training rows lay.

    Attributes:
        cuts: of each feature, ascending; bin i is of values from cut i - 1 up to below cut i.
        counts: rows in each of its bins, one more than cuts, and then those of NaN.
    """

    cuts: tuple[tuple[float, ...], ...]
    counts: Counts

    def __post_init__(self) -> None:
        """Refuse what live rows cannot be compared with.

        Raises:
            ValueError: cuts that are too many, not finite or not ascending, or counts that do not
                fit them, are below 0 or are not of the same rows.
        """
        if len(self.cuts) != len(self.counts):
            raise ValueError(f"cuts of {len(self.cuts)} features, counts of {len(self.counts)}")
        for number, (cuts, counts) in enumerate(zip(self.cuts, self.counts, strict=True), 1):
            ascending = all(one < other for one, other in pairwise(cuts))
            if len(cuts) >= BINS or not ascending or not all(map(math.isfinite, cuts)):
                raise ValueError(f"feature {number}: cuts must be finite, ascending, below {BINS}")
            if len(counts) != len(cuts) + 2 or min(counts) < 0:
                raise ValueError(f"feature {number}: expected {len(cuts) + 2} counts of at least 0")
        rows = {sum(counts) for counts in self.counts}
        if len(rows) != 1 or not min(rows):
            raise ValueError("expected counts of the same rows for each feature, and some")

    @property
    def rows(self) -> int:
        """How many it is of."""
        return sum(self.counts[0])

    def stability(self, live: Counts) -> tuple[float, ...] | None:
        """Return the PSI of each feature; None of fewer than `LEAST_ROWS` rows.

        Args:
            live: counts as `DriftCounts.counts` returns them, or sums of those.

        Raises:
            ValueError: they are of other features or bins.
        """
        if [len(each) for each in live] != [len(each) for each in self.counts]:
            raise ValueError("live counts are of other features or bins than the reference")
        if sum(live[0]) < LEAST_ROWS:
            return None
        return tuple(map(population_stability, self.counts, live))


def population_stability(training: Sequence[int], live: Sequence[int]) -> float:
    """Return the PSI of counts in the same bins; at least 0, and finite."""
    added = len(training) / 2
    rows, seen = sum(training) + added, sum(live) + added
    terms = []
    for trained, counted in zip(training, live, strict=True):
        expected = (trained + 0.5) / rows
        found = (counted + added * expected) / seen
        # By the library of C, not by numpy, whose logarithm depends on the processor.
        terms.append((found - expected) * math.log(found / expected))
    return math.fsum(terms)


def drift_reference(features: Rows) -> DriftReference:
    """Return where the features of training rows lie.

    Args:
        features: float32, shape (rows, features), NaN where there is nothing.

    Raises:
        ValueError: another type or shape, no rows, or an infinity.
    """
    _check(features, features.shape[-1])
    if not features.size or np.isinf(features).any():
        raise ValueError("a reference needs rows and features, and none that is infinite")
    cuts = tuple(_cuts(features[:, column]) for column in range(features.shape[1]))
    least = _least(cuts)
    return DriftReference(cuts, _binned(cuts, len(features), _at_least(features, least)))


class DriftCounts(Learner[FeatureRow, tuple[float, ...]]):
    """Live rows by bin, of each feature: of the open day and the last few.

    Counts are whole numbers: they are the same however rows are split into calls, and those of
    several partitions add up to what one would have counted. The owner says when a day of event
    time ends, at a place in the log. `value` is the PSI of each feature.

    Args:
        reference: of the model version.
    """

    __slots__ = ("_closed", "_least", "_open", "_rows", "_used", "reference")

    def __init__(self, reference: DriftReference) -> None:
        self.reference = reference
        self._least = _least(reference.cuts)
        # Where there is a bin, in the order of the state: feature by feature.
        self._used = ~np.isnan(self._least.T)
        self._rows = 0
        self._open = np.zeros(self._least.shape, np.int64)
        self._closed: list[tuple[int, npt.NDArray[np.int64]]] = []

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return parameter sets for the discovered checks."""
        rows = np.array(cls.sample(17, 2_000), np.float32)
        return [
            {"reference": drift_reference(rows)},
            {"reference": DriftReference(((), (-1.0,), (2.0,)), ((0, 9), (9, 0, 0), (4, 4, 1)))},
        ]

    @classmethod
    def sample(cls, seed: int, count: int) -> list[FeatureRow]:
        """Return items for the discovered checks: a wide, a sparse and a constant feature."""
        chance = random.Random(seed)
        return [
            (
                chance.gauss(0, 1) if chance.random() < 0.9 else None,
                chance.random() if chance.random() < 0.2 else 0.0,
                2.0,
            )
            for _ in range(count)
        ]

    @classmethod
    def hostile(cls, seed: int, count: int) -> list[FeatureRow]:
        """Return items to fear for the discovered checks."""
        chance = random.Random(seed)
        kinds = (None, 0.0, -0.0, 3e38, -3e38, 1e-45, math.inf, -math.inf, math.nan)
        return [tuple(chance.choice(kinds) for _ in range(3)) for _ in range(2 * count)]

    @property
    def rows(self) -> int:
        """How many count."""
        return self._rows + sum(rows for rows, _ in self._closed)

    @property
    def counts(self) -> Counts:
        """Of each feature, rows in its bins, and then those of NaN."""
        whole = self._open + sum(each for _, each in self._closed)
        return _binned(self.reference.cuts, self.rows, whole)

    @property
    def value(self) -> tuple[float, ...] | None:
        """The PSI of each feature; None of fewer than `LEAST_ROWS` rows."""
        return self.reference.stability(self.counts)

    def update(self, item: FeatureRow) -> None:
        """Count one row."""
        self.count(np.array([item], np.float32))

    def count(self, rows: Rows) -> None:
        """Count rows: float32, shape (rows, features), NaN where there is nothing.

        Raises:
            ValueError: another type or number of columns.
        """
        _check(rows, self._least.shape[1])
        self._rows += len(rows)
        np.add(self._open, _at_least(rows, self._least), out=self._open)

    def close_day(self) -> None:
        """Begin another day; the oldest is forgotten. A day without rows is none."""
        if self._rows:
            self._closed = [*self._closed, (self._rows, self._open)][-KEPT_DAYS:]
            self._rows, self._open = 0, np.zeros(self._least.shape, np.int64)

    def _content(self) -> State:
        return [
            [rows, *counts.T[self._used].tolist()]
            for rows, counts in ((self._rows, self._open), *self._closed)
        ]

    def _restore(self, content: State) -> None:
        if not 1 <= len(content) <= 1 + KEPT_DAYS:
            raise ValueError(f"{len(content)} days; expected 1 to {1 + KEPT_DAYS}")
        (self._rows, self._open), *self._closed = [self._day(each) for each in content]

    def _day(self, numbers: list[int]) -> tuple[int, npt.NDArray[np.int64]]:
        rows, *held = numbers
        if not all(isinstance(each, int) and 0 <= each <= rows for each in held):
            raise ValueError("counts must be whole numbers up to those of the rows")
        used = int(self._used.sum())
        if len(held) != used:
            raise ValueError(f"{len(held)} counts; expected {used}")
        counts = np.zeros(self._used.shape, np.int64)
        counts[self._used] = held
        return rows, np.ascontiguousarray(counts.T)


def _check(rows: Rows, columns: int) -> None:
    if rows.dtype != np.float32 or rows.ndim != 2 or rows.shape[1] != columns:
        raise ValueError(
            f"rows of {rows.dtype}, shape {rows.shape}: expected float32, (rows, {columns})"
        )


def _cuts(column: Rows) -> tuple[float, ...]:
    """Return where the bins of a feature begin, but for the first: 9 cuts at most."""
    present = column[~np.isnan(column)]
    if not len(present):
        return ()
    places = [number * len(present) // BINS for number in range(1, BINS)]
    # The zero that has no sign.
    deciles = (np.partition(present, places)[places] + np.float32(0)).tolist()
    cuts = set()
    for decile, alike in groupby(deciles):
        cuts.add(decile)
        if len(list(alike)) > 1:
            cuts.add(_next(decile))
    return tuple(sorted(cut for cut in cuts if math.isfinite(cut)))


def _next(value: float) -> float:
    """Return the next float32; to some libraries subnormal numbers are 0, so none of those."""
    if -_TINY < value < _TINY:
        return _TINY
    if value >= _GREATEST:
        return math.inf
    return float(np.nextafter(np.float32(value), np.float32(np.inf)))


def _least(cuts: Sequence[Sequence[float]]) -> Rows:
    """Return the least value of each bin, shape (bins, features); NaN where there is no bin."""
    most = max(map(len, cuts), default=0)
    found = np.full((1 + most, len(cuts)), np.nan, np.float32)
    for column, own in enumerate(cuts):
        found[0, column] = -np.inf
        found[1 : 1 + len(own), column] = own
    return found


def _at_least(rows: Rows, least: Rows) -> npt.NDArray[np.int64]:
    """Return how many rows reach each bin, shape (bins, features); NaN reaches none."""
    found = np.zeros(least.shape, np.int64)
    for begin in range(0, len(rows), _CHUNK):
        reached = (rows[begin : begin + _CHUNK, None, :] >= least).view(np.uint8)
        found += np.add.reduce(reached, axis=0, dtype=np.uint8)
    return found


def _binned(cuts: Sequence[Sequence[float]], rows: int, reached: npt.NDArray[np.int64]) -> Counts:
    """Return rows by bin, and those of NaN, from how many reach each bin."""
    columns = reached.T.tolist()
    return tuple(
        (
            *(one - other for one, other in pairwise((*column[: len(own) + 1], 0))),
            rows - column[0],
        )
        for own, column in zip(cuts, columns, strict=True)
    )
