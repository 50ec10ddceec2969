"""What a worker must not go on from: one clear line, exit code 3, nothing changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete

from app.admin import ensure_topics
from app.broker import EmbeddedBroker
from app.connection import client_options, connect
from app.contracts.wire import encoder
from app.exits import REFUSED
from app.settings import Settings
from app.topics import output_topic, ticks_topic
from tables.rows import ANCHOR_PREFIX, MARKER_KEY, ROW_VERSION, Marker, encode_marker
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import (
    CHANGELOG,
    FLUSH,
    HISTORICAL,
    SECOND,
    START,
    assert_exact,
    contents,
    markers,
    market,
    prepared,
    read_output,
    read_topic,
    send,
    symbol_of,
    trade,
    wait_drained,
)

pytestmark = pytest.mark.broker


@pytest.fixture
async def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    """A deployment that has stopped in the middle of its log."""
    settings = await prepared(worker_settings(kafka, unique, tmp_path))
    await send_part(settings, START)
    async with WorkerProcess(settings) as worker:
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    return settings


async def send_part(settings: Settings, begin: int, *last: bytes) -> None:
    parts = {number: [HISTORICAL, *market(number, 2, 1_000, begin), *last] for number in range(2)}
    await send(settings, parts)


async def assert_refuses(settings: Settings, *texts: str) -> None:
    """A worker ends with exit code 3, and its one line has the texts."""
    async with WorkerProcess(settings, "other") as worker:
        assert await worker.wait() == REFUSED, worker.tail
        own = [line for line in worker.log.splitlines() if line.startswith("candlewick worker: ")]
        assert len(own) == 1, worker.tail
        assert "Traceback" not in worker.log, worker.tail
        for text in texts:
            assert text in own[0]


@pytest.mark.parametrize(
    "bars",
    [
        {"intervals": "1s,1m"},
        {"policy": "sip"},
    ],
    ids=lambda bars: next(iter(bars)),
)
async def test_state_of_other_settings_is_refused_and_left_alone(
    settings: Settings, bars: dict[str, Any]
) -> None:
    changed = settings.model_copy(
        update={"bars": type(settings.bars)(**{**settings.bars.model_dump(), **bars})}
    )
    changed.__dict__.pop("results_hash", None)
    before = await contents(settings)
    await assert_refuses(
        changed, "stored state was computed with settings", "--reset or another deployment name"
    )
    assert await contents(settings) == before


async def test_state_of_a_source_topic_that_was_made_again_is_refused(settings: Settings) -> None:
    topic = ticks_topic(settings)
    async with connect(settings) as client:
        await client.delete_topics([topic])

        async def gone() -> bool:
            return topic not in {each["topic"] for each in await client.describe_topics(None)}

        await until(gone, lambda: f"{topic} gone")
    await ensure_topics(settings)
    await send_part(settings, START)
    await assert_refuses(
        settings, "stored state was computed from source topic", "--reset or another deployment"
    )


async def test_another_partition_count_is_refused(settings: Settings) -> None:
    topics = settings.topics.model_copy(update={"partitions": 3})
    changed = settings.model_copy(update={"topics": topics})
    changed.__dict__.pop("results_hash", None)
    await assert_refuses(changed, "partitions is 2 on the broker, expected 3")


async def test_a_log_cut_off_beyond_the_marker_is_refused(settings: Settings) -> None:
    await send_part(settings, START + 100 * SECOND)
    await cut_off(settings, 1_500)
    await assert_refuses(
        settings,
        "ends at 1001, the log begins at 1500: records between are lost to retention",
        "--reset or another deployment name",
    )


async def test_a_log_cut_off_up_to_the_marker_is_fine(settings: Settings) -> None:
    before = await contents(settings)
    await send_part(settings, START + 50 * SECOND, FLUSH)
    reference = settings.model_copy(update={"deployment": "whole"})
    await ensure_topics(reference)
    async with WorkerProcess(reference) as worker:
        await wait_drained(reference, worker)
        assert await worker.stop() == 0
    await assert_exact(reference)
    await cut_off(settings, 1_001)
    async with WorkerProcess(settings) as worker:
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    after = await contents(settings)
    assert after == await contents(reference)
    assert after != before


async def test_state_of_a_newer_version_is_refused(settings: Settings) -> None:
    await rewrite_state(settings, ROW_VERSION + 1)
    before = await contents(settings)
    await assert_refuses(
        settings,
        f"stored state has row version {ROW_VERSION + 1}, newer than this code reads",
        "use the version that wrote it, or use --reset",
    )
    assert await contents(settings) == before


async def test_state_of_version_1_goes_on_and_is_written_anew(settings: Settings) -> None:
    """Version 1 has no anchors: a correction of what was applied before is followed, too."""
    await rewrite_state(settings, 1)
    name = symbol_of(0, 2)
    old = await first_trade(settings, 0)
    values = [
        *market(0, 2, 200, START + 50 * SECOND),
        encoder.encode(
            {
                "type": "correction",
                "action": "cancel",
                "symbol": old["symbol"],
                "event_time": START,
                "original_event_time": old["event_time"],
                "trade_id": old.get("trade_id"),
                "original_sequence": old.get("sequence"),
                "venue": old.get("venue"),
            }
        ),
        trade(name, START + 100 * SECOND),
        FLUSH,
    ]
    await send(settings, {0: values, 1: [FLUSH]})
    async with WorkerProcess(settings) as worker:
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    await assert_exact(settings)
    found = await markers(settings)
    assert {marker.version for marker in found.values()} == {ROW_VERSION}
    assert found[0].counts["control"] == 3


async def test_a_correction_of_what_retention_has_deleted_is_dead(settings: Settings) -> None:
    old = await first_trade(settings, 0)
    await cut_off(settings, 1_001)
    values = [
        encoder.encode(
            {
                "type": "correction",
                "action": "cancel",
                "symbol": old["symbol"],
                "event_time": START,
                "original_event_time": old["event_time"],
            }
        ),
        *market(0, 2, 10, START + 60 * SECOND),
    ]
    await send(settings, {0: values})
    async with WorkerProcess(settings) as worker:
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    found = await read_output(settings, "bars.dead")
    dead = [read for read in found[0] if dict(read.headers)["reason"] == b"log_gone"]
    assert [read.value for read in dead] == values[:1]


async def first_trade(settings: Settings, partition: int) -> dict[str, Any]:
    """The first trade of a partition's log."""
    for read in (await read_topic(settings, ticks_topic(settings)))[partition]:
        record: dict[str, Any] = json.loads(read.value or b"")
        if "price" in record:
            return record
    raise AssertionError("no trade")


async def rewrite_state(settings: Settings, version: int) -> None:
    """Make the changelog that of another row version; version 1 has no anchors."""
    changelog = output_topic(settings, CHANGELOG)
    producer = AIOKafkaProducer(**client_options(settings), enable_idempotence=True)
    await producer.start()
    try:
        for partition, marker in (await markers(settings)).items():
            for read in (await read_topic(settings, changelog))[partition]:
                if version == 1 and read.key is not None and read.key[:1] == ANCHOR_PREFIX:
                    await producer.send_and_wait(changelog, None, read.key, partition)
            fields = {name: getattr(marker, name) for name in marker.__struct_fields__}
            value = encode_marker(Marker(**(fields | {"version": version})))
            await producer.send_and_wait(changelog, value, MARKER_KEY, partition)
    finally:
        await producer.stop()


async def cut_off(settings: Settings, offset: int) -> None:
    """Delete the records before an offset, as retention does."""
    async with connect(settings) as client:
        await client.delete_records(
            {
                TopicPartition(ticks_topic(settings), number): RecordsToDelete(offset)
                for number in range(settings.topics.partitions)
            }
        )
