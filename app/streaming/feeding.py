"""From the consumer's thread to the event loop: what was fetched, without being asked for.

Faust asks its thread for records, waits for the answer and asks anew when it has dealt them out.
Each round is a queue in the other thread and tasks in both, some 0.4 ms of processor time; what
arrives meanwhile waits, and aiokafka sends no request to a node before what came of it was taken.
Here the thread takes what has arrived as soon as it has, and hands it over.

Data flow: aiokafka's fetcher -> `Feed.run` (the thread) -> `Feed.take` (the event loop).

Invariants:
- Fetches are handed over in their order, each once; nothing that was fetched is dropped.
- No more than `WAITING` fetches wait to be taken; what is behind them stays with aiokafka.
- An error of the fetcher comes behind what was fetched before it.
- What was fetched before a seek may be taken after it, and together with what was fetched behind
  it: whoever takes it has to look where each part begins.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from faust.types import TP

#: Of each partition, what aiokafka's fetcher made of it.
Records = Mapping[TP, list[Any]]

#: Fetches handed over and not taken. One is dealt out while the next one comes.
WAITING: Final = 2


class Feed:
    """What a thread hands to the event loop.

    Args:
        loop: of the thread that takes.
        thread_loop: of the thread that fetches.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, thread_loop: asyncio.AbstractEventLoop
    ) -> None:
        self._loop = loop
        self._thread_loop = thread_loop
        #: Fetches, and errors; each thread changes it by one operation at a time.
        self._waiting: deque[Records | Exception] = deque()
        #: Of the event loop: set when something waits.
        self._arrived = asyncio.Event()
        #: Of the thread: set when there may be room, or partitions to be fetched.
        self._wanted = asyncio.Event()

    # --- in the thread -----------------------------------------------------------------------

    async def run(
        self, fetch: Callable[[], Awaitable[Records]], wanted: Callable[[], bool], patience: float
    ) -> None:
        """Hand over what is fetched, for ever; behind an error not before that was taken.

        Args:
            fetch: waits for records for a while; may return none.
            wanted: whether any partition is to be fetched; asked anew after `wake`.
            patience: seconds after which it is asked anew all the same.
        """
        while True:
            self._wanted.clear()
            if self._is_full() or not wanted():
                with suppress(TimeoutError):
                    async with asyncio.timeout(patience):
                        await self._wanted.wait()
                continue
            fetched: Records | Exception
            try:
                fetched = await fetch()
            except Exception as error:  # noqa: BLE001
                # It is raised where the records are taken.
                fetched = error
            if fetched:
                self._waiting.append(fetched)
                # Also behind another one, where it is not needed. Without that the P95 of a row at
                # 200,000 trades/s was 22 to 26 ms in three runs, with it 16 to 20 in four: perhaps
                # as the system call lets go of the interpreter's lock.
                self._loop.call_soon_threadsafe(self._arrived.set)

    def _is_full(self) -> bool:
        waiting = list(self._waiting)
        return len(waiting) >= WAITING or any(isinstance(each, Exception) for each in waiting)

    # --- in the event loop -------------------------------------------------------------------

    def wake(self) -> None:
        """Have both ask again what is wanted."""
        self._arrived.set()
        self._need()

    def _need(self) -> None:
        if not self._thread_loop.is_closed():
            self._thread_loop.call_soon_threadsafe(self._wanted.set)

    async def take(self, patience: float) -> dict[TP, list[Any]]:
        """Wait for records; return all that wait, those of a partition in their order.

        Nothing, an empty mapping, after `wake`, or after `patience` seconds: then others may be
        wanted, and from somewhere else.

        Raises:
            Exception: what the fetcher raised, if it is the first that waits.
        """
        if not self._waiting:
            self._arrived.clear()
            # What came before that line has set it in vain.
            if not self._waiting:
                late = self._loop.call_later(patience, self._arrived.set)
                try:
                    await self._arrived.wait()
                finally:
                    late.cancel()
        taken: dict[TP, list[Any]] = {}
        count = 0
        while self._waiting:
            first = self._waiting[0]
            if isinstance(first, Exception) and taken:
                break
            self._waiting.popleft()
            count += 1
            if isinstance(first, Exception):
                self._need()
                raise first
            for tp, records in first.items():
                taken[tp] = taken[tp] + records if tp in taken else records
        if count >= WAITING:
            self._need()
        return taken
