"""`candlewick simulate`: a market of its own into the topics."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from app.cli.common import (
    DURATION,
    SHARE,
    clear_progress,
    event_time,
    reachable,
    read_settings,
    run_async,
    say,
    show_progress,
)
from app.cli.feeds import form_option

if TYPE_CHECKING:
    from app.contracts.forms import Form


@click.command()
@click.option("--symbols", type=click.IntRange(1, 100_000), default=8, show_default=True)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=200.0,
    show_default=True,
    help="Events a second, all symbols together.",
)
@click.option(
    "--quotes-per-trade",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="So many quotes for each trade; they go to the topic quotes.",
)
@click.option(
    "--accounts",
    type=click.IntRange(0, 100_000),
    default=0,
    show_default=True,
    help="So many accounts trade on this market; their records go to the topic transactions.",
)
@click.option(
    "--transaction-share",
    type=SHARE,
    default="5%",
    show_default=True,
    help="Share of the trades that are some account's.",
)
@click.option(
    "--account-updates",
    type=DURATION,
    default="10s",
    show_default=True,
    help="Between deposits, dividends and the like of all accounts, in the mean.",
)
@click.option(
    "--burst-factor",
    type=click.FloatRange(1),
    default=1.0,
    show_default=True,
    help="In a burst the rate is so many times greater.",
)
@click.option("--burst-every", type=DURATION, default="30s", show_default=True)
@click.option("--burst-length", type=DURATION, default="2s", show_default=True)
@click.option(
    "--signal",
    type=SHARE,
    help="Share of the variance of the return over the next horizon that return and volume of the "
    "last one foretell: 5%. 0: a martingale. Without it prices are pulled back to their start.",
)
@click.option("--signal-horizon", type=DURATION, default="1m", show_default=True)
@click.option("--session", metavar="HH:MM-HH:MM", help="Trade within these hours on weekdays.")
@click.option("--time-zone", default="America/New_York", show_default=True, help="Of the session.")
@click.option(
    "--start", metavar="TIME", callback=event_time, help="Event time to begin with: history."
)
@click.option("--duration", type=DURATION, help="Of event time; then end.")
@click.option("--unpaced", is_flag=True, help="As fast as it goes; needs --duration.")
@click.option("--disorder", type=DURATION, default="0s", help="Delay each record by up to this.")
@click.option("--late", type=SHARE, default="0", help="Share that comes minutes late.")
@click.option("--duplicates", type=SHARE, default="0", help="Share of trades that come twice.")
@click.option("--corrupt", type=SHARE, default="0", help="Bad records besides, as a share.")
@click.option("--seed", type=int, default=0, show_default=True)
@form_option
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def simulate(
    symbols: int,
    rate: float,
    quotes_per_trade: float,
    accounts: int,
    transaction_share: float,
    account_updates: int,
    burst_factor: float,
    burst_every: int,
    burst_length: int,
    signal: float | None,
    signal_horizon: int,
    session: str | None,
    time_zone: str,
    start: int | None,
    duration: int | None,
    unpaced: bool,
    as_json: bool,
    seed: int,
    form: Form,
    **faults: Any,
) -> None:
    """Send a simulated market, as it happens, until stopped or for a --duration.

    \b
    Example:
      candlewick simulate --symbols 50 --rate 2000 --quotes-per-trade 4
      candlewick simulate --accounts 20 --seed 7
      candlewick simulate --symbols 40 --rate 100 --signal 20% --signal-horizon 10s
    """
    from app.admin import ensure_topics
    from app.feeds.market import SECOND, MarketOptions, parse_session
    from app.feeds.signal import Signal
    from app.feeds.simulator import Faults, Pace, SimulationSummary
    from app.feeds.simulator import simulate as send
    from app.feeds.transactions import TransactionOptions

    if unpaced and duration is None:
        raise click.UsageError("--unpaced needs --duration: it would fill the disk")
    seconds = None if duration is None else duration / SECOND
    chosen = reachable(read_settings())
    try:
        options = MarketOptions(
            symbols=symbols,
            rate=rate,
            quotes_per_trade=quotes_per_trade,
            burst_factor=burst_factor,
            burst_every=burst_every / SECOND,
            burst_seconds=burst_length / SECOND,
            session=None if session is None else parse_session(session, time_zone),
            seed=seed,
            signal=None if signal is None else Signal(signal, signal_horizon),
        )
        trading = None
        if accounts:
            every = account_updates / SECOND
            trading = TransactionOptions(accounts, transaction_share, every, seed=seed)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if quotes_per_trade and "quotes" not in chosen.agents:
        raise click.UsageError("--quotes-per-trade needs the agent quotes in CANDLEWICK_AGENTS")
    if accounts and "transactions" not in chosen.agents:
        raise click.UsageError("--accounts needs the agent transactions in CANDLEWICK_AGENTS")
    expected = 0 if seconds is None else int(rate * seconds)

    async def work() -> SimulationSummary:
        await ensure_topics(chosen)
        until = "stop it with Ctrl-C" if seconds is None else f"for {seconds:g} s of event time"
        say(f"simulating {symbols} symbols at {rate:g} events/s; {until}")
        return await send(
            chosen,
            options,
            faults=Faults(**faults),
            pace=Pace(unpaced, seconds, start),
            accounts=trading,
            form=form,
            progress=lambda sent: show_progress("sent", min(sent, expected), expected),
        )

    try:
        summary = run_async(work)
    except KeyboardInterrupt:
        say("stopped")
        return
    clear_progress()
    if as_json:
        click.echo(json.dumps(asdict(summary) | {"sent": summary.sent}))
        return
    counts = ", ".join(f"{count:,} {kind}" for kind, count in summary.records.items())
    click.echo(
        f"sent {summary.sent:,} records ({counts}, {summary.corrupt:,} corrupt on purpose) in "
        f"{summary.seconds:.1f} s, {summary.sent / summary.seconds:,.0f} records/s"
    )
    if summary.skipped_seconds:
        say(f"{summary.skipped_seconds:.1f} s of the market were skipped: sending is too slow")
