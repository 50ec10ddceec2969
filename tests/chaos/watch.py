"""When the committed bars of each partition were appended, as a `read_committed` reader sees it."""

from __future__ import annotations

import asyncio
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import pairwise

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

#: (topic, partition).
Place = tuple[str, int]
#: What librdkafka says while the broker is away; it goes on by itself.
_PASSING = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)


class NotRecoveredError(Exception):
    """Partitions that have published no bar in time."""


def milliseconds(moment: float) -> int:
    """The first ms that is surely after a moment (s, epoch)."""
    return int(moment * 1000) + 1


class BarWatch:
    """Reads topics of bars in a thread of its own; an async context manager."""

    def __init__(self, broker: str, topics: Iterable[str], partitions: int) -> None:
        self.places: list[Place] = [(topic, n) for topic in topics for n in range(partitions)]
        #: Append times in ms, in order.
        self.times: dict[Place, list[int]] = {place: [] for place in self.places}
        self._consumer = Consumer(
            {
                "bootstrap.servers": broker.removeprefix("kafka://"),
                "group.id": "chaos-watch",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "reconnect.backoff.max.ms": 200,
                "log_level": 0,
            }
        )
        self._ending = threading.Event()
        self._arrived = asyncio.Event()
        self._reader: asyncio.Future[None] | None = None

    async def __aenter__(self) -> BarWatch:
        loop = asyncio.get_running_loop()
        self._reader = loop.run_in_executor(None, self._read, loop)
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._ending.set()
        if self._reader is not None:
            await self._reader

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        self._consumer.assign([TopicPartition(*each, OFFSET_BEGINNING) for each in self.places])
        try:
            while not self._ending.is_set():
                found: list[tuple[Place, int]] = []
                for message in self._consumer.consume(num_messages=1_000, timeout=0.1):
                    fault, topic, number = message.error(), message.topic(), message.partition()
                    if fault is not None:
                        if fault.code() not in _PASSING:
                            raise KafkaException(fault)
                        continue
                    assert topic is not None
                    assert number is not None
                    found.append(((topic, number), message.timestamp()[1]))
                if found:
                    loop.call_soon_threadsafe(self._take, found)
        finally:
            self._consumer.close()

    def _take(self, found: list[tuple[Place, int]]) -> None:
        for place, appended in found:
            self.times[place].append(appended)
        self._arrived.set()

    def firsts(self, moment: float) -> Mapping[Place, int]:
        """Append time (ms) of each partition's first bar after a moment, of those that have one."""
        after = milliseconds(moment)
        found = {place: bisect_left(times, after) for place, times in self.times.items()}
        return {
            place: self.times[place][at]
            for place, at in found.items()
            if at < len(self.times[place])
        }

    async def wait_firsts(self, moment: float, seconds: float) -> Mapping[Place, int]:
        """Wait until every partition has published a bar after a moment.

        Raises:
            NotRecoveredError: one has not, within the seconds.
        """
        deadline = time.monotonic() + seconds
        while len(found := self.firsts(moment)) < len(self.places):
            if self._reader is not None and self._reader.done():
                self._reader.result()
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                lacking = [f"{topic} {n}" for topic, n in self.places if (topic, n) not in found]
                raise NotRecoveredError(
                    f"no bar within {seconds:g} s from {', '.join(lacking)}"
                ) from None
        return found

    def longest_gap(self, begin: float, end: float) -> float:
        """The longest time (s) between two bars of a partition that touches a stretch of time."""
        first, last = milliseconds(begin), milliseconds(end)
        longest = 0
        for times in self.times.values():
            low = max(0, bisect_left(times, first) - 1)
            inside = times[low : bisect_left(times, last) + 1]
            longest = max([longest, *(b - a for a, b in pairwise(inside))])
        return longest / 1000
