"""A deployment's agents apart and together: removed, drained and counted whichever stage ran."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from app.admin import DeploymentInUseError, delete_deployment, ensure_topics
from app.broker import EmbeddedBroker
from app.connection import bootstrap_servers, connect
from app.exits import RefusalError
from app.groups import committed_offsets
from app.identity import deployment_folder, group_id
from app.run.drain import input_bounds, wait_until_drained
from app.run.errors import NotDrainedError
from app.run.outcomes import check_deployment, read_outcomes
from app.settings import Settings, load_settings
from app.stages import stage_groups
from app.topics import bars_topic, output_topic, source_topic, topic_table
from tables.rows import MARKER_KEY, Marker, encode_marker

pytestmark = pytest.mark.broker


@pytest.fixture
def whole(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    """Settings of a deployment that only this test has, with all agents."""
    return load_settings(
        broker={"url": kafka.url}, topic_prefix=f"{unique}.", data_dir=tmp_path / "data"
    )


def stage(whole: Settings, *agents: str) -> Settings:
    return whole.model_copy(update={"agents": agents})


async def commit(settings: Settings, place: TopicPartition, offset: int) -> None:
    """Commit as the group of a stage."""
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


async def send(
    settings: Settings, topic: str, values: list[bytes], key: bytes | None = None
) -> None:
    """Append to partition 0."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers(settings))
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value, key=key, partition=0)
    finally:
        await producer.stop()


async def test_whichever_stage_asks_the_whole_deployment_is_removed_and_all_inputs_stay(
    whole: Settings,
) -> None:
    other = whole.model_copy(update={"deployment": "other"})
    await ensure_topics(whole)
    await ensure_topics(other)
    deployment_folder(whole).mkdir(parents=True)
    for agents in (("bars",), ("quotes",), ("bars", "quotes"), ("quotes",)):
        one = stage(whole, *agents)
        await commit(one, TopicPartition(source_topic(whole, agents[0]), 0), 0)
    await commit(other, TopicPartition(source_topic(whole, "bars"), 0), 0)
    async with connect(whole) as client:
        assert len(await stage_groups(client, whole)) == 3
        await delete_deployment(stage(whole, "quotes"))
        assert await stage_groups(client, whole) == []
        assert await stage_groups(client, other) == [group_id(other)]
        names = {topic["topic"] for topic in await client.describe_topics(None)}
    assert not deployment_folder(whole).exists()
    assert {name for name in names if name.startswith(whole.topic_prefix)} == {
        spec.name for spec in topic_table(other)
    }


async def test_a_worker_of_another_stage_keeps_everything(whole: Settings) -> None:
    await ensure_topics(whole)
    bars, quotes = stage(whole, "bars"), stage(whole, "quotes")
    ticks = source_topic(whole, "bars")
    await commit(bars, TopicPartition(ticks, 0), 5)
    consumer = AIOKafkaConsumer(
        source_topic(whole, "quotes"),
        bootstrap_servers=bootstrap_servers(whole),
        group_id=group_id(quotes),
    )
    await consumer.start()
    try:
        with pytest.raises(DeploymentInUseError, match=f"group {group_id(quotes)}: a worker"):
            await delete_deployment(bars)
        async with connect(whole) as client:
            assert await committed_offsets(client, group_id(bars), ticks, 4) == {0: 5}
            names = {topic["topic"] for topic in await client.describe_topics(None)}
        assert {bars_topic(whole, agent) for agent in whole.agents} <= names
    finally:
        await consumer.stop()
    await delete_deployment(bars)


async def test_what_another_stage_has_committed_is_drained(whole: Settings) -> None:
    await ensure_topics(whole)
    bars, quotes = stage(whole, "bars"), stage(whole, "quotes")
    ticks = source_topic(whole, "bars")
    await send(whole, ticks, [b"one", b"two"])
    await commit(whole, TopicPartition(ticks, 0), 1)
    await commit(bars, TopicPartition(ticks, 0), 0)
    # What a stage without the agent says of the topic is nothing.
    await commit(quotes, TopicPartition(ticks, 0), 2)
    targets = await input_bounds(bars)
    assert sorted(targets.values()) == [(0, 0), (0, 0), (0, 0), (0, 2)]
    with pytest.raises(NotDrainedError, match=r"bars has committed.* partition 0 at 1 of 2;"):
        await wait_until_drained(bars, targets, stall_seconds=0.2)
    await commit(whole, TopicPartition(ticks, 0), 2)
    told: list[tuple[int, int]] = []
    await wait_until_drained(bars, targets, lambda done, total: told.append((done, total)))
    assert told == [(2, 2)]


async def test_every_agent_of_a_stage_is_waited_for(whole: Settings) -> None:
    await ensure_topics(whole)
    places = [TopicPartition(source_topic(whole, agent), 0) for agent in ("bars", "quotes")]
    for place in places:
        await send(whole, place.topic, [b"one"])
    targets = await input_bounds(whole)
    assert len(targets) == 8
    await commit(whole, places[0], 1)
    with pytest.raises(NotDrainedError, match=f"s: {places[1].topic} partition 0 at 0 of 1; see"):
        await wait_until_drained(whole, targets, stall_seconds=0.2)
    await commit(whole, places[1], 1)
    await wait_until_drained(whole, targets)


async def test_an_agent_behind_another_is_waited_for_once_that_one_has_drained(
    whole: Settings,
) -> None:
    chosen = stage(whole, "bars", "indicators")
    await ensure_topics(chosen)
    ticks, bars = TopicPartition(source_topic(chosen, "bars"), 0), bars_topic(chosen, "bars")
    await send(chosen, ticks.topic, [b"one"])
    targets = await input_bounds(chosen)
    # As the agent does it: an output, and with it its position.
    await send(chosen, bars, [b"two", b"three"])
    await commit(chosen, ticks, 1)
    with pytest.raises(NotDrainedError, match=f"s: {bars} partition 0 at 0 of 2; see"):
        await wait_until_drained(chosen, targets, stall_seconds=0.2)
    await commit(chosen, TopicPartition(bars, 0), 2)
    told: list[tuple[int, int]] = []
    await wait_until_drained(chosen, targets, lambda done, total: told.append((done, total)))
    assert told == [(3, 3)]


async def test_of_agents_of_one_topic_the_slowest_is_waited_for(whole: Settings) -> None:
    chosen = stage(whole, "bars", "features")
    await ensure_topics(chosen)
    ticks = TopicPartition(source_topic(chosen, "bars"), 0)
    await send(chosen, ticks.topic, [b"one", b"two"])
    targets = await input_bounds(chosen)
    # The group's is that of the one that has committed last.
    await commit(chosen, ticks, 2)
    for agent, taken in (("bars", 2), ("features", 1)):
        marker = Marker(1, taken, None, False, {}, "hash", "topic", [], {})
        topic = output_topic(chosen, f"{agent}.changelog")
        await send(chosen, topic, [encode_marker(marker)], MARKER_KEY)
    with pytest.raises(NotDrainedError, match="partition 0 at 1 of 2; see"):
        await wait_until_drained(chosen, targets, stall_seconds=0.2)
    await send(chosen, topic, [encode_marker(msgspec.structs.replace(marker, next=2))], MARKER_KEY)
    await wait_until_drained(chosen, targets)


async def test_outcomes_and_settings_are_those_of_the_agents(whole: Settings) -> None:
    await ensure_topics(whole)
    right = whole.results_hash
    for agent, counts, details, made_with in (
        ("bars", {"applied": 5, "control": 2}, {}, right),
        ("quotes", {"applied": 7, "ignored": 4}, {"crossed": 1, "zero": 3}, "another"),
    ):
        marker = Marker(1, 9, None, False, counts, made_with, "topic", [], details)
        topic = output_topic(whole, f"{agent}.changelog")
        await send(whole, topic, [encode_marker(marker)], MARKER_KEY)
    bars, quotes, both = [
        await read_outcomes(each) for each in (stage(whole, "bars"), stage(whole, "quotes"), whole)
    ]
    assert (bars.records, quotes.records, both.records) == (7, 11, 18)
    assert both.counts["applied"] == 12
    assert bars.details == {}
    assert quotes.details == both.details == {"crossed": 1, "zero": 3}
    await check_deployment(stage(whole, "bars"))
    for settings in (stage(whole, "quotes"), whole):
        with pytest.raises(RefusalError, match=r"quotes\.changelog partition 0: made with"):
            await check_deployment(settings)
