"""From bars to a model and its report, and to a folder with both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.training.document import document
from app.training.sources import BarSource
from app.training.writing import write_training
from models.predicting.boosting import TrainingError, import_xgboost
from models.predicting.building import build_counted
from models.predicting.dataset import TrainingSet
from models.predicting.equity import naive_equity
from models.predicting.featuresets import FeatureSet
from models.predicting.training import TrainedModel, TrainingSettings, train
from tables.markets import Instruments

Progress = Callable[[str, int, int], None]


def no_progress(label: str, done: int, total: int) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Task:
    """What is to be trained.

    Attributes:
        feature_set: what makes the features.
        interval: label of the bars to take, `1m`.
        horizon: in bars.
        instruments: when sessions are.
        cost_bps: of a trade of the naive strategy, basis points.
        folds: of the walk.
        across_sessions: whether targets may lie across the end of a session.
        fill_forward: whether bars without trades are input (the setting `bars.fill_forward`).
    """

    feature_set: type[FeatureSet]
    interval: str
    horizon: int
    instruments: Instruments
    cost_bps: float
    folds: int = 5
    across_sessions: bool = False
    fill_forward: bool = False


@dataclass(frozen=True)
class Trained:
    """A model with the rows it comes from.

    Attributes:
        rows: those that were trained, calibrated and scored on.
        dropped: bars that gave no row, by reason.
        files: names of those the bars are of.
        model: as trained.
    """

    rows: TrainingSet
    dropped: Mapping[str, int]
    files: tuple[str, ...]
    model: TrainedModel


def train_bars(source: BarSource, task: Task, progress: Progress = no_progress) -> Trained:
    """Train on bars.

    Args:
        source: gives the bars.
        task: what to train.
        progress: is told label, done, total.

    Raises:
        FeedError: a file is broken, or none has such bars.
        TrainingError: too few rows, two bars that are one, XGBoost is not installed.
        OSError: a file cannot be read.
    """
    import_xgboost()
    recorded = source.read(task.interval)
    try:
        built = build_counted(
            recorded.bars,
            task.feature_set,
            task.horizon,
            market_of=task.instruments.market,
            across_sessions=task.across_sessions,
            fill_forward=task.fill_forward,
            progress=progress,
        )
    except ValueError as error:
        raise TrainingError(str(error)) from error
    model = train(
        built.rows,
        TrainingSettings(folds=task.folds),
        lambda done, total: progress("train", done, total),
    )
    return Trained(built.rows, built.dropped, recorded.names, model)


def report_of(trained: Trained, cost_bps: float) -> dict[str, Any]:
    """Return the report of a training, with a naive strategy after these costs, basis points."""
    tested = trained.model.out_of_sample
    equity = naive_equity(tested.rows, tested.prediction, cost_bps)
    return document(trained.model, equity, trained.dropped, list(trained.files))


def train_files(
    source: BarSource, task: Task, out: Path, progress: Progress = no_progress
) -> tuple[Trained, dict[str, Any]]:
    """Train on bars, and write model and report; the model and the report.

    Args:
        source: gives the bars.
        task: what to train.
        out: folder.
        progress: is told label, done, total.

    Raises:
        FeedError, TrainingError: as `train_bars`.
        OSError: a file cannot be read or written.
    """
    trained = train_bars(source, task, progress)
    report = report_of(trained, task.cost_bps)
    write_training(out, trained.model.model, report)
    return trained, report
