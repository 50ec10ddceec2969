"""`candlewick run`: one replay from files to a file of bars, with everything that takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli.common import clear_progress, read_settings, run_async, say, show_progress
from app.cli.feeds import NAMED_SKIPPED, replay_options
from app.cli.reset import confirm_reset, reset_options
from app.run.kinds import AGENT_OF

if TYPE_CHECKING:
    from app.feeds.files import Skipped
    from app.run.session import RunSummary


def _check_export(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    from app.run.export import check_target

    if value is not None:
        try:
            check_target(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from error
    return value


@click.command()
@click.option(
    "--replay",
    "paths",
    multiple=True,
    metavar="PATH",
    type=click.Path(exists=True, path_type=Path),
    help="Recorded ticks; several PATHs may follow it, and it may be repeated.",
)
@click.argument("more", nargs=-1, metavar="[PATH]...", type=click.Path(exists=True, path_type=Path))
@click.option("--until-drained", is_flag=True, help="End when every bar is closed.")
@click.option(
    "--export",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_check_export,
    metavar="FILE.{csv,parquet}",
    help="Write the highest revision of each bar; FILE is replaced whole.",
)
@click.option(
    "--policy", type=click.Choice(["all", "sip", "algoseek"]), help="Of the sale conditions."
)
@click.option("--intervals", metavar="1s,1m,...", help="Of the bars.")
@click.option("--partitions", type=click.IntRange(1), help="Of fresh topics.")
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Of all state.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True)
@click.option("--deployment", help="An existing or new deployment, instead of a fresh one.")
@click.option(
    "--from-log",
    metavar="PREFIX",
    help="Read the existing topic PREFIX.ticks, or PREFIX.quotes, with a fresh deployment; "
    "--replay is optional.",
)
@click.option("--fetch-max-bytes", type=click.IntRange(1024), help="Of a partition and fetch.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@replay_options
@reset_options
def run(
    paths: tuple[Path, ...],
    more: tuple[Path, ...],
    until_drained: bool,
    export: Path | None,
    policy: str | None,
    intervals: str | None,
    partitions: int | None,
    data_dir: Path | None,
    workers: int,
    deployment: str | None,
    from_log: str | None,
    fetch_max_bytes: int | None,
    as_json: bool,
    reset: bool,
    yes: bool,
    **replay_choices: Any,
) -> None:
    """Replay recorded trades, or quotes, through the whole engine, and export their bars.

    Starts what is missing (broker, topics, workers with the agent of that --kind) and stops what it
    started. Unless --deployment or --from-log says otherwise, everything is fresh: a topic prefix
    `run-XXXXXXXX.` of its own, with topics that stay, so that `--from-log run-XXXXXXXX` can read
    the same log again. A worker that dies is started again, and counted.

    \b
    Example:
      candlewick run --replay ticks.csv --until-drained --export bars.parquet
    """
    from app.run.session import RunOptions, fresh_name, log_prefix
    from app.run.session import run as run_session

    every_path = (*paths, *more)
    if not every_path and from_log is None:
        raise click.UsageError("--replay PATH is missing (or --from-log PREFIX)")
    if export is not None and not until_drained:
        raise click.UsageError(
            "--export needs --until-drained: bars are written when all is closed"
        )
    if reset and deployment is None:
        raise click.UsageError("--reset needs --deployment: anything else is fresh already")
    kind = replay_choices.pop("kind")
    if policy is not None and kind != "trades":
        raise click.UsageError(f"--policy is about trades: {kind} have no sale conditions")
    name, prefix = deployment, None
    if from_log is not None:
        name, prefix = deployment or fresh_name(), log_prefix(from_log)
    elif deployment is None:
        name, prefix = "run", log_prefix(fresh_name())
    settings = read_settings(
        agents=(AGENT_OF[kind],),
        deployment=name,
        topic_prefix=prefix,
        data_dir=data_dir,
        topics={"partitions": partitions},
        bars={"policy": policy, "intervals": intervals},
        broker={"fetch_max_bytes": fetch_max_bytes},
    )
    options = RunOptions(
        paths=every_path,
        replay_options=replay_choices,
        until_drained=until_drained,
        export=export,
        workers=workers,
        existing_log=from_log is not None,
        reset=reset,
    )
    say(f"deployment {settings.deployment}, topics {settings.topic_prefix or '(no prefix)'}")
    if reset:
        confirm_reset(settings, yes=yes)
    summary = run_async(lambda: run_session(settings, options, say, show_progress))
    clear_progress()
    if as_json:
        click.echo(json.dumps(asdict(summary), default=str))
    else:
        click.echo("\n".join(summary_lines(summary, export)))


def summary_lines(summary: RunSummary, export: Path | None) -> list[str]:
    """Return the summary of a run, one figure a line."""
    lines = [f"group          {summary.group}"]
    if summary.replayed is not None:
        sent = summary.replayed
        raw = f", {sent.raw:,} as they are" if sent.raw else ""
        lines.append(f"records sent   {sent.sent:,} ({sent.corrupt:,} corrupt on purpose{raw})")
        lines += [f"  left out     {count:,} {reason}" for reason, count in sent.left_out.items()]
        lines += _skipped_lines(sent.skipped)
    if summary.outcomes is not None:
        lines.append(f"records read   {summary.outcomes.records:,}")
        counts = summary.outcomes.counts
        details = summary.outcomes.details
        for outcome, count in counts.items():
            lines.append(f"  {outcome:<13}{count:,}")
            if outcome == "ignored":
                lines += [f"    {reason:<11}{part:,}" for reason, part in details.items() if part]
    if summary.bars is not None:
        lines.append(f"bars exported  {summary.bars:,} to {export}")
    lines.append(f"restarts       {summary.restarts}")
    if summary.batches is not None:
        lines.append(f"batches        {summary.batches:,}")
    if summary.peak_memory is not None:
        lines.append(f"peak memory    {summary.peak_memory / 1e6:,.0f} MB, the greatest worker")
    rate = summary.outcomes.records / summary.seconds if summary.outcomes else 0.0
    lines.append(f"seconds        {summary.seconds:.2f} ({rate:,.0f} ticks/s)")
    return lines


def _skipped_lines(skipped: Sequence[Skipped]) -> list[str]:
    """Name the files that were skipped; of very many the first ones."""
    lines = [f"  skipped      {each.path}: {each.reason}" for each in skipped[:NAMED_SKIPPED]]
    if len(skipped) > NAMED_SKIPPED:
        lines.append(f"  skipped      {len(skipped) - NAMED_SKIPPED:,} more files")
    return lines
