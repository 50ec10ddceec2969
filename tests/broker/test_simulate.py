"""The simulated market on a real broker: a seed gives the same log, with the faults asked for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from app.admin import ensure_topics
from app.broker import EmbeddedBroker
from app.contracts.wire import quote_decoder, trade_decoder
from app.feeds.market import SECOND, MarketOptions
from app.feeds.simulator import Faults, Pace, SimulationSummary, simulate
from app.settings import Settings
from app.topics import source_topic
from tests.broker.worker import worker_settings
from tests.chaos.deployment import read_topic

pytestmark = pytest.mark.broker

START = 1_700_000_000 * SECOND
OPTIONS = MarketOptions(symbols=30, rate=2_000.0, quotes_per_trade=2.0, burst_factor=5.0, seed=7)
FAULTS = Faults(disorder=SECOND, late=0.02, duplicates=0.03, corrupt=0.05)


async def simulated(
    kafka: EmbeddedBroker, unique: str, folder: Path, name: str
) -> tuple[SimulationSummary, dict[str, list[list[bytes | None]]]]:
    """The summary and the values of each topic, partition by partition."""
    chosen = worker_settings(kafka, f"{unique}-{name}", folder)
    settings: Settings = chosen.model_copy(update={"agents": ("bars", "quotes")})
    await ensure_topics(settings)
    summary = await simulate(
        settings, OPTIONS, faults=FAULTS, pace=Pace(unpaced=True, seconds=5.0, start=START)
    )
    values = {}
    for agent in settings.agents:
        records = await read_topic(settings, source_topic(settings, agent))
        values[agent] = [[each.value for each in records[number]] for number in sorted(records)]
    return summary, values


async def test_a_seed_gives_the_same_log_with_the_faults_that_were_asked_for(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    summary, first = await simulated(kafka, unique, tmp_path, "a")
    _, second = await simulated(kafka, unique, tmp_path, "b")
    assert first == second
    for partitions in first.values():
        for values in partitions:
            assert (values[0], values[-1]) == (b'{"type":"historical"}', b'{"type":"flush"}')
    everything = [value for part in first.values() for values in part for value in values[1:-1]]
    assert len(everything) == summary.sent
    identities: list[tuple[str, str | None]] = []
    times: list[int] = []
    dead = 0
    for value in (value for values in first["bars"] for value in values[1:-1]):
        try:
            trade = trade_decoder.decode(value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError):
            dead += 1
        else:
            identities.append((trade.symbol, trade.trade_id))
            times.append(trade.event_time)
    assert dead > 0
    repeats = len(identities) - len(set(identities))
    assert 0.01 < repeats / len(identities) < 0.06
    assert sum(b < a for a, b in pairwise(times)) > len(times) // 10
    quotes = [value for values in first["quotes"] for value in values[1:-1]]
    sound = 0
    for value in quotes:
        try:
            quote = quote_decoder.decode(value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        sound += quote.bid < quote.ask
    assert summary.records["quotes"] <= sound <= len(quotes)


async def test_it_keeps_step_with_the_clock_and_skips_what_it_slept_through(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = worker_settings(kafka, unique, tmp_path)
    await ensure_topics(settings)
    now = START
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        # The machine sleeps for a minute in the middle.
        now += round(seconds * SECOND) + (60 * SECOND if len(slept) == 10 else 0)

    summary = await simulate(
        settings,
        MarketOptions(rate=500.0, seed=1),
        pace=Pace(seconds=62.0),
        clock=lambda: now,
        sleep=sleep,
    )
    assert max(slept) <= 0.05
    assert 59 < summary.skipped_seconds < 61
    assert summary.seconds == pytest.approx(62, abs=0.1)
    # Two seconds of the market were sent, not sixty-two.
    assert 800 < summary.sent < 1_200
