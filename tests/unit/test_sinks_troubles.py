"""A sink that fails: waits, rest, breaker, what is held meanwhile; conflicts, faults, Kafka."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise

import pytest
from aiokafka.errors import CommitFailedError, KafkaConnectionError

from app.sinks.driver import (
    Place,
    SinkConflictError,
    SinkRefusesError,
    SinkUnavailableError,
)
from tests.unit.sinks_faking import BARS, OTHER, World, sink_settings

PLACE = Place("bars", 0)
AWAY = SinkUnavailableError("it is away")


def gaps(world: World, call: str) -> list[float]:
    """Seconds between calls, to the tenth."""
    times = [at for name, at in world.driver.times if name == call]
    return [round(after - before, 1) for before, after in pairwise(times)]


def state(world: World) -> str:
    """The breaker's state."""
    return world.loop.patience.state


async def test_waits_double_up_to_their_bound_and_then_the_sink_rests() -> None:
    world = World()
    world.log.append(BARS, b"1")
    world.driver.fail("open", *[AWAY] * 6)
    async with world.running():
        await world.until(lambda: world.loop.status.errors["unavailable"] == 6)
        assert state(world) == "open"
        assert world.loop.status.last_error == "it is away"
        await world.written()
    # The fourth in a row opens the breaker; each one after it is a trial.
    assert gaps(world, "open") == [0.5, 1.0, 2.0, 30.0, 30.0, 30.0]
    assert state(world) == "closed"
    assert world.loop.status.last_error == ""
    assert world.loop.status.retries == 6
    assert len(world.readers) == 1


async def test_while_it_fails_nothing_more_is_read_and_then_all_is_written_once() -> None:
    world = World()
    world.log.append(BARS, b"1")
    async with world.running():
        await world.written()
        world.driver.fail("flush", AWAY, AWAY)
        world.log.append(BARS, b"2")
        await world.until(lambda: world.loop.status.errors["unavailable"] == 1)
        for number in range(3, 6):
            world.log.append(BARS, b"%d" % number)
        await world.until(lambda: world.loop.status.errors["unavailable"] == 2)
        assert len(world.of("add")) == 2
        assert world.reader.stopped == {BARS}
        assert world.loop.held == 1
        await world.written()
    assert [value for *_, value in world.driver.written] == [b"1", b"2", b"3", b"4", b"5"]


async def test_an_open_that_works_is_no_success_while_records_wait() -> None:
    """Else the waits would never grow: the health page answers, writes do not."""
    world = World()
    world.log.append(BARS, b"1")
    world.driver.fail("flush", *[AWAY] * 4)
    async with world.running():
        await world.written()
    assert gaps(world, "flush") == [0.5, 1.0, 2.0, 30.0]
    assert len(world.of("open")) == 5


async def test_a_sink_is_given_as_long_as_it_asks_for() -> None:
    world = World()
    world.log.append(BARS, b"1")
    world.driver.fail("flush", SinkUnavailableError("busy", retry_after=12.0), AWAY)
    async with world.running():
        await world.written()
    assert gaps(world, "flush") == [12.0, 1.0]


async def test_one_that_asks_for_less_is_no_reason_to_open_the_breaker() -> None:
    world = World()
    world.log.append(BARS, b"1")
    limited = SinkUnavailableError("429", retry_after=3.0, limited=True)
    world.driver.fail("flush", *[limited] * 6)
    async with world.running():
        await world.until(lambda: world.loop.status.errors["limited"] == 6)
        assert state(world) == "closed"
        await world.written()
    assert gaps(world, "flush")[:2] == [3.0, 3.0]
    # It answers: nothing has to be opened anew.
    assert len(world.of("open")) == 1


async def test_one_that_asks_for_less_when_it_is_opened_is_opened_again() -> None:
    world = World()
    world.log.append(BARS, b"1")
    world.driver.fail("open", SinkUnavailableError("429", limited=True))
    async with world.running():
        await world.written()
    assert len(world.of("open")) == 2


async def test_a_sink_that_refuses_is_asked_again_each_rest_and_the_group_is_kept() -> None:
    world = World(sink_settings(rest="45s"))
    world.log.append(BARS, b"1")
    world.driver.fail("open", *[SinkRefusesError("no such bucket: make it")] * 3)
    async with world.running():
        await world.until(lambda: world.loop.status.errors["refuses"] == 3)
        assert state(world) == "open"
        assert world.loop.status.last_error == "no such bucket: make it"
        await world.written()
    assert gaps(world, "open") == [45.0, 45.0, 45.0]
    assert world.of("join") == [("join",)]


async def test_the_lag_grows_while_the_sink_is_away() -> None:
    world = World()
    world.log.append(BARS, b"1")
    world.committed[BARS] = 1
    world.driver.fail("open", *[AWAY] * 20)
    async with world.running():
        await world.until(lambda: world.loop.status.errors["unavailable"] == 2)
        world.log.append(BARS, b"2", b"3")
        await world.until(lambda: world.loop.status.lag == {"bars": 2, "ticks": 0})
        world.log.append(BARS, b"4")
        await world.until(lambda: world.loop.status.lag == {"bars": 3, "ticks": 0})


async def test_a_conflict_makes_it_leave_join_anew_and_read_again_from_the_group_s_offset() -> None:
    world = World()
    world.log.append(BARS, b"1")
    async with world.running():
        await world.written()
        world.driver.fail("flush", SinkConflictError("another writer"))
        world.log.append(BARS, b"2")
        await world.written()
    assert world.of("join") == [("join",), ("join",)]
    assert world.of("add") == [
        ("add", PLACE, 0, 1),
        ("add", PLACE, 1, 2),
        ("add", PLACE, 1, 2),
    ]
    kinds = [event[0] for event in world.events]
    left = kinds.index("join", 1)
    assert kinds[left - 2 : left] == ["revoke", "close"]
    assert world.loop.status.errors["conflict"] == 1


async def test_conflicts_again_and_again_are_waited_out() -> None:
    world = World()
    world.log.append(BARS, b"1")
    world.driver.fail("assign", *[SinkConflictError("another writer")] * 4)
    async with world.running():
        await world.written()
    # And, each time, for the group.
    assert gaps(world, "assign") == [0.7, 1.2, 2.2, 30.2]


@pytest.mark.parametrize(
    ("call", "fault"),
    [("flush", SinkConflictError("another writer")), ("flush", ValueError()), ("add", KeyError())],
)
async def test_waits_grow_also_where_joining_anew_works_and_writing_does_not(
    call: str, fault: Exception
) -> None:
    world = World()
    world.log.append(BARS, b"1")
    world.driver.fail(call, *[fault] * 5)
    async with world.running():
        await world.until(lambda: len(world.readers) == 6)
        assert world.loop.patience.failures == 5
        await world.written()
    assert [round(gap) for gap in gaps(world, call)[1:]] == [1, 2, 30, 30]
    assert world.loop.patience.failures == 0


@pytest.mark.parametrize("call", ["open", "assign", "add", "flush"])
async def test_what_a_driver_must_not_raise_does_not_end_the_loop(
    call: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    world.log.append(BARS, b"1")
    world.log.append(OTHER, b"2")
    world.driver.fail(call, ValueError("not thought of"))
    with caplog.at_level(logging.WARNING):
        async with world.running():
            await world.written()
    assert "fault of the driver: ValueError('not thought of'); again in 0.5 s" in caplog.text
    assert world.loop.status.errors["fault"] == 1
    assert len(world.readers) == 2
    assert sorted(value for *_, value in world.driver.written) == [b"1", b"2"]


async def test_a_driver_that_raises_while_it_lets_go_or_closes_does_not_end_the_loop() -> None:
    world = World()
    world.log.append(BARS, b"1")
    world.driver.fail("flush", SinkConflictError("another writer"))
    world.driver.fail("revoke", ValueError("not thought of"))
    world.driver.fail("close", ValueError("not thought of"))
    async with world.running():
        await world.written()


async def test_a_driver_that_never_answers_is_given_up_after_a_while() -> None:
    world = World(sink_settings(timeout="5ms"))
    world.log.append(BARS, b"1")
    world.driver.gate.clear()
    async with world.running():
        await asyncio.wait_for(world.driver.closed.wait(), 30)
        await world.until(lambda: world.loop.status.errors["fault"] > 0)
        assert world.loop.status.last_error == "no answer within 0.03 s"
        world.driver.gate.set()
        await world.written()


async def test_a_broker_that_is_away_is_waited_for() -> None:
    world = World()
    world.log.append(BARS, b"1")

    def away() -> None:
        raise KafkaConnectionError("away")

    async with world.running():
        await world.written()
        world.reader.script.append(away)
        await world.until(lambda: len(world.readers) == 2)
        world.log.append(BARS, b"2")
        await world.written()
    assert world.loop.status.errors["broker"] == 1
    assert [value for *_, value in world.driver.written] == [b"1", b"2"]


async def test_offsets_that_the_group_did_not_take_are_told_again() -> None:
    world = World()
    world.log.append(BARS, b"1")
    async with world.running():
        await world.until(lambda: bool(world.readers))
        world.reader.fail_commits.append(CommitFailedError("rebalanced"))
        await world.written()
    assert world.of("flush") == [("flush",)]


async def test_partitions_go_although_the_last_flush_fails() -> None:
    world = World(records=100)
    world.log.append(BARS, b"1")
    async with world.running():
        await world.until(lambda: bool(world.of("add")))
        world.driver.fail("flush", AWAY)
        await world.reader.rebalance([BARS])
        assert world.committed == {}
        world.driver.records = 1
        await world.written()
    assert world.of("add") == [("add", PLACE, 0, 1), ("add", PLACE, 0, 1)]
