"""The worker is killed with -9 under load: the outputs are those of an undisturbed one."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from app.admin import ensure_topics
from app.broker import EmbeddedBroker
from app.contracts.wire import TradeRecord
from app.feeds.replayer import ReplaySummary, replay
from app.feeds.source import MemorySource, TickSource, open_source
from app.settings import Settings
from tests.broker.worker import WorkerProcess, worker_settings
from tests.chaos.deployment import (
    SECOND,
    START,
    assert_exact,
    bars_of,
    committed,
    contents,
    prepared,
    wait_committed,
    wait_drained,
)
from tests.conftest import REAL_DATA

pytestmark = [pytest.mark.broker, pytest.mark.chaos, pytest.mark.slow]

#: Trades a second: else a worker that is started again finds the whole day, and is through with it
#: before the next kill.
RATE = 15_000
#: Half of the late are beyond the horizon.
LATE, CORRUPT = 0.02, 0.01
KILLS = (0.25, 0.50, 0.75)
DAY = "20131007_trade.zip"


def source() -> TickSource:
    """A recorded day of SPY and IBM; where there is none, a seeded walk of two hours."""
    files = [REAL_DATA / "equity" / "tick" / symbol / DAY for symbol in ("spy", "ibm")]
    if all(file.is_file() for file in files):
        return open_source(files)
    dice = random.Random(1)
    prices = [dice.uniform(10.0, 500.0) for _ in range(8)]
    trades: list[TradeRecord] = []
    for number, time in enumerate(range(START, START + 7_200 * SECOND, SECOND // 35)):
        which = dice.randrange(len(prices))
        prices[which] *= 1 + dice.gauss(0.0, 2e-4)
        trades.append(
            TradeRecord(
                symbol=f"SIM-{which + 1:02}",
                price=round(prices[which], 2),
                size=float(dice.randrange(1, 20) * 25),
                event_time=time,
                sequence=number,
            )
        )
    return MemorySource(trades)


@pytest.fixture
async def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    # Small fetches and short checkpoints: a kill finds the worker at any of many places.
    return await prepared(
        worker_settings(
            kafka,
            unique,
            tmp_path,
            broker={"fetch_max_bytes": 256 * 1024},
            checkpoint={"max_delay": "200ms"},
        )
    )


async def send_day(settings: Settings, day: TickSource) -> ReplaySummary:
    return await replay(settings, day, rate=RATE, late=LATE, corrupt=CORRUPT, seed=1)


async def test_a_worker_killed_at_a_quarter_half_and_three_quarters_publishes_exactly_once(
    settings: Settings,
) -> None:
    day = source()
    total = await asyncio.to_thread(day.verify)
    places = []
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        sending = asyncio.create_task(send_day(settings, day))
        for share in KILLS:
            await wait_committed(settings, lambda done, at=share * total: done >= at, worker)
            await worker.kill9()
            places.append(sum((await committed(settings)).values()))
            await worker.start()
        summary = await sending
        # It may have been drained already when it was killed: then it is still starting.
        await worker.wait_ready()
        sent = await wait_drained(settings, worker)
        assert await worker.stop() == 0
    assert sent == summary.sent
    assert worker.starts - 1 >= 3
    assert places == sorted(set(places)), "a kill came before the restarted worker had gone on"
    assert places[-1] < sent, "the last kill came when all was done"

    undisturbed = settings.model_copy(update={"deployment": "undisturbed"})
    await ensure_topics(undisturbed)
    async with WorkerProcess(undisturbed) as other:
        await wait_drained(undisturbed, other)
        assert await other.stop() == 0

    found, expected = await contents(settings), await contents(undisturbed)
    for name, partitions in expected.items():
        assert sum(map(len, partitions.values())) > 0, f"{name} is empty"
        for partition, records in partitions.items():
            assert found[name][partition] == records, f"{name} partition {partition} differs"
    identities = Counter(
        (bar["symbol"], bar["interval"], bar["start"], bar["revision"])
        for bar in await bars_of(settings)
    )
    assert max(identities.values()) == 1
    for name in ("bars.late", "bars.dead"):
        positions = Counter(
            tuple(dict(each.headers)[header] for header in ("topic", "partition", "offset"))
            for records in found[name].values()
            for each in records
        )
        assert max(positions.values()) == 1

    outcomes = (await assert_exact(settings)).outcomes
    assert sum(outcomes.values()) == sent
    assert outcomes["dead"] >= summary.corrupt
    assert outcomes["late"]
    assert outcomes["revised"]
    print(f"killed at {places} of {sent}: {dict(outcomes)}")
