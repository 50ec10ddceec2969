"""Sinks that read a real topic: kills, two members, a store that is away, dead letters, replays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.admin import delete_deployment, ensure_topics
from app.broker import EmbeddedBroker
from app.connection import bootstrap_servers, connect
from app.groups import committed_offsets
from app.run.errors import NotDrainedError, RunError
from app.run.reader import bounds
from app.settings import Settings
from app.sinks.driver import Culprit, Place
from app.sinks.groups import sink_group
from app.sinks.letters import DeadLetters, Letter
from app.sinks.progress import standings, wait_until_written
from app.sinks.replaying import Replay, Stretch
from app.topics import SINKS_DEAD, output_topic
from tests.broker.sinks_recording import (
    BARS,
    RecordingDriver,
    Store,
    numbered,
    publish,
    running,
    sinks_settings,
    values_of,
)
from tests.broker.worker import until
from tests.chaos.deployment import read_topic

pytestmark = pytest.mark.broker


@pytest.fixture
async def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    """A deployment with one sink, whose topics are there."""
    found = sinks_settings(kafka, unique, tmp_path)
    await ensure_topics(found)
    return found


async def lag(settings: Settings, name: str = "redis") -> int:
    (found,) = await standings(settings, [RecordingDriver(Store(), name=name)])
    return found.lag


async def wait_written(settings: Settings, name: str = "redis") -> None:
    """Wait until the group's offsets are at the ends."""
    left = -1

    async def done() -> bool:
        nonlocal left
        left = await lag(settings, name)
        return left == 0

    await until(done, lambda: f"{left} records are not written")


def _closed(driver: RecordingDriver) -> Callable[[], Awaitable[bool]]:
    async def done() -> bool:
        return driver.closed > 0

    return done


async def test_a_kill_loses_nothing_and_what_was_not_committed_is_not_there(
    settings: Settings,
) -> None:
    store = Store()
    for part in range(2):
        await publish(settings, part, numbered(50, f"{part}-"))
        await publish(settings, part, [b"never"], abort=True)
    first = RecordingDriver(store)
    async with running(settings, first):
        await store.until(lambda: len(store.rows) == 100)
        await wait_written(settings)
        first.gate.clear()
        await publish(settings, 0, numbered(10, "more-"))
        await store.until(lambda: len(store.rows) == 110)
        # Written, not told, and killed.
    assert await lag(settings) > 0
    await publish(settings, 1, numbered(5, "after-"))
    async with running(settings, RecordingDriver(store)):
        await store.until(lambda: len(store.rows) == 115)
        await wait_written(settings)
    assert values_of(store, 0) == numbered(50, "0-") + numbered(10, "more-")
    assert values_of(store, 1) == numbered(50, "1-") + numbered(5, "after-")
    again = {store.rows[key] for key, count in store.repeats.items() if count > 1}
    assert again == set(numbered(10, "more-"))


async def test_two_members_share_the_partitions_and_one_takes_over_without_a_repeat(
    settings: Settings,
) -> None:
    store = Store()
    async with AsyncExitStack() as stack:
        drivers = [RecordingDriver(store, name) for name in ("one", "two")]
        loops = [await stack.enter_async_context(running(settings, each)) for each in drivers]
        for number in range(100):
            for part in range(2):
                await publish(settings, part, [b"%d-%d" % (part, number)])
            if {writer for writer, *_ in store.writes[-2:]} == {"one", "two"}:
                break
        else:
            raise AssertionError("the members do not share the partitions")
        await wait_written(settings)
        loops[1].stop()
        # Only then has it left the group.
        await until(_closed(drivers[1]), lambda: "the second member does not end")
        count = len(store.rows)
        await publish(settings, 0, numbered(20, "later-"))
        await publish(settings, 1, numbered(20, "later-"))
        await store.until(lambda: len(store.rows) >= count + 40)
        await wait_written(settings)
    assert {writer for writer, *_ in store.writes[-40:]} == {"one"}
    # Each change of hands was in order: nothing was written twice, nothing out of order.
    assert set(store.repeats.values()) == {1}
    for part in range(2):
        offsets = [offset for _, place, offset in store.writes if place == Place(BARS, part)]
        assert offsets == sorted(offsets)


async def test_a_store_that_is_away_holds_back_no_other_sink_and_catches_up(
    settings: Settings,
) -> None:
    away, beside = Store(), Store()
    away.available = False
    slow = RecordingDriver(away, name="influx")
    async with running(settings, slow) as loop, running(settings, RecordingDriver(beside)):
        await publish(settings, 0, numbered(100, "a"))
        await beside.until(lambda: len(beside.rows) == 100)
        await wait_written(settings)
        await away.until(lambda: away.attempts >= 6)
        assert away.rows == {}
        assert await lag(settings, "influx") >= 100
        assert loop.patience.state != "closed"
        assert loop.held == 0
        away.available = True
        await away.until(lambda: len(away.rows) == 100)
        await wait_written(settings, "influx")
    assert set(away.repeats.values()) == {1}


async def test_what_a_store_never_takes_is_in_the_dead_topic_with_its_bytes_and_place(
    settings: Settings,
) -> None:
    store = Store()
    await publish(settings, 1, [b"1", b"bad\xff", b"3"])
    async with running(settings, RecordingDriver(store)):
        await wait_written(settings)
    assert values_of(store, 1) == [b"1", b"3"]
    letters = await read_topic(settings, output_topic(settings, SINKS_DEAD))
    (letter,) = letters[1]
    assert letters[0] == []
    assert letter.value == b"bad\xff"
    assert dict(letter.headers) == {
        "reason": b"it is bad",
        "sink": b"redis",
        "topic": output_topic(settings, BARS).encode(),
        "partition": b"1",
        "offset": b"1",
    }


async def test_a_value_beyond_the_dead_topic_s_limit_leaves_its_letter_without_it(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = sinks_settings(kafka, unique, tmp_path)
    small = settings.topics.model_copy(update={"max_message_bytes": 16 * 1024})
    settings = settings.model_copy(update={"topics": small})
    await ensure_topics(settings)
    letters = DeadLetters(settings)
    culprits = [Culprit(Place(BARS, 0), offset, "no", b"x" * 200_000) for offset in range(2)]
    try:
        await letters([Letter("redis", "t", each) for each in culprits])
    finally:
        await letters.close()
    found = (await read_topic(settings, output_topic(settings, SINKS_DEAD)))[0]
    assert [each.value for each in found] == [None, None]
    assert [dict(each.headers)["value_bytes"] for each in found] == [b"200000"] * 2


async def test_a_replay_writes_a_stretch_again_and_leaves_the_group_alone(
    settings: Settings,
) -> None:
    store = Store()
    await publish(settings, 0, numbered(30, "old-"))
    async with running(settings, RecordingDriver(store)):
        await wait_written(settings)
    store.rows.clear()
    await publish(settings, 0, [b"bad", *numbered(20, "new-")])
    before = await lag(settings)

    async def replay(stretch: Stretch) -> Any:
        letters, driver = DeadLetters(settings), RecordingDriver(store)
        try:
            done = await Replay(settings, driver, letters).run(stretch)
        finally:
            await letters.close()
        places = {Place(BARS, number) for number in range(settings.topics.partitions)}
        assert driver.replayed == places if stretch.topics else driver.replayed >= places
        return done

    done = await replay(Stretch())
    assert (done.records, done.rows, done.dead) == (51, 50, 1)
    assert values_of(store, 0) == numbered(30, "old-") + numbered(20, "new-")
    assert await lag(settings) == before

    # Only what Kafka took since the second transaction.
    store.rows.clear()
    times = await append_times(settings)
    done = await replay(Stretch(begin=times[30], topics=("bars",)))
    assert values_of(store, 0) == numbered(20, "new-")
    store.rows.clear()
    done = await replay(Stretch(end=times[30], topics=("bars",)))
    assert (done.records, values_of(store, 0)) == (30, numbered(30, "old-"))
    with pytest.raises(RunError, match="does not take anomalies"):
        await replay(Stretch(topics=("anomalies",)))
    store.available = False
    with pytest.raises(RunError, match="sink redis: the store is away"):
        await replay(Stretch())


async def append_times(settings: Settings) -> list[int]:
    """Append times (ns) of the bars of partition 0, read by a client of its own."""
    place = TopicPartition(output_topic(settings, BARS), 0)
    (_, end) = (await bounds(settings, [place], committed=True))[place]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers(settings), isolation_level="read_committed"
    )
    await consumer.start()
    try:
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        times: list[int] = []
        while await consumer.position(place) < end:
            for batches in (await consumer.getmany(timeout_ms=1_000)).values():
                # The topic is one of a sink of this process: its fetches are slim.
                for batch in batches:
                    times += [batch.append_time] * len(batch.values)
        return times
    finally:
        await consumer.stop()


async def test_a_run_waits_until_the_sinks_have_written_all(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store()
    said: list[str] = []
    progress: list[tuple[int, int]] = []
    monkeypatch.setattr(
        "app.sinks.progress.make_driver", lambda settings, name: RecordingDriver(store, name=name)
    )
    store.available = False
    await publish(settings, 0, numbered(40, "a"))
    with pytest.raises(NotDrainedError, match=r"has written anything for 0\.5 s") as caught:
        await wait_until_written(settings, said.append, tell_seconds=0.2, stall_seconds=0.5)
    (line,) = said
    assert line.startswith("sink redis: 41 records are not written: the store is away; waiting")
    assert "the store is away" in str(caught.value)

    store.available = True
    begun = asyncio.Event()

    def note(done: int, total: int) -> None:
        progress.append((done, total))
        begun.set()

    waiting = asyncio.create_task(wait_until_written(settings, said.append, note))
    await asyncio.wait_for(begun.wait(), 60)
    async with running(settings, RecordingDriver(store)):
        await asyncio.wait_for(waiting, 60)
    assert progress[-1] == (41, 41)
    assert len(said) == 1

    elsewhere = settings.sinks.model_copy(update={"in_worker": False})
    await publish(settings, 0, numbered(1, "b"))
    await wait_until_written(settings.model_copy(update={"sinks": elsewhere}), said.append)


async def test_a_deployment_that_is_removed_takes_the_sinks_offsets_with_it(
    settings: Settings,
) -> None:
    store = Store()
    await publish(settings, 0, numbered(3, "a"))
    async with running(settings, RecordingDriver(store)):
        await wait_written(settings)
    none = settings.sinks.model_copy(update={"drivers": ("none",)})
    # Also where the settings have no sinks any more.
    await delete_deployment(settings.model_copy(update={"sinks": none}))
    async with connect(settings) as client:
        group, topic = sink_group(settings, "redis"), output_topic(settings, BARS)
        assert await committed_offsets(client, group, topic, 2) == {}
        assert output_topic(settings, SINKS_DEAD) not in await client.list_topics()
