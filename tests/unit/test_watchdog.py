"""Loops that turn, that are stuck, that have ended; each looked at without waiting for time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from app.streaming import watchdog
from app.streaming.watchdog import Watchdog

SECONDS = 20.0


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "STUCK_SECONDS", 0.2)


class Ended:
    """What a watchdog has said, and that it has."""

    def __init__(self) -> None:
        self.text = ""
        self.event = threading.Event()

    def __call__(self, text: str) -> None:
        self.text = text
        self.event.set()


@pytest.fixture
def other() -> Iterator[tuple[asyncio.AbstractEventLoop, threading.Thread]]:
    """A loop that turns in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop, thread
    if not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS)
        loop.close()


@pytest.mark.usefixtures("short")
def test_a_stuck_loop_ends_the_worker_and_the_text_says_where(
    other: tuple[asyncio.AbstractEventLoop, threading.Thread],
) -> None:
    loop, thread = other
    ended, release = Ended(), threading.Event()

    def stuck_on_purpose() -> None:
        release.wait(SECONDS)

    guard = Watchdog(end=ended, tick=0.02)
    guard.watch("the loop", loop, thread.ident or 0)
    loop.call_soon_threadsafe(stuck_on_purpose)
    guard.start()
    assert ended.event.wait(SECONDS)
    release.set()
    assert ended.text.startswith("the loop is stuck for 0 s at ")
    assert "stuck_on_purpose" in ended.text


@pytest.mark.usefixtures("short")
def test_a_loop_that_has_ended_is_stuck_too(
    other: tuple[asyncio.AbstractEventLoop, threading.Thread],
) -> None:
    loop, thread = other
    ended = Ended()
    loop.call_soon_threadsafe(loop.stop)
    thread.join(SECONDS)
    loop.close()
    guard = Watchdog(end=ended, tick=0.02)
    guard.watch("the loop", loop, thread.ident or 0)
    guard.start()
    assert ended.event.wait(SECONDS)
    assert ended.text.endswith("its end: its thread is gone")


def test_what_else_fails_is_told_when_it_goes_on() -> None:
    answers = iter([*[None, "a moment"] * 20, *["no more"] * watchdog.FAILING_TIMES])
    ended = Ended()
    guard = Watchdog(lambda: next(answers), ended, tick=0.01)
    guard.start()
    assert ended.event.wait(SECONDS)
    assert ended.text == "no more"
    assert guard.started


@pytest.mark.usefixtures("short")
async def test_a_loop_that_turns_is_left_alone_and_a_stop_ends_the_questions() -> None:
    ended, asked = Ended(), 0
    enough = asyncio.Event()
    loop = asyncio.get_running_loop()

    def count() -> None:
        nonlocal asked
        asked += 1
        if asked == 30:
            loop.call_soon_threadsafe(enough.set)

    guard = Watchdog(count, ended, tick=0.02)
    guard.watch("the loop", loop, threading.get_ident())
    guard.start()
    await asyncio.wait_for(enough.wait(), SECONDS)
    guard.stop()
    assert not ended.event.is_set()
