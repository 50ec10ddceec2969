"""The clocks around a worker's stages, by a clock that is set by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench.stages import PLACES, REST, SOCKETS, STORED, UNPACK, Place, Stages, owner_of


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stages(clock: Clock) -> Stages:
    return Stages(clock)


def passing(clock: Clock, seconds: float, then: Callable[[], object] | None = None) -> object:
    clock.now += seconds
    return None if then is None else then()


@pytest.mark.parametrize("place", [*PLACES, STORED], ids=lambda place: place.name)
def test_every_stage_names_a_function_that_is_there(place: Place) -> None:
    owner, name = owner_of(place)
    assert callable(getattr(owner, name))


def test_a_name_that_is_gone_is_an_error() -> None:
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        owner_of(Place("decode", "tables.parsing", "Parser.nothing_of_the_kind"))


def test_a_stage_has_its_time_without_those_that_it_calls(clock: Clock, stages: Stages) -> None:
    inner = stages.timed("decode", lambda: passing(clock, 2.0))
    outer = stages.timed("apply", lambda: passing(clock, 1.0, inner))
    outer()
    inner()
    assert stages.seconds == {"apply": 1.0, "decode": 4.0}


def test_a_stage_that_fails_is_counted_and_fails(clock: Clock, stages: Stages) -> None:
    def broken() -> None:
        clock.now += 3.0
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        stages.timed("decode", broken)()
    assert stages.seconds == {"decode": 3.0}


async def test_what_others_do_while_a_coroutine_waits_is_not_its_own(
    clock: Clock, stages: Stages
) -> None:
    waits, goes_on = asyncio.Event(), asyncio.Event()

    async def publish(word: str) -> str:
        clock.now += 1.0
        waits.set()
        await goes_on.wait()
        clock.now += 2.0
        return word

    work = asyncio.create_task(stages.timed("publish", publish)("sent"))
    await waits.wait()
    clock.now += 100.0
    goes_on.set()
    assert await work == "sent"
    assert stages.seconds == {"publish": 3.0}


async def test_a_coroutine_that_calls_another_stage_does_not_have_its_time(
    clock: Clock, stages: Stages
) -> None:
    async def publish() -> None:
        clock.now += 4.0
        await asyncio.sleep(0)
        clock.now += 4.0

    timed = stages.timed("publish", publish)

    async def checkpoint() -> None:
        clock.now += 1.0
        await timed()

    await stages.timed("checkpoint", checkpoint)()
    assert stages.seconds == {"checkpoint": 1.0, "publish": 8.0}


async def test_a_cancellation_reaches_the_coroutine(clock: Clock, stages: Stages) -> None:
    waits, told = asyncio.Event(), []

    async def publish() -> None:
        try:
            waits.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    work = asyncio.create_task(stages.timed("publish", publish)())
    await waits.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert told == ["cancelled"]


def test_what_is_noted_is_all_of_the_process_since_the_beginning(
    clock: Clock, stages: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals = iter([(5.0, 20.0), (9.0, 40.0)])
    monkeypatch.setattr(Stages, "_totals", lambda _: next(totals))
    stages.timed("decode", lambda: passing(clock, 100.0))()
    stages.begin()
    stages.timed(UNPACK, lambda: passing(clock, 1.0))()
    stages.timed("decode", lambda: passing(clock, 6.0))()
    stages.note()
    stages.timed("decode", lambda: passing(clock, 100.0))()
    stages.write(tmp_path / "stages.json")
    assert json.loads((tmp_path / "stages.json").read_text(encoding="utf-8")) == {
        UNPACK: 1.0,
        "decode": 6.0,
        # Four seconds of the consumer's thread, twenty of the process.
        SOCKETS: 3.0,
        REST: 10.0,
    }
