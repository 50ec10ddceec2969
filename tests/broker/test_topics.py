"""Topics on a real broker: made once, checked always, removed on request."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic

from app.admin import (
    DeploymentInUseError,
    TopicMismatchError,
    TopicUnavailableError,
    delete_deployment,
    ensure_topics,
)
from app.broker import EmbeddedBroker
from app.connection import BrokerUnreachableError, bootstrap_servers, connect
from app.exits import RefusalError
from app.feeds.producer import TickSender
from app.groups import committed_offsets
from app.identity import deployment_folder, group_id
from app.run.errors import RunError
from app.run.outcomes import check_deployment, read_outcomes
from app.run.reader import bounds, partitions_of, read_range
from app.settings import Settings, load_settings
from app.topics import output_topic, ticks_topic, topic_table
from tables.rows import MARKER_KEY, Marker, encode_marker

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    """Settings of a deployment and a cluster prefix that only this test has."""
    return load_settings(
        broker={"url": kafka.url}, topic_prefix=f"{unique}.", data_dir=tmp_path / "data"
    )


def changed(settings: Settings, **topics: Any) -> Settings:
    return settings.model_copy(update={"topics": settings.topics.model_copy(update=topics)})


async def test_topics_are_created_as_the_table_says_and_then_accepted(settings: Settings) -> None:
    await ensure_topics(settings)
    await ensure_topics(settings)
    async with connect(settings) as client:
        described = {topic["topic"]: topic for topic in await client.describe_topics(None)}
    for spec in topic_table(settings):
        assert len(described[spec.name]["partitions"]) == spec.partitions


async def test_several_workers_may_create_at_once(settings: Settings) -> None:
    await asyncio.gather(*(ensure_topics(settings) for _ in range(8)))


@pytest.mark.parametrize(
    ("change", "setting", "has", "expected"),
    [
        ({"partitions": 3}, "partitions", "4", "3"),
        ({"max_message_bytes": 65536}, "max.message.bytes", "1048576", "65536"),
        ({"retention": 86_400_000_000_000}, "retention.ms", "604800000", "86400000"),
    ],
)
async def test_a_difference_is_one_clear_error(
    settings: Settings, change: dict[str, int], setting: str, has: str, expected: str
) -> None:
    await ensure_topics(settings)
    with pytest.raises(TopicMismatchError) as caught:
        await ensure_topics(changed(settings, **change))
    message = str(caught.value)
    assert "\n" not in message
    assert f"{setting} is {has} on the broker, expected {expected}" in message
    assert ticks_topic(settings) in message
    assert "CANDLEWICK_TOPICS__" in message


async def test_a_topic_that_someone_else_made_is_checked(settings: Settings) -> None:
    async with connect(settings) as client:
        await client.create_topics([NewTopic(ticks_topic(settings), 4, 1)])
    with pytest.raises(TopicMismatchError) as caught:
        await ensure_topics(settings)
    message = str(caught.value)
    assert "message.timestamp.type is CreateTime on the broker, expected LogAppendTime" in message
    assert "kafka-configs" in message


async def test_what_the_broker_refuses_is_one_clear_error(settings: Settings) -> None:
    with pytest.raises(TopicUnavailableError, match=r"refuses to create it.*replication"):
        await ensure_topics(changed(settings, replication=3))


async def test_a_broker_that_is_not_there_is_told_at_once_and_quietly(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    away = load_settings(broker={"url": "kafka://127.0.0.1:1"})
    started = time.monotonic()
    with caplog.at_level(logging.WARNING), pytest.raises(BrokerUnreachableError) as caught:
        await ensure_topics(away)
    assert time.monotonic() - started < 8
    assert "kafka://127.0.0.1:1" in str(caught.value)
    assert "CANDLEWICK_BROKER__URL" in str(caught.value)
    assert [record for record in caplog.records if record.name.startswith("aiokafka")] == []


def test_the_user_name_of_an_address_is_not_part_of_the_servers() -> None:
    chosen = load_settings(broker={"url": "kafka://me:word@a:1,b:2"})
    assert bootstrap_servers(chosen) == "a:1,b:2"


async def test_a_deployment_is_removed_and_the_ticks_stay(settings: Settings) -> None:
    await ensure_topics(settings)
    folder = deployment_folder(settings) / "worker"
    folder.mkdir(parents=True)
    other = settings.model_copy(update={"deployment": "other"})
    await ensure_topics(other)
    await commit(settings, 7)
    await delete_deployment(settings)
    await delete_deployment(settings)
    assert not folder.exists()
    async with connect(settings) as client:
        names = {topic["topic"] for topic in await client.describe_topics(None)}
        left = await committed_offsets(client, group_id(settings), ticks_topic(settings), 4)
    assert left == {}
    assert ticks_topic(settings) in names
    assert {spec.name for spec in topic_table(other)} <= names
    assert output_topic(settings, "bars") not in names
    await ensure_topics(settings)


async def test_a_deployment_with_a_running_worker_is_not_removed(settings: Settings) -> None:
    await ensure_topics(settings)
    consumer = AIOKafkaConsumer(
        ticks_topic(settings),
        bootstrap_servers=bootstrap_servers(settings),
        group_id=group_id(settings),
    )
    await consumer.start()
    try:
        with pytest.raises(DeploymentInUseError, match="is running; stop it first"):
            await delete_deployment(settings)
        await partitions_of(settings, [output_topic(settings, "bars")])
    finally:
        await consumer.stop()
    await delete_deployment(settings)


async def commit(settings: Settings, offset: int) -> None:
    """Commit an offset of partition 0 as the deployment's group."""
    place = TopicPartition(ticks_topic(settings), 0)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers(settings),
        group_id=group_id(settings),
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        consumer.assign([place])
        await consumer.commit({place: offset})
    finally:
        await consumer.stop()


async def test_committed_offsets_are_by_partition(settings: Settings) -> None:
    await ensure_topics(settings)
    await commit(settings, 7)
    async with connect(settings) as client:
        found = await committed_offsets(client, group_id(settings), ticks_topic(settings), 4)
    assert found == {0: 7}


async def transactions(settings: Settings, name: str) -> None:
    """Write two committed transactions and an aborted one, with markers, to partition 1."""
    topic = output_topic(settings, "bars.changelog")
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers(settings), transactional_id=f"{name}-writer"
    )
    await producer.start()
    try:
        for number, aborts in ((1, False), (2, False), (3, True)):
            await producer.begin_transaction()
            counts = {"applied": 10 * number, "dead": number}
            marker = Marker(1, 11 * number, None, False, counts, "hash", "topic", [])
            for row in range(5):
                await producer.send(topic, b"row", key=b"s%d" % row, partition=1)
            await producer.send(topic, encode_marker(marker), key=MARKER_KEY, partition=1)
            await (producer.abort_transaction() if aborts else producer.commit_transaction())
    finally:
        await producer.stop()


async def test_a_plain_read_ends_at_the_end_although_the_last_records_are_aborted(
    settings: Settings, unique: str
) -> None:
    await ensure_topics(settings)
    await transactions(settings, unique)
    places = await partitions_of(settings, [output_topic(settings, "bars.changelog")])
    ends = await bounds(settings, places)
    read = [record.offset async for _, records in read_range(settings, ends) for record in records]
    assert read == [*range(6), *range(7, 13)]


async def test_outcomes_are_those_of_the_last_committed_marker(
    settings: Settings, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ensure_topics(settings)
    await transactions(settings, unique)
    monkeypatch.setattr("app.run.outcomes.FIRST_LOOK", 1)
    outcomes = await read_outcomes(settings)
    assert outcomes.counts["applied"] == 20
    assert outcomes.counts["late"] == 0
    assert outcomes.records == 22


async def test_a_deployment_made_with_other_settings_is_refused(
    settings: Settings, unique: str
) -> None:
    await ensure_topics(settings)
    await check_deployment(settings)
    await transactions(settings, unique)
    with pytest.raises(RefusalError, match=r"partition 1: made with settings hash hash,"):
        await check_deployment(settings)


async def test_a_missing_topic_is_named_and_not_created(settings: Settings) -> None:
    for _ in range(2):
        with pytest.raises(RunError, match=r"bars does not exist"):
            await partitions_of(settings, [output_topic(settings, "bars")])


async def test_new_topics_take_records_at_once(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Their leaders have taken the role: no producer is told that there is none."""
    wide = changed(settings, partitions=64)
    await ensure_topics(wide)
    async with TickSender(wide) as sender:
        for number in range(64):
            await sender.send(number, [(None, b"{}")])
        await sender.flush()
        assert sum(sender.acknowledged) == 64
    assert not [record for record in caplog.records if "NotLeader" in record.getMessage()]
