"""Versions for the benches: 200 trees of depth 6 on `returns@1`, with intervals and drift."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.predicting.conformal import MOST_SCORES, Calibration
from models.predicting.drift import drift_reference
from models.predicting.features_returns import Returns
from models.predicting.manifest import Manifest
from models.predicting.registry import Registry
from tests.bench.inference import DEPTH, TREES, trained
from tests.unit.model_records import described, sample_rows

MODEL: Final = "returns"
HORIZON: Final = 5
TOLD: Final = f"{TREES} trees, depth {DEPTH}, {len(Returns.plan().names)} features"


def publish(registry: Registry, seed: int, interval: str) -> Manifest:
    """Publish a version; another seed predicts otherwise.

    It predicts as fast as one that knows something: its trees have grown to their depth.
    """
    plan = Returns.plan()
    scores = np.abs(np.random.default_rng(seed).standard_normal(MOST_SCORES))
    description = described(
        name=MODEL,
        feature_set=plan.label,
        feature_names=tuple(plan.names),
        interval=interval,
        horizon=HORIZON,
        calibration=Calibration(tuple(sorted(scores.tolist())), 1e-3),
        drift=drift_reference(sample_rows(8_000, len(plan.names), seed)),
    )
    return registry.publish(description, {"model.ubj": trained(seed, len(plan.names))})


def promote(registry: Registry, version: int, alias: str = "champion") -> None:
    """Let an alias name a version."""
    registry.promote(MODEL, alias, version, reason="a bench", time=1)
