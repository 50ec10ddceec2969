"""From files of bars to a folder with a model and its report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from app.contracts.wire import BarRecord
from app.feeds.errors import FeedError
from app.run.indicating import bars_of, read_bar_table
from app.training.document import document
from app.training.writing import write_training
from models.predicting.boosting import TrainingError, import_xgboost
from models.predicting.building import build_counted
from models.predicting.equity import naive_equity
from models.predicting.featuresets import FeatureSet
from models.predicting.training import TrainingSettings, train
from tables.markets import Instruments

Progress = Callable[[str, int, int], None]


def read_bars(paths: Sequence[Path], interval: str) -> list[BarRecord]:
    """Read the bars of one interval.

    Raises:
        FeedError: a file is broken, or none has such bars.
    """
    bars: list[BarRecord] = []
    others: set[str] = set()
    for path in paths:
        for bar in bars_of(path, read_bar_table(path)):
            if bar.interval == interval:
                bars.append(bar)
            else:
                others.add(bar.interval)
    if not bars:
        there = f"of {', '.join(sorted(others))} only" if others else "of no interval"
        raise FeedError(paths[0], None, f"no bars of {interval}; there are bars {there}")
    return bars


def train_files(
    paths: Sequence[Path],
    feature_set: type[FeatureSet],
    interval: str,
    horizon: int,
    out: Path,
    instruments: Instruments,
    *,
    cost_bps: float,
    folds: int = 5,
    across_sessions: bool = False,
    progress: Progress = lambda label, done, total: None,
) -> dict[str, Any]:
    """Train on the bars of files, and write model and report; the report.

    Args:
        paths: files of bars.
        feature_set: what makes the features.
        interval: label of the bars to take, `1m`.
        horizon: in bars.
        out: folder.
        instruments: when sessions are.
        cost_bps: of a trade of the naive strategy, basis points.
        folds: of the walk.
        across_sessions: whether targets may lie across the end of a session.
        progress: is told label, done, total.

    Raises:
        FeedError: a file is broken, or none has such bars.
        TrainingError: too few rows, two bars that are one, XGBoost is not installed.
        OSError: a file cannot be read or written.
    """
    import_xgboost()
    bars = read_bars(paths, interval)
    try:
        built = build_counted(
            bars,
            feature_set,
            horizon,
            market_of=instruments.market,
            across_sessions=across_sessions,
            progress=progress,
        )
    except ValueError as error:
        raise TrainingError(str(error)) from error
    model = train(
        built.rows,
        TrainingSettings(folds=folds),
        lambda done, total: progress("train", done, total),
    )
    tested = model.out_of_sample
    equity = naive_equity(tested.rows, tested.prediction, cost_bps)
    report = document(model, equity, built.dropped, [path.name for path in paths])
    write_training(out, model.model, report)
    return report
