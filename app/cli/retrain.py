"""`candlewick retrain`: a new model of the newest bars, promoted only if it is better."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.common import (
    DURATION,
    bar_files,
    clear_progress,
    json_option,
    print_json,
    read_settings,
    safe_text,
    say,
    show_progress,
)
from app.cli.models_registry import (
    by_option,
    open_registry,
    registry_location,
    registry_option,
    user_name,
)
from app.cli.train import model_name, report_lines, task_options

if TYPE_CHECKING:
    from app.training.retraining import Policy, Retrained
    from app.training.sources import BarSource
    from app.training.training import Task
    from models.predicting.registry import Registry

logger = logging.getLogger(__name__)

_SECOND = 1_000_000_000
#: A timer with less between its runs is a mistake.
_LEAST = 60 * _SECOND


@click.command()
@click.argument("name", callback=model_name)
@bar_files
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Instead: of all .csv and .parquet files in this folder.",
)
@click.option("--days", type=click.IntRange(1), help="Of --folder the newest, 24 hours each.")
@click.option(
    "--out",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="For model.ubj, report.html and report.json; files of the same names are replaced.",
)
@click.option(
    "--alias",
    default="champion",
    show_default=True,
    callback=model_name,
    help="What the new model is compared with, and what is moved.",
)
@click.option(
    "--promote-if",
    "when",
    type=click.Choice(["better", "never"]),
    default="better",
    show_default=True,
    help="When the new model takes the alias.",
)
@click.option("--challenger", is_flag=True, help="Not promoted, it becomes the challenger.")
@click.option("--force", metavar="REASON", help="Promote it whatever is found; kept with the move.")
@click.option(
    "--every", type=DURATION, metavar="24h", help="Again and again, until SIGTERM or Ctrl-C."
)
@by_option
@registry_option
@task_options
@json_option
def retrain(
    name: str,
    files: tuple[Path, ...],
    folder: Path | None,
    days: int | None,
    out: Path | None,
    alias: str,
    when: str,
    challenger: bool,
    force: str | None,
    every: int | None,
    by: str | None,
    location: str | None,
    as_json: bool,
    task: Task,
) -> None:
    """Train a new version of NAME, and promote it only if it is better than the champion.

    Both are scored on rows that neither has seen: those the new model was not fitted on, after the
    champion's data. It must be better than the champion beyond chance, and better than zero. With
    too few such rows nothing is promoted. The first champion must have skill above zero, last value
    and AR(1). The version is published either way, unless the same is there already; what was
    decided is printed, in the report, and kept with the move.

    With --every a failure is logged and tried again at the next time. After a restart the newest
    version says when that is. Instead: cron (`0 2 * * * candlewick retrain ...`), a systemd timer,
    or a Kubernetes CronJob with `concurrencyPolicy: Forbid`, without --every.

    \b
    Examples:
      candlewick retrain returns --bars bars.parquet --challenger
      candlewick retrain returns --folder exports --days 30 --every 24h

    \b
    --json prints what report.json has; `retraining` is the decision.
    Exit code 0 whether it is promoted or not, 1 if it failed.
    """
    from app.training.retraining import Policy
    from app.training.sources import Files, NewestDays

    if bool(files) == (folder is not None):
        raise click.UsageError("expected --bars FILE or --folder FOLDER, one of them")
    if days is not None and folder is None:
        raise click.UsageError("--days needs --folder")
    if force is not None and when == "never":
        raise click.UsageError("--force contradicts --promote-if never")
    if force is not None and every is not None:
        raise click.UsageError("--force is for one time, not for --every")
    if every is not None and every < _LEAST:
        raise click.BadParameter("expected 1m or more", param_hint="--every")
    source: BarSource = Files(files) if folder is None else NewestDays(folder, days)
    policy = Policy(
        name, alias, "never" if when == "never" else "better", force, challenger, user_name(by)
    )
    if every is None:
        _once(location, policy, source, task, out, as_json)
    else:
        _again(every, location, policy, source, task, out, as_json)


def _once(
    location: str | None,
    policy: Policy,
    source: BarSource,
    task: Task,
    out: Path | None,
    as_json: bool,
) -> None:
    from app.training.retraining import retrain

    with open_registry(location) as registry:
        try:
            found = retrain(
                registry,
                policy,
                source,
                task,
                clock=time.time_ns,
                out=out,
                progress=show_progress,
            )
        finally:
            clear_progress()
    _tell(found, policy, out, as_json)


def _again(
    every: int,
    location: str | None,
    policy: Policy,
    source: BarSource,
    task: Task,
    out: Path | None,
    as_json: bool,
) -> None:
    from app.training.retraining import newest_created, retrain
    from app.training.timing import Schedule, Signals, repeat
    from models.predicting.registry import Registry

    place = registry_location(read_settings(), location)
    with open_registry(location) as registry:
        last = newest_created(registry, policy.name)

    with Signals() as signals:

        def progress(label: str, done: int, total: int) -> None:
            signals.check()
            show_progress(label, done, total)

        def run() -> None:
            fresh: Registry = Registry.at(place)
            try:
                found = retrain(
                    fresh,
                    policy,
                    source,
                    task,
                    clock=time.time_ns,
                    out=out,
                    progress=progress,
                )
            finally:
                clear_progress()
            _tell(found, policy, out, as_json)

        repeat(
            Schedule(every),
            last,
            run,
            clock=time.time_ns,
            wait=lambda until: signals.wait(until, time.time_ns),
            due=lambda planned: say(f"training at {_moment(planned)} UTC"),
            failed=_failed(),
        )
    say("stopped")


def _failed() -> Callable[[Exception], None]:
    from app.feeds.errors import FeedError
    from models.predicting.boosting import TrainingError
    from models.predicting.registry_errors import ModelError

    expected = (FeedError, TrainingError, ModelError, OSError, ImportError)

    def failed(error: Exception) -> None:
        # Of what nobody has thought of, where it was.
        trace = None if isinstance(error, expected) else error
        logger.error(
            "training has failed, and is tried again at the next time: %s",
            safe_text(str(error)),
            exc_info=trace,
            extra={"error": type(error).__name__},
        )

    return failed


def _moment(nanoseconds: int) -> str:
    return f"{datetime.fromtimestamp(nanoseconds // _SECOND, UTC):%Y-%m-%d %H:%M:%S}"


def _tell(found: Retrained, policy: Policy, out: Path | None, as_json: bool) -> None:
    if as_json:
        print_json(found.report)
        return
    for line in report_lines(found.training):
        click.echo(line)
    if out is not None:
        click.echo(f"report: {out / 'report.html'}")
    click.echo(found.published.text)
    moved = "not promoted" if found.move is None else "promoted"
    click.echo(safe_text(f"{moved}: {found.decision.reason}"))
    for move in (found.move, found.challenger):
        if move is not None:
            click.echo(
                f"{policy.name} {move.alias}: version {move.version}, generation {move.generation}"
            )
