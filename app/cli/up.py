"""`candlewick up`: everything at once, for a first look. `make run` is this."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NoReturn

import click

from app.cli.bars import show_bars
from app.cli.common import INTERVAL, read_settings, run_async, say
from app.cli.reset import confirm_reset, reset_options
from app.durations import format_duration
from app.settings import Settings

#: Of the simulated market.
QUOTES_PER_TRADE = 1.0


@click.command()
@click.option("--symbols", type=click.IntRange(1), default=4, show_default=True)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=200.0,
    show_default=True,
    help="Simulated events a second, trades and quotes.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the simulated market.")
@click.option(
    "--interval", type=INTERVAL, default="1s", show_default=True, help="Of the bars shown."
)
@click.option("--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Of all state.")
@reset_options
def up(
    symbols: int,
    rate: float,
    seed: int,
    interval: int,
    data_dir: Path | None,
    reset: bool,
    yes: bool,
) -> None:
    """Start a broker (unless one is configured), a worker and a simulated market; show the bars.

    Data are kept in the data folder: a second start goes on where the first one ended. Ctrl-C
    stops everything that was started here, in order.

    \b
    Example:
      candlewick up --symbols 8 --rate 500
    """
    settings = read_settings(data_dir=data_dir)
    if interval not in settings.bars.intervals:
        known = ", ".join(format_duration(length) for length in settings.bars.intervals)
        raise click.BadParameter(f"expected one of {known}", param_hint="--interval")
    if reset:
        confirm_reset(settings, yes=yes)
    try:
        run_async(lambda: _run(settings, symbols, rate, seed, interval, reset=reset))
    except KeyboardInterrupt:
        say("everything is stopped")


async def _run(
    settings: Settings, symbols: int, rate: float, seed: int, interval: int, *, reset: bool
) -> NoReturn:
    from app.admin import delete_deployment, ensure_topics
    from app.feeds.market import MarketOptions
    from app.feeds.simulator import simulate
    from app.run.follow import Selection
    from app.run.services import first_of, running_broker, running_workers
    from app.run.supervisor import Supervisor
    from app.web.bind import check_port

    quotes = QUOTES_PER_TRADE if "quotes" in settings.agents else 0.0
    options = MarketOptions(symbols=symbols, rate=rate, quotes_per_trade=quotes, seed=seed)
    if settings.web.enabled and settings.web.port:
        opened = settings.web.open_without_authentication
        check_port(settings.web.host, settings.web.port, opened=opened)
    async with running_broker(settings, say) as reachable:
        if reset:
            await delete_deployment(reachable)
            say("removed")
        await ensure_topics(reachable)
        supervisor = Supervisor(reachable, 1, say, keep_first_port=True)
        async with running_workers(supervisor) as watch:
            if settings.web.enabled:
                address = supervisor.web_addresses[0]
                say(f"candles: {address}/candles  tables: {address}/tables")
                say(f"metrics: {address}/metrics  health: {address}/readyz")
            say(f"simulating {symbols} symbols at {rate:g} events/s; stop everything with Ctrl-C")
            market = asyncio.create_task(simulate(reachable, options), name="simulator")
            selection = Selection(None, [format_duration(interval)])
            show = asyncio.create_task(
                show_bars(reachable, selection, follow=True, count=0), name="bars"
            )
            try:
                await first_of(show, watch, market)
            finally:
                market.cancel()
                await asyncio.wait([market])
            raise AssertionError("the bars have ended")
