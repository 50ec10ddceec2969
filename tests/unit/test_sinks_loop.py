"""The loop of a sink that works: order, offsets, dead letters, memory, rebalances, the end."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import CommitFailedError, KafkaConnectionError

from app.sinks.driver import Place
from tests.unit.sinks_faking import BARS, OTHER, TICKS, World, sink_settings

PLACE, OTHER_PLACE = Place("bars", 0), Place("bars", 1)


async def test_records_are_written_in_log_order_and_offsets_let_go_behind_them() -> None:
    world = World()
    for number in range(3):
        world.log.append(BARS, b"a%d" % number, b"b%d" % number)
    world.log.append(TICKS, b"t")
    async with world.running():
        await world.written()
    own = [(offset, value) for place, offset, value in world.driver.written if place == PLACE]
    assert own == [(0, b"a0"), (1, b"b0"), (2, b"a1"), (3, b"b1"), (4, b"a2"), (5, b"b2")]
    assert (Place("ticks", 0), 0, b"t") in world.driver.written
    kinds = [event[0] for event in world.events]
    assert kinds[:3] == ["join", "open", "assign"]
    assert kinds.index("add") < kinds.index("flush") < kinds.index("commit")


async def test_an_offset_stays_until_the_flush_that_covers_it_has_returned() -> None:
    world = World(records=3)
    world.log.append(BARS, b"1", b"2")
    async with world.running():
        await world.until(lambda: bool(world.of("add")))
        await world.steps()
        assert world.of("flush", "commit") == []
        world.driver.gate.clear()
        world.log.append(BARS, b"3")
        await world.until(lambda: bool(world.of("writing")))
        await world.steps()
        assert world.of("commit") == []
        world.driver.gate.set()
        await world.written()
    assert world.of("commit") == [("commit", {BARS: 3})]


async def test_a_kill_repeats_what_was_not_let_go_and_loses_nothing() -> None:
    world = World()
    world.log.append(BARS, b"1", b"2")
    async with world.running():
        await world.until(lambda: bool(world.readers))
        world.reader.fail_commits.extend([CommitFailedError("gone")] * 1_000)
        await world.until(lambda: bool(world.of("flush")))
    # Written, and the process died before it could tell the group.
    assert world.committed == {}
    again = World()
    again.log, again.committed = world.log, world.committed
    again.driver.written = world.driver.written
    async with again.running():
        await again.written()
    assert [offset for _, offset, _ in again.driver.written] == [0, 1, 0, 1]


async def test_dead_letters_are_in_their_topic_before_the_offset_goes() -> None:
    world = World()
    world.driver.is_culprit = lambda value: value.startswith(b"bad")
    world.log.append(BARS, b"1", b"bad", b"3")
    async with world.running():
        await world.written()
    assert world.of("letter", "commit") == [
        ("letter", "t.d.bars", 1, b"bad"),
        ("commit", {BARS: 3}),
    ]
    assert [value for *_, value in world.driver.written] == [b"1", b"3"]
    assert (world.loop.status.dead, world.loop.status.rows) == (1, 2)


async def test_where_a_dead_letter_cannot_be_sent_its_offset_stays_and_it_is_read_again() -> None:
    world = World()
    world.driver.is_culprit = lambda value: value == b"bad"
    world.fail_letters.append(KafkaConnectionError("away"))
    world.log.append(BARS, b"bad")
    async with world.running():
        await world.until(lambda: len(world.readers) == 2)
        assert world.committed == {}
        await world.written()
    assert world.of("letter") == [("letter", "t.d.bars", 0, b"bad")]


async def test_markers_and_aborted_records_are_let_go_without_a_word_of_the_driver() -> None:
    world = World()
    world.log.append(BARS, b"1", markers=1)
    async with world.running():
        await world.written()
        world.log.append(BARS, markers=3)
        await world.written()
    assert world.of("flush") == [("flush",)]
    assert world.committed == {BARS: 5}


async def test_markers_behind_records_that_wait_are_not_let_go_before_these() -> None:
    world = World(records=2)
    world.log.append(BARS, b"1")
    world.log.append(BARS, markers=2)
    async with world.running():
        await world.until(lambda: len(world.of("add")) == 2)
        await world.steps()
        assert world.committed == {}
        world.log.append(BARS, b"2")
        await world.written()


async def test_records_of_which_a_driver_holds_nothing_are_let_go_soon() -> None:
    """Control records: passed by the driver, which then is never due."""
    world = World(records=100)
    world.log.append(BARS, b"", b"", markers=1)
    async with world.running():
        await world.written()
    assert world.loop.status.passed == {"control": 2}


async def test_above_the_bound_no_more_is_read_and_what_is_held_is_written() -> None:
    megabyte = 1024 * 1024
    world = World(sink_settings(max_held_bytes=megabyte), records=1_000_000)
    world.driver.gate.clear()
    for _ in range(6):
        world.log.append(BARS, bytes([120]) * (megabyte // 2))
    async with world.running():
        # Never due by itself.
        await world.until(lambda: bool(world.of("writing")))
        await world.steps()
        assert len(world.of("add")) == 2
        assert world.loop.held == megabyte
        world.driver.gate.set()
        await world.until(lambda: len(world.of("add")) == 6)
        await world.written()
    assert len(world.of("flush")) == 3


async def test_before_partitions_go_a_flush_under_way_ends_and_what_is_held_is_written() -> None:
    world = World()
    world.driver.gate.clear()
    world.log.append(BARS, b"1")
    world.log.append(OTHER, b"2")
    async with world.running():
        await world.until(lambda: bool(world.of("writing")))
        going = asyncio.create_task(world.reader.listener.on_partitions_revoked({BARS, OTHER}))
        await world.steps()
        assert not going.done()
        assert world.of("revoke") == []
        world.driver.gate.set()
        await going
        kinds = [event[0] for event in world.events]
        assert kinds.index("flush") < kinds.index("commit") < kinds.index("revoke")
        assert world.committed == {BARS: 1, OTHER: 1}
        await world.reader.join([OTHER])
        world.log.append(BARS, b"3")
        world.log.append(OTHER, b"4")
        await world.written(OTHER)
        await world.steps()
    assert world.committed == {BARS: 1, OTHER: 2}
    assert (PLACE, 1, b"3") not in world.driver.written


async def test_what_was_fetched_before_a_rebalance_is_not_written_after_it() -> None:
    world = World(records=100)
    world.log.append(BARS, b"1")
    world.log.append(OTHER, b"2")
    revoked: list[asyncio.Task[None]] = []
    add = world.driver.add

    def add_and_lose(topic: str, batch: object) -> None:
        add(topic, batch)  # type: ignore[arg-type]
        if not revoked:
            listener = world.reader.listener
            going = asyncio.ensure_future(listener.on_partitions_revoked({BARS, OTHER}))
            revoked.append(going)

    world.driver.add = add_and_lose  # type: ignore[method-assign]
    async with world.running():
        await world.until(lambda: bool(revoked) and revoked[0].done())
        await world.steps()
    # The other partition had been fetched at the same time.
    assert [event[1] for event in world.of("add")] == [PLACE]
    assert world.committed == {BARS: 1}


async def test_the_store_s_own_position_holds_and_the_group_is_told() -> None:
    world = World()
    world.log.append(BARS, b"1", b"2", b"3")
    world.log.append(OTHER, b"4", b"5")
    world.driver.kept = {PLACE: 3, OTHER_PLACE: 1}
    world.committed[OTHER] = 2
    async with world.running():
        await world.until(lambda: world.committed == {BARS: 3, OTHER: 2})
        # It had lost a record that the group thought was written.
        await world.until(lambda: world.driver.written == [(OTHER_PLACE, 1, b"5")])


async def test_a_store_of_another_log_is_refused_in_a_line_and_nothing_is_written() -> None:
    world = World()
    world.log.append(BARS, b"1")
    world.driver.kept = {PLACE: 9}
    async with world.running():
        await world.until(lambda: world.loop.status.errors["refuses"] == 2)
        assert "holds bars partition 0 up to offset 9, and the topic ends at 1" in (
            world.loop.status.last_error
        )
        assert world.of("add", "flush", "commit") == []
    assert len(world.readers) == 1


async def test_a_stop_writes_what_is_held_and_lets_go_of_it() -> None:
    world = World(records=100)
    world.log.append(BARS, b"1")
    task = asyncio.create_task(world.loop.run())
    await world.until(lambda: bool(world.of("add")))
    world.loop.stop()
    await asyncio.wait_for(task, 30)
    assert world.committed == {BARS: 1}
    assert [event[0] for event in world.events][-2:] == ["revoke", "close"]


async def test_a_deployment_without_a_driver_s_topics_ends_the_loop_with_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    world.driver.names = ("anomalies",)
    world.loop.topics = {}
    await asyncio.wait_for(world.loop.run(), 30)
    assert "none of its topics" in caplog.text
    assert world.events == []


async def test_the_lag_is_what_is_not_written_by_topic() -> None:
    world = World(records=3)
    world.log.append(BARS, b"1", b"2")
    world.log.append(TICKS, b"3")
    async with world.running():
        await world.written()
        world.log.append(TICKS, b"4", b"5")
        await world.until(lambda: world.loop.status.lag == {"bars": 0, "ticks": 2})
        assert world.loop.last_write_age is not None


async def test_a_driver_that_may_take_more_while_it_writes_gets_it() -> None:
    world = World()
    world.driver.take_meanwhile()
    world.driver.gate.clear()
    world.log.append(BARS, b"1")
    async with world.running():
        await world.until(lambda: bool(world.of("writing")))
        world.log.append(BARS, b"2")
        await world.until(lambda: len(world.of("add")) == 2)
        assert world.of("flush", "commit") == []
        world.driver.gate.set()
        await world.written()
    assert world.of("commit") == [("commit", {BARS: 1}), ("commit", {BARS: 2})]
    assert [offset for _, offset, _ in world.driver.written] == [0, 1]


async def test_nothing_is_read_while_another_driver_writes() -> None:
    world = World()
    world.driver.gate.clear()
    world.log.append(BARS, b"1")
    async with world.running():
        await world.until(lambda: bool(world.of("writing")))
        world.log.append(BARS, b"2")
        await world.steps()
        assert len(world.of("add")) == 1
        world.driver.gate.set()
        await world.written()


async def test_no_more_is_taken_meanwhile_than_may_be_held() -> None:
    world = World(sink_settings(max_held_bytes=1024 * 1024))
    world.driver.take_meanwhile()
    world.driver.gate.clear()
    for _ in range(4):
        world.log.append(BARS, bytes(600_000))
    async with world.running():
        await world.until(lambda: len(world.of("add")) == 2)
        await world.steps()
        assert len(world.of("add")) == 2
        world.driver.gate.set()
        await world.written()


async def test_while_partitions_go_and_a_write_is_under_way_nothing_is_read() -> None:
    world = World()
    world.driver.take_meanwhile()
    world.driver.gate.clear()
    world.log.append(BARS, b"1")
    world.log.append(OTHER, b"1")
    async with world.running():
        await world.until(lambda: bool(world.of("writing")))
        reader = world.reader
        reader.script.extend([lambda: world.events.append(("read",))] * 10_000)
        await world.until(lambda: bool(world.of("read")))
        gone = asyncio.create_task(reader.rebalance([OTHER]))
        await world.steps(10)
        read = len(world.of("read"))
        await world.steps()
        assert len(world.of("read")) == read
        world.driver.gate.set()
        await gone
        world.log.append(OTHER, b"2")
        await world.written(OTHER)
    assert world.committed == {BARS: 1, OTHER: 2}


async def test_a_broker_that_fails_while_it_reads_on_ends_no_write() -> None:
    world = World()
    world.driver.take_meanwhile()
    world.driver.gate.clear()
    world.log.append(BARS, b"1")
    async with world.running():
        await world.until(lambda: bool(world.of("writing")))

        def fail() -> None:
            raise KafkaConnectionError("away")

        world.reader.script.append(fail)
        await world.steps()
        assert len(world.readers) == 1
        world.driver.gate.set()
        await world.written()
    assert len(world.readers) == 2
    # Written twice, which changes nothing: its offset had not been let go.
    assert [offset for _, offset, _ in world.driver.written] == [0, 0]
