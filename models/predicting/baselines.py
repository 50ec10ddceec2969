"""What a model must beat to be worth anything: three predictions that need no model.

Each is a prediction of the return over the horizon, from what was known at the row's time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.predicting.dataset import TrainingSet

Floats = npt.NDArray[np.float64]

#: Names of the baselines, in the order of the reports; those of the manifest.
BASELINES: Final = ("zero", "last_value", "ar1")
#: As a reader knows them.
TITLES: Final = {"zero": "zero", "last_value": "last value", "ar1": "AR(1)"}
#: Fewer rows than this have no slope worth fitting.
LEAST_ROWS: Final = 3


@dataclass(frozen=True)
class FirstOrder:
    """AR(1): target = intercept + slope x the return over the last horizon.

    Fitted by least squares over all symbols together, as the model is. Where the last return is
    not known it is taken to be the mean of those fitted on.
    """

    intercept: float
    slope: float
    mean: float

    @classmethod
    def fit(cls, rows: TrainingSet) -> FirstOrder:
        """Fit on training rows; those without a last return do not count."""
        known = np.isfinite(rows.previous)
        previous, target = rows.previous[known], rows.target[known]
        if len(target) < LEAST_ROWS:
            intercept = float(rows.target.mean()) if len(rows) else 0.0
            return cls(intercept, 0.0, 0.0)
        mean = float(previous.mean())
        away = previous - mean
        variance = float(away @ away)
        slope = float(away @ target) / variance if variance > 0 else 0.0
        return cls(float(target.mean()) - slope * mean, slope, mean)

    def predict(self, rows: TrainingSet) -> Floats:
        """Return a prediction a row."""
        previous = np.where(np.isfinite(rows.previous), rows.previous, self.mean)
        return np.asarray(self.intercept + self.slope * previous, dtype=np.float64)


def last_value(rows: TrainingSet) -> Floats:
    """Return the return over the last horizon once more; 0 where it is not known."""
    return np.where(np.isfinite(rows.previous), rows.previous, 0.0)


def baseline_predictions(training: TrainingSet, testing: TrainingSet) -> dict[str, Floats]:
    """Return each baseline's predictions of the test rows, by the names of `BASELINES`."""
    predictions = (
        np.zeros(len(testing)),
        last_value(testing),
        FirstOrder.fit(training).predict(testing),
    )
    return dict(zip(BASELINES, predictions, strict=True))
