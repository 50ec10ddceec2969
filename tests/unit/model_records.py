"""Models and their descriptions, for tests of the registry and of what predicts."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from models.predicting.baselines import BASELINES
from models.predicting.conformal import Calibration
from models.predicting.manifest import Description

NAMES = ("return_1", "return_5", "rsi_14", "volatility")
FEATURE_SET = "returns@1:0123456789abcdef"
#: For tests that need bytes and no model.
FILES = {"model.ubj": b"the bytes of a model"}


def described(**changes: Any) -> Description:
    """A description that the registry takes."""
    fields: dict[str, Any] = {
        "name": "returns",
        "kind": "xgboost",
        "created": 1_700_000_000_000_000_000,
        "feature_set": FEATURE_SET,
        "feature_names": NAMES,
        "interval": "1m",
        "horizon": 5,
        "data_from": 1_600_000_000_000_000_000,
        "data_to": 1_650_000_000_000_000_000,
        "rows": 1_000,
        "symbols": ("SPY", "IBM"),
        "parameters": {"max_depth": 3, "eta": 0.1, "embargo": None},
        "libraries": {"xgboost": "3.2.0"},
        "commit": "0123abc",
        "scores": {
            "model": {"mse": 1e-05, "skill_against_zero": 0.01},
            **{baseline: {"mse": 1.1e-05} for baseline in BASELINES},
        },
        "calibration": Calibration(tuple(number / 50 for number in range(100)), 1e-3),
    }
    return Description(**fields | changes)


@cache
def boosted(columns: int = len(NAMES), seed: int = 1, form: str = "ubj") -> bytes:
    """A small model that XGBoost has trained on planted returns."""
    import xgboost

    rows = sample_rows(400, columns, seed)
    target = np.nan_to_num(rows[:, 0]) * 1e-3
    names = list(NAMES[:columns]) if columns <= len(NAMES) else None
    matrix = xgboost.DMatrix(rows, target, feature_names=names, nthread=1)
    settings = {"nthread": 1, "seed": seed, "max_depth": 4, "gamma": 0, "base_score": 0.0}
    trained = xgboost.train(settings | {"min_child_weight": 1e-9}, matrix, 20)
    return bytes(trained.save_raw(form))


def sample_rows(count: int, columns: int = len(NAMES), seed: int = 7) -> npt.NDArray[np.float32]:
    """Rows with some missing values."""
    chance = np.random.default_rng(seed)
    rows = chance.standard_normal((count, columns)).astype(np.float32)
    rows[chance.random(rows.shape) < 0.1] = np.nan
    return rows
