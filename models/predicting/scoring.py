"""How good predictions were, and whether that could be chance.

Skill against a baseline is `1 - MSE / MSE of the baseline` (Murphy, 1988): 1 is perfect, 0 is no
better, below 0 is worse. Its interval comes from a circular block bootstrap over the times
(Politis and Romano, 1992): errors of neighbouring times are alike, since horizons overlap and
turbulent times cluster, so whole blocks are drawn, each with all symbols. Skill is claimed where
the interval lies above 0, and for a model where it does so against every baseline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RESAMPLES: Final = 2_000
#: Of the interval: 95 %.
CONFIDENCE: Final = 0.95
#: With fewer blocks there is no saying what is chance.
LEAST_BLOCKS: Final = 10
_SEED: Final = 20_210_619


@dataclass(frozen=True)
class Skill:
    """A model beside one baseline.

    Attributes:
        baseline: its name.
        mse: of the baseline.
        skill: 1 - MSE / `mse`; None where the baseline is perfect.
        low: of the interval; None where there are too few times for one.
        high: of the interval.
    """

    baseline: str
    mse: float
    skill: float | None
    low: float | None
    high: float | None

    @property
    def proven(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low is not None and self.low > 0


@dataclass(frozen=True)
class Score:
    """What predictions of some rows were worth.

    Attributes:
        rows: how many.
        mse: mean squared error, of returns.
        skills: one a baseline.
        hit_rate: share of rows with the right sign, of those where neither is 0; None without any.
        hit_rows: how many those are.
        rank_correlation: Spearman's, between prediction and target; None where one is constant.
    """

    rows: int
    mse: float
    skills: tuple[Skill, ...]
    hit_rate: float | None
    hit_rows: int
    rank_correlation: float | None

    @property
    def proven(self) -> bool:
        """Whether there is skill against every baseline."""
        return bool(self.skills) and all(each.proven for each in self.skills)


def score(
    target: Floats,
    prediction: Floats,
    baselines: Mapping[str, Floats],
    time: npt.NDArray[np.int64],
    horizon: int,
) -> Score:
    """Score predictions.

    Args:
        target: what came, shape (rows,).
        prediction: what had been predicted.
        baselines: predictions by the name of the baseline.
        time: of the rows, ns, ascending.
        horizon: in bars.

    Raises:
        ValueError: there are no rows.
    """
    if not len(target):
        raise ValueError("no rows to score")
    errors = (target - prediction) ** 2
    mse = float(errors.mean())
    skills = []
    for name, predicted in baselines.items():
        beside = (target - predicted) ** 2
        whole = float(beside.mean())
        found = 1 - mse / whole if whole > 0 else None
        low, high = skill_interval(errors, beside, time, horizon)
        skills.append(Skill(name, whole, found, low, high))
    signed = (target != 0) & (prediction != 0)
    hits = int(signed.sum())
    right = int((np.sign(target[signed]) == np.sign(prediction[signed])).sum())
    return Score(
        len(target),
        mse,
        tuple(skills),
        right / hits if hits else None,
        hits,
        rank_correlation(prediction, target),
    )


def skill_interval(
    errors: Floats, beside: Floats, time: npt.NDArray[np.int64], horizon: int
) -> tuple[float, float] | tuple[None, None]:
    """Return the interval of the skill by a circular block bootstrap over the different times.

    Blocks are as long as the square root of the number of times, and two horizons at least. The
    same errors give the same interval. (None, None) with fewer than 10 blocks, or where a resample
    of the baseline has no error.

    Args:
        errors: squared, of the model, shape (rows,).
        beside: squared, of the baseline.
        time: of the rows, ascending.
        horizon: in bars.
    """
    starts = np.flatnonzero(np.diff(time, prepend=time[0] - 1))
    count = len(starts)
    length = max(2 * horizon, math.isqrt(count))
    blocks = count // length
    if blocks < LEAST_BLOCKS:
        return None, None
    chance = np.random.default_rng(_SEED)
    drawn = chance.integers(0, count, (RESAMPLES, blocks))
    of_model = _block_sums(np.add.reduceat(errors, starts), length)[drawn].sum(axis=1)
    of_baseline = _block_sums(np.add.reduceat(beside, starts), length)[drawn].sum(axis=1)
    if not (of_baseline > 0).all():
        return None, None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(1 - of_model / of_baseline, [tail, 1 - tail])
    return float(low), float(high)


def _block_sums(values: Floats, length: int) -> Floats:
    """Sums of `length` values from each place on, around the end."""
    sums = np.cumsum(np.concatenate([[0.0], values, values[: length - 1]]))
    return np.asarray(sums[length:] - sums[:-length], dtype=np.float64)


def rank_correlation(one: Floats, other: Floats) -> float | None:
    """Return Spearman's rank correlation, ties by their mean rank; None where one is constant."""
    first, second = _ranks(one), _ranks(other)
    first, second = first - first.mean(), second - second.mean()
    scale = math.sqrt(float(first @ first) * float(second @ second))
    return float(first @ second) / scale if scale > 0 else None


def _ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[place], dtype=np.float64)
