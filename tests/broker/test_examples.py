"""The documentation's examples, run as a reader would run them, against a real worker."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.admin import ensure_topics
from app.broker import EmbeddedBroker
from app.connection import bootstrap_servers
from app.run.environment import ROOT
from app.settings import Settings
from app.topics import output_topic, ticks_topic
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import FLUSH, HISTORICAL, START, read_output, send, symbol_of

pytestmark = pytest.mark.broker

EXAMPLES = ROOT / "docs" / "examples"
SENDERS = sorted(path.name for path in EXAMPLES.glob("send_*.py"))
SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF", "GGG", "HHH")
#: What each sender sends of each symbol: prices from 100.00 in steps of 0.01, sizes from 10.
TRADES = 20
VOLUME = sum(range(10, 10 + TRADES))
Row = dict[str, str]


async def run_example(path: Path, *arguments: str) -> str:
    """What an example prints; it must end well, and say nothing on standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(path), *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, said = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, said.decode()) == (0, "")
    return printed.decode()


def rows_of(table: str) -> list[Row]:
    """The lines of the reading example by its own headings; the start is two words."""
    header, *lines = table.splitlines()
    names = ["date", "time", *header.split()[2:]]
    return [dict(zip(names, line.split(), strict=True)) for line in lines]


async def read_example(settings: Settings) -> list[Row]:
    """The table of the reading example."""
    topic = output_topic(settings, "bars")
    return rows_of(await run_example(EXAMPLES / "read_bars.py", bootstrap_servers(settings), topic))


async def send_example(settings: Settings, path: Path) -> str:
    """What a sending example prints."""
    return await run_example(path, bootstrap_servers(settings), ticks_topic(settings), *SYMBOLS)


@pytest.fixture
async def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> AsyncIterator[Settings]:
    chosen = worker_settings(
        kafka, unique, tmp_path, bars={"intervals": "1s"}, topics={"partitions": 4}
    )
    await ensure_topics(chosen)
    async with WorkerProcess(chosen) as worker:
        await worker.wait_ready()
        yield chosen
        assert await worker.stop() == 0


def test_there_is_an_example_for_each_client() -> None:
    assert SENDERS == ["send_with_aiokafka.py", "send_with_confluent.py"]


@pytest.mark.parametrize("sender", SENDERS)
async def test_trades_of_the_sending_example_are_the_bars_of_the_reading_one(
    settings: Settings, sender: str
) -> None:
    """Eight symbols over four partitions: with another partitioner some would be dead."""
    said = await send_example(settings, EXAMPLES / sender)
    assert said == f"sent {TRADES * len(SYMBOLS)} trades\n"
    rows: list[Row] = []

    async def all_closed() -> bool:
        rows[:] = await read_example(settings)
        return sum(int(row["trades"]) for row in rows) == TRADES * len(SYMBOLS)

    # The worker's clock closes the last bars: nobody sends a flush.
    await until(all_closed, lambda: f"all trades in bars: {rows}")
    bars: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        assert row["size"] == "1s"
        bars[row["symbol"]].append(row)
    assert set(bars) == set(SYMBOLS)
    for own in bars.values():
        assert sum(float(row["volume"]) for row in own) == VOLUME
        assert own[0]["open"] == own[0]["low"] == "100"
        assert own[-1]["close"] == own[-1]["high"] == "100.19"


async def test_the_reading_example_shows_a_revision_instead_of_what_it_replaces(
    settings: Settings,
) -> None:
    """A trade that comes after its bar was closed."""
    symbol = symbol_of(0, settings.topics.partitions)
    trade = {"symbol": symbol, "price": 5, "size": 1, "event_time": START}
    values = [HISTORICAL, json.dumps(trade).encode(), FLUSH]
    await send(settings, {0: [*values, json.dumps(trade | {"price": 7}).encode()]})
    rows: list[Row] = []

    async def revised() -> bool:
        rows[:] = await read_example(settings)
        return bool(rows) and rows[0]["rev."] == "1"

    await until(revised, lambda: f"a revision: {rows}")
    assert len(rows) == 1
    assert (rows[0]["open"], rows[0]["close"], rows[0]["volume"]) == ("5", "7", "2")


async def test_with_librdkafkas_own_partitioner_trades_are_dead_for_the_wrong_partition(
    settings: Settings, tmp_path: Path
) -> None:
    """What the page says of it, and of a dead record: raw value, no key, four headers."""
    text = (EXAMPLES / "send_with_confluent.py").read_text(encoding="utf-8")
    changed = tmp_path / "send_with_crc32.py"
    changed.write_text(text.replace("murmur2_random", "consistent_random"), encoding="utf-8")
    await send_example(settings, changed)
    bars = 0
    dead: list[tuple[bytes | None, bytes | None, dict[str, bytes]]] = []

    async def all_told() -> bool:
        nonlocal bars
        bars = sum(int(row["trades"]) for row in await read_example(settings))
        found = (await read_output(settings, "bars.dead")).values()
        dead[:] = [(one.key, one.value, dict(one.headers)) for part in found for one in part]
        return bars + len(dead) == TRADES * len(SYMBOLS)

    await until(all_told, lambda: f"{bars} trades in bars and {dead}")
    assert dead
    for key, value, headers in dead:
        assert key is None
        assert json.loads(value or b"")["symbol"] in SYMBOLS
        assert list(headers) == ["reason", "topic", "partition", "offset"]
        assert headers["reason"] == b"wrong_partition"
        assert headers["topic"].decode() == ticks_topic(settings)
