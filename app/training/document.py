"""A trained model as plain values: the JSON file, and what the page shows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.predicting.baselines import TITLES
from models.predicting.conformal import Intervals
from models.predicting.equity import Equity
from models.predicting.scoring import CONFIDENCE, Score
from models.predicting.training import TrainedModel

Floats = npt.NDArray[np.float64]

#: Points a line is drawn through, at most.
POINTS: Final = 400
#: Parts of the time, and of the widths, that errors and coverage are told for.
TIME_BINS: Final = 40
WIDTH_BINS: Final = 10
#: Fewer rows are no part of their own.
LEAST_ROWS: Final = 30


def document(
    model: TrainedModel, equity: Equity, dropped: Mapping[str, int], files: list[str]
) -> dict[str, Any]:
    """Return the report; times in ns, returns as shares, absent numbers None.

    Args:
        model: as trained.
        equity: of the naive strategy over the test rows.
        dropped: bars that gave no row, by reason.
        files: names of those the bars are of.
    """
    return {
        "feature_set": model.feature_set,
        "interval": model.interval,
        "horizon": model.horizon,
        "symbols": list(model.symbols),
        "files": files,
        "data_from": model.data_from,
        "data_to": model.data_to,
        "rows": model.rows,
        "dropped": {reason: count for reason, count in sorted(dropped.items()) if count},
        "proven": model.score.proven,
        "verdict": verdict(model.score),
        "confidence": CONFIDENCE,
        "score": _score(model.score),
        "folds": [asdict(fold) | {"score": _score(fold.score)} for fold in model.folds],
        "error_by_time": _errors(model),
        "coverage": _coverage(model),
        "equity": _equity(equity),
        "importance": model.importance,
        "model": {
            "sha256": hashlib.sha256(model.model).hexdigest(),
            "bytes": len(model.model),
            "trees": model.rounds,
            "fitted_rows": model.fitted_rows,
            "calibration_rows": model.calibration_rows,
        },
        "parameters": model.parameters,
        "libraries": model.libraries,
    }


def verdict(score: Score) -> str:
    """Say in a sentence whether there is skill."""
    if score.proven:
        return "Skill: better than every baseline, beyond chance."
    short = [TITLES[each.baseline] for each in score.skills if not each.proven]
    return f"No skill: not better than {' nor '.join(short)}, beyond chance."


def _score(score: Score) -> dict[str, Any]:
    found = asdict(score) | {"proven": score.proven}
    found["skills"] = [asdict(each) | {"proven": each.proven} for each in score.skills]
    return found


def _errors(model: TrainedModel) -> list[dict[str, Any]]:
    """Root mean squared errors of the model and the baselines, by part of the test rows."""
    tested = model.out_of_sample
    count = len(tested.prediction)
    predictions = {"model": tested.prediction, **tested.baselines}
    parts = np.array_split(np.arange(count), max(1, min(TIME_BINS, count // LEAST_ROWS)))
    return [
        {
            "time": int(tested.rows.time[part[0]]),
            "rows": len(part),
            **{name: _root(tested.rows.target, each, part) for name, each in predictions.items()},
        }
        for part in parts
    ]


def _root(target: Floats, prediction: Floats, part: npt.NDArray[np.intp]) -> float:
    return math.sqrt(float(np.mean((target[part] - prediction[part]) ** 2)))


def _coverage(model: TrainedModel) -> dict[str, Any]:
    """How many targets were inside, in total, by part of the time, and by the interval's width."""
    tested = model.out_of_sample
    intervals: Intervals = tested.adaptive
    half = (intervals.high - intervals.low) / 2
    time = tested.rows.time[tested.calibrated :]
    count = len(half)
    parts = np.array_split(np.arange(count), max(1, min(TIME_BINS, count // LEAST_ROWS)))
    finite = np.flatnonzero(np.isfinite(half))
    by_width = finite[np.argsort(half[finite], kind="stable")]
    bins = max(1, min(WIDTH_BINS, len(by_width) // LEAST_ROWS))
    widths = [part for part in np.array_split(by_width, bins) if len(part)]
    return {
        "wanted": 1 - float(model.parameters["alpha"]),
        "rows": count,
        "adaptive": intervals.coverage,
        "split": tested.split.coverage,
        "endless": count - len(finite),
        "mean_half_width": float(half[finite].mean()) if len(finite) else None,
        "by_time": [
            {
                "time": int(time[part[0]]),
                "rows": len(part),
                "coverage": float(intervals.covered[part].mean()),
            }
            for part in parts
        ],
        "by_width": [
            {
                "half_width": float(half[part].mean()),
                "rows": len(part),
                "coverage": float(intervals.covered[part].mean()),
            }
            for part in widths
        ],
    }


def _equity(equity: Equity) -> dict[str, Any]:
    places = np.unique(np.linspace(0, max(0, equity.trades - 1), POINTS).astype(int))
    chosen = places if equity.trades else places[:0]
    return {
        "cost_bps": equity.cost_bps,
        "trades": equity.trades,
        "net": equity.net,
        "costs": equity.costs,
        "won": equity.won,
        "drawdown": equity.drawdown,
        "points": [
            [int(time), float(value)]
            for time, value in zip(equity.time[chosen], equity.equity[chosen], strict=True)
        ],
    }
