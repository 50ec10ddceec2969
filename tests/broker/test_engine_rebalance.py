"""Workers that come, go and share: every partition is exactly one worker's, nothing is lost."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from app.broker import EmbeddedBroker
from app.settings import Settings
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import (
    FLUSH,
    HISTORICAL,
    SECOND,
    START,
    assert_exact,
    market,
    prepared,
    send,
    symbol_of,
    trade,
    wait_drained,
)

pytestmark = pytest.mark.broker

PARTITIONS = 4
#: Records of a partition in one part, and the time of the log that they cover.
PART, PART_TIME = 1_000, 50 * SECOND


@pytest.fixture
async def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    return await prepared(
        worker_settings(kafka, unique, tmp_path, topics={"partitions": PARTITIONS})
    )


async def load(settings: Settings, stop: asyncio.Event) -> int:
    """Send parts of 1,000 records to each partition, several a second, until told to stop."""
    await send(settings, {each: [HISTORICAL] for each in range(PARTITIONS)})
    number = 0
    while not stop.is_set():
        begin = START + number * PART_TIME
        parts = {each: market(each, PARTITIONS, PART, begin) for each in range(PARTITIONS)}
        await send(settings, parts, batch_records=250)
        number += 1
        await asyncio.sleep(0.1)
    await send(settings, {each: [FLUSH] for each in range(PARTITIONS)})
    return number


async def wait_shared(*workers: WorkerProcess) -> None:
    """Wait until each worker has some partitions ready, and together they have all."""

    async def shared() -> bool:
        found = [await worker.partitions() for worker in workers]
        owned = sorted(partition for each in found for partition in each)
        return all(found) and owned == list(range(PARTITIONS))

    await until(shared, lambda: "\n".join(worker.tail for worker in workers))


async def test_workers_that_join_leave_and_die_under_load_publish_exactly_once(
    settings: Settings,
) -> None:
    stop = asyncio.Event()
    async with (
        WorkerProcess(settings, "one") as one,
        WorkerProcess(settings, "two") as two,
    ):
        sending = asyncio.create_task(load(settings, stop))
        await wait_shared(one, two)
        async with WorkerProcess(settings, "three") as three:
            await wait_shared(one, two, three)
            assert await two.stop() == 0
            await wait_shared(one, three)
            await one.kill9()
            await wait_shared(three)
            await two.start()
            await wait_shared(two, three)
            stop.set()
            assert await sending > 0
            await wait_drained(settings, two, three)
            assert await two.stop() == 0
            assert await three.stop() == 0
    outcomes = (await assert_exact(settings)).outcomes
    assert outcomes["dead"]


async def test_the_table_page_of_a_symbol_answers_from_either_worker(settings: Settings) -> None:
    symbols = [symbol_of(partition, PARTITIONS) for partition in range(PARTITIONS)]
    await send(
        settings,
        {number: [HISTORICAL, trade(name, START, 5.5)] for number, name in enumerate(symbols)},
    )
    async with (
        WorkerProcess(settings, "one") as one,
        WorkerProcess(settings, "two") as two,
    ):
        await wait_shared(one, two)
        await wait_drained(settings, one, two)
        for worker in (one, two):
            for symbol in symbols:
                status, text = await worker.get(f"/table/bars/{symbol}/")
                assert status == 200, text
                assert json.loads(text)["symbol"] == symbol
                assert json.loads(text)["open"][0]["close"] == 5.5
            assert (await worker.get("/table/bars/NOSUCH/"))[0] == 404
