"""A registry with one version of a model, in a folder of this process that goes with it.

The version is the same bytes in every process: logs of tests name it by its SHA-256.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from app.contracts.wire import encoder
from models.predicting.conformal import Calibration
from models.predicting.features_returns import Returns
from models.predicting.registry import Registry
from tests.unit.model_records import boosted, described

#: Model and bars, as `predictions.models` has it.
MODEL, INTERVAL = "returns", "1s"
ALIASES = ("champion", "challenger")
FOLDER = Path(tempfile.mkdtemp(prefix="candlewick-models-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def needed() -> str:
    """The indicators that the features read, as `indicators.by_interval` has them."""
    return ",".join(request.label for request in Returns.plan().requests)


@cache
def registry() -> Registry:
    """Version 1, which both aliases name."""
    made, plan = Registry.at(FOLDER), Returns.plan()
    description = described(
        name=MODEL,
        feature_set=plan.label,
        feature_names=tuple(plan.names),
        interval=INTERVAL,
        horizon=2,
        calibration=Calibration(tuple(number / 40 for number in range(200)), 1e-3),
    )
    made.publish(description, {"model.ubj": boosted(len(plan.names))})
    for alias in ALIASES:
        made.promote(MODEL, alias, 1, reason="a test", time=1)
    return made


@cache
def moves() -> tuple[bytes, ...]:
    """The records that make the version the champion and the challenger."""
    sha256 = registry().load(MODEL, 1).sha256
    move = {"type": "alias", "model": MODEL, "alias": "", "generation": 1, "version": 1}
    return tuple(encoder.encode(move | {"alias": alias, "sha256": sha256}) for alias in ALIASES)
