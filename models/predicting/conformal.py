"""Intervals around predictions that hold what they promise.

*Split conformal* (Papadopoulos et al., 2002; Lei et al., 2018): the model is judged on rows it was
not trained on, and the interval is as wide as the quantile of its residuals there. If residuals
are exchangeable, the share of targets inside is at least the level, for any model and any finite
number of rows. They are not, in a market, so live the level is steered by what happened: *adaptive
conformal inference* (Gibbs and Candes, 2021), `alpha += rate * (wanted alpha - missed)`, whose
share of misses tends to the wanted one whatever comes.

Residuals are normalised: divided by a running mean of the symbol's own absolute residuals that were
known at the time. Absolute ones would give one width to a quiet and to a wild symbol, to noon and
to the open: right on average, too wide for the one and too narrow for the other.
"""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tables.learning import Learner, State

Floats = npt.NDArray[np.float64]

#: Of wanted misses: intervals of 90 %.
ALPHA: Final = 0.1
#: By how much one miss moves alpha; that of the paper.
RATE: Final = 0.005
#: Outcomes after which the scale has forgotten; and how many the start counts for.
MEMORY: Final = 100
START_WEIGHT: Final = 10
#: Outcomes after which `recent` coverage has forgotten.
RECENT: Final = 500
#: Calibration scores a model version keeps, at most.
MOST_SCORES: Final = 1_999
#: A return smaller than this is nothing.
LEAST_SCALE: Final = 1e-12
#: A residual counts as so many scales at most, when it makes the next scale.
_OUTLIER: Final = 10.0
_MOST: Final = 1e100


def quantile_rank(count: int, alpha: float) -> int:
    """Return which of `count` scores, from 1, is the conformal quantile: ceil((n+1)(1-alpha)).

    `count + 1` means that no finite one is wide enough, 0 or less that none is needed.
    """
    # 10 * (1 - 0.3) is 7.000000000000001 in floating point, whose ceiling is not meant.
    return math.ceil((count + 1) * (1 - alpha) - 1e-9)


def conformal_quantile(scores: Sequence[float], alpha: float) -> float | None:
    """Return the finite-sample quantile of ascending scores; None where no finite one will do."""
    rank = quantile_rank(len(scores), alpha)
    if rank > len(scores):
        return None
    return scores[rank - 1] if rank > 0 else 0.0


@dataclass(frozen=True)
class Calibration:
    """What a model version says of its errors on rows that it was not trained on.

    Attributes:
        scores: normalised absolute residuals, ascending.
        scale: mean absolute residual, in returns; what a symbol without outcomes begins with.
    """

    scores: tuple[float, ...]
    scale: float

    def __post_init__(self) -> None:
        """Refuse what intervals cannot be made of.

        Raises:
            ValueError: scores are not finite, not ascending or below 0, or the scale is.
        """
        ascending = all(one <= other for one, other in pairwise(self.scores))
        bounded = not self.scores or (self.scores[0] >= 0 and math.isfinite(self.scores[-1]))
        if not (ascending and bounded and math.isfinite(self.scale) and self.scale >= 0):
            raise ValueError("calibration scores must be finite, at least 0 and ascending")

    def quantile(self, alpha: float) -> float | None:
        """Return how many scales wide half an interval must be; None: wider than any seen."""
        return conformal_quantile(self.scores, alpha)

    def thinned(self, most: int = MOST_SCORES) -> Calibration:
        """Return at most so many scores, whose quantiles are never below those of all.

        Rank k of m stands for rank ceil(k (n+1) / (m+1)) of n.
        """
        count = len(self.scores)
        if count <= most:
            return self
        ranks = [-(-(k * (count + 1)) // (most + 1)) for k in range(1, most + 1)]
        return Calibration(tuple(self.scores[rank - 1] for rank in ranks), self.scale)


class ResidualScale:
    """A running mean of absolute residuals: exact at first, later exponential, the start fading."""

    __slots__ = ("count", "floor", "value")

    def __init__(self, start: float) -> None:
        self.floor = max(LEAST_SCALE, 0.01 * start)
        self.value = max(start, self.floor)
        self.count = 0

    def learn(self, residual: float) -> None:
        """Take an absolute residual in; an outlier counts as ten scales."""
        self.count = min(self.count + 1, MEMORY)
        counted = min(residual, _OUTLIER * self.value)
        weight = 1 / min(self.count + START_WEIGHT, MEMORY)
        self.value = max(self.floor, self.value + (counted - self.value) * weight)


class Outcome(NamedTuple):
    """What became of a prediction: what had been said, and the return that came."""

    prediction: float
    low: float | None
    high: float | None
    target: float


class Band(NamedTuple):
    """What the next interval is made of.

    Attributes:
        half_width: in returns; None where no finite interval would do.
        alpha: the level it was made at, between -rate and 1 + rate.
        coverage: share of outcomes inside, of all so far; None before any.
        recent: the same, of about the last 500.
        outcomes: how many so far.
    """

    half_width: float | None
    alpha: float
    coverage: float | None
    recent: float | None
    outcomes: int

    def interval(self, prediction: float) -> tuple[float, float] | tuple[None, None]:
        """Return the interval around a prediction; (None, None) is the whole line."""
        return interval_of(prediction, self.half_width)


def interval_of(
    prediction: float, half_width: float | None
) -> tuple[float, float] | tuple[None, None]:
    """Return the interval of a half width around a prediction; (None, None) is the whole line."""
    if half_width is None:
        return None, None
    low, high = prediction - half_width, prediction + half_width
    return (low, high) if math.isfinite(low) and math.isfinite(high) else (None, None)


class AdaptiveInterval(Learner[Outcome, Band]):
    """Adaptive conformal inference for one symbol and interval.

    It is told the outcome of each prediction when that is known, `horizon` bars later, with the
    bounds that had been given out; who keeps those meanwhile is not its matter. `value.interval`
    makes the next. Works for drifts slower than some hundreds of outcomes; after a sudden one there
    are misses until scale and level have followed.

    Args:
        calibration: of the model version.
        alpha: share of misses wanted.
        rate: by how much one miss moves the level; 0 is split conformal.
    """

    __slots__ = ("_alpha", "_count", "_covered", "_recent", "_scale", "calibration", "rate",
                 "wanted")  # fmt: skip

    def __init__(self, calibration: Calibration, alpha: float = ALPHA, rate: float = RATE) -> None:
        if not 0 < alpha < 1 or not 0 <= rate < 1:
            raise ValueError(f"alpha {alpha}, rate {rate}; expected within 0 and 1")
        self.calibration = calibration
        self.wanted = alpha
        self.rate = rate
        self._alpha = alpha
        self._scale = ResidualScale(calibration.scale)
        self._count = 0
        self._covered = 0
        self._recent = 1 - alpha

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return parameter sets for the discovered checks."""
        chance = random.Random(6)
        many = Calibration(tuple(sorted(abs(chance.gauss(0, 1.25)) for _ in range(200))), 2.0)
        return [
            {"calibration": many},
            {"calibration": many, "alpha": 0.5, "rate": 0.1},
            {"calibration": Calibration((1.5,), 1.0)},
            {"calibration": Calibration((), 0.0), "rate": 0.0},
        ]

    @classmethod
    def sample(cls, seed: int, count: int) -> list[Outcome]:
        """Return items for the discovered checks."""
        chance = random.Random(seed)
        items = []
        for _ in range(count):
            middle, half = chance.gauss(0, 0.1), 1.6 * chance.random() + 1.0
            items.append(Outcome(middle, middle - half, middle + half, chance.gauss(0, 1)))
        return items

    @classmethod
    def hostile(cls, seed: int, count: int) -> list[Outcome]:
        """Return items to fear for the discovered checks."""
        chance = random.Random(seed)
        kinds = (0.0, 0.0, 1.0, -1.0, 1e300, -1.7e308, 1.7e308, 5e-324, 1e-9)
        return [
            Outcome(chance.choice(kinds), low, None if low is None else 1.0, chance.choice(kinds))
            for low in (chance.choice((None, -1.0, -1e308)) for _ in range(count))
        ]

    @property
    def value(self) -> Band:
        """The next interval's half width, its level, and the coverage so far."""
        return Band(
            self._half_width(),
            self._alpha,
            self._covered / self._count if self._count else None,
            self._recent if self._count else None,
            self._count,
        )

    def interval(self, prediction: float) -> tuple[float, float] | tuple[None, None]:
        """Return what `value.interval` does."""
        return interval_of(prediction, self._half_width())

    def _half_width(self) -> float | None:
        quantile = self.calibration.quantile(self._alpha)
        half = None if quantile is None else quantile * self._scale.value
        return half if half is not None and half < _MOST else None

    def update(self, item: Outcome) -> None:
        """Take the outcome of a prediction; without bounds it counts as covered."""
        prediction, low, high, target = item
        missed = low is not None and high is not None and not low <= target <= high
        moved = self._alpha + self.rate * (self.wanted - missed)
        self._alpha = max(-self.rate, min(1 + self.rate, moved))
        self._count += 1
        self._covered += not missed
        weight = 1 / min(self._count, RECENT)
        self._recent += (float(not missed) - self._recent) * weight
        self._scale.learn(min(abs(target - prediction), _MOST))

    def _content(self) -> State:
        return [
            self._alpha, self._scale.value, self._scale.count, self._count, self._covered,
            self._recent,
        ]  # fmt: skip

    def _restore(self, content: State) -> None:
        (self._alpha, self._scale.value, self._scale.count, self._count, self._covered,
         self._recent) = content  # fmt: skip


def calibrate(
    time: npt.NDArray[np.int64],
    label_time: npt.NDArray[np.int64],
    symbol: npt.NDArray[np.int32],
    residual: Floats,
) -> Calibration:
    """Return the calibration that residuals give; each normalised by what was known at its time.

    Args:
        time: of the rows, ns, ascending.
        label_time: when each residual became known, ns.
        symbol: of the rows.
        residual: target less prediction, of rows that the model was not trained on.
    """
    sizes = np.minimum(np.abs(residual), _MOST)
    start = float(sizes.mean()) if len(sizes) else 0.0
    scales: dict[int, ResidualScale] = {}
    waiting = _Waiting(time, label_time, symbol)
    scores = []
    for row in range(len(time)):
        for known in waiting.until(row):
            scales.setdefault(int(symbol[known]), ResidualScale(start)).learn(float(sizes[known]))
        scale = scales.setdefault(int(symbol[row]), ResidualScale(start))
        scores.append(float(sizes[row]) / scale.value)
    return Calibration(tuple(sorted(scores)), start)


@dataclass(frozen=True)
class Intervals:
    """Intervals as they would have been given live, and what became of them.

    Attributes:
        low: shape (rows,); -inf where there was no finite one.
        high: +inf where there was none.
        covered: whether the target was inside.
    """

    low: Floats
    high: Floats
    covered: npt.NDArray[np.bool_]

    @property
    def coverage(self) -> float:
        """Share of targets inside."""
        return float(self.covered.mean())


def walk_intervals(
    time: npt.NDArray[np.int64],
    label_time: npt.NDArray[np.int64],
    symbol: npt.NDArray[np.int32],
    prediction: Floats,
    target: Floats,
    calibration: Calibration,
    alpha: float = ALPHA,
    rate: float = RATE,
) -> Intervals:
    """Give each prediction an interval as the agent would: by the outcomes known at its time."""
    learners: dict[int, AdaptiveInterval] = {}
    low, high = np.full(len(time), -np.inf), np.full(len(time), np.inf)
    waiting = _Waiting(time, label_time, symbol)
    for row in range(len(time)):
        for known in waiting.until(row):
            finite = bool(np.isfinite(low[known]))
            outcome = Outcome(
                float(prediction[known]),
                float(low[known]) if finite else None,
                float(high[known]) if finite else None,
                float(target[known]),
            )
            learners[int(symbol[known])].update(outcome)
        learner = learners.setdefault(int(symbol[row]), AdaptiveInterval(calibration, alpha, rate))
        begin, end = learner.value.interval(float(prediction[row]))
        if begin is not None and end is not None:
            low[row], high[row] = begin, end
    return Intervals(low, high, (low <= target) & (target <= high))


class _Waiting:
    """Rows whose labels are not known yet, of all symbols."""

    def __init__(
        self,
        time: npt.NDArray[np.int64],
        label_time: npt.NDArray[np.int64],
        symbol: npt.NDArray[np.int32],
    ) -> None:
        self._time = time
        self._order = np.lexsort((symbol, time, label_time)).tolist()
        self._labels = label_time[self._order].tolist()
        self._next = 0

    def until(self, row: int) -> list[int]:
        """Return the rows whose labels became known by a row's time, each once."""
        end = bisect.bisect_right(self._labels, int(self._time[row]), self._next)
        found: list[int] = self._order[self._next : end]
        self._next = end
        return found
