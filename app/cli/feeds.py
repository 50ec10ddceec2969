"""`candlewick replay` and `candlewick simulate`: what fills the ticks topic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from app.cli.common import (
    DURATION,
    SHARE,
    clear_progress,
    reachable,
    read_settings,
    run_async,
    say,
    show_progress,
)

Command = TypeVar("Command", bound=Callable[..., Any])


def replay_options(command: Command) -> Command:
    """Add the options of a replay, in the names of `app.feeds.replayer.replay`."""
    options = [
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
        click.option(
            "--batch-records", type=click.IntRange(1), help="At most so many records in a batch."
        ),
    ]
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
def replay(paths: tuple[Path, ...], **options: Any) -> None:
    """Send recorded trades to the ticks topic, in event-time order.

    PATH is a file or a folder: Lean equity trades (zip), CSV, Parquet. Every file is read through
    before the first record is sent. The replay marks the partitions as historical and ends with a
    flush, which closes all bars.
    """
    from app.admin import ensure_topics
    from app.feeds.replayer import ReplaySummary
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
    for skipped in summary.skipped:
        say(f"skipped {skipped.path}: {skipped.reason}")
    rate = summary.sent / summary.seconds if summary.seconds else 0.0
    click.echo(
        f"sent {summary.sent:,} records ({summary.trades:,} trades, {summary.corrupt:,} corrupt "
        f"on purpose) in {summary.seconds:.1f} s, {rate:,.0f} records/s; "
        f"reading the files took {summary.reading_seconds:.1f} s"
    )


@click.command()
@click.option("--symbols", type=click.IntRange(1), default=8, show_default=True)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=200.0,
    show_default=True,
    help="Trades a second, all symbols together.",
)
@click.option("--seed", type=int, default=0, show_default=True)
def simulate(symbols: int, rate: float, seed: int) -> None:
    """Send trades of a small simulated market, as they happen, until stopped."""
    from app.admin import ensure_topics
    from app.feeds.simulator import simulate as send

    chosen = reachable(read_settings())

    async def work() -> None:
        await ensure_topics(chosen)
        say(f"simulating {symbols} symbols at {rate:g} trades/s; stop it with Ctrl-C")
        await send(chosen, symbols=symbols, rate=rate, seed=seed)

    try:
        run_async(work)
    except KeyboardInterrupt:
        say("stopped")
