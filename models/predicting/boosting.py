"""XGBoost as this project uses it: one thread, fixed seed, the same bytes for the same rows.

A return of one minute is about 1e-4, its square 1e-8. XGBoost takes no split that gains less than
1e-6 of squared error, so on plain returns it finds little or nothing, whatever is there
(`test_predicting_training.py` shows it). So targets are divided by a power of two near their size,
and the leaves are multiplied by it afterwards, which changes no bit of their fractions: the model
file predicts returns, and nobody has to know.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.predicting.dataset import TrainingSet

INSTALL: Final = "pip install 'candlewick[models]'"
#: What XGBoost does not take in names of features.
FORBIDDEN: Final = frozenset("[]<")
#: What XGBoost is told. No settings: scores of other depths could not be compared.
PARAMETERS: Final[dict[str, Any]] = {
    "objective": "reg:squarederror",
    "tree_method": "hist",
    "device": "cpu",
    "nthread": 1,
    "seed": 7,
    "base_score": 0.0,
    "max_depth": 4,
    "eta": 0.05,
    "min_child_weight": 20,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "lambda": 1.0,
}


class TrainingError(ValueError):
    """Rows that cannot be trained on, or a library that is not there; the message is one line."""


def import_xgboost() -> ModuleType:
    """Return the library, which is an extra.

    Raises:
        TrainingError: it is not installed.
    """
    # Threads that wait for their next part would spin, on the broker's core or on our own.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import xgboost
    except ImportError as error:
        raise TrainingError(f"xgboost is not installed: {INSTALL}") from error
    return xgboost


@dataclass(frozen=True)
class Boosted:
    """A fitted model.

    Attributes:
        model: UBJ; predicts returns.
        rounds: trees.
        gain: share of the gain by feature, those with none left out; sums to 1.
    """

    model: bytes
    rounds: int
    gain: dict[str, float]

    def predict(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return the predicted return of each row; the features in the order trained on."""
        booster = load_booster(self.model)
        return np.asarray(booster.inplace_predict(features), dtype=np.float64)


def load_booster(model: bytes) -> Any:
    """Return an `xgboost.Booster` of UBJ or JSON bytes, for one thread."""
    xgboost = import_xgboost()
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(model))
    return booster


def fit(
    fitting: TrainingSet, stopping: TrainingSet, whole: TrainingSet, rounds: int, patience: int
) -> Boosted:
    """Find the number of trees by early stopping, then fit so many on the whole.

    Args:
        fitting: rows to learn from while searching.
        stopping: later rows, by whose error it is stopped.
        whole: all rows the model may learn from.
        rounds: trees at most.
        patience: trees without a better error after which it is stopped.
    """
    xgboost = import_xgboost()
    scale = power_of_two_near(whole.target)

    def matrix(rows: TrainingSet) -> Any:
        return xgboost.DMatrix(
            rows.features, rows.target / scale, feature_names=list(rows.names), nthread=1
        )

    searched = xgboost.train(
        PARAMETERS,
        matrix(fitting),
        rounds,
        evals=[(matrix(stopping), "stopping")],
        early_stopping_rounds=patience,
        verbose_eval=False,
    )
    best = int(searched.best_iteration) + 1
    fitted = xgboost.train(PARAMETERS, matrix(whole), best)
    gains = fitted.get_score(importance_type="total_gain")
    total = sum(gains.values())
    share = {name: gain / total for name, gain in gains.items()} if total > 0 else {}
    ordered = dict(sorted(share.items(), key=lambda item: (-item[1], item[0])))
    return Boosted(scaled(fitted, scale), best, ordered)


def power_of_two_near(target: npt.NDArray[np.float64]) -> float:
    """Return the power of two nearest to the targets' size; 1 where all are 0."""
    size = math.sqrt(float(np.mean(target**2))) if len(target) else 0.0
    return 2.0 ** round(math.log2(size)) if size > 0 else 1.0


def scaled(booster: Any, scale: float) -> bytes:
    """Return a model, as UBJ, whose predictions are those of the booster times a power of two."""
    content = json.loads(booster.save_raw("json"))
    for tree in content["learner"]["gradient_booster"]["model"]["trees"]:
        # The value of a leaf is kept where an inner node has its threshold.
        for node, left in enumerate(tree["left_children"]):
            if left == -1:
                tree["split_conditions"][node] *= scale
        tree["base_weights"] = [weight * scale for weight in tree["base_weights"]]
    found = load_booster(json.dumps(content).encode())
    return bytes(found.save_raw("ubj"))
