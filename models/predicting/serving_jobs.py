"""The bars of a fetch whose features are known, and their predictions: one call a version."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.predicting.featuresets import FeatureRow, matrix_of
from models.predicting.serving_entry import Forecasts
from models.predicting.serving_models import Serving
from tables.indicators.sets import Outcome

Rows = npt.NDArray[np.float32]
#: By slot and number of the job.
Predictions = Mapping[int, Mapping[int, float]]


@dataclass(slots=True)
class Job:
    """A bar whose features are known and whose predictions are not.

    Attributes:
        key: of the entry.
        outcome: what the features made of the bar.
        exact: whether they are as if each bar had come once.
        values: the indicators that features read, in the order of their names; None: emptied.
        rows: features, one a set; None in the warm-up and where emptied.
    """

    key: bytes
    entry: Forecasts
    symbol: str
    interval: str
    start: int
    revision: int
    outcome: Outcome
    exact: bool
    values: list[float | None] | None
    close: float | None
    rows: tuple[FeatureRow | None, ...]


class Fetch:
    """The jobs of a fetch, as matrices a model takes."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        #: By interval and feature set: numbers of the jobs that have features, and these.
        self._matrices: dict[tuple[str, int], tuple[list[int], Rows]] = {}

    def _matrix(self, interval: str, features: int) -> tuple[list[int], Rows]:
        place = (interval, features)
        if place not in self._matrices:
            numbers, rows = [], []
            for number, job in enumerate(self.jobs):
                row = job.rows[features]
                if row is not None and job.interval == interval:
                    numbers.append(number)
                    rows.append(row)
            self._matrices[place] = (numbers, matrix_of(rows))
        return self._matrices[place]

    def rows(self, interval: str, features: int, first: int, end: int) -> Rows:
        """Features of the jobs from number `first` to before `end`."""
        numbers, rows = self._matrix(interval, features)
        return rows[bisect_left(numbers, first) : bisect_left(numbers, end)]

    def infer(self, served: Iterable[tuple[int, str, Serving]]) -> Predictions:
        """Predict by each version once.

        Args:
            served: slot, interval, version. One that learns is left out: it may learn from one of
                these bars before it comes to the next.
        """
        found: dict[int, Mapping[int, float]] = {}
        done: dict[str, Mapping[int, float]] = {}
        for slot, interval, serving in served:
            if serving.learns:
                continue
            if serving.sha256 not in done:
                numbers, rows = self._matrix(interval, serving.features)
                done[serving.sha256] = _predictions(serving, numbers, rows)
            found[slot] = done[serving.sha256]
        return found


def _predictions(serving: Serving, numbers: Sequence[int], rows: Rows) -> Mapping[int, float]:
    """Predictions by number; none where a row gives no number."""
    if not numbers:
        return {}
    found = zip(numbers, serving.predictor.predict(rows).tolist(), strict=True)
    return {number: value for number, value in found if math.isfinite(value)}
