"""Workers that write to a real PostgreSQL: what the topics hold is there once, whoever dies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.broker import EmbeddedBroker
from app.run.environment import settings_environment
from app.settings import Settings
from app.sinks.postgres_admin import empty, migrate
from app.sinks.progress import wait_until_written
from app.topics import ticks_topic
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import (
    FLUSH,
    HISTORICAL,
    bars_of,
    market,
    prepared,
    read_topic,
    send,
    wait_drained,
)
from tests.command import candlewick
from tests.postgres_server import PASSWORD, PostgresServer, postgres_server

pytestmark = [pytest.mark.broker, pytest.mark.chaos]

NUMBERS = ("open", "high", "low", "close", "volume", "vwap", "trades", "revision")
Bar = tuple[float | None, ...]


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with postgres_server() as found:
        yield found


@pytest.fixture
async def settings(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path, server: PostgresServer
) -> Settings:
    """A deployment whose sink is PostgreSQL, in small transactions."""
    found = await prepared(
        worker_settings(
            kafka,
            unique,
            tmp_path,
            postgres={"url": server.url(), "rows": 500, "delay": "50ms"},
            sinks={"drivers": "postgres", "timeout": "5s", "rest": "500ms"},
        )
    )
    migrate(found)
    return found


def newest(bars: list[dict[str, Any]]) -> dict[tuple[str, str, int], Bar]:
    """Return the numbers of each bar at its highest revision."""
    return {
        (each["symbol"], each["interval"], each["start"]): tuple(each[name] for name in NUMBERS)
        for each in sorted(bars, key=lambda bar: int(bar["revision"]))
    }


def stored(server: PostgresServer) -> dict[tuple[str, str, int], Bar]:
    """Return the same of the table; what is there twice is an error."""
    names = ", ".join(f'"{name}"' for name in NUMBERS)
    rows = server.sql(f'SELECT symbol, "interval", start, {names} FROM candlewick.bars')
    found = {tuple(row[:3]): tuple(row[3:]) for row in rows}
    assert len(found) == len(rows)
    return found


async def trades_of(settings: Settings) -> list[dict[str, Any]]:
    """Return the trades of the topic that can be read, as its records have them."""
    found = []
    for records in (await read_topic(settings, ticks_topic(settings))).values():
        for each in records:
            try:
                value = json.loads(each.value or b"")
            except ValueError:
                continue
            if isinstance(value, dict) and "price" in value:
                found.append(value)
    return found


async def test_bars_and_trades_are_all_there_once_after_deaths_of_worker_and_postgresql(
    settings: Settings, server: PostgresServer
) -> None:
    values = {number: [HISTORICAL, *market(number, 2, 6_000), FLUSH] for number in range(2)}
    said: list[str] = []

    async def some_are_written() -> bool:
        return bool(server.sql("SELECT 1 FROM candlewick.bars LIMIT 1"))

    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await send(settings, {each: part[:2_000] for each, part in values.items()})
        await until(some_are_written, lambda: worker.tail)
        await worker.kill9()
        await worker.start()
        await asyncio.to_thread(server.kill)
        await send(settings, {each: part[2_000:4_000] for each, part in values.items()})
        # The engine does not wait for the sink.
        await wait_drained(settings, worker)
        await worker.wait_for_log("sink postgres: PostgreSQL at")
        await asyncio.to_thread(server.start)
        await send(settings, {each: part[4_000:] for each, part in values.items()})
        await wait_until_written(settings, said.append)
        assert await worker.stop() == 0
        assert PASSWORD not in worker.log
    bars = newest(await bars_of(settings))
    assert len(bars) > 1_000
    assert stored(server) == bars
    [sums] = server.sql(
        f"SELECT {', '.join(f'sum({name})' for name in NUMBERS)} FROM candlewick.bars"
    )
    for number, total in enumerate(sums):
        expected = sum(each[number] or 0 for each in bars.values())
        assert float(total) == pytest.approx(expected, rel=1e-12)
    trades = await trades_of(settings)
    [(count, price, size)] = server.sql(
        "SELECT count(*), sum(price), sum(size) FROM candlewick.ticks"
    )
    assert count == len(trades)
    assert price == pytest.approx(sum(each["price"] for each in trades), rel=1e-12)
    assert size == pytest.approx(sum(each["size"] for each in trades), rel=1e-12)


async def test_emptied_tables_are_filled_again_from_where_the_topics_begin(
    settings: Settings, server: PostgresServer
) -> None:
    values = {number: [HISTORICAL, *market(number, 2, 500), FLUSH] for number in range(2)}
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await send(settings, values)
        await wait_drained(settings, worker)
        await wait_until_written(settings, lambda _: None)
        bars = newest(await bars_of(settings))
        assert stored(server) == bars
        empty(settings, ["bars"])

        async def filled() -> bool:
            return len(server.sql("SELECT 1 FROM candlewick.bars")) == len(bars)

        # It is told by its next flush of bars that its positions are gone.
        more = market(0, 2, 1_000)[500:]
        await send(settings, {0: [*more, FLUSH]})
        await wait_drained(settings, worker)
        bars = newest(await bars_of(settings))
        await until(filled, lambda: worker.tail)
        assert await worker.stop() == 0
    assert stored(server) == bars


async def test_a_replay_runs_beside_a_worker_that_goes_on_writing(
    settings: Settings, server: PostgresServer, tmp_path: Path
) -> None:
    values = {number: [HISTORICAL, *market(number, 2, 3_000), FLUSH] for number in range(2)}
    given = settings_environment(settings).items()
    ours = {name: value for name, value in given if name.startswith("CANDLEWICK_")}
    command = ("sink", "replay", "postgres", "--from", "beginning", "--json")
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await send(settings, {each: part[:1_000] for each, part in values.items()})
        await wait_drained(settings, worker)
        await wait_until_written(settings, lambda _: None)
        [(count,)] = server.sql("SELECT count(*) FROM candlewick.bars")
        server.sql("DELETE FROM candlewick.bars WHERE start % 2000000000 = 0")
        [(left,)] = server.sql("SELECT count(*) FROM candlewick.bars")
        assert left < count
        replaying = asyncio.create_task(
            asyncio.to_thread(candlewick, tmp_path, *command, settings=ours)
        )
        await send(settings, {each: part[1_000:] for each, part in values.items()})
        done = await replaying
        assert done.code == 0, done.errors
        await wait_drained(settings, worker)
        await wait_until_written(settings, lambda _: None)
        assert json.loads(done.output)["rows"] >= count - left
        assert await worker.stop() == 0
        assert "another writer has" not in worker.log
    assert stored(server) == newest(await bars_of(settings))
