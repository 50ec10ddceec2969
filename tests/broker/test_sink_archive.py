"""The archive behind real workers and a real Kafka: the topics, record by record, each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.admin import delete_deployment, ensure_topics
from app.archive.checking import check
from app.archive.layout import archive_location, archived_topics, broker_topic
from app.archive.manifest import numbers, read_manifest, read_state
from app.archive.querying import query
from app.broker import EmbeddedBroker
from app.connection import connect
from app.run.reader import partitions_of, read_range
from app.settings import Settings
from app.sinks.archive_logs import topic_logs
from models.predicting.registry_store import LocalStore
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import (
    FLUSH,
    HISTORICAL,
    market,
    prepared,
    send,
    send_in_transactions,
    wait_drained,
)

pytestmark = pytest.mark.broker

COUNT = 3_000
TOPICS = ("ticks", "bars", "bars.late", "bars.dead")
Records = Counter[tuple[int, int, int, bytes | None]]


@pytest.fixture
def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    """A deployment whose archive is written and compacted often."""
    return worker_settings(
        kafka,
        unique,
        tmp_path,
        archive={"age": "300ms", "upkeep_every": "1s"},
        sinks={"drivers": "archive", "first_backoff": "50ms", "rest": "200ms"},
    )


def archive_of(settings: Settings) -> LocalStore:
    return LocalStore(Path(archive_location(settings)))


async def archived(settings: Settings, *workers: WorkerProcess) -> None:
    """Wait until the archive is at the end of each topic."""

    async def level() -> bool:
        positions = read_state(archive_of(settings)).positions
        for place, log in (await topic_logs(settings, TOPICS)).items():
            held = positions.get(place)
            begin = held.next if held is not None and held.log == log.id else log.first
            # Behind the last record there may be markers, of which nothing is to be written.
            if await committed_records(settings, place.topic, {place.partition: begin}):
                return False
        return True

    await until(level, lambda: "\n".join(each.tail for each in workers))


async def compacted(settings: Settings, *workers: WorkerProcess) -> None:
    """Wait until the workers have put files of ticks and of bars together."""

    async def done() -> bool:
        store = archive_of(settings)
        changes = [read_manifest(store, number).change for number in numbers(store)]
        topics = {
            part.topic for each in changes if each.kind == "compaction" for part in each.added
        }
        return {"ticks", "bars"} <= topics

    await until(done, lambda: "\n".join(each.tail for each in workers))


async def committed_records(
    settings: Settings, topic: str, begin: Mapping[int, int] | None = None
) -> Records:
    """Return the committed records of a topic, of those partitions from there on."""
    found: Records = Counter()
    logs = {
        place.partition: log
        for place, log in (await topic_logs(settings, [topic])).items()
        if begin is None or place.partition in begin
    }
    partitions = await partitions_of(settings, [broker_topic(settings, topic)])
    ranges = {
        tp: (max(logs[tp.partition].first, (begin or {}).get(tp.partition, 0)), log.end)
        for tp in partitions
        if (log := logs.get(tp.partition)) is not None
    }
    async for tp, records in read_range(settings, ranges):
        found.update(
            (tp.partition, each.offset, each.timestamp * 1_000_000, each.value) for each in records
        )
    return found


def rows_of(settings: Settings, topic: str) -> Counter[tuple[int, int, int]]:
    """Return where the rows of a topic stood, wherever they lie."""
    sql = f"SELECT log_partition, log_offset, append_time FROM raw WHERE source_topic = '{topic}'"
    if topic in ("ticks", "bars"):
        view = "bars_versions" if topic == "bars" else topic
        sql += f" UNION ALL SELECT log_partition, log_offset, append_time FROM {view}"
    found = query(archive_of(settings), sql)
    return Counter(zip(*(column.to_pylist() for column in found.columns), strict=True))


async def assert_same(settings: Settings) -> int:
    """Compare the archive with the topics; return how many records there are."""
    total = 0
    for topic in TOPICS:
        records = await committed_records(settings, topic)
        assert rows_of(settings, topic) == Counter(each[:3] for each in records.elements()), topic
        total += records.total()
    assert check(archive_of(settings)).faults == ()
    return total


async def test_the_archive_has_each_committed_record_once_although_workers_are_killed(
    settings: Settings,
) -> None:
    settings = await prepared(settings)
    parts = {number: [HISTORICAL, *market(number, 2, COUNT), FLUSH] for number in range(2)}
    async with WorkerProcess(settings, "one") as one, WorkerProcess(settings, "two") as two:
        for worker in (one, two):
            await worker.wait_ready()
        await send(settings, {number: values[:1_000] for number, values in parts.items()})

        async def begun() -> bool:
            return bool(read_state(archive_of(settings)).positions)

        await until(begun, lambda: one.tail + two.tail)
        await one.kill9()
        await send(settings, {number: values[1_000:2_000] for number, values in parts.items()})
        await one.start()
        await one.wait_ready()
        await two.kill9()
        await send(settings, {number: values[2_000:] for number, values in parts.items()})
        aborted = parts[0][1:50]
        await send_in_transactions(settings, 0, [(aborted, False), ([FLUSH], True)])
        await wait_drained(settings, one)
        await archived(settings, one)
        await compacted(settings, one)
        assert await one.stop() == 0
    total = await assert_same(settings)
    assert total > 2 * COUNT
    bars = await committed_records(settings, "bars")
    found = query(
        archive_of(settings),
        "SELECT sum(trades) AS trades, count(*) AS bars FROM bars WHERE \"interval\" = '1s'",
    ).to_pylist()
    newest: dict[tuple[str, int], dict[str, Any]] = {}
    for bar in (msgspec.json.decode(each[3] or b"") for each in bars):
        key = (bar["symbol"], bar["start"])
        if bar["interval"] == "1s" and (
            key not in newest or newest[key]["revision"] < bar["revision"]
        ):
            newest[key] = bar
    assert found == [{"trades": sum(bar["trades"] for bar in newest.values()), "bars": len(newest)}]


async def test_after_a_reset_outputs_are_archived_from_their_beginning_and_ticks_go_on(
    settings: Settings,
) -> None:
    settings = await prepared(settings)
    found: Counter[tuple[int, int, int]] = Counter()
    for number in range(2):
        await send(settings, {number: [HISTORICAL, *market(number, 2, 200), FLUSH]})
        async with WorkerProcess(settings) as worker:
            await worker.wait_ready()
            await wait_drained(settings, worker)
            await archived(settings, worker)
            assert await worker.stop() == 0
        bars = await committed_records(settings, "bars")
        found.update(each[:3] for each in bars.elements())
        assert rows_of(settings, "bars") == found
        # They stayed in Kafka, and were not archived again.
        ticks = await committed_records(settings, "ticks")
        assert rows_of(settings, "ticks") == Counter(each[:3] for each in ticks.elements())
        assert check(archive_of(settings)).faults == ()
        await delete_deployment(settings)
        await ensure_topics(settings)


async def test_the_logs_of_topics_that_are_not_there_are_not_asked_for(
    settings: Settings,
) -> None:
    assert await topic_logs(settings, archived_topics()) == {}
    await ensure_topics(settings)
    found = await topic_logs(settings, ["bars", "quotes", "nothing"])
    assert {tuple(place) for place in found} == {("bars", 0), ("bars", 1)}
    assert {(log.first, log.end) for log in found.values()} == {(0, 0)}
    assert len({log.id for log in found.values()}) == 1
    async with connect(settings) as client:
        assert not [name for name in await client.list_topics() if name.endswith("nothing")]
