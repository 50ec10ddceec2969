"""From bars to a version of an online learner in the registry.

A manifest has scores beside the baselines, so there is no version that has seen no bars: one is
warmed up on some, and scored on those behind.
"""

from __future__ import annotations

from dataclasses import dataclass

from app import __version__
from app.training.publishing import CHECKOUT, commit_of, markets_of
from app.training.sources import BarSource
from app.training.training import Progress, no_progress
from models.predicting.boosting import TrainingError
from models.predicting.building import build_counted
from models.predicting.featuresets import FeatureSet
from models.predicting.manifest import Manifest
from models.predicting.online import Configuration, import_river
from models.predicting.online_training import OnlineRun, new_online_version
from models.predicting.registry import Registry
from tables.markets import Instruments


@dataclass(frozen=True)
class OnlineTask:
    """What learns, of what.

    Attributes:
        name: of the model.
        feature_set: what makes the features.
        interval: label of the bars to take, `1m`.
        horizon: of the target, in bars.
        instruments: when sessions are.
        across_sessions: whether targets may lie across the end of a session.
        configuration: how it learns.
        fill_forward: whether bars without trades are input (the setting `bars.fill_forward`).
    """

    name: str
    feature_set: type[FeatureSet]
    interval: str
    horizon: int
    instruments: Instruments
    across_sessions: bool = False
    configuration: Configuration | None = None
    fill_forward: bool = False


def publish_online(
    registry: Registry,
    source: BarSource,
    task: OnlineTask,
    *,
    created: int,
    progress: Progress = no_progress,
) -> tuple[Manifest, OnlineRun]:
    """Let a new learner go over bars, and publish it with what it was worth.

    Args:
        registry: where to.
        source: gives the bars.
        task: what learns.
        created: ns.
        progress: is told label, done, total.

    Raises:
        FeedError: a file is broken, or none has such bars.
        TrainingError: too few rows, two bars that are one, river is not installed.
        ValueError: a name that is none.
        OSError: a file cannot be read, or of the store.
    """
    import_river()
    recorded = source.read(task.interval)
    try:
        rows = build_counted(
            recorded.bars,
            task.feature_set,
            task.horizon,
            market_of=task.instruments.market,
            across_sessions=task.across_sessions,
            fill_forward=task.fill_forward,
            progress=progress,
        ).rows
    except ValueError as error:
        raise TrainingError(str(error)) from error
    description, files, run = new_online_version(
        task.name,
        rows,
        created=created,
        configuration=task.configuration,
        market=markets_of(task.instruments, rows.symbols) or None,
        libraries={"candlewick": __version__},
        across_sessions=task.across_sessions,
        fill_forward=task.fill_forward,
        commit=commit_of(CHECKOUT),
        progress=lambda done, total: progress("learn", done, total),
    )
    return registry.publish(description, files), run
