"""`candlewick bars`: bars in the terminal."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from app.cli.common import (
    INTERVAL,
    deployment_options,
    reachable,
    read_settings,
    run_async,
    say,
)
from app.contracts.wire import QuoteBarRecord, encoder
from app.durations import NANOSECONDS, format_duration
from app.run.follow import AnyBar, Selection, follow_bars, recent_bars
from app.run.kinds import AGENT_OF
from app.settings import Settings

if TYPE_CHECKING:
    from app.feeds.files import Kind

HEADER = (
    f"{'start (UTC)':<23} {'symbol':<10} {'size':>4} {'open':>10} {'high':>10} {'low':>10} "
    f"{'close':>10} {'volume':>12} {'vwap':>10} {'trades':>7}  version"
)
#: Bid and ask are the closing ones; open to close are the mid's.
QUOTES_HEADER = (
    f"{'start (UTC)':<23} {'symbol':<10} {'size':>4} {'bid':>11} {'ask':>11} {'mid open':>11} "
    f"{'high':>11} {'low':>11} {'close':>11} {'spread':>9} {'quotes':>7}  version"
)
HEADERS = {"bars": HEADER, "quotes": QUOTES_HEADER}


def table_line(bar: AnyBar) -> str:
    """Return one line of the table; a symbol's alphabet has no control characters."""
    seconds, rest = divmod(bar.start, NANOSECONDS["s"])
    start = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest // 1_000_000:03d}"
    version = f"revision {bar.revision}" if bar.revision else ("final" if bar.is_final else "...")
    begin = f"{start:<23} {bar.symbol:<10} {bar.interval:>4}"
    if isinstance(bar, QuoteBarRecord):
        return (
            f"{begin} {bar.bid_close:>11.5f} {bar.ask_close:>11.5f} {bar.mid_open:>11.5f} "
            f"{bar.mid_high:>11.5f} {bar.mid_low:>11.5f} {bar.mid_close:>11.5f} "
            f"{bar.spread:>9.5f} {bar.quotes:>7}  {version}"
        )
    vwap = "-" if bar.vwap is None else f"{bar.vwap:.4f}"
    return (
        f"{begin} {bar.open:>10.4f} {bar.high:>10.4f} "
        f"{bar.low:>10.4f} {bar.close:>10.4f} {bar.volume:>12,.0f} {vwap:>10} {bar.trades:>7}  "
        f"{version}{' (filled)' if bar.filled else ''}"
    )


class Screen:
    """Closed bars as lines; below them, on a terminal, the forming bar in place."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._forming = False

    def show(self, bar: AnyBar) -> None:
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


class JsonLines:
    """Each bar as a line of JSON, as the topics hold it."""

    def show(self, bar: AnyBar) -> None:
        """Print a bar."""
        click.echo(encoder.encode(bar))


async def show_bars(
    settings: Settings,
    selection: Selection,
    *,
    follow: bool,
    count: int,
    agent: str = "bars",
    as_json: bool = False,
) -> None:
    """Print the bars of an agent: recent ones, then, if asked for, all that come."""
    screen = JsonLines() if as_json else Screen()
    recent, ends = await recent_bars(settings, selection, count, agent)
    if not as_json:
        click.echo(HEADERS[agent])
    for bar in recent:
        screen.show(bar)
    if follow:
        async for bar in follow_bars(settings, selection, ends, agent):
            screen.show(bar)


@click.command()
@click.argument("symbol")
@click.option(
    "--kind",
    type=click.Choice(list(AGENT_OF)),
    default="trades",
    show_default=True,
    help="Bars of trades, or quote bars.",
)
@click.option("--follow", "-f", is_flag=True, help="Go on with bars as they come.")
@click.option(
    "--interval", "intervals", type=INTERVAL, multiple=True, help="1s, 1m: only these sizes."
)
@click.option("--last", "count", default=10, show_default=True, help="Bars of each size to begin.")
@click.option("--json", "as_json", is_flag=True, help="Print an object a line instead.")
@deployment_options
def bars(
    symbol: str,
    kind: Kind,
    follow: bool,
    intervals: tuple[int, ...],
    count: int,
    as_json: bool,
    deployment: str | None,
    topic_prefix: str | None,
) -> None:
    """Show the bars of SYMBOL: the highest revision of each recent one, then all as they come.

    \b
    --json prints the fields of the record, as `candlewick topics --schema` has
    them; with --follow also forming bars, is_final false. Example:
      candlewick bars SPY --interval 1m --follow
    """
    chosen = reachable(read_settings(deployment=deployment, topic_prefix=topic_prefix))
    labels = [format_duration(length) for length in intervals] or None
    selection = Selection([symbol], labels)
    try:
        run_async(
            lambda: show_bars(
                chosen,
                selection,
                follow=follow,
                count=count,
                agent=AGENT_OF[kind],
                as_json=as_json,
            )
        )
    except KeyboardInterrupt:
        if not follow:
            raise
        say("stopped")
