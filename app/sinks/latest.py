"""Latest values for who asks: from Redis, else from where they are kept anyway.

Redis is asked for a tenth of a second at most; what it does not have, or where it does not answer,
comes from the caller's fallback (a worker's views), and goes into Redis for the next who asks,
unless something newer has come meanwhile. A server that fails three times in a row is left alone
for two seconds, so a dead cache does not cost each request a time-out.

Each key that is asked for counts once: `hit`, `miss` (the server does not have it), `error` (the
server does not answer, or rests). The hit rate is `hit` over all of them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeVar

import numpy as np
from prometheus_client import CollectorRegistry, Counter

from app.contracts.batch import RecordBatch
from app.notify.breaker import Breaker
from app.settings import Settings
from app.sinks.driver import SinkError
from app.sinks.newest import Entry, NewestReader, key_of
from app.sinks.redis_store import LatestStore
from app.topics import INPUTS

logger = logging.getLogger(__name__)

Result = Literal["hit", "miss", "error"]
Answered = TypeVar("Answered")

#: Seconds for one question.
ANSWER_SECONDS: Final = 0.1
#: Turns of the event loop for an answer that came while the loop was busy.
LAST_TURNS: Final = 20
#: Questions at a time; the others wait their turn.
AT_ONCE: Final = 16
FAILURES: Final = 3
REST_SECONDS: Final = 2.0


class Wanted(NamedTuple):
    """What is asked for: a topic, and what its key ends with (`app/sinks/newest.py`)."""

    topic: str
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Latest:
    """A record's JSON, and whether it is from the cache or from the fallback."""

    value: bytes
    source: Literal["cache", "fallback"]


#: Gets what the cache has not, as far as it is anywhere: a record's JSON as in its topic.
Fallback = Callable[[Sequence[Wanted]], Awaitable[Mapping[Wanted, bytes]]]


class LatestCache:
    """Reads through Redis; used in one event loop."""

    def __init__(
        self,
        settings: Settings,
        registry: CollectorRegistry | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        """Begin; nothing is asked yet.

        Args:
            registry: of the metrics.
            monotonic: the clock, in seconds.
            seconds: for one question.

        Raises:
            SettingsError: there is no address of Redis, or its package is missing.
        """
        # A backstop: the library's time-outs take a busy event loop for a slow server.
        self._store = LatestStore(settings, 10 * seconds)
        self._seconds = seconds
        self._time_to_live = settings.redis.time_to_live
        self._breaker = Breaker(FAILURES, REST_SECONDS, monotonic)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._requests = Counter(
            "candlewick_cache_requests",
            "Latest values asked of the cache, by what came of it",
            ["result"],
            registry=registry,
        )
        for result in ("hit", "miss", "error"):
            self._requests.labels(result)

    async def get(self, wanted: Sequence[Wanted], fallback: Fallback) -> dict[Wanted, Latest]:
        """Return what there is of each; what is nowhere is left out.

        Errors of the fallback pass; those of the cache never do.
        """
        cached = await self._read(wanted)
        found = {each: Latest(value, "cache") for each, value in cached.items()}
        missing = [each for each in wanted if each not in found]
        if missing:
            others = await fallback(missing)
            found |= {each: Latest(value, "fallback") for each, value in others.items()}
            await self.keep(others)
        return found

    async def _read(self, wanted: Sequence[Wanted]) -> dict[Wanted, bytes]:
        keys = [key_of(self._store.namespace, *each) for each in wanted]
        values = await self._ask(lambda: self._store.read(keys))
        if values is None:
            self._count("error", len(wanted))
            return {}
        pairs = zip(wanted, values, strict=True)
        found = {each: value for each, value in pairs if value is not None}
        self._count("hit", len(found))
        self._count("miss", len(wanted) - len(found))
        return found

    async def keep(self, values: Mapping[Wanted, bytes]) -> None:
        """Put values of outputs into the cache, unless it has newer ones; never raises.

        Inputs are left out: without its offset nobody knows whether a tick is the newer one.
        """
        entries: list[tuple[bytes, Entry]] = []
        for each, value in values.items():
            if each.topic not in INPUTS:
                entries += _entries(each.topic, self._store.namespace, value)
        if entries:
            await self._ask(lambda: self._store.write(entries, self._time_to_live))

    async def _ask(self, question: Callable[[], Awaitable[Answered]]) -> Answered | None:
        """Ask the server; None where it does not answer, or rests."""
        async with self._turns:
            if not self._breaker.enter():
                return None
            try:
                answer = await in_time(question(), self._seconds)
            except (SinkError, TimeoutError) as error:
                if self._breaker.state == "closed":
                    logger.warning("the cache of latest values: %s", str(error) or "too slow")
                self._breaker.failed()
                return None
            except BaseException:
                self._breaker.leave()
                raise
            self._breaker.succeeded()
            return answer

    def _count(self, result: Result, count: int) -> None:
        if count:
            self._requests.labels(result).inc(count)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._store.close()


async def in_time(question: Awaitable[Answered], seconds: float) -> Answered:
    """Return the answer that comes in time.

    A batch may keep the event loop for longer than that: then the time is over and the answer is
    there, unread. So it gets some more turns of the loop, which cost nothing.

    Raises:
        TimeoutError: none has come.
    """
    task = asyncio.ensure_future(question)
    try:
        await asyncio.wait([task], timeout=seconds)
        for _ in range(LAST_TURNS):
            if task.done():
                break
            await asyncio.sleep(0)
        else:
            raise TimeoutError
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                # It failed at the same moment; nobody else would ask, and asyncio complain.
                task.exception()


def _entries(topic: str, namespace: str, value: bytes) -> list[tuple[bytes, Entry]]:
    """Return a record as the sink would write it; nothing for what is none."""
    at = np.zeros(1, dtype=np.int64)
    newest = NewestReader(topic, namespace).take(RecordBatch(topic, 0, 0, 1, [value], at, at))
    return list(newest.entries.items())
