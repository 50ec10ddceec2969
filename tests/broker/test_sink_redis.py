"""Workers with a real Redis: it has what the topics end with, whoever dies, and workers tell it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.broker import EmbeddedBroker
from app.contracts.wire import trade_decoder
from app.settings import Settings
from app.sinks.progress import wait_until_written
from app.topics import ticks_topic
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import (
    FLUSH,
    HISTORICAL,
    market,
    prepared,
    read_output,
    read_topic,
    send,
    wait_drained,
)
from tests.redis_server import RedisServer, need_redis

pytestmark = [pytest.mark.broker, pytest.mark.chaos]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    need_redis()
    with RedisServer(tmp_path) as found:
        yield found


@pytest.fixture
async def settings(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path, server: RedisServer
) -> Settings:
    """A deployment whose sink is Redis; values live for ever, as this machine may be slow."""
    return await prepared(
        worker_settings(
            kafka,
            unique,
            tmp_path,
            redis={"url": server.url, "time_to_live": "0s"},
            sinks={"drivers": "redis", "timeout": "5s", "rest": "500ms"},
        )
    )


async def newest_of_the_topics(settings: Settings) -> dict[str, bytes]:
    """The newest bar of each symbol and interval, and the newest trade of each symbol."""
    bars: dict[str, tuple[tuple[int, int], bytes]] = {}
    for records in (await read_output(settings, "bars")).values():
        for each in records:
            bar = json.loads(each.value or b"")
            name = f"bars:{bar['symbol']}:{bar['interval']}"
            order = (bar["start"], bar["revision"])
            if name not in bars or bars[name][0] <= order:
                bars[name] = (order, each.value or b"")
    trades: dict[str, tuple[tuple[int, int], bytes]] = {}
    for records in (await read_topic(settings, ticks_topic(settings))).values():
        for each in records:
            try:
                trade = trade_decoder.decode(each.value or b"")
            except msgspec.DecodeError:
                continue
            order = (trade.event_time, each.offset)
            name = f"ticks:{trade.symbol}"
            if name not in trades or trades[name][0] < order:
                trades[name] = (order, each.value or b"")
    return {name: value for name, (_, value) in (bars | trades).items()}


async def held(server: RedisServer) -> dict[str, bytes]:
    """All values by the end of their keys."""
    client: Any
    async with need_redis().asyncio.Redis.from_url(server.url) as client:
        keys = [key for key in await client.keys("*") if not key.endswith(b":probe")]
        return {
            key.decode().split(":", 2)[2]: await client.hget(key, "value") for key in sorted(keys)
        }


async def has_failed(worker: WorkerProcess) -> bool:
    """Whether the sink has met that Redis is away."""
    _, metrics = await worker.get("/metrics")
    found = re.search(
        r'^candlewick_sink_errors_total\{kind="unavailable".*\} (\S+)$', metrics, re.M
    )
    return found is not None and float(found[1]) > 0


async def test_redis_has_what_the_topics_end_with_after_deaths_of_worker_and_server(
    settings: Settings, server: RedisServer
) -> None:
    values = {number: [HISTORICAL, *market(number, 2, 3_000), FLUSH] for number in range(2)}

    async def some_are_written() -> bool:
        return len(await held(server)) > 5

    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await send(settings, {each: part[:1_000] for each, part in values.items()})
        await until(some_are_written, lambda: worker.tail)
        await worker.kill9()
        await worker.start()
        await asyncio.to_thread(server.kill)
        await send(settings, {each: part[1_000:2_000] for each, part in values.items()})
        # The engine does not wait for the sink.
        await wait_drained(settings, worker)
        await until(lambda: has_failed(worker), lambda: worker.tail)
        await asyncio.to_thread(server.start)
        await send(settings, {each: part[2_000:] for each, part in values.items()})
        await wait_until_written(settings, lambda line: None)
        expected = await newest_of_the_topics(settings)
        assert await held(server) == expected
        symbol = next(name for name in expected if name.startswith("ticks:")).partition(":")[2]
        status, body = await worker.get(f"/api/v1/latest/{symbol}?interval=1m")
        assert status == 200, body
        found = json.loads(body)
        assert [(each["kind"], each["from"]) for each in found["latest"]] == [
            ("ticks", "cache"),
            ("bars", "cache"),
        ]
        bar = json.loads(expected[f"bars:{symbol}:1m"])
        assert found["latest"][1]["record"]["start_ns"] == str(bar["start"])
        assert found["latest"][1]["record"]["close"] == bar["close"]
        await asyncio.to_thread(server.kill)
        status, body = await worker.get(f"/api/v1/latest/{symbol}?interval=1m")
        assert [(each["kind"], each["from"]) for each in json.loads(body)["latest"]] == [
            ("bars", "view")
        ]
        _, metrics = await worker.get("/metrics")
        counts = dict(
            re.findall(r'^candlewick_cache_requests_total\{result="(\w+)"\} (\S+)', metrics, re.M)
        )
        assert counts == {"hit": "2.0", "miss": "0.0", "error": "2.0"}
        assert await worker.stop() == 0
