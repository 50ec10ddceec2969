"""Three days of SPY and IBM through bars and indicators: the stream gives what the batch verb does.

The worker is killed several times on the way; a second deployment reads the same log undisturbed.
Indicators take each bar once, in both ways in the same order, so every value is equal bit for bit.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from operator import lt
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from app.admin import ensure_topics
from app.broker import EmbeddedBroker
from app.contracts.wire import IndicatorsRecord
from app.feeds.replayer import replay
from app.run.export import LAYOUTS, read_bars, write_export
from app.settings import Settings
from app.topics import bars_topic, output_topic
from tables.indicators.registry import DEFAULT_INDICATORS, parse_indicators
from tests.broker.test_engine_quotes import wait_drained
from tests.broker.worker import WorkerProcess, worker_settings
from tests.chaos.deployment import Read, read_topic, wait_committed
from tests.command import EQUITY, candlewick, tell

pytestmark = [pytest.mark.realdata, pytest.mark.broker, pytest.mark.slow]

INTERVALS = ("1s", "1m")
#: Where the worker is killed, in parts of the records.
KILLS = (0.05, 0.3, 0.6, 0.9)
#: The whole recording, within one record in a thousand.
TRADES = 1_176_000
SECONDS = 300.0
#: A fetch is applied at once: 4 MB of compressed bars take seconds, during which nothing else goes
#: on, and on a busy machine more than a transaction may.
PATIENT = {"transaction_timeout": "30s", "session_timeout": "10s", "fetch_max_bytes": 128 * 1024}
Value = dict[str, float | None]


@pytest.fixture
def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    """Two agents, one behind the other; indicators as they are by default."""
    chosen = worker_settings(
        kafka, unique, tmp_path, bars={"intervals": ",".join(INTERVALS)}, broker=PATIENT
    )
    return chosen.model_copy(update={"agents": ("bars", "indicators")})


async def outputs(settings: Settings) -> dict[str, dict[int, list[Read]]]:
    """What the bars and indicators agents have published, without offsets and times."""
    topics = (bars_topic(settings, "bars"), output_topic(settings, "indicators"))
    found = {}
    for name, topic in zip(("bars", "indicators"), topics, strict=True):
        records = await read_topic(settings, topic)
        found[name] = {number: [e.content for e in log] for number, log in records.items()}
    return found


async def run(settings: Settings, realdata: Path) -> tuple[int, int]:
    """Replay with kills, then read the log once more; records and starts."""
    folders = [realdata / EQUITY / name for name in ("ibm", "spy")]
    await ensure_topics(settings)
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        sending = asyncio.create_task(replay(settings, folders))
        try:
            for part in KILLS:
                least = part * TRADES
                await wait_committed(settings, partial(lt, least), worker, seconds=SECONDS)
                await worker.kill9()
                await worker.start()
            sent = (await sending).sent
        finally:
            sending.cancel()
        await wait_drained(settings, worker, SECONDS)
        starts = worker.starts
        assert await worker.stop() == 0
    return sent, starts


async def undisturbed(settings: Settings) -> Settings:
    """Another deployment that reads the same log in peace."""
    other = settings.model_copy(update={"deployment": "e"})
    await ensure_topics(other)
    async with WorkerProcess(other) as worker:
        await worker.wait_ready()
        await wait_drained(other, worker, SECONDS)
        assert await worker.stop() == 0
    return other


def streamed(records: dict[int, list[Read]]) -> dict[tuple[str, str, int], IndicatorsRecord]:
    """The highest revision of each bar's indicators."""
    found: dict[tuple[str, str, int], Any] = {}
    for log in records.values():
        for each in log:
            record = IndicatorsRecord(**json.loads(each.value or b""))
            key = (record.symbol, record.interval, record.start)
            if key not in found or record.revision > found[key].revision:
                found[key] = record
    return found


async def test_three_days_give_the_numbers_of_the_batch_verb_although_the_worker_is_killed(
    settings: Settings, realdata: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    sent, starts = await run(settings, realdata)
    assert starts == 1 + len(KILLS)
    found = await outputs(settings)
    assert found == await outputs(await undisturbed(settings))

    exported, computed = tmp_path / "bars.parquet", tmp_path / "indicators.parquet"
    highest = await read_bars(settings)
    write_export(exported, highest.rows(), LAYOUTS["bars"].schema)
    arguments = ("indicators", "--bars", exported, "--out", computed, "--json")
    done = await asyncio.to_thread(candlewick, tmp_path, *arguments, seconds=SECONDS)
    assert done.code == 0, done.errors
    names = [name for each in parse_indicators(DEFAULT_INDICATORS) for name in each.names]
    assert json.loads(done.output)["columns"] == names

    stream, rows = streamed(found["indicators"]), pq.read_table(computed).to_pylist()
    assert len(rows) == len(stream) == len(highest) > 80_000
    assert {(row["symbol"], row["interval"]) for row in rows} == {
        (symbol, interval) for symbol in ("IBM", "SPY") for interval in INTERVALS
    }
    assert all(record.exact for record in stream.values())
    differences = []
    for row in rows:
        record = stream[row["symbol"], row["interval"], row["start_ns"]]
        assert record.revision == row["revision"]
        values = {name: row[name] for name in names}
        if list(map(repr, record.values.values())) != list(map(repr, values.values())):
            differences.append((row, record))
    ready = sum(value is not None for record in stream.values() for value in record.values.values())
    tell(
        pytestconfig,
        f"{sent:,} records, {len(rows):,} bars, {len(names)} columns, {ready:,} values of "
        f"{len(rows) * len(names):,}; {starts - 1} kills; rows that differ: {len(differences):,}",
    )
    assert list(stream[next(iter(stream))].values) == names
    assert ready > 0.9 * len(rows) * len(names)
    assert not differences, differences[:3]
