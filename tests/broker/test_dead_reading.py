"""The newest letters of a dead topic as transactions leave it: holes, aborts, an open end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from app.broker import EmbeddedBroker
from app.connection import bootstrap_servers
from app.dead import (
    buriers,
    count_dead,
    dead_letter,
    dead_ranges,
    dead_topic,
    dead_topics,
    recent_dead,
)
from app.dead.letters import DeadLetter
from app.run.environment import settings_environment
from app.run.errors import RunError
from app.settings import Settings
from app.sinks.driver import Culprit, Place
from app.sinks.letters import DeadLetters, Letter
from app.topics import output_topic
from tests.broker.sinks_recording import sinks_settings
from tests.broker.worker import worker_settings
from tests.chaos.deployment import prepared
from tests.command import candlewick

pytestmark = pytest.mark.broker


@pytest.fixture
async def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    """A deployment whose topics are there."""
    return await prepared(worker_settings(kafka, unique, tmp_path))


@asynccontextmanager
async def transactions(settings: Settings, name: str = "w") -> AsyncIterator[AIOKafkaProducer]:
    """A transactional producer, as a worker's."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers(settings),
        transactional_id=f"{settings.topic_prefix}{name}",
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def write(
    producer: AIOKafkaProducer, settings: Settings, partition: int, number: int, reason: str
) -> None:
    """Append a letter within a transaction."""
    headers = [
        ("reason", reason.encode()),
        ("topic", b"ticks"),
        ("partition", str(partition).encode()),
        ("offset", str(number).encode()),
    ]
    topic = dead_topic(settings, "bars")
    value = b"letter %d" % number
    await producer.send_and_wait(topic, value, partition=partition, headers=headers)


async def letters(settings: Settings, places: Sequence[tuple[int, str, bool]]) -> None:
    """Append letters, each in a transaction of its own that is committed or aborted."""
    async with transactions(settings) as producer:
        for number, (partition, reason, commit) in enumerate(places):
            await producer.begin_transaction()
            await write(producer, settings, partition, number, reason)
            await (producer.commit_transaction() if commit else producer.abort_transaction())


def numbers(found: Sequence[DeadLetter]) -> list[int | None]:
    return [each.source_offset for each in found]


async def test_the_newest_letters_come_first_over_all_partitions(settings: Settings) -> None:
    assert await recent_dead(settings, "bars", 5) == []
    await letters(settings, [(number % 2, "null", number % 5 != 4) for number in range(40)])
    committed = [number for number in range(40) if number % 5 != 4]
    newest = await recent_dead(settings, "bars", 6)
    # Two letters of one millisecond may come in either order.
    assert set(numbers(newest)) == set(committed[-6:])
    assert len(newest) == 6
    stamps = [each.append_time_ms for each in newest]
    assert stamps == sorted(stamps, reverse=True)
    assert newest[0].value == b"letter %d" % (newest[0].source_offset or 0)
    assert len(await recent_dead(settings, "bars", 1_000)) == len(committed)
    assert await recent_dead(settings, "bars", 0) == []


async def test_a_rare_reason_is_found_far_back_unless_there_is_a_limit(settings: Settings) -> None:
    rare = [(0, "bad_symbol", True)]
    await letters(settings, [*rare, *[(0, "null", number % 3 == 0) for number in range(100)]])
    assert numbers(await recent_dead(settings, "bars", 1, reason="bad_symbol")) == [0]
    assert await recent_dead(settings, "bars", 1, reason="bad_symbol", look_back=50) == []
    ranges = await dead_ranges(settings, "bars")
    assert await count_dead(settings, ranges) == {"bad_symbol": 1, "null": 34}


async def test_an_open_transaction_is_neither_shown_nor_waited_for(settings: Settings) -> None:
    await letters(settings, [(0, "null", True)])
    async with transactions(settings, "open") as producer:
        await producer.begin_transaction()
        await write(producer, settings, 0, 1, "null")
        assert numbers(await recent_dead(settings, "bars", 5)) == [0]
        with pytest.raises(RunError, match="no dead letter at partition 0, offset 2"):
            await dead_letter(settings, "bars", 0, 2)
        await producer.commit_transaction()
    assert sorted(map(str, numbers(await recent_dead(settings, "bars", 5)))) == ["0", "1"]


async def test_one_letter_is_found_by_its_place_and_holes_are_named(settings: Settings) -> None:
    await letters(settings, [(1, "null", True), (1, "empty", True)])
    assert (await dead_letter(settings, "bars", 1, 2)).reason == "empty"
    for partition, offset in [(1, 1), (1, 3), (1, 4), (0, 0)]:
        with pytest.raises(RunError, match="with holes"):
            await dead_letter(settings, "bars", partition, offset)
    with pytest.raises(RunError, match="expected 0 to 1"):
        await dead_letter(settings, "bars", 2, 0)


async def test_a_deployment_without_topics_is_one_clear_error(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"bars\.dead does not exist"):
        await recent_dead(worker_settings(kafka, unique, tmp_path), "bars", 5)
    assert await dead_topics(worker_settings(kafka, unique, tmp_path)) == {}


async def test_letters_of_a_stranger_are_shown_without_what_they_lack(settings: Settings) -> None:
    async with transactions(settings) as producer:
        await producer.begin_transaction()
        topic = dead_topic(settings, "bars")
        odd = [("partition", b"first"), ("offset", b"\xb2")]
        await producer.send_and_wait(topic, None, key=b"k", partition=0, headers=odd)
        await producer.commit_transaction()
    (found,) = await recent_dead(settings, "bars", 5)
    assert (found.reason, found.value) == ("unknown", None)
    assert (found.source_topic, found.source_partition, found.source_offset) == (None, None, None)
    assert found.headers == tuple(odd)


async def test_too_slow_a_broker_is_one_clear_error(settings: Settings) -> None:
    with pytest.raises(RunError, match="could not be read within 0 s"):
        await recent_dead(settings, "bars", 5, seconds=0)


async def test_letters_of_sinks_are_read_like_those_of_agents_whatever_sinks_there_are_now(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    none = worker_settings(kafka, unique, tmp_path, sinks={"drivers": ("none",)})
    await prepared(none)
    assert await buriers(none) == ("bars",)
    assert await dead_topics(none) == {"bars": dead_topic(none, "bars")}
    settings = await prepared(sinks_settings(kafka, unique, tmp_path))
    source = output_topic(settings, "bars")
    culprits = [Culprit(Place("bars", 1), offset, "it is bad", b"bad") for offset in (7, 8)]
    sending = DeadLetters(settings)
    try:
        await sending([Letter("influx", source, each) for each in culprits])
    finally:
        await sending.close()
    await letters(settings, [(0, "null", True)])

    assert await buriers(none) == ("bars", "sinks")
    # Whichever agents the one who asks runs itself.
    other = none.model_copy(update={"agents": ("quality",)})
    named = {each: dead_topic(none, each) for each in ("bars", "sinks")}
    assert await dead_topics(other) == named
    newest = await recent_dead(none, "sinks", 1)
    assert [(each.sink, each.source_topic, each.source_offset) for each in newest] == [
        ("influx", source, 8)
    ]
    assert await count_dead(none, await dead_ranges(none, "sinks")) == {"influx": 2}
    place = newest[0]
    assert await dead_letter(none, "sinks", place.partition, place.offset) == place

    given = settings_environment(none).items()
    ours = {name: value for name, value in given if name.startswith("CANDLEWICK_")}

    async def command(*arguments: str) -> Any:
        done = await asyncio.to_thread(
            candlewick, tmp_path, "dead", *arguments, "--json", settings=ours
        )
        assert done.code == 0, done.errors
        return json.loads(done.output)

    listed = await command("list")
    assert sorted((each["agent"], each.get("sink")) for each in listed) == [
        ("bars", None),
        ("sinks", "influx"),
        ("sinks", "influx"),
    ]
    assert await command("list", "--count") == {"bars": {"null": 1}, "sinks": {"influx": 2}}
    assert [each["agent"] for each in await command("list", "--reason", "null")] == ["bars"]
    at = (str(place.partition), str(place.offset))
    shown = await command("show", *at, "--agent", "sinks")
    assert "candlewick sink replay influx" in shown["mend"]


async def test_agents_that_bury_nothing_are_not_asked(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = worker_settings(kafka, unique, tmp_path)
    both = settings.model_copy(update={"agents": ("bars", "quality")})
    assert await buriers(both) == ("bars",)
