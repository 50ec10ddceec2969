"""`candlewick models online`: a model that learns from each target that becomes known."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.common import (
    INTERVAL,
    clear_progress,
    json_option,
    print_json,
    read_settings,
    show_progress,
    table_lines,
)
from app.cli.markets import market_options
from app.cli.models_registry import open_registry, registry_option, say_moved, user_name
from app.durations import format_duration

if TYPE_CHECKING:
    from models.predicting.online_training import OnlineRun
    from tables.markets import Instruments


@click.command()
@click.argument("name")
@click.option(
    "--bars",
    "paths",
    multiple=True,
    required=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Bars to warm up and to be scored on, .csv or .parquet; may be repeated.",
)
@click.option(
    "--features",
    default="returns",
    show_default=True,
    metavar="NAME",
    help="Feature set: NAME, NAME@VERSION or MODULE:NAME@VERSION.",
)
@click.option(
    "--interval", type=INTERVAL, default="1m", show_default=True, help="Which bars to take."
)
@click.option(
    "--horizon",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="Bars ahead, of the return that is predicted.",
)
@click.option(
    "--across-sessions", is_flag=True, help="Also targets that lie across the end of a session."
)
@click.option("--promote", "alias", metavar="ALIAS", help="And let this alias name it: challenger.")
@market_options
@registry_option
@json_option
def online(
    name: str,
    paths: tuple[Path, ...],
    features: str,
    interval: int,
    horizon: int,
    across_sessions: bool,
    alias: str | None,
    location: str | None,
    as_json: bool,
    instruments: Instruments,
) -> None:
    """Publish a version of NAME that learns from each target that becomes known.

    \b
    A linear regression (river) over scaled features. It goes over the bars once
    as it would live: the first 40 % warm it up, at the others it predicts first
    and learns then, and these predictions are its scores, beside zero, last
    value and AR(1), and calibrate its intervals. A version without scores
    would say nothing, so it takes bars. Live it goes on from there.
    Needs `pip install 'candlewick[online]'`. Example:
      candlewick models online returns --bars bars.parquet --promote challenger

    \b
    --json prints an object: name, version, alias, generation, rows, scores.
    """
    from app.training.online import OnlineTask, publish_online
    from app.training.sources import Files
    from models.predicting.features_plan import FeatureSetError
    from models.predicting.features_registry import find_feature_set

    try:
        kind = find_feature_set(features)
    except FeatureSetError as error:
        raise click.UsageError(str(error)) from error
    label = format_duration(interval)
    task = OnlineTask(
        *(name, kind, label, horizon, instruments, across_sessions),
        fill_forward=read_settings().bars.fill_forward,
    )
    move = None
    with open_registry(location) as registry:
        try:
            manifest, run = publish_online(
                registry, Files(paths), task, created=time.time_ns(), progress=show_progress
            )
        finally:
            clear_progress()
        if alias is not None:
            move = registry.promote(
                name,
                alias,
                manifest.version,
                reason="named when it was published",
                by=user_name(None),
                time=time.time_ns(),
            )
    if as_json:
        print_json(
            {
                "name": name,
                "version": manifest.version,
                "alias": alias,
                "generation": None if move is None else move.generation,
                "rows": manifest.rows,
                "scores": manifest.scores,
            }
        )
        return
    click.echo("\n".join(_lines(run)))
    click.echo(f"{name} {manifest.version}")
    if move is not None:
        say_moved(name, move)


def _lines(run: OnlineRun) -> list[str]:
    from app.training.pages import percent, root_points, signed_share
    from models.predicting.baselines import TITLES

    rows = [
        ["prediction", "RMSE bp", "skill", "95% interval", "beyond chance"],
        ["model", root_points(run.score.mse), "", "", ""],
    ]
    for each in run.score.skills:
        rows.append(
            [
                TITLES[each.baseline],
                root_points(each.mse),
                signed_share(each.skill),
                f"{signed_share(each.low)} to {signed_share(each.high)}",
                "yes" if each.proven else "no",
            ]
        )
    return [
        *table_lines(rows),
        f"{run.score.rows:,} rows predicted first and learned then, "
        f"trust {percent(run.learner.trust)}, "
        f"intervals: {percent(run.intervals.coverage)} inside of 90% wanted",
    ]
