"""What the consumer's thread hands over comes once and in order; errors come behind the rest."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from app.streaming.feeding import WAITING, Feed, Records

FIRST, SECOND = TP("ticks", 0), TP("ticks", 1)


class FetchError(Exception):
    """What a fetcher raises."""


class Fetcher:
    """Fetches one after the other; at the end it waits for ever."""

    def __init__(self, steps: Sequence[Records | Exception]) -> None:
        self._steps = list(steps)
        self.done = 0

    async def fetch(self) -> Records:
        await asyncio.sleep(0)
        if self.done == len(self._steps):
            await asyncio.Event().wait()
        step = self._steps[self.done]
        self.done += 1
        if isinstance(step, Exception):
            raise step
        return step


def always() -> bool:
    return True


@asynccontextmanager
async def running(
    fetch: Callable[[], Awaitable[Records]], wanted: Callable[[], bool] = always
) -> AsyncIterator[Feed]:
    """A feed whose fetches are made in a thread with a loop of its own, until the block ends."""
    loop = asyncio.new_event_loop()
    feed = Feed(asyncio.get_running_loop(), loop)
    task = loop.create_task(feed.run(fetch, wanted, patience=60.0))

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield feed
    finally:
        loop.call_soon_threadsafe(task.cancel)
        await asyncio.to_thread(thread.join)
        loop.close()
        # A worker that ends may still resume partitions.
        feed.wake()


async def taken(feed: Feed, count: int) -> dict[TP, list[Any]]:
    """Take until there are so many records."""
    found: dict[TP, list[Any]] = {}
    async with asyncio.timeout(30):
        while sum(map(len, found.values())) < count:
            for tp, records in (await feed.take(60.0)).items():
                found.setdefault(tp, []).extend(records)
    return found


@given(
    shape=st.lists(
        st.dictionaries(st.sampled_from([FIRST, SECOND]), st.integers(1, 3), max_size=2),
        max_size=30,
    )
)
def test_all_that_is_fetched_is_taken_once_and_in_order(shape: list[dict[TP, int]]) -> None:
    steps: list[Records] = []
    expected: dict[TP, list[int]] = {}
    for sizes in shape:
        step = {}
        for tp, size in sizes.items():
            before = expected.setdefault(tp, [])
            step[tp] = list(range(len(before), len(before) + size))
            before += step[tp]
        steps.append(step)

    async def check() -> None:
        async with running(Fetcher(steps).fetch) as feed:
            assert await taken(feed, sum(map(len, expected.values()))) == expected
        # What was fetched is as it was: it is not one list that grows.
        assert [len(each) for step in steps for each in step.values()] == [
            size for sizes in shape for size in sizes.values()
        ]

    asyncio.run(check())


@asynccontextmanager
async def beside(
    fetch: Callable[[], Awaitable[Records]],
    wanted: Callable[[], bool] = always,
    patience: float = 60.0,
) -> AsyncIterator[Feed]:
    """A feed with both sides in one loop, so that it is known when one has come to rest."""
    loop = asyncio.get_running_loop()
    feed = Feed(loop, loop)
    task = loop.create_task(feed.run(fetch, wanted, patience))
    try:
        yield feed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def rest() -> None:
    """Let everything run that can."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_no_more_waits_than_there_is_room_for() -> None:
    fetcher = Fetcher([{FIRST: [number]} for number in range(20)])
    async with beside(fetcher.fetch) as feed:
        for round_ in range(1, 20 // WAITING):
            await rest()
            assert fetcher.done == round_ * WAITING
            assert len((await feed.take(60.0))[FIRST]) == WAITING


async def test_an_error_comes_behind_what_was_fetched_and_fetching_goes_on() -> None:
    fetcher = Fetcher([{FIRST: [1]}, FetchError("refused"), {FIRST: [2]}])
    async with beside(fetcher.fetch) as feed:
        await rest()
        assert fetcher.done == 2
        assert await feed.take(60.0) == {FIRST: [1]}
        await rest()
        assert fetcher.done == 2, "what comes behind an error waits for it"
        with pytest.raises(FetchError, match="refused"):
            await feed.take(60.0)
        assert await taken(feed, 1) == {FIRST: [2]}


async def test_nothing_is_fetched_until_it_is_wanted() -> None:
    fetcher, open_ = Fetcher([{FIRST: [1]}]), asyncio.Event()
    async with beside(fetcher.fetch, open_.is_set) as feed:
        await rest()
        assert fetcher.done == 0
        open_.set()
        await rest()
        assert fetcher.done == 0, "nobody has told it"
        feed.wake()
        assert await taken(feed, 1) == {FIRST: [1]}


async def test_it_looks_again_by_itself_after_a_while() -> None:
    fetcher, asked = Fetcher([{FIRST: [1]}]), iter([False, False])
    async with beside(fetcher.fetch, lambda: next(asked, True), patience=0.01) as feed:
        assert await taken(feed, 1) == {FIRST: [1]}


async def test_whoever_waits_in_vain_is_let_go_to_look_what_else_is_wanted() -> None:
    async with beside(Fetcher([]).fetch) as feed:
        waiting = asyncio.create_task(feed.take(60.0))
        await rest()
        assert not waiting.done()
        feed.wake()
        assert await asyncio.wait_for(waiting, 30) == {}


async def test_whoever_waits_in_vain_looks_again_by_itself_after_a_while() -> None:
    async with beside(Fetcher([]).fetch) as feed:
        assert await asyncio.wait_for(feed.take(0.01), 30) == {}
