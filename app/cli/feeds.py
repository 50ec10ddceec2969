"""`candlewick replay`: recorded data into the input topics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from app.cli.common import (
    DURATION,
    SHARE,
    clear_progress,
    json_option,
    print_json,
    reachable,
    read_settings,
    run_async,
    say,
    show_progress,
)
from app.cli.mapping import mapping_options

if TYPE_CHECKING:
    from app.feeds.replayer import ReplaySummary

Command = TypeVar("Command", bound=Callable[..., Any])
form_option = click.option(
    "--format",
    "form",
    type=click.Choice(["json", "msgpack"]),
    default="json",
    show_default=True,
    help="What trades and quotes are written as; bad and control records are JSON.",
)
#: Skipped files that are named one by one.
NAMED_SKIPPED: Final = 20


def replay_options(command: Command) -> Command:
    """Add the options of a replay, in the names of `app.feeds.replayer.replay`."""
    options = [
        click.option(
            "--kind",
            type=click.Choice(["trades", "quotes"]),
            default="trades",
            show_default=True,
            help="Which records of the files, and so which topic.",
        ),
        click.option("--rate", type=click.FloatRange(0, min_open=True), help="Records a second."),
        click.option(
            "--disorder",
            "disorder_ns",
            type=DURATION,
            default="0s",
            help="Delay each record by up to this much event time: 900ms.",
        ),
        click.option(
            "--late",
            type=SHARE,
            default="0%",
            help="Share of records delayed beyond the correction horizon: 1%.",
        ),
        click.option("--corrupt", type=SHARE, default="0%", help="Share of bad records added: 1%."),
        click.option("--seed", type=int, default=0, show_default=True, help="Of all the above."),
        form_option,
        click.option(
            "--batch-records", type=click.IntRange(1), help="At most so many records in a batch."
        ),
    ]
    command = mapping_options(command)
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    metavar="PATH...",
    type=click.Path(exists=True, path_type=Path),
)
@replay_options
@json_option
def replay(paths: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Send recorded trades to the topic ticks, or quotes to quotes, in event-time order.

    PATH is a file or a folder: Lean ticks (zip), TAQ CSV, raw Binance frames, CSV, Parquet. Every
    file is read through before the first record is sent. The replay marks the partitions as
    historical and ends with a flush, which closes all bars.

    \b
    Example:
      candlewick replay ticks.csv --rate 10000
    """
    from app.admin import ensure_topics
    from app.feeds.replayer import replay as send

    chosen = reachable(read_settings())

    async def work() -> ReplaySummary:
        await ensure_topics(chosen)
        return await send(
            chosen,
            paths,
            progress=lambda done, total: show_progress("sent", done, total),
            **options,
        )

    summary = run_async(work)
    clear_progress()
    if as_json:
        print_json(asdict(summary))
        return
    say_left_out(summary)
    rate = summary.sent / summary.seconds if summary.seconds else 0.0
    raw = f"{summary.raw:,} as they are, " if summary.raw else ""
    click.echo(
        f"sent {summary.sent:,} records ({summary.trades:,} {summary.kind}, {raw}"
        f"{summary.corrupt:,} corrupt on purpose) in {summary.seconds:.1f} s, "
        f"{rate:,.0f} records/s; reading the files took {summary.reading_seconds:.1f} s"
    )


def say_left_out(summary: ReplaySummary) -> None:
    """Name the files that were skipped, and count the records that were left out, by reason."""
    for skipped in summary.skipped[:NAMED_SKIPPED]:
        say(f"skipped {skipped.path}: {skipped.reason}")
    if len(summary.skipped) > NAMED_SKIPPED:
        say(f"skipped {len(summary.skipped) - NAMED_SKIPPED} more files")
    for reason, count in summary.left_out.items():
        say(f"left out {count:,} records: {reason}")
