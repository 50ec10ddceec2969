"""`candlewick train`: a model of the return over the next bars, and an honest report of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.common import (
    INTERVAL,
    bar_files,
    clear_progress,
    json_option,
    print_json,
    read_settings,
    say,
    show_progress,
    table_lines,
)
from app.cli.markets import market_options
from app.cli.models_registry import by_option, open_registry, registry_option, say_moved, user_name
from app.durations import format_duration

if TYPE_CHECKING:
    from app.training.training import Task, Trained
    from tables.markets import Instruments


def task_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what says what is trained; the command is given `task`."""

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
        "--interval", type=INTERVAL, default="1m", show_default=True, help="Which bars to take."
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
    @wraps(command)
    def with_task(
        *args: Any,
        features: str,
        horizon: int,
        interval: int,
        cost_bps: float,
        folds: int,
        across_sessions: bool,
        instruments: Instruments,
        **options: Any,
    ) -> None:
        from app.training.training import Task
        from models.predicting.features_plan import FeatureSetError
        from models.predicting.features_registry import find_feature_set

        try:
            feature_set = find_feature_set(features)
        except FeatureSetError as error:
            raise click.BadParameter(str(error), param_hint="--features") from error
        label = format_duration(interval)
        task = Task(
            *(feature_set, label, horizon, instruments, cost_bps, folds, across_sessions),
            fill_forward=read_settings().bars.fill_forward,
        )
        command(*args, task=task, **options)

    return with_task


def model_name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Refuse a name that no model can have."""
    from models.predicting.manifest import NAME

    if value is not None and not NAME.fullmatch(value):
        raise click.BadParameter(
            f"{value!r}: expected a name of a-z, 0-9, _ and -, at most 64 characters", ctx, param
        )
    return value


@click.command()
@bar_files
@click.option(
    "--out",
    required=True,
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="For the model and the report; files of the same names in it are replaced.",
)
@click.option(
    "--publish",
    "name",
    metavar="NAME",
    callback=model_name,
    help="Make the model a version of NAME in the registry.",
)
@click.option(
    "--promote",
    "alias",
    metavar="ALIAS",
    callback=model_name,
    help="And let this alias name it: champion.",
)
@by_option
@registry_option
@task_options
@json_option
def train(
    files: tuple[Path, ...],
    out: Path,
    name: str | None,
    alias: str | None,
    by: str | None,
    location: str | None,
    as_json: bool,
    task: Task,
) -> None:
    """Train a model of the return over the next bars, and say what it is worth.

    Walk-forward with purge and embargo, XGBoost with early stopping; beside it what needs no model:
    zero, last value, AR(1). Skill is claimed where it is above all of them beyond chance. The
    folder gets model.ubj, report.html (no network needed) and report.json. The same bars give the
    same bytes. Needs `pip install 'candlewick[models]'`.

    With --publish the model becomes a version, whatever it is worth; --promote is a decision of
    yours, too. `candlewick retrain` compares with the champion first.

    \b
    Examples:
      candlewick train --bars bars.parquet --features returns --horizon 5 --out model
      candlewick train --bars bars.parquet --out model --publish returns --promote champion

    \b
    --json prints what report.json has; with --publish also `published`: name, version,
    existed (the same model is not published twice).
    """
    from app.run.errors import RunError
    from app.training.sources import Files
    from app.training.training import train_files
    from models.predicting.boosting import TrainingError

    if not files:
        raise click.UsageError("--bars FILE is missing")
    if alias is not None and name is None:
        raise click.UsageError("--promote needs --publish NAME")
    if name is not None:
        with open_registry(location):
            # What is wrong with the place is told before the training, not after it.
            pass
    created = time.time_ns()
    try:
        trained, report = train_files(Files(files), task, out, show_progress)
    except TrainingError as error:
        raise RunError(str(error)) from error
    finally:
        clear_progress()
    if not as_json:
        click.echo("\n".join(report_lines(report)))
        click.echo(f"report: {out / 'report.html'}")
    if name is not None:
        found = _publish(trained, report, task, name, alias, by, location, created, as_json)
        report = report | {"published": found}
    if as_json:
        print_json(report)


def _publish(
    trained: Trained,
    report: dict[str, Any],
    task: Task,
    name: str,
    alias: str | None,
    by: str | None,
    location: str | None,
    created: int,
    quiet: bool,
) -> dict[str, Any]:
    from app.training.publishing import CHECKOUT, commit_of, describe, publish_model

    with open_registry(location) as registry:
        description = describe(
            trained.model,
            name,
            task.instruments,
            created=created,
            across_sessions=task.across_sessions,
            fill_forward=task.fill_forward,
            commit=commit_of(CHECKOUT),
        )
        published = publish_model(registry, description, trained.model.model)
        if not quiet:
            click.echo(published.text)
        if alias is not None:
            current = registry.current(name, alias)
            if current is not None and current.version == published.version:
                say(f"{alias} names version {published.version} already")
            else:
                reason = f"by candlewick train: {report['verdict']}"
                move = registry.promote(
                    name,
                    alias,
                    published.version,
                    reason=reason,
                    time=time.time_ns(),
                    by=user_name(by),
                )
                if not quiet:
                    say_moved(name, move)
    return {"name": name, "version": published.version, "existed": published.existed}


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """Return what a report says, for people."""
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
