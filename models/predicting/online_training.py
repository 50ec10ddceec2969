"""From rows to a version of an online learner: it goes over them once, as it would live.

    rows: |-- warm start -------|-- scored: predicted first, then learned from --|
                                                  |-- intervals judged ----------|

At each row it has learned from the targets that were known then, and from no other. The rows behind
the warm start are scored beside the baselines, and their residuals calibrate the intervals. What is
published has learned from all rows.
"""

from __future__ import annotations

import heapq
import importlib.metadata
import math
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from models.predicting.baselines import baseline_predictions
from models.predicting.boosting import TrainingError
from models.predicting.conformal import ALPHA, Calibration, Intervals, calibrate, walk_intervals
from models.predicting.dataset import TrainingSet
from models.predicting.manifest import FILL_FORWARD, MODEL, Description, TrainedMarket
from models.predicting.online import Configuration, Note, OnlinePredictor
from models.predicting.online_version import FILE, KIND, write_online
from models.predicting.scoring import Score, score

#: Rows that each part must have, at least.
LEAST_WARM, LEAST_SCORED = 200, 100
#: What a version rests on.
LIBRARIES: Final = ("river", "numpy")
#: Told after each hundredth of the rows: how many are done, of how many.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class OnlineRun:
    """A learner that went over rows.

    Attributes:
        learner: after all rows.
        scored: the rows behind the warm start.
        prediction: of each of them, by what had been learned from targets known at its time.
        score: of these, beside the baselines.
        calibration: from their residuals.
        intervals: of their second half, calibrated on the first.
    """

    learner: OnlinePredictor
    scored: TrainingSet
    prediction: npt.NDArray[np.float64]
    score: Score
    calibration: Calibration
    intervals: Intervals

    def manifest_scores(self) -> dict[str, dict[str, float]]:
        """Return the scores as a manifest has them: `model` and each baseline, finite only."""
        own: dict[str, float | None] = {
            "mse": self.score.mse,
            "hit_rate": self.score.hit_rate,
            "rank_correlation": self.score.rank_correlation,
            "coverage": self.intervals.coverage,
        }
        found = {MODEL: own}
        for each in self.score.skills:
            own[f"skill_against_{each.baseline}"] = each.skill
            own[f"skill_against_{each.baseline}_low"] = each.low
            own[f"skill_against_{each.baseline}_high"] = each.high
            found[each.baseline] = {"mse": each.mse}
        return {
            name: {key: value for key, value in figures.items() if value is not None}
            for name, figures in found.items()
        }


def play(
    learner: OnlinePredictor,
    rows: TrainingSet,
    progress: Progress = lambda done, total: None,
) -> npt.NDArray[np.float64]:
    """Let a learner predict rows in their order and learn each target once it is known.

    Targets that become known at the same time are learned in the order of their rows; those known
    after the last row are learned at the end.

    Returns:
        shape (rows,); NaN where it predicts nothing.
    """
    waiting: list[tuple[int, int, Note]] = []
    found = np.full(len(rows), np.nan)
    times, known_at = rows.time.tolist(), rows.label_time.tolist()
    targets, every = rows.target.tolist(), max(1, len(rows) // 100)

    def learn_until(time: float) -> None:
        while waiting and waiting[0][0] <= time:
            _, row, note = heapq.heappop(waiting)
            learner.learn(note, targets[row])

    for row, time in enumerate(times):
        learn_until(time)
        prediction, note = learner.look(rows.features[row])
        if prediction is not None:
            found[row] = prediction
        if note is not None:
            heapq.heappush(waiting, (known_at[row], row, note))
        if row % every == 0:
            progress(row, len(rows))
    learn_until(math.inf)
    progress(len(rows), len(rows))
    return found


def run_online(
    rows: TrainingSet,
    configuration: Configuration | None = None,
    *,
    warm_share: float = 0.4,
    alpha: float = ALPHA,
    progress: Progress = lambda done, total: None,
) -> OnlineRun:
    """Let a new learner go over rows, and say what it was worth.

    Args:
        rows: in the order of time.
        configuration: how it learns.
        warm_share: of the rows that are not scored, 0 to 1.
        alpha: share of targets that intervals may miss.
        progress: is told how many rows are done.

    Raises:
        TrainingError: too few rows, or river is not installed.
    """
    learner = OnlinePredictor(rows.names, configuration)
    begin = _begin(rows, learner.configuration, warm_share)
    prediction = play(learner, rows, progress)
    scored, prediction = rows.take(slice(begin, None)), prediction[begin:]
    if not np.isfinite(prediction).all():
        raise TrainingError("rows behind the warm start have infinities, or come before any target")
    before = rows.take(rows.label_time <= scored.time[0])
    beside = baseline_predictions(before, scored)
    return OnlineRun(
        learner,
        scored,
        prediction,
        score(scored.target, prediction, beside, scored.time, rows.horizon),
        _calibration(scored, prediction).thinned(),
        _intervals(scored, prediction, alpha),
    )


def _begin(rows: TrainingSet, configuration: Configuration, warm_share: float) -> int:
    """Return the first row to be scored: of a time of its own, behind the warm-up."""
    if not 0 < warm_share < 1:
        raise TrainingError(f"a warm share of {warm_share}: expected above 0 and below 1")
    begin = max(int(len(rows) * warm_share), LEAST_WARM)
    if max(begin, configuration.warm_up) < len(rows):
        warmed = np.sort(rows.label_time)[configuration.warm_up - 1]
        begin = max(begin, int(np.searchsorted(rows.time, warmed)))
    if begin < len(rows):
        begin = int(np.searchsorted(rows.time, rows.time[begin]))
    if len(rows) - begin < LEAST_SCORED:
        raise TrainingError(
            f"{len(rows):,} rows are too few: the warm start takes {begin:,}, and {LEAST_SCORED} "
            "or more are to be scored"
        )
    return begin


def _calibration(rows: TrainingSet, prediction: npt.NDArray[np.float64]) -> Calibration:
    return calibrate(rows.time, rows.label_time, rows.symbol, rows.target - prediction)


def _intervals(rows: TrainingSet, prediction: npt.NDArray[np.float64], alpha: float) -> Intervals:
    half = int(np.searchsorted(rows.time, rows.time[len(rows) // 2]))
    later = rows.take(slice(half, None))
    # Residuals that are known only later must not calibrate.
    known = rows.label_time <= later.time[0]
    calibration = _calibration(rows.take(known), prediction[known])
    return walk_intervals(
        later.time,
        later.label_time,
        later.symbol,
        prediction[half:],
        later.target,
        calibration,
        alpha,
    )


def new_online_version(
    name: str,
    rows: TrainingSet,
    *,
    created: int,
    configuration: Configuration | None = None,
    market: tuple[TrainedMarket, ...] | None = None,
    libraries: dict[str, str] | None = None,
    across_sessions: bool = False,
    fill_forward: bool = False,
    commit: str | None = None,
    progress: Progress = lambda done, total: None,
) -> tuple[Description, dict[str, bytes], OnlineRun]:
    """Return what the registry is given to publish, and the run it comes of.

    Args:
        name: of the model.
        rows: for the warm start and the scores; their features, interval and horizon are the
            version's.
        created: ns.
        configuration: how it learns.
        market: calendars by which the features were computed.
        libraries: versions to be named beside those of river and numpy.
        across_sessions: whether targets lay across the end of a session.
        fill_forward: whether bars without trades were input.
        commit: of the code, if it is known.
        progress: is told how many rows are done.

    Raises:
        TrainingError: see `run_online`.
        ValueError: a name that is none.
    """
    run = run_online(rows, configuration, progress=progress)
    content = write_online(run.learner)
    parameters = msgspec.structs.asdict(run.learner.configuration)
    description = Description(
        name=name,
        kind=KIND,
        created=created,
        feature_set=rows.feature_set,
        feature_names=rows.names,
        interval=rows.interval,
        horizon=rows.horizon,
        data_from=int(rows.time[0]),
        data_to=int(rows.label_time.max()),
        rows=len(rows),
        fitted_rows=len(rows),
        calibration_rows=len(run.scored),
        symbols=rows.symbols,
        parameters=parameters | {"across_sessions": across_sessions, FILL_FORWARD: fill_forward},
        libraries={"python": platform.python_version()}
        | {each: importlib.metadata.version(each) for each in LIBRARIES}
        | (libraries or {}),
        commit=commit,
        scores=run.manifest_scores(),
        calibration=run.calibration,
        market=market,
    )
    return description, {FILE: content}, run
