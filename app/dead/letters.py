"""Read the dead letters of an agent, or of the sinks: read_committed, without a group, bounded.

A checkpoint is a transaction and leaves a marker in every partition it wrote to, so a dead topic
has about as many holes as letters where they come one by one: reading the newest ones looks back
further as long as it finds too few.
"""

from __future__ import annotations

import asyncio
import base64
import heapq
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

from aiokafka import TopicPartition

from app.connection import connect
from app.contracts.forms import readable
from app.contracts.outputs import LEFT_OUT
from app.run.errors import RunError
from app.run.reader import bounds, partitions_of, read_range
from app.settings import Settings
from app.topics import ALL_SINKS, BURYING, output_topic

#: Offsets of a partition, from its end, in which the newest letters are looked for.
LOOK_BACK: Final = 200_000
#: Bytes of values that a list of letters holds at most; the newest are kept.
LIST_BYTES: Final = 32 * 1024 * 1024
#: Seconds for the newest letters.
SECONDS: Final = 15.0

Ranges = Mapping[TopicPartition, tuple[int, int]]
Progress = Callable[[int, int], None]


def _untold(done: int, total: int) -> None:
    """Progress that nobody wants to know of."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that an agent, or a sink, has set aside.

    Attributes:
        topic, partition, offset: where the letter lies, in the dead topic.
        reason: as app/README.md names it, of a sink in the words of its store; `unknown` where the
            header is missing.
        source_topic, source_partition, source_offset: where the record came from; None where a
            header is missing, which no agent of ours leaves out.
        append_time_ms: when the letter was written, by the broker's clock, ms since 1970.
        value: the record's bytes as they were; None also where they did not fit (`left_out`).
        headers: all headers of the letter, in their order.
    """

    topic: str
    partition: int
    offset: int
    reason: str
    source_topic: str | None
    source_partition: int | None
    source_offset: int | None
    append_time_ms: int
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def append_time(self) -> str:
        """The append time in ISO 8601, UTC, to the millisecond."""
        moment = datetime.fromtimestamp(self.append_time_ms / 1000, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    @property
    def sink(self) -> str | None:
        """The sink that does not take the record; None: it is an agent's letter."""
        found = [value for name, value in self.headers if name == "sink"]
        return found[0].decode("utf-8", "replace") if found else None

    @property
    def left_out(self) -> int | None:
        """Bytes of a value that did not fit into the dead topic, and is in the source alone."""
        found = [value for name, value in self.headers if name == LEFT_OUT]
        return _number(found[0].decode("utf-8", "replace")) if found else None

    @property
    def text(self) -> str | None:
        """The value as text, MessagePack as JSON; what is not UTF-8 is replaced by U+FFFD."""
        return None if self.value is None else readable(self.value).decode("utf-8", "replace")

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON: the value as text and, exactly, as base64."""
        exact = None if self.value is None else base64.b64encode(self.value).decode()
        return {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "reason": self.reason,
            "source_topic": self.source_topic,
            "source_partition": self.source_partition,
            "source_offset": self.source_offset,
            "append_time": self.append_time,
            "append_time_ms": self.append_time_ms,
            "bytes": self.left_out if self.value is None else len(self.value),
            "left_out": self.left_out is not None,
            "text": self.text,
            "base64": exact,
        }


def dead_topic(settings: Settings, agent: str) -> str:
    """Name of the topic of an agent's dead letters, or of the sinks'."""
    return output_topic(settings, f"{agent}.dead")


async def dead_topics(settings: Settings) -> dict[str, str]:
    """Return the topics of dead letters that there are, by whose they are: agents', and the sinks'.

    Whichever worker asks: other stages of the deployment run other agents.

    Raises:
        BrokerUnreachableError: no broker answers.
    """
    async with connect(settings) as client:
        there = set(await client.list_topics())
    named = {each: dead_topic(settings, each) for each in (*BURYING, ALL_SINKS)}
    return {each: topic for each, topic in named.items() if topic in there}


async def buriers(settings: Settings) -> tuple[str, ...]:
    """Return whose letters a deployment has: of its agents, and `sinks` where their topic is.

    Raises:
        BrokerUnreachableError: no broker answers.
    """
    async with connect(settings) as client:
        # Which sinks there are is of each process's settings, and may have been otherwise.
        there = dead_topic(settings, ALL_SINKS) in await client.list_topics()
    agents = tuple(agent for agent in settings.agents if agent in BURYING)
    return (*agents, ALL_SINKS) if there else agents


async def dead_ranges(settings: Settings, agent: str) -> dict[TopicPartition, tuple[int, int]]:
    """Return the first and the committed end offset of each partition of the dead topic, now.

    Raises:
        BrokerUnreachableError: no broker answers.
        UnknownTopicError: the deployment has no such topic.
    """
    partitions = await partitions_of(settings, [dead_topic(settings, agent)])
    # An open transaction lies after this end, so that reading up to it never waits for one.
    return await bounds(settings, partitions, committed=True)


async def dead_letters(
    settings: Settings, ranges: Ranges, progress: Progress = _untold
) -> AsyncGenerator[DeadLetter]:
    """Yield the letters of ranges of offsets: a partition's in its order, partitions mixed.

    Args:
        settings: where the broker is.
        ranges: as `dead_ranges` returns them.
        progress: told how many of how many offsets are behind.

    Raises:
        BrokerUnreachableError: no broker answers.
    """
    total = sum(end - first for first, end in ranges.values())
    behind = dict.fromkeys(ranges, 0)
    reading = cast("AsyncGenerator[tuple[TopicPartition, list[Any]]]", read_range(settings, ranges))
    async with aclosing(reading) as batches:
        async for place, records in batches:
            for record in records:
                yield _letter(record)
            behind[place] = records[-1].offset + 1 - ranges[place][0]
            progress(sum(behind.values()), total)


async def dead_letter(settings: Settings, agent: str, partition: int, offset: int) -> DeadLetter:
    """Return the letter at an offset of a partition of the dead topic.

    Raises:
        BrokerUnreachableError: no broker answers.
        RunError: there is no letter at that place.
    """
    ranges = await dead_ranges(settings, agent)
    place = TopicPartition(dead_topic(settings, agent), partition)
    if place not in ranges:
        raise RunError(
            f"topic {place.topic} has no partition {partition}; expected 0 to {len(ranges) - 1}"
        )
    first, end = ranges[place]
    if first <= offset < end:
        found = [letter async for letter in dead_letters(settings, {place: (offset, offset + 1)})]
        if found:
            return found[0]
    raise RunError(
        f"no dead letter at partition {partition}, offset {offset} of {place.topic}, which has "
        f"{first} to before {end}, with holes; `candlewick dead list --agent {agent}` shows them"
    )


async def count_dead(
    settings: Settings, ranges: Ranges, progress: Progress = _untold
) -> Counter[str]:
    """Return how many letters there are in ranges: of an agent by reason, of the sinks by sink."""
    found: Counter[str] = Counter()
    async for letter in dead_letters(settings, ranges, progress):
        found[letter.sink or letter.reason] += 1
    return found


async def recent_dead(
    settings: Settings,
    agent: str,
    limit: int,
    *,
    reason: str | None = None,
    look_back: int | None = LOOK_BACK,
    seconds: float | None = SECONDS,
    progress: Progress = _untold,
) -> list[DeadLetter]:
    """Return the newest dead letters of an agent, or the sinks, over all partitions, newest first.

    Args:
        settings: of the deployment.
        agent: whose letters; `sinks` for theirs.
        limit: at most so many letters, and at most `LIST_BYTES` of values (but one letter).
        reason: only letters of this reason.
        look_back: at most so many offsets of each partition are looked at; None: all.
        seconds: a limit for all of it; None: none.
        progress: as for `dead_letters`, from the beginning each time it looks further back.

    Raises:
        BrokerUnreachableError: no broker answers.
        UnknownTopicError: the deployment has no such topic.
        RunError: the time was not enough.
    """
    if limit < 1:
        return []
    try:
        async with asyncio.timeout(seconds):
            return await _recent(settings, agent, _Newest(limit), reason, look_back, progress)
    except TimeoutError:
        raise RunError(
            f"the dead letters of {agent} could not be read within {seconds:g} s; "
            "the broker is slow or busy"
        ) from None


async def _recent(
    settings: Settings,
    agent: str,
    newest: _Newest,
    reason: str | None,
    look_back: int | None,
    progress: Progress,
) -> list[DeadLetter]:
    missing = await dead_ranges(settings, agent)
    if look_back is not None:
        missing = {
            place: (max(first, end - look_back), end) for place, (first, end) in missing.items()
        }
    # Two offsets a letter, where each has a transaction of its own.
    look = 2 * newest.limit + 50
    found: Counter[TopicPartition] = Counter()
    oldest: dict[TopicPartition, int] = {}
    while missing:
        ranges = {place: (max(first, end - look), end) for place, (first, end) in missing.items()}
        async for letter in dead_letters(settings, ranges, progress):
            place = TopicPartition(letter.topic, letter.partition)
            before = oldest.get(place, letter.append_time_ms)
            oldest[place] = min(before, letter.append_time_ms)
            if reason is None or letter.reason == reason:
                found[place] += 1
                newest.add(letter)
        missing = {
            place: (first, ranges[place][0])
            for place, (first, _) in missing.items()
            if ranges[place][0] > first
            and found[place] < newest.limit
            and not newest.all_newer_than(oldest.get(place))
        }
        look *= 4
    return newest.letters()


class _Newest:
    """The newest letters of any number, held within a count and a number of bytes."""

    def __init__(self, limit: int, size: int = LIST_BYTES) -> None:
        self.limit = limit
        self._room = size
        self._full = False
        self._heap: list[tuple[tuple[int, int, int], DeadLetter]] = []

    def add(self, letter: DeadLetter) -> None:
        """Take a letter; the oldest ones go where there is no room."""
        order = (letter.append_time_ms, letter.offset, letter.partition)
        heapq.heappush(self._heap, (order, letter))
        self._room -= len(letter.value or b"")
        while len(self._heap) > self.limit or (self._room < 0 and len(self._heap) > 1):
            _, oldest = heapq.heappop(self._heap)
            self._room += len(oldest.value or b"")
            self._full = True
        self._full = self._full or len(self._heap) == self.limit

    def all_newer_than(self, append_time_ms: int | None) -> bool:
        """Whether nothing as old as this would be kept."""
        return self._full and append_time_ms is not None and append_time_ms < self._heap[0][0][0]

    def letters(self) -> list[DeadLetter]:
        """Return them, the newest first."""
        return [letter for _, letter in sorted(self._heap, reverse=True)]


def _letter(record: Any) -> DeadLetter:
    headers = tuple((str(name), bytes(value or b"")) for name, value in record.headers)
    by_name = {name: value.decode("utf-8", "replace") for name, value in headers}
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        reason=by_name.get("reason", "unknown"),
        source_topic=by_name.get("topic"),
        source_partition=_number(by_name.get("partition")),
        source_offset=_number(by_name.get("offset")),
        append_time_ms=record.timestamp,
        value=record.value,
        headers=headers,
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None
