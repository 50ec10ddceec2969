"""`candlewick bars`: bars in the terminal."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime

import click

from app.cli.common import DURATION, overlay, reachable, read_settings, run_async, say
from app.contracts.wire import BarRecord
from app.durations import NANOSECONDS, format_duration
from app.run.follow import Selection, follow_bars, recent_bars
from app.settings import Settings

HEADER = (
    f"{'start (UTC)':<23} {'symbol':<10} {'size':>4} {'open':>10} {'high':>10} {'low':>10} "
    f"{'close':>10} {'volume':>12} {'vwap':>10} {'trades':>7}  version"
)


def table_line(bar: BarRecord) -> str:
    """Return one line of the table; a symbol's alphabet has no control characters."""
    seconds, rest = divmod(bar.start, NANOSECONDS["s"])
    start = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest // 1_000_000:03d}"
    version = f"revision {bar.revision}" if bar.revision else ("final" if bar.is_final else "...")
    vwap = "-" if bar.vwap is None else f"{bar.vwap:.4f}"
    return (
        f"{start:<23} {bar.symbol:<10} {bar.interval:>4} {bar.open:>10.4f} {bar.high:>10.4f} "
        f"{bar.low:>10.4f} {bar.close:>10.4f} {bar.volume:>12,.0f} {vwap:>10} {bar.trades:>7}  "
        f"{version}{' (filled)' if bar.filled else ''}"
    )


class Screen:
    """Closed bars as lines; below them, on a terminal, the forming bar in place."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._forming = False

    def show(self, bar: BarRecord) -> None:
        """Show a bar."""
        if not bar.is_final:
            if self._terminal:
                # A line that wraps could not be overwritten by the next one.
                width = shutil.get_terminal_size().columns - 1
                sys.stdout.write(f"\r{table_line(bar)[:width]}\x1b[K")
                sys.stdout.flush()
                self._forming = True
            return
        if self._forming:
            sys.stdout.write("\r\x1b[K")
            self._forming = False
        click.echo(table_line(bar))


async def show_bars(settings: Settings, selection: Selection, *, follow: bool, count: int) -> None:
    """Print the table: recent bars, then, if asked for, all that come."""
    screen = Screen()
    recent, ends = await recent_bars(settings, selection, count)
    click.echo(HEADER)
    for bar in recent:
        screen.show(bar)
    if follow:
        async for bar in follow_bars(settings, selection, ends):
            screen.show(bar)


@click.command()
@click.argument("symbol")
@click.option("--follow", "-f", is_flag=True, help="Go on with bars as they come.")
@click.option(
    "--interval", "intervals", type=DURATION, multiple=True, help="1s, 1m: only these sizes."
)
@click.option("--last", "count", default=10, show_default=True, help="Bars of each size to begin.")
@click.option("--deployment", help="Whose bars; the setting `deployment`.")
@click.option("--prefix", "topic_prefix", help="Of its topics; the setting `topic_prefix`.")
def bars(
    symbol: str,
    follow: bool,
    intervals: tuple[int, ...],
    count: int,
    deployment: str | None,
    topic_prefix: str | None,
) -> None:
    """Show the bars of SYMBOL: the highest revision of each recent one, then all as they come."""
    chosen = reachable(read_settings(**overlay(deployment=deployment, topic_prefix=topic_prefix)))
    labels = [format_duration(length) for length in intervals] or None
    selection = Selection([symbol], labels)
    try:
        run_async(lambda: show_bars(chosen, selection, follow=follow, count=count))
    except KeyboardInterrupt:
        if not follow:
            raise
        say("stopped")
