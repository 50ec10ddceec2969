"""The bars of a fetch whose features are known, and their predictions: one call a version."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.predicting.featuresets import FeatureRow, matrix_of
from models.predicting.serving_entry import Forecasts
from models.predicting.serving_models import Serving
from tables.indicators.sets import Outcome

Rows = npt.NDArray[np.float32]
#: By number of the job.
Predictions = Mapping[int, float]
_NONE: Predictions = {}


@dataclass(slots=True)
class Job:
    """A bar whose features are known and whose predictions are not.

    Attributes:
        key: of the entry.
        outcome: what the features made of the bar.
        exact: whether they are as if each bar had come once.
        came_exact: whether the indicators of this bar are; what a replay of the journal needs.
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
    came_exact: bool
    values: list[float | None] | None
    close: float | None
    rows: tuple[FeatureRow | None, ...]


class Post(NamedTuple):
    """A slot whose alias names a version, for a fetch.

    Attributes:
        slot: its number.
        alias: of the model.
        generation: of the alias.
        serving: the version.
        version: its number.
        span: ns from the start of a bar to that of the bar whose close makes the label.
        predictions: of the version.
    """

    slot: int
    alias: str
    generation: int
    serving: Serving
    version: int
    span: int
    predictions: Predictions


class Line(NamedTuple):
    """A model in a fetch.

    Attributes:
        slots: by alias.
        served: the slot of the champion.
        posts: of its slots, in their order; those alone whose aliases name a version.
    """

    model: str
    slots: Mapping[str, int]
    served: int
    posts: Sequence[Post]


class Fetch:
    """The jobs of a fetch, as matrices a model takes."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        #: By interval and feature set: numbers of the jobs that have features, and these.
        self._matrices: dict[tuple[str, int], tuple[list[int], Rows]] = {}
        #: By the version's SHA-256.
        self._done: dict[str, Predictions] = {}

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

    def infer(self, interval: str, serving: Serving) -> Predictions:
        """Predict by a version; once, however often it is asked for.

        One that learns is left out: it may learn from one of these bars before it comes to the
        next.
        """
        if serving.learns:
            return _NONE
        if serving.sha256 not in self._done:
            numbers, rows = self._matrix(interval, serving.features)
            self._done[serving.sha256] = _predictions(serving, numbers, rows)
        return self._done[serving.sha256]


def _predictions(serving: Serving, numbers: Sequence[int], rows: Rows) -> Predictions:
    """Predictions by number; none where a row gives no number."""
    if not numbers:
        return {}
    found = zip(numbers, serving.predictor.predict(rows).tolist(), strict=True)
    return {number: value for number, value in found if math.isfinite(value)}
