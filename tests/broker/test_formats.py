"""A market in MessagePack on a real broker: its bars are the reference's, and nothing drifts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from app.broker import EmbeddedBroker
from app.contracts.forms import is_packed
from app.feeds.market import SECOND, MarketOptions
from app.feeds.simulator import Faults, Pace, simulate
from app.run.environment import settings_environment
from app.topics import quotes_topic, ticks_topic
from tests.broker.test_engine_quotes import wait_drained
from tests.broker.worker import WorkerProcess, worker_settings
from tests.chaos.deployment import assert_exact, prepared, read_output, read_topic
from tests.command import candlewick

pytestmark = pytest.mark.broker

OPTIONS = MarketOptions(symbols=20, rate=1_000.0, quotes_per_trade=1.0, seed=3)
FAULTS = Faults(disorder=2 * SECOND, late=0.02, duplicates=0.03, corrupt=0.05)
PACE = Pace(unpaced=True, seconds=6.0, start=1_700_000_000 * SECOND)


async def test_a_market_in_messagepack_is_as_exact_as_one_in_json(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    chosen = worker_settings(kafka, unique, tmp_path, bars={"correction_horizon": "2s"})
    settings = await prepared(chosen.model_copy(update={"agents": ("bars", "quotes")}))
    await simulate(settings, OPTIONS, faults=FAULTS, pace=PACE, form="msgpack")
    for topic in (ticks_topic(settings), quotes_topic(settings)):
        log = await read_topic(settings, topic)
        values = [each.value for records in log.values() for each in records]
        # The others are bad on purpose, or of control.
        assert 0.8 < sum(map(is_packed, values)) / len(values) < 1.0
    async with WorkerProcess(settings) as worker:
        await wait_drained(settings, worker)
        assert await worker.stop() == 0

    compared = await assert_exact(settings)
    assert all(compared.outcomes[outcome] for outcome in ("applied", "revised", "late", "dead"))
    late = await read_output(settings, "bars.late")
    assert all(is_packed(each.value) for records in late.values() for each in records)

    variables = settings_environment(settings).items()
    ours = {name: value for name, value in variables if name.startswith("CANDLEWICK_")}
    done = await asyncio.to_thread(candlewick, tmp_path, "reconcile", "--json", settings=ours)
    assert done.code == 0, done.errors
    for each in json.loads(done.output):
        assert each["bars"] > 50
        assert (each["missing"], each["extra"], each["differences"]) == (0, 0, [])
        assert {field["drift"] for field in each["fields"].values()} == {0.0}
