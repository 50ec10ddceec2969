"""The API over two real workers: any of them answers for any key, also while one is dead."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from app.broker import EmbeddedBroker
from app.feeds.partitioning import partition_of
from app.settings import Settings
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import (
    FLUSH,
    HISTORICAL,
    bars_of,
    market,
    prepared,
    send,
    symbol_of,
    wait_drained,
)

pytestmark = pytest.mark.broker

PARTITIONS = 4


def keys() -> list[str]:
    return [
        symbol_of(part, PARTITIONS, number) for part in range(PARTITIONS) for number in range(3)
    ]


async def get(worker: WorkerProcess, path: str) -> tuple[int, dict[str, Any]]:
    status, text = await worker.get(f"/api/v1{path}")
    return status, json.loads(text) if text else {}


async def retry_after(worker: WorkerProcess, path: str) -> str | None:
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{worker.url}/api/v1{path}") as answer,
    ):
        return answer.headers.get("Retry-After")


async def closed(worker: WorkerProcess, symbol: str, interval: str) -> list[dict[str, Any]]:
    status, found = await get(worker, f"/candles/{quote(symbol, safe='')}?interval={interval}")
    assert status == 200, found
    return list(found["bars"])


async def expected_bars(settings: Settings) -> dict[tuple[str, str], list[tuple[int, int, float]]]:
    """(start in ms, revision, close) of each bar's newest revision, straight from the topic."""
    newest: dict[tuple[str, str, int], dict[str, Any]] = {}
    for bar in await bars_of(settings):
        key = (bar["symbol"], bar["interval"], bar["start"])
        if key not in newest or newest[key]["revision"] < bar["revision"]:
            newest[key] = bar
    found: dict[tuple[str, str], list[tuple[int, int, float]]] = {}
    for symbol, interval, start in sorted(newest):
        bar = newest[symbol, interval, start]
        shown = (start // 1_000_000, bar["revision"], bar["close"])
        found.setdefault((symbol, interval), []).append(shown)
    return found


async def views_are_level(workers: Iterable[WorkerProcess], partitions: int = PARTITIONS) -> None:
    """Wait until each partition's view is at the end of its topic, as each worker says."""
    for worker in workers:

        async def level(worker: WorkerProcess = worker) -> bool:
            status, found = await get(worker, "/partitions")
            listed = found.get("partitions", [])
            return status == 200 and [each["view_behind"] for each in listed] == [0] * partitions

        await until(level, lambda worker=worker: worker.tail)


async def assert_all_bars(
    worker: WorkerProcess, expected: dict[tuple[str, str], list[tuple[int, int, float]]]
) -> None:
    for (symbol, interval), bars in expected.items():
        found = [
            (bar["start_ms"], bar["revision"], bar["close"])
            for bar in await closed(worker, symbol, interval)
        ]
        assert found == bars[-len(found) :]
        assert len(found) == min(len(bars), 500)


async def test_any_of_two_workers_answers_for_every_key_also_after_one_was_killed(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = await prepared(
        worker_settings(kafka, unique, tmp_path, topics={"partitions": PARTITIONS})
    )
    parts = {
        number: [HISTORICAL, *market(number, PARTITIONS, 2_000)] for number in range(PARTITIONS)
    }
    await send(settings, parts)
    async with WorkerProcess(settings, "one") as one, WorkerProcess(settings, "two") as two:
        workers = (one, two)
        for worker in workers:
            await worker.wait_ready()

        async def shared() -> bool:
            return all([len(await worker.partitions()) == 2 for worker in workers])

        await until(shared, lambda: one.tail + two.tail)
        await wait_drained(settings, *workers)
        await views_are_level(workers)
        expected = await expected_bars(settings)
        for worker in workers:
            await assert_all_bars(worker, expected)
            await assert_listings_are_whole(worker)

        # Something is forming until the flush, on either worker's side.
        for worker in workers:
            for symbol in keys():
                _, found = await get(worker, f"/candles/{symbol}?interval=1m")
                assert found["forming"]["is_final"] is False
                assert found["partition"] == partition_of(symbol, PARTITIONS)
                assert found["owner"] in {one.url, two.url}

        theirs = await two.partitions()
        await two.kill9()
        await assert_the_dead_workers_keys_are_unavailable(one, two, theirs)

        await assert_first_answers_are_whole(one, expected)

        async def taken_over() -> bool:
            return await one.partitions() == set(range(PARTITIONS))

        await until(taken_over, lambda: one.tail)
        await send(settings, {number: [FLUSH] for number in range(PARTITIONS)})
        await wait_drained(settings, one)
        await views_are_level([one])
        await assert_all_bars(one, await expected_bars(settings))
        await assert_listings_are_whole(one)
        # It goes on where it was after a restart, from its own folder.
        assert await one.stop() == 0
        await one.start()
        await one.wait_ready()
        await views_are_level([one])
        assert "read again from" not in one.log
        await assert_all_bars(one, await expected_bars(settings))


async def assert_first_answers_are_whole(
    worker: WorkerProcess, expected: dict[tuple[str, str], list[tuple[int, int, float]]]
) -> None:
    """A key's owner may be dead, restoring or reading for a while; what it answers then is all."""
    for (symbol, interval), bars in expected.items():

        async def answers_with_all(
            path: str = f"/candles/{symbol}?interval={interval}&limit=500",
            wanted: int = min(len(bars), 500),
        ) -> bool:
            status, found = await get(worker, path)
            assert status in (200, 503)
            if status == 200:
                assert len(found["bars"]) == wanted, found["behind"]
            return status == 200

        await until(answers_with_all, lambda: worker.tail)


async def assert_listings_are_whole(worker: WorkerProcess) -> None:
    status, found = await get(worker, "/symbols")
    assert (status, found["missing"], found["next"]) == (200, [], None)
    assert [each["symbol"] for each in found["symbols"]] == sorted(keys())
    assert {tuple(each["kinds"]) for each in found["symbols"]} == {("trades",)}
    for table in ("bars", "bars.closed"):
        pages: list[str] = []
        after = ""
        while after is not None:
            status, found = await get(worker, f"/tables/{table}/rows?limit=5&after={after}")
            assert (status, found["missing"]) == (200, [])
            pages += [row["key"] for row in found["rows"]]
            after = found["next"]
        assert pages == sorted(keys())
        status, found = await get(worker, f"/tables/{table}/rows/{keys()[0]}")
        assert (status, found["key"]) == (200, keys()[0])
    status, found = await get(worker, "/tables")
    assert (status, found["missing"]) == (200, [])
    rows = {each["name"]: each["rows"] for each in found["tables"]}
    assert rows["bars"] == len(keys())
    assert rows["bars.closed"] > len(keys())


async def assert_the_dead_workers_keys_are_unavailable(
    one: WorkerProcess, two: WorkerProcess, theirs: set[int]
) -> None:
    for symbol in keys():
        partition = partition_of(symbol, PARTITIONS)
        status, found = await get(one, f"/candles/{symbol}")
        if partition in theirs:
            assert status == 503
            assert await retry_after(one, f"/candles/{symbol}") == "1"
            assert found["partition"] == partition
            assert found["owner"] == two.url
        else:
            assert status == 200
    status, found = await get(one, "/symbols")
    assert status == 200
    assert {(each["partition"], each["owner"]) for each in found["missing"]} == {
        (partition, two.url) for partition in theirs
    }
    ours = [each for each in keys() if partition_of(each, PARTITIONS) not in theirs]
    assert [each["symbol"] for each in found["symbols"]] == sorted(ours)
    status, found = await get(one, "/partitions")
    assert {each["partition"] for each in found["partitions"] if not each["answered"]} == theirs
