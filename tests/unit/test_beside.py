"""What channels and sinks share: one producer of letters, and tasks that come to an end."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from app.settings import Settings
from app.streaming import beside
from app.streaming.beside import LetterProducer, end_tasks


class FakeProducer:
    """A producer that notes what it is asked, and fails where it is told to."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.fault: Exception | None = None
        self.calls: list[str] = []

    async def start(self) -> None:
        self.calls.append("start")
        await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault

    async def stop(self) -> None:
        self.calls.append("stop")
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FakeProducer]:
    """The producers that were made, in place of real ones."""
    found: list[FakeProducer] = []

    def make(**options: Any) -> FakeProducer:
        found.append(FakeProducer(**options))
        return found[-1]

    monkeypatch.setattr(beside, "AIOKafkaProducer", make)
    return found


def letters(**options: Any) -> LetterProducer:
    chosen: dict[str, Any] = {"broker": {"url": "kafka://127.0.0.1:9"}}
    return LetterProducer(Settings(**chosen), **options)


async def test_first_letters_that_come_at_once_share_one_producer(
    made: list[FakeProducer],
) -> None:
    producer = letters(client_id="x", max_request_size=7)
    assert made == []
    first, second = await asyncio.gather(producer.open(), producer.open())
    assert first is second is made[0]
    assert len(made) == 1
    options = made[0].options
    assert (options["acks"], options["client_id"], options["max_request_size"]) == ("all", "x", 7)
    assert options["bootstrap_servers"] == "127.0.0.1:9"
    await producer.close()
    await producer.close()
    assert made[0].calls == ["start", "stop"]


async def test_a_producer_that_does_not_start_is_closed_and_the_next_letter_makes_another(
    monkeypatch: pytest.MonkeyPatch, made: list[FakeProducer]
) -> None:
    producer = letters()

    async def fail(self: FakeProducer) -> None:
        self.calls.append("start")
        raise KafkaConnectionError("away")

    with monkeypatch.context() as broken:
        broken.setattr(FakeProducer, "start", fail)
        with pytest.raises(KafkaConnectionError):
            await producer.open()
    assert made[0].calls == ["start", "stop"]
    assert await producer.open() is made[1]


async def test_a_producer_that_cannot_be_closed_is_given_up(
    monkeypatch: pytest.MonkeyPatch, made: list[FakeProducer]
) -> None:
    given_up: list[object] = []

    async def abandon(producer: object) -> None:
        given_up.append(producer)

    monkeypatch.setattr(beside, "abandon", abandon)
    producer = letters()
    await producer.open()
    made[0].fault = KafkaConnectionError("away")
    await producer.close()
    assert given_up == made


async def test_tasks_that_stop_are_waited_for_and_others_are_cut_short(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(beside, "STOP_SECONDS", 0.01)
    ended: list[str] = []

    async def run(name: str, stop: asyncio.Event) -> None:
        try:
            await stop.wait()
        finally:
            ended.append(name)

    stopped, never = asyncio.Event(), asyncio.Event()
    stopped.set()
    tasks = [asyncio.create_task(run("willing", stopped)), asyncio.create_task(run("late", never))]
    with caplog.at_level(logging.WARNING):
        await end_tasks(tasks)
        await end_tasks([])
    assert ended == ["willing", "late"]
    assert [task.cancelled() for task in tasks] == [False, True]
    assert caplog.text == ""


async def test_a_task_that_does_not_even_end_when_it_is_cut_short_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(beside, "STOP_SECONDS", 0.01)
    monkeypatch.setattr(beside, "CANCEL_SECONDS", 0.01)
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(stubborn(), name="sink stubborn")
    with caplog.at_level(logging.WARNING):
        await end_tasks([task])
    assert "sink stubborn has not ended" in caplog.text
    release.set()
    await asyncio.wait_for(task, 30)
