"""Training: walk forward, score beside the baselines, then fit the model that goes live.

What comes in: a `TrainingSet`. What happens:

    rows: |-- training ------------------|purge, embargo|-- testing --|   fold by fold
               |-- fitting --|gap|-- stopping --|                         trees by early stopping
    rows: |-- the final model ---------------------|gap|-- calibration --|

Within each training window the number of trees is found on its end, then the model is fitted on the
whole window. Out come predictions of all test rows by models that had not seen them, scored beside
each baseline, with the intervals they would have had live; and the final model, calibrated on the
last rows, which it has not seen.

The same rows and settings give the same bytes: one thread, a fixed seed, no clock.
"""

from __future__ import annotations

import importlib.metadata
import math
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.durations import parse_duration
from models.predicting.baselines import BASELINES, baseline_predictions
from models.predicting.boosting import (
    FORBIDDEN,
    PARAMETERS,
    Boosted,
    TrainingError,
    fit,
    import_xgboost,
)
from models.predicting.conformal import ALPHA, Calibration, Intervals, calibrate, walk_intervals
from models.predicting.dataset import TrainingSet
from models.predicting.drift import DriftReference, drift_reference
from models.predicting.scoring import Score, score
from models.predicting.splits import Fold, Rows, hold_out, walk_forward

#: Told after each fit: how many are done, of how many.
Progress = Callable[[int, int], None]

#: Rows that each part must have, at least: to fit on, to stop by, to test on, to calibrate on.
LEAST_FITTING: Final = 200
LEAST_OTHER: Final = 50
#: What the final model rests on, by name and version.
LIBRARIES: Final = ("xgboost-cpu", "xgboost", "numpy")


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes:
        folds: of the walk.
        first_share: of the rows that come before the first test.
        stopping_share: of each training window, to stop by.
        calibration_share: of all rows, to calibrate the final model on.
        embargo: ns; None for as long as the horizon.
        rounds: trees at most.
        patience: trees without a better error after which it is stopped.
        alpha: share of targets that intervals may miss.
    """

    folds: int = 5
    first_share: float = 0.4
    stopping_share: float = 0.2
    calibration_share: float = 0.2
    embargo: int | None = None
    rounds: int = 600
    patience: int = 40
    alpha: float = ALPHA


@dataclass(frozen=True)
class FoldResult:
    """One step of the walk: times in ns, rows, trees, scores."""

    number: int
    trained_from: int
    trained_to: int
    tested_from: int
    tested_to: int
    training_rows: int
    rounds: int
    score: Score


@dataclass(frozen=True)
class OutOfSample:
    """Predictions of the test rows of all folds, by models that had not seen them.

    Attributes:
        rows: the test rows.
        prediction: of each.
        baselines: predictions by the name of the baseline.
        fold: of each row, from 1.
        calibrated: first row that has an interval; those before, of the first fold, calibrated.
        adaptive: intervals of the rows from `calibrated` on, as they would have been live.
        split: the same by split conformal alone, for comparison.
    """

    rows: TrainingSet
    prediction: npt.NDArray[np.float64]
    baselines: dict[str, npt.NDArray[np.float64]]
    fold: npt.NDArray[np.int32]
    calibrated: int
    adaptive: Intervals
    split: Intervals


@dataclass(frozen=True)
class TrainedModel:
    """A model, and all that its manifest has to say of it.

    Attributes:
        model: UBJ; predicts the return over the horizon.
        feature_set: name, version and hash.
        feature_names: in the order of the columns.
        interval: label of the bar size.
        horizon: in bars.
        symbols: that the rows are of.
        data_from: time of the first row, ns.
        data_to: when the last target was known, ns.
        rows: all, those the model was calibrated on included.
        fitted_rows: those the final model was fitted on.
        rounds: trees of the final model.
        parameters: of XGBoost and of the training.
        libraries: versions by name.
        importance: share of the gain by feature, largest first; without those of none.
        score: of all test rows.
        folds: each step of the walk.
        calibration: of the final model, from the rows it was not fitted on; thinned.
        calibration_rows: how many those were.
        drift: where the features of all rows lay, for the monitoring.
        out_of_sample: what the scores are of; for the report, not for the manifest.
    """

    model: bytes
    feature_set: str
    feature_names: tuple[str, ...]
    interval: str
    horizon: int
    symbols: tuple[str, ...]
    data_from: int
    data_to: int
    rows: int
    fitted_rows: int
    rounds: int
    parameters: dict[str, Any]
    libraries: dict[str, str]
    importance: dict[str, float]
    score: Score
    folds: tuple[FoldResult, ...]
    calibration: Calibration
    calibration_rows: int
    drift: DriftReference
    out_of_sample: OutOfSample

    def manifest_scores(self) -> dict[str, dict[str, float]]:
        """Return the scores as the manifest has them: `model` and each baseline, finite only."""
        own: dict[str, float | None] = {
            "mse": self.score.mse,
            "hit_rate": self.score.hit_rate,
            "rank_correlation": self.score.rank_correlation,
            "coverage": self.out_of_sample.adaptive.coverage,
        }
        found = {"model": own}
        for each in self.score.skills:
            own |= {
                f"skill_against_{each.baseline}": each.skill,
                f"skill_against_{each.baseline}_low": each.low,
                f"skill_against_{each.baseline}_high": each.high,
            }
            found[each.baseline] = {"mse": each.mse}
        return {
            name: {key: value for key, value in figures.items() if value is not None}
            for name, figures in found.items()
        }


def train(
    rows: TrainingSet,
    settings: TrainingSettings | None = None,
    progress: Progress = lambda done, total: None,
) -> TrainedModel:
    """Train, and say what it is worth.

    Raises:
        TrainingError: too few rows, values that are not numbers, a setting out of its bounds, or
            XGBoost is not installed.
    """
    settings = settings or TrainingSettings()
    import_xgboost()
    _check_values(rows)
    _check_count(rows, settings)
    embargo = _embargo(rows, settings)
    try:
        folds = walk_forward(
            rows.time, rows.label_time, settings.folds, settings.first_share, embargo
        )
    except ValueError as error:
        raise TrainingError(str(error)) from error
    done, total = 0, len(folds) + 1
    progress(done, total)
    predictions, baselines, results = [], [], []
    for fold in folds:
        boosted = _fit(rows, fold.training, settings, f"the training window of fold {fold.number}")
        testing = rows.take(_enough(fold.testing, LEAST_OTHER, f"fold {fold.number} to test on"))
        predicted = boosted.predict(testing.features)
        beside = baseline_predictions(rows.take(fold.training), testing)
        predictions.append(predicted)
        baselines.append(beside)
        results.append(_result(rows, fold, boosted.rounds, testing, predicted, beside))
        done += 1
        progress(done, total)
    tested = _out_of_sample(rows, folds, predictions, baselines, settings)
    final, body, calibration, tail = _final(rows, settings, embargo)
    progress(total, total)
    return TrainedModel(
        final.model,
        rows.feature_set,
        rows.names,
        rows.interval,
        rows.horizon,
        rows.symbols,
        int(rows.time[0]),
        int(rows.label_time.max()),
        len(rows),
        len(body),
        final.rounds,
        PARAMETERS | asdict(settings) | {"embargo": embargo},
        library_versions(),
        final.gain,
        score(
            tested.rows.target, tested.prediction, tested.baselines, tested.rows.time, rows.horizon
        ),
        tuple(results),
        calibration.thinned(),
        len(tail),
        drift_reference(rows.features),
        tested,
    )


def needed_rows(settings: TrainingSettings, gap: int) -> int:
    """Return how many rows it takes where purge and embargo take `gap` of them at each cut."""
    first = settings.first_share
    kept = 1 - settings.calibration_share
    windows = (first, kept)
    counts = [
        # The gap before the test, and that before the rows to stop by.
        *((LEAST_FITTING / (1 - settings.stopping_share) + 2 * gap) / share for share in windows),
        *((LEAST_OTHER / settings.stopping_share + gap) / share for share in windows),
        LEAST_OTHER * settings.folds / (1 - first),
        LEAST_OTHER / settings.calibration_share,
    ]
    return math.ceil(max(counts)) + settings.folds


def library_versions() -> dict[str, str]:
    """Return the versions of what a model rests on, by name."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            # One of the two builds of XGBoost is there.
            continue
    return found


def _embargo(rows: TrainingSet, settings: TrainingSettings) -> int:
    if settings.embargo is not None:
        return settings.embargo
    return rows.horizon * parse_duration(rows.interval)


def _check_values(rows: TrainingSet) -> None:
    for name in rows.names:
        if FORBIDDEN & set(name):
            raise TrainingError(f"feature {name!r}: XGBoost takes no name with [, ] or <")
    endless = np.isinf(rows.features).any(axis=0)
    if endless.any():
        raise TrainingError(f"feature {rows.names[int(endless.argmax())]} is infinite in a row")
    if not np.isfinite(rows.target).all():
        raise TrainingError("a target is not a finite number")
    if not rows.names:
        raise TrainingError("the rows have no features")


def _check_count(rows: TrainingSet, settings: TrainingSettings) -> None:
    shares = (settings.first_share, settings.stopping_share, settings.calibration_share)
    if settings.folds < 2 or not all(0 < each < 1 for each in (*shares, settings.alpha)):
        raise TrainingError(
            f"folds {settings.folds}, shares {shares}, alpha {settings.alpha}; expected at least "
            "2 folds, the others above 0 and below 1"
        )
    if settings.rounds < 1 or settings.patience < 1 or (settings.embargo or 0) < 0:
        raise TrainingError("rounds and patience must be at least 1, the embargo at least 0")
    times = len(np.unique(rows.time)) or 1
    lengths = _embargo(rows, settings) / parse_duration(rows.interval)
    gap = math.ceil((rows.horizon + lengths) * len(rows) / times)
    needed = needed_rows(settings, gap)
    if len(rows) < needed:
        raise TrainingError(
            f"{len(rows):,} rows are too few: about {needed:,} are needed for {settings.folds} "
            f"folds with a horizon of {rows.horizon} bars"
        )


def _enough(part: Rows, least: int, what: str) -> Rows:
    """Gaps in the times may take more than was thought."""
    if len(part) < least:
        raise TrainingError(f"{len(part)} rows in {what}: at least {least} are needed")
    return part


def _fit(rows: TrainingSet, window: Rows, settings: TrainingSettings, what: str) -> Boosted:
    embargo = _embargo(rows, settings)
    fitting, stopping = hold_out(
        rows.time, rows.label_time, window, settings.stopping_share, embargo
    )
    return fit(
        rows.take(_enough(fitting, LEAST_FITTING, f"{what}, to fit on")),
        rows.take(_enough(stopping, LEAST_OTHER, f"{what}, to stop by")),
        rows.take(window),
        settings.rounds,
        settings.patience,
    )


def _result(
    rows: TrainingSet,
    fold: Fold,
    rounds: int,
    testing: TrainingSet,
    prediction: npt.NDArray[np.float64],
    baselines: dict[str, npt.NDArray[np.float64]],
) -> FoldResult:
    return FoldResult(
        fold.number,
        int(rows.time[fold.training[0]]),
        int(rows.time[fold.training[-1]]),
        int(testing.time[0]),
        int(testing.time[-1]),
        len(fold.training),
        rounds,
        score(testing.target, prediction, baselines, testing.time, rows.horizon),
    )


def _out_of_sample(
    rows: TrainingSet,
    folds: list[Fold],
    predictions: list[npt.NDArray[np.float64]],
    baselines: list[dict[str, npt.NDArray[np.float64]]],
    settings: TrainingSettings,
) -> OutOfSample:
    """Join the folds; the first one's residuals calibrate the intervals of the others."""
    tested = rows.take(np.concatenate([fold.testing for fold in folds]))
    prediction = np.concatenate(predictions)
    begin = len(folds[0].testing)
    first, later = tested.take(slice(0, begin)), tested.take(slice(begin, None))
    # A residual that is known only after the first interval is given must not calibrate it.
    known = first.label_time <= later.time[0]
    first, residual = first.take(known), (first.target - prediction[:begin])[known]
    calibration = calibrate(first.time, first.label_time, first.symbol, residual)

    def intervals(**rate: float) -> Intervals:
        return walk_intervals(
            later.time,
            later.label_time,
            later.symbol,
            prediction[begin:],
            later.target,
            calibration,
            settings.alpha,
            **rate,
        )

    return OutOfSample(
        tested,
        prediction,
        {name: np.concatenate([each[name] for each in baselines]) for name in BASELINES},
        np.concatenate([np.full(len(f.testing), f.number, dtype=np.int32) for f in folds]),
        begin,
        intervals(),
        intervals(rate=0.0),
    )


def _final(
    rows: TrainingSet, settings: TrainingSettings, embargo: int
) -> tuple[Boosted, Rows, Calibration, Rows]:
    """Fit the model that goes live, and calibrate it on rows it has not seen."""
    every = np.arange(len(rows), dtype=np.intp)
    body, tail = hold_out(rows.time, rows.label_time, every, settings.calibration_share, embargo)
    boosted = _fit(rows, body, settings, "the final model's rows")
    unseen = rows.take(_enough(tail, LEAST_OTHER, "the calibration"))
    residual = unseen.target - boosted.predict(unseen.features)
    calibration = calibrate(unseen.time, unseen.label_time, unseen.symbol, residual)
    return boosted, body, calibration, tail
