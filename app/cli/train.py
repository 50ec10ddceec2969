"""`candlewick train`: a model of the return over the next bars, and an honest report of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.common import (
    INTERVAL,
    clear_progress,
    json_option,
    print_json,
    show_progress,
    table_lines,
)
from app.cli.markets import market_options
from app.durations import format_duration

if TYPE_CHECKING:
    from tables.markets import Instruments


@click.command()
@click.option(
    "--bars",
    "paths",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Bars as `candlewick run --export` writes them, .csv or .parquet; several may follow.",
)
@click.argument("more", nargs=-1, metavar="[FILE]...", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--features",
    default="returns",
    show_default=True,
    metavar="NAME",
    help="Feature set: NAME, NAME@VERSION or MODULE:NAME@VERSION.",
)
@click.option(
    "--horizon",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="Bars ahead, of the return that is predicted.",
)
@click.option(
    "--interval", type=INTERVAL, default="1m", show_default=True, help="Which bars of the files."
)
@click.option(
    "--out",
    required=True,
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="For the model and the report; files of the same names in it are replaced.",
)
@click.option(
    "--cost-bps",
    type=click.FloatRange(0, 10_000, min_open=True),
    default=2.0,
    show_default=True,
    help="Of a trade, in and out together, basis points.",
)
@click.option(
    "--folds", type=click.IntRange(2, 100), default=5, show_default=True, help="Of the walk."
)
@click.option(
    "--across-sessions", is_flag=True, help="Also targets that lie across the end of a session."
)
@market_options
@json_option
def train(
    paths: tuple[Path, ...],
    more: tuple[Path, ...],
    features: str,
    horizon: int,
    interval: int,
    out: Path,
    cost_bps: float,
    folds: int,
    across_sessions: bool,
    as_json: bool,
    instruments: Instruments,
) -> None:
    """Train a model of the return over the next bars, and say what it is worth.

    Walk-forward with purge and embargo, XGBoost with early stopping; beside it what needs no model:
    zero, last value, AR(1). Skill is claimed where it is above all of them beyond chance. The
    folder gets model.ubj, report.html (no network needed) and report.json. The same bars give the
    same bytes. Needs `pip install 'candlewick[models]'`.

    \b
    Example:
      candlewick train --bars bars.parquet --features returns --horizon 5 --out model

    \b
    --json prints what report.json has.
    """
    from app.run.errors import RunError
    from app.training.training import train_files
    from models.predicting.boosting import TrainingError
    from models.predicting.features_plan import FeatureSetError
    from models.predicting.features_registry import find_feature_set

    every_path = (*paths, *more)
    if not every_path:
        raise click.UsageError("--bars FILE is missing")
    try:
        feature_set = find_feature_set(features)
    except FeatureSetError as error:
        raise click.BadParameter(str(error), param_hint="--features") from error
    try:
        report = train_files(
            every_path,
            feature_set,
            format_duration(interval),
            horizon,
            out,
            instruments,
            cost_bps=cost_bps,
            folds=folds,
            across_sessions=across_sessions,
            progress=show_progress,
        )
    except TrainingError as error:
        raise RunError(str(error)) from error
    finally:
        clear_progress()
    if as_json:
        print_json(report)
        return
    click.echo("\n".join(_lines(report)))
    click.echo(f"report: {out / 'report.html'}")


def _lines(report: dict[str, Any]) -> list[str]:
    from app.training.pages import basis_points, level, percent, root_points, signed_share
    from models.predicting.baselines import TITLES

    score, coverage, equity = report["score"], report["coverage"], report["equity"]
    rows = [
        [
            "prediction",
            "RMSE bp",
            "skill",
            f"{level(report['confidence'])} interval",
            "beyond chance",
        ],
        ["model", root_points(score["mse"]), "", "", ""],
    ]
    for each in score["skills"]:
        low, high = signed_share(each["low"]), signed_share(each["high"])
        rows.append(
            [
                TITLES[each["baseline"]],
                root_points(each["mse"]),
                signed_share(each["skill"]),
                f"{low} to {high}",
                "yes" if each["proven"] else "no",
            ]
        )
    return [
        *table_lines(rows),
        f"{report['verdict']} {score['rows']:,} rows out of sample of {report['rows']:,}, "
        f"right sign in {percent(score['hit_rate'])}",
        f"intervals: {percent(coverage['adaptive'])} inside of {level(coverage['wanted'])} "
        f"wanted, +-{basis_points(coverage['mean_half_width'])} bp",
        f"equity: {signed_share(equity['net'])} after {equity['cost_bps']:g} bp a trade, "
        f"{equity['trades']:,} trades",
    ]
