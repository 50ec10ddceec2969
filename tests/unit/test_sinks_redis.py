"""Latest values in a real Redis: never an older one, whatever comes again, breaks or is full."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.settings import SettingsError
from app.sinks.driver import Flushed, Place, SinkRefusesError, SinkUnavailableError
from app.sinks.drivers import make_driver
from app.sinks.redis import RedisDriver
from app.sinks.redis_store import LatestStore
from tests.redis_server import RedisServer, need_redis, redis_settings
from tests.unit.sink_batches import bar, batch, cut, indicators, trade

BARS = Place("bars", 0)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    need_redis()
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def client(running: RedisServer) -> AsyncIterator[Any]:
    """A client of the test's own, on an empty server."""
    async with need_redis().asyncio.Redis.from_url(running.url) as client:
        await client.flushall()
        yield client


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[RedisDriver]:
    driver = make_driver(redis_settings(url, **settings), "redis")
    assert isinstance(driver, RedisDriver)
    try:
        await driver.open()
        yield driver
    finally:
        await driver.close()


async def written(driver: RedisDriver, *values: bytes | None, base: int = 0) -> Flushed:
    driver.add("bars", batch(values, base))
    return await driver.flush(0)


@asynccontextmanager
async def closing(driver: RedisDriver) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await driver.close()


async def tried(driver: RedisDriver) -> Flushed:
    """Flush again and again, as the loop does: on a busy machine a healthy server may be late."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await driver.flush(0)
            except SinkUnavailableError:
                await asyncio.sleep(0.05)


async def value(client: Any, symbol: str = "A", interval: str = "1m") -> bytes | None:
    found: bytes | None = await client.hget(f"candlewick:default:bars:{symbol}:{interval}", "value")
    return found


def a_log(seed: int, count: int = 400) -> list[bytes]:
    """Bars of four series in log order: minutes go on, some are revised later on."""
    rng = random.Random(seed)
    revisions: dict[tuple[str, str, int], int] = {}
    log = []
    for step in range(count):
        symbol, interval = rng.choice(("A", "B")), rng.choice(("1m", "5m"))
        minute = max(0, step // 20 - rng.choice((0, 0, 0, 1, 3)))
        revision = revisions.get((symbol, interval, minute), -1) + 1
        revisions[symbol, interval, minute] = revision
        log.append(bar(symbol, minute, revision, interval))
    return log


def last_revisions(log: Sequence[bytes]) -> dict[bytes, bytes]:
    """The highest revision of the newest bar of each series, by another way than the sink's."""
    found: dict[bytes, bytes] = {}
    for each in sorted(
        log, key=lambda one: (json.loads(one)["start"], json.loads(one)["revision"])
    ):
        record = json.loads(each)
        found[f"candlewick:default:bars:{record['symbol']}:{record['interval']}".encode()] = each
    return found


async def everything(client: Any) -> dict[bytes, bytes]:
    keys = [key for key in await client.keys("*") if not key.endswith(b":probe")]
    return {key: await client.hget(key, "value") for key in keys}


# --- what is there -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
async def test_values_are_the_logs_last_revisions_byte_for_byte(
    running: RedisServer, client: Any, seed: int
) -> None:
    log = a_log(seed)
    rng = random.Random(seed)
    rows = passed = 0
    async with opened(running.url) as driver:
        for each in cut(log, [rng.randrange(1, 60) for _ in range(20)]):
            driver.add("bars", each)
            done = await driver.flush(0)
            rows += done.rows
            passed += sum(done.passed.values())
            assert done.positions == {BARS: each.next}
    assert await everything(client) == last_revisions(log)
    assert rows + passed == len(log)
    assert rows < len(log)


async def test_a_value_lives_as_long_as_is_said_and_no_longer(
    running: RedisServer, client: Any
) -> None:
    async with opened(running.url, redis={"time_to_live": "90s"}) as driver:
        await written(driver, bar("A", 0))
        key = "candlewick:default:bars:A:1m"
        assert 80_000 < await client.pttl(key) <= 90_000
    async with opened(running.url, redis={"time_to_live": "0s", "prefix": "ever"}) as driver:
        await written(driver, bar("A", 0))
        assert await client.ttl("ever:default:bars:A:1m") == -1
    async with opened(running.url, redis={"time_to_live": "1ms", "prefix": "short"}) as driver:
        await written(driver, bar("A", 0))
        assert await client.pttl("short:default:bars:A:1m") <= 1


async def test_keys_have_prefix_and_deployment_and_topic(running: RedisServer, client: Any) -> None:
    settings = {"deployment": "eu", "topic_prefix": "lab.", "redis": {"prefix": "cw"}}
    async with opened(running.url, **settings) as driver:
        driver.add("bars", batch([bar("BTC/USD", 0)]))
        driver.add("indicators", batch([indicators("BTC/USD", 0), b'{"type":"alias"}']))
        # Of the two partitions this is the trade's.
        for partition in (0, 1):
            driver.add("ticks", batch([trade("A", 0)], topic="ticks", partition=partition))
        done = await driver.flush(0)
    assert set(await everything(client)) == {
        b"cw:lab.eu:bars:BTC/USD:1m",
        b"cw:lab.eu:indicators:BTC/USD:1m",
        b"cw:lab.eu:ticks:A",
    }
    assert (done.rows, dict(done.passed)) == (3, {"control": 1, "dead": 1})


async def test_ticks_are_left_out_where_the_settings_say_so(running: RedisServer) -> None:
    async with opened(running.url) as driver:
        assert set(driver.topics) >= {"ticks", "quotes", "bars", "predictions"}
    async with opened(running.url, sinks={"ticks": False}) as driver:
        assert not {"ticks", "quotes"} & set(driver.topics)
        assert "anomalies" in driver.topics


# --- never an older one ------------------------------------------------------------------------


async def test_an_older_record_changes_nothing_and_gives_no_more_time(
    running: RedisServer, client: Any
) -> None:
    key = "candlewick:default:bars:A:1m"
    async with opened(running.url) as driver, opened(running.url) as zombie:
        await written(driver, bar("A", 5, 2))
        await client.pexpire(key, 50_000)
        for older in (bar("A", 5, 1), bar("A", 4, 9), bar("A", 0)):
            done = await written(zombie, older)
            assert (done.rows, dict(done.passed)) == (0, {"older": 1})
            assert await value(client) == bar("A", 5, 2)
            assert await client.pttl(key) <= 50_000
        again = await written(zombie, bar("A", 5, 2))
        assert again.rows == 1
        assert await client.pttl(key) > 200_000


async def test_a_replay_never_shows_an_older_value(running: RedisServer, client: Any) -> None:
    log = a_log(7)
    async with opened(running.url) as driver:
        for each in cut(log, [50] * 8):
            driver.add("bars", each)
            await driver.flush(0)
        held = await everything(client)
        await driver.assign([BARS])
        for each in cut(log, [13] * 40):
            driver.add("bars", each)
            await driver.flush(0)
            assert await everything(client) == held


@pytest.mark.parametrize("seed", range(5))
async def test_an_owner_and_a_zombie_side_by_side_end_with_the_newest(
    running: RedisServer, client: Any, seed: int
) -> None:
    log, rng = a_log(seed), random.Random(seed)
    async with opened(running.url) as owner, opened(running.url) as zombie:
        for begin in range(0, len(log), 20):
            owner.add("bars", batch(log[begin : begin + 20], begin))
            # The zombie is anywhere behind.
            old = rng.randrange(0, begin + 1)
            zombie.add("bars", batch(log[old : old + 20], old))
            await asyncio.gather(owner.flush(0), zombie.flush(0))
    assert await everything(client) == last_revisions(log)


# --- what breaks -------------------------------------------------------------------------------


async def test_a_server_that_hangs_and_one_that_is_killed_get_it_all_later(tmp_path: Path) -> None:
    module = need_redis()
    log = a_log(11)
    with RedisServer(tmp_path) as server:
        driver = RedisDriver(redis_settings(server.url, sinks={"timeout": "300ms"}))
        async with closing(driver):
            driver.add("bars", batch(log[:100]))
            await tried(driver)
            server.pause()
            driver.add("bars", batch(log[100:200], 100))
            for _ in range(2):
                with pytest.raises(SinkUnavailableError, match="does not answer"):
                    await driver.flush(0)
                assert driver.held_bytes > 0
            server.resume()
            assert (await tried(driver)).positions == {BARS: 200}
            server.kill()
            driver.add("bars", batch(log[200:300], 200))
            with pytest.raises(SinkUnavailableError, match="does not answer"):
                await driver.flush(0)
            with pytest.raises(SinkUnavailableError, match="does not answer"):
                await driver.open()
            server.start()
            driver.add("bars", batch(log[300:], 300))
            done = await tried(driver)
            assert done.positions == {BARS: 400}
            assert driver.held_bytes == 0
            # What the server lost with its process comes with the next record, or with a replay.
            await driver.assign([BARS])
            driver.add("bars", batch(log))
            await tried(driver)
        async with module.asyncio.Redis.from_url(server.url) as client:
            assert await everything(client) == last_revisions(log)


async def test_a_full_server_gets_it_when_there_is_room(tmp_path: Path) -> None:
    module = need_redis()
    with RedisServer(tmp_path) as server:
        async with module.asyncio.Redis.from_url(server.url) as client:
            async with opened(server.url) as driver:
                await client.config_set("maxmemory", "1")
                driver.add("bars", batch([bar("A", 0), bar("B", 0)]))
                with pytest.raises(SinkUnavailableError, match="takes no writes"):
                    await driver.flush(0)
                with pytest.raises(SinkUnavailableError, match="takes no writes"):
                    await driver.open()
                await client.config_set("maxmemory", "0")
                done = await driver.flush(0)
            assert (done.rows, done.positions) == (2, {BARS: 2})
            assert await value(client) == bar("A", 0)


async def test_a_wrong_password_and_none_are_refused_and_not_told(tmp_path: Path) -> None:
    need_redis()
    with RedisServer(tmp_path, "--requirepass", "right-secret") as server:
        at = f"127.0.0.1:{server.port}/0"
        for url in (f"redis://:wrong-secret@{at}", f"redis://nobody:wrong-secret@{at}", server.url):
            with pytest.raises(SinkRefusesError, match="does not let us in") as caught:
                async with opened(url):
                    pass
            assert "wrong-secret" not in str(caught.value)
            assert "\n" not in str(caught.value)
        async with opened(f"redis://:right-secret@{at}") as driver:
            assert (await written(driver, bar("A", 0))).rows == 1
            lines = await driver.check()
            assert "secret" not in "".join(lines)


async def test_a_user_without_rights_is_refused(tmp_path: Path) -> None:
    module = need_redis()
    with RedisServer(tmp_path) as server:
        async with module.asyncio.Redis.from_url(server.url) as client:
            rights = ("on", ">pass", "~*", "+@connection", "+@read", "+@scripting", "-info")
            await client.execute_command("ACL", "SETUSER", "reader", *rights)
        with pytest.raises(SinkRefusesError):
            async with opened(f"redis://reader:pass@127.0.0.1:{server.port}/0"):
                pass


async def test_a_replica_takes_nothing_until_it_is_a_primary(tmp_path: Path) -> None:
    module = need_redis()
    with RedisServer(tmp_path) as server:
        async with (
            opened(server.url) as driver,
            module.asyncio.Redis.from_url(server.url) as client,
        ):
            await client.execute_command("REPLICAOF", "127.0.0.1", "1")
            driver.add("bars", batch([bar("A", 0)]))
            with pytest.raises(SinkUnavailableError, match="takes no writes"):
                await driver.flush(0)
            await client.execute_command("REPLICAOF", "NO", "ONE")
            assert (await driver.flush(0)).rows == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("LOADING Redis is loading the dataset in memory", SinkUnavailableError),
        ("MISCONF Redis is configured to save RDB snapshots", SinkUnavailableError),
        ("BUSY Redis is busy running a script", SinkUnavailableError),
        ("READONLY You can't write against a read only replica.", SinkUnavailableError),
        ("OOM command not allowed when used memory > 'maxmemory'.", SinkUnavailableError),
        ("ERR max number of clients reached", SinkUnavailableError),
        ("NOAUTH Authentication required.", SinkRefusesError),
        ("NOPERM User default has no permissions", SinkRefusesError),
        ("ERR unknown command", SinkRefusesError),
    ],
)
async def test_each_answer_of_a_server_is_one_of_two_errors(
    answer: str, kind: type[Exception]
) -> None:
    need_redis()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            # One answer more than is asked for does no harm: the first is the error already.
            writer.write(f"-{answer}\r\n".encode())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = LatestStore(redis_settings(f"redis://127.0.0.1:{port}/0"), 5.0)
    try:
        with pytest.raises(kind):
            await store.write([(b"key", ((1, 1), b"{}"))], 0)
    finally:
        await store.close()
        server.close()


async def test_forgotten_scripts_are_loaded_again_and_foreign_keys_replaced(
    running: RedisServer, client: Any
) -> None:
    async with opened(running.url) as driver:
        await client.script_flush()
        await client.set("candlewick:default:bars:A:1m", "somebody's")
        await client.hset("candlewick:default:bars:B:1m", "order", "z")
        assert (await written(driver, bar("A", 0), bar("B", 0))).rows == 2
    assert await everything(client) == last_revisions([bar("A", 0), bar("B", 0)])


# --- what is held ------------------------------------------------------------------------------


async def test_it_is_due_when_the_oldest_record_has_waited(running: RedisServer) -> None:
    async with opened(running.url, redis={"delay": "50ms"}) as driver:
        assert not driver.due(100.0)
        driver.add("bars", batch([bar("A", 0)]))
        assert not driver.due(100.0)
        assert not driver.due(100.04)
        assert driver.due(100.06)
        await driver.flush(0)
        assert not driver.due(200.0)
        driver.add("bars", batch([b"{}"] * 50_000, 1))
        assert driver.due(200.0)


async def test_while_the_server_is_away_one_record_a_key_is_held(tmp_path: Path) -> None:
    need_redis()
    server = RedisServer(tmp_path)
    server.start()
    driver = RedisDriver(redis_settings(server.url))
    server.kill()
    sizes = []
    for base in range(0, 5_000, 1_000):
        values = [bar(f"S{number % 10}", (base + number) // 10) for number in range(1_000)]
        driver.add("bars", batch(values, base))
        with pytest.raises(SinkUnavailableError):
            await driver.flush(0)
        sizes.append(driver.held_bytes)
    assert max(sizes) < 10 * 1_000
    server.start()
    try:
        done = await driver.flush(0)
        assert (done.rows, done.positions) == (10, {BARS: 5_000})
        assert done.passed["superseded"] == 4_990
        assert driver.held_bytes == 0
    finally:
        await driver.close()
        server.kill()


async def test_what_goes_to_another_writer_is_neither_written_later_nor_told(
    running: RedisServer, client: Any
) -> None:
    async with opened(running.url) as driver:
        driver.add("bars", batch([bar("A", 0)]))
        driver.add("bars", batch([bar("B", 0)], partition=1))
        driver.revoke([BARS])
        done = await driver.flush(0)
        assert done.positions == {Place("bars", 1): 1}
        # Also if it goes while a flush is under way.
        driver.add("bars", batch([bar("A", 1)]))
        driver.add("bars", batch([bar("B", 1)], 1, partition=1))
        flush = asyncio.create_task(driver.flush(0))
        await asyncio.sleep(0)
        driver.revoke([BARS])
        assert (await flush).positions == {Place("bars", 1): 2}
        assert driver.held_bytes == 0
    assert await value(client, "B") == bar("B", 1)
    assert await value(client, "A") is None


async def test_positions_move_over_records_that_give_nothing(running: RedisServer) -> None:
    async with opened(running.url) as driver:
        done = await written(driver, b'{"type":"alias"}', None, b"?")
        assert done.positions == {BARS: 3}
        assert dict(done.passed) == {"control": 1, "malformed": 2}
        done = await written(driver, base=7)
        assert (done.positions, done.rows) == ({BARS: 7}, 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda: redis_settings("http://127.0.0.1/0"),
        lambda: redis_settings("redis://127.0.0.1:port/0"),
        lambda: redis_settings("redis://127.0.0.1/0", redis={"url": None}),
    ],
)
def test_an_address_that_is_none_is_a_setting_that_stops_the_start(
    change: Callable[[], Any],
) -> None:
    need_redis()
    with pytest.raises(SettingsError, match="CANDLEWICK_REDIS__URL"):
        RedisDriver(change())


async def test_check_says_what_is_there(running: RedisServer) -> None:
    async with opened(running.url) as driver:
        first, second, third = await driver.check()
    assert first.startswith("Redis 7.")
    assert first.endswith(f"redis://127.0.0.1:{running.port}/0")
    assert second.startswith("memory: ")
    assert third == ("keys candlewick:default:TOPIC:SYMBOL... can be written; they live for 300 s")
