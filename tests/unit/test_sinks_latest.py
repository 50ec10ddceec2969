"""Reading through the cache: what comes of it is counted, and nobody waits for a dead one."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from app.settings import SettingsError
from app.sinks.latest import (
    FAILURES,
    LAST_TURNS,
    REST_SECONDS,
    LatestCache,
    Wanted,
    in_time,
)
from app.sinks.redis import RedisDriver
from tests.metric_table import DOCUMENT
from tests.redis_server import RedisServer, need_redis, redis_settings
from tests.unit.sink_batches import bar, batch, indicators, trade

A = Wanted("bars", ("A", "1m"))
B = Wanted("bars", ("B", "1m"))


class Clock:
    """Monotonic seconds set by the test."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    need_redis()
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def driver(running: RedisServer) -> AsyncIterator[RedisDriver]:
    """A sink on an empty server."""
    async with need_redis().asyncio.Redis.from_url(running.url) as client:
        await client.flushall()
    driver = RedisDriver(redis_settings(running.url))
    yield driver
    await driver.close()


@asynccontextmanager
async def cache(
    url: str, clock: Clock | None = None, seconds: float = 30.0
) -> AsyncIterator[tuple[LatestCache, Callable[[], dict[str, float]]]]:
    """A cache, and what it has counted."""
    need_redis()
    registry = CollectorRegistry()
    made = LatestCache(redis_settings(url), registry, clock or Clock(), seconds)

    def counts() -> dict[str, float]:
        return {
            sample.labels["result"]: sample.value
            for family in registry.collect()
            for sample in family.samples
            if sample.name == "candlewick_cache_requests_total"
        }

    try:
        yield made, counts
    finally:
        await made.close()


def fallback(
    **values: bytes,
) -> tuple[Callable[[Sequence[Wanted]], Awaitable[Mapping[Wanted, bytes]]], list[Wanted]]:
    """A fallback that has bars by symbol, and what it was asked for."""
    asked: list[Wanted] = []

    async def get(wanted: Sequence[Wanted]) -> Mapping[Wanted, bytes]:
        asked.extend(wanted)
        return {each: values[each.parts[0]] for each in wanted if each.parts[0] in values}

    return get, asked


async def test_what_the_sink_wrote_is_a_hit_and_the_fallback_is_not_asked(
    running: RedisServer, driver: RedisDriver
) -> None:
    driver.add("bars", batch([bar("A", 1, 2), bar("B", 3)]))
    await driver.flush(0)
    get, asked = fallback()
    async with cache(running.url) as (made, counts):
        found = await made.get([A, B], get)
        assert (found[A].value, found[A].source) == (bar("A", 1, 2), "cache")
        assert found[B].value == bar("B", 3)
        assert counts() == {"hit": 2.0, "miss": 0.0, "error": 0.0}
    assert asked == []


async def test_a_miss_is_answered_by_the_fallback_and_is_a_hit_then(
    running: RedisServer, driver: RedisDriver
) -> None:
    get, asked = fallback(A=bar("A", 1))
    async with cache(running.url) as (made, counts):
        first = await made.get([A, B], get)
        assert {each: latest.source for each, latest in first.items()} == {A: "fallback"}
        second = await made.get([A, B], get)
        assert {each: latest.source for each, latest in second.items()} == {A: "cache"}
        assert second[A].value == bar("A", 1)
        assert counts() == {"hit": 1.0, "miss": 3.0, "error": 0.0}
    assert asked == [A, B, B]


async def test_what_the_fallback_has_never_hides_something_newer(
    running: RedisServer, driver: RedisDriver
) -> None:
    driver.add("bars", batch([bar("A", 5)]))
    await driver.flush(0)
    async with cache(running.url) as (made, _):
        await made.keep({A: bar("A", 4, 7)})
        await made.keep({A: b"no bar"})
        get, _ = fallback()
        assert (await made.get([A], get))[A].value == bar("A", 5)
        await made.keep({A: bar("A", 5, 1)})
        assert (await made.get([A], get))[A].value == bar("A", 5, 1)


async def test_ticks_of_a_fallback_are_not_kept_as_their_place_in_the_log_is_unknown(
    running: RedisServer, driver: RedisDriver
) -> None:
    tick = Wanted("ticks", ("A",))
    names = Wanted("indicators", ("A", "1m"))
    async with cache(running.url) as (made, counts):
        await made.keep({tick: trade("A", 0), names: indicators("A", 0)})
        get, asked = fallback()
        assert set(await made.get([tick, names], get)) == {names}
        assert asked == [tick]
        assert counts()["miss"] == 1


async def test_a_server_that_does_not_answer_is_left_alone_for_a_while() -> None:
    need_redis()
    clock = Clock()
    get, asked = fallback(A=bar("A", 1))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.setblocking(False)

        def connections() -> int:
            count = 0
            while True:
                try:
                    silent.accept()[0].close()
                except BlockingIOError:
                    return count
                count += 1

        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        async with cache(url, clock, seconds=0.05) as (made, counts):
            for _ in range(FAILURES):
                assert (await made.get([A], get))[A].source == "fallback"
            assert connections() > 0
            for _ in range(20):
                assert (await made.get([A], get))[A].value == bar("A", 1)
            assert connections() == 0
            clock.now += REST_SECONDS
            await made.get([A], get)
            assert connections() == 1
            assert counts() == {"hit": 0.0, "miss": 0.0, "error": FAILURES + 21.0}
    assert len(asked) == FAILURES + 21


async def test_a_server_that_comes_back_is_asked_again(tmp_path: Any) -> None:
    need_redis()
    clock = Clock()
    get, _ = fallback(A=bar("A", 1))
    with RedisServer(tmp_path) as server:
        async with cache(server.url, clock) as (made, counts):
            await made.get([A], get)
            server.kill()
            for _ in range(FAILURES):
                assert (await made.get([A], get))[A].source == "fallback"
            server.start()
            clock.now += REST_SECONDS
            assert (await made.get([A], get))[A].source == "fallback"
            assert (await made.get([A], get))[A].source == "cache"
            assert counts()["hit"] == 1


async def test_an_answer_that_came_while_the_event_loop_was_busy_counts() -> None:
    ended = asyncio.Event()

    async def answered(turns: int) -> str:
        try:
            for _ in range(turns):
                await asyncio.sleep(0)
        finally:
            ended.set()
        return "answer"

    # No time is left, as after a batch that took longer than an answer may.
    assert await in_time(answered(LAST_TURNS // 2), 0.0) == "answer"
    ended.clear()
    with pytest.raises(TimeoutError):
        await in_time(answered(1_000_000), 0.0)
    assert ended.is_set()


async def test_errors_of_the_fallback_pass(running: RedisServer, driver: RedisDriver) -> None:
    async def broken(wanted: Sequence[Wanted]) -> Mapping[Wanted, bytes]:
        raise RuntimeError("the view")

    async with cache(running.url) as (made, _):
        with pytest.raises(RuntimeError, match="the view"):
            await made.get([A], broken)


def test_without_an_address_there_is_no_cache() -> None:
    need_redis()
    with pytest.raises(SettingsError, match="CANDLEWICK_REDIS__URL is not set"):
        LatestCache(redis_settings("x", redis={"url": None}))


async def test_the_documentation_has_the_metric() -> None:
    rows = re.findall(
        r"^\| `(candlewick_cache_\w+)` \| (\w+) \| ([\w, ]+) \|",
        DOCUMENT.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    registry = CollectorRegistry()
    async with cache("redis://127.0.0.1:1/0"):
        LatestCache(redis_settings("redis://127.0.0.1:1/0"), registry)
    exported = [
        (f"{family.name}_total", family.type, ", ".join(family.samples[0].labels))
        for family in registry.collect()
    ]
    assert exported == rows
