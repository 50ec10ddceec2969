"""`/metrics` of a worker with 10,000 symbols: as small as of one with a few."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.broker import EmbeddedBroker
from tests.bench.scrape import (
    GOAL_BYTES,
    PREFIX,
    SYMBOLS,
    scraped_settings,
    settled,
    symbols_of,
    trades_of,
)
from tests.broker.test_metrics_worker import check_documented, samples
from tests.broker.worker import WorkerProcess
from tests.chaos.deployment import FLUSH, prepared, send

pytestmark = [pytest.mark.broker, pytest.mark.slow]


async def test_ten_thousand_symbols_make_no_series_of_their_own(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = await prepared(scraped_settings(kafka, unique, tmp_path))
    partitions = settings.topics.partitions
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        few = trades_of(symbols_of(10), partitions, 2)
        for values in few.values():
            values.append(FLUSH)
        await send(settings, few)
        # Of each symbol two bars of a second, and one of a minute.
        before = await settled(worker, 3 * 10)
        many = trades_of(symbols_of(SYMBOLS), partitions, 2, begin=1_381_154_460 * 10**9)
        for values in many.values():
            values.append(FLUSH)
        await send(settings, many)
        after = await settled(worker, 3 * (10 + SYMBOLS))
        assert await worker.stop() == 0
    found = samples(after)
    applied = sum(
        value
        for key, value in found.items()
        if key[0] == "candlewick_records_total" and key[1:] == ("bars", "applied")
    )
    assert applied == 2 * 10 + 2 * SYMBOLS
    assert found["candlewick_bars_total", "bars", "first"] == 3 * (10 + SYMBOLS)
    check_documented(after)
    assert PREFIX not in after
    assert len(after.encode()) < GOAL_BYTES
    # Only what is counted at first, such as an outcome, makes a line: nothing by the symbol.
    assert abs(len(after.splitlines()) - len(before.splitlines())) < 200
