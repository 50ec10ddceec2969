"""A stretch of the log once more into a sink, without its group: what is there is written again.

Without an end, the log is read until all positions are at all ends: what a sink beside it has
written meanwhile is then written once more, so that of each point the newest revision is last.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition

from app.run.errors import RunError
from app.run.reader import partitions_of, plain_consumer
from app.settings import Settings
from app.sinks.driver import Driver, Place, SinkError, SinkUnavailableError
from app.sinks.drivers import sink_topics
from app.sinks.ledger import Ledger
from app.sinks.letters import Bury, Letter
from app.sinks.patience import Patience
from app.sinks.reading import batches, first_position
from app.streaming import slim
from app.streaming.compression import use_fast_lz4

WAIT_MILLISECONDS: Final = 200
#: Flushes in a row that bring nothing forward, after which it is a fault of the driver.
FRUITLESS: Final = 3
_MILLISECOND: Final = 1_000_000
Answer = TypeVar("Answer")


@dataclass
class Replayed:
    """What a replay has done.

    Attributes:
        records: read.
        rows: points, rows or keys written.
        dead: sent to the dead-letter topic.
        passed: records that gave nothing to write, by reason.
    """

    sink: str
    records: int = 0
    rows: int = 0
    dead: int = 0
    passed: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "sink": self.sink,
            "records": self.records,
            "rows": self.rows,
            "dead": self.dead,
            "passed": dict(sorted(self.passed.items())),
        }


@dataclass(frozen=True)
class Stretch:
    """What to replay.

    Attributes:
        begin, end: broker's append times, ns; from the first, and before the last. None: from the
            beginning of the log, to its end.
        topics: short names; empty: all of the sink.
    """

    begin: int | None = None
    end: int | None = None
    topics: Collection[str] = ()


class Replay:
    """One replay.

    Args:
        sleep, monotonic, now, chance: what tests replace.
    """

    def __init__(
        self,
        settings: Settings,
        driver: Driver,
        bury: Bury,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], int] = time.time_ns,
        chance: random.Random | None = None,
    ) -> None:
        self._settings, self._driver, self._bury = settings, driver, bury
        self._sleep, self._monotonic, self._now = sleep, monotonic, now
        self._patience = Patience(settings.sinks, monotonic, chance or random.Random())
        self._ledger = Ledger()
        self._topics: Mapping[str, str] = {}
        self._done = Replayed(driver.NAME)

    async def run(
        self, stretch: Stretch, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> Replayed:
        """Read the stretch and write it; the driver is closed at the end.

        Raises:
            RunError: the sink does not take it, in several attempts; a topic does not exist.
            BrokerUnreachableError: no broker answers.
            aiokafka.errors.KafkaError: the broker went away.
        """
        self._topics = self._chosen(stretch)
        partitions = await partitions_of(self._settings, sorted(self._topics))
        slim.install()
        use_fast_lz4()
        for topic in self._topics:
            slim.register(topic)
        try:
            await self._ask(self._driver.open)
            places = [self._place(tp) for tp in partitions]
            await self._ask(lambda: self._driver.assign(places))
            self._driver.replay(places)
            async with plain_consumer(self._settings) as consumer:
                await self._read(consumer, partitions, stretch, progress)
            await self._flush_all()
        except SinkError as error:
            raise RunError(f"sink {self._driver.NAME}: {error}") from error
        finally:
            await self._driver.close()
        return self._done

    def _chosen(self, stretch: Stretch) -> dict[str, str]:
        topics = sink_topics(self._settings, self._driver)
        unknown = set(stretch.topics) - set(topics.values())
        if unknown or not topics:
            there = ", ".join(sorted(topics.values())) or "none"
            raise RunError(
                f"sink {self._driver.NAME} does not take {', '.join(sorted(unknown)) or 'a topic'} "
                f"of this deployment; expected of: {there}"
            )
        return {
            full: short
            for full, short in topics.items()
            if not stretch.topics or short in stretch.topics
        }

    async def _read(
        self,
        consumer: AIOKafkaConsumer,
        partitions: list[TopicPartition],
        stretch: Stretch,
        progress: Callable[[int, int], None],
    ) -> None:
        ends = await _offsets(consumer, partitions, stretch.end, at_end=True)
        begins = await _offsets(consumer, partitions, stretch.begin, at_end=False)
        positions = {tp: min(begins[tp], ends[tp]) for tp in partitions}
        consumer.assign(partitions)
        for tp, position in positions.items():
            consumer.seek(tp, position)
            self._ledger.meet(self._place(tp), position)
        while True:
            total = sum(ends[tp] - begins[tp] for tp in partitions if ends[tp] > begins[tp])
            left = sum(max(0, ends[tp] - positions[tp]) for tp in partitions)
            progress(total - left, total)
            if not left:
                if stretch.end is not None:
                    return
                # What was committed meanwhile; then also of what another writer has overtaken us.
                await self._flush_all()
                ends = await _offsets(consumer, partitions, None, at_end=True)
                if all(positions[tp] >= ends[tp] for tp in partitions):
                    return
            fetched = await consumer.getmany(timeout_ms=WAIT_MILLISECONDS)
            for tp, records in fetched.items():
                if first_position(records) < ends[tp]:
                    await self._take(tp, records, ends[tp])
            for tp in partitions:
                positions[tp] = await consumer.position(tp)
                if positions[tp] >= ends[tp] and stretch.end is not None:
                    consumer.pause(tp)

    async def _take(self, tp: TopicPartition, records: Any, end: int) -> None:
        place = self._place(tp)
        for batch in batches(tp, records, self._ledger.expected(place)):
            batch = batch.until(end) if batch.next > end else batch
            if batch.base >= end:
                return
            self._driver.add(place.topic, batch.listed())
            self._ledger.hand(place, batch)
            self._done.records += len(batch)
            full = self._driver.held_bytes >= self._settings.sinks.max_held_bytes
            if full or self._driver.due(self._monotonic()):
                await self._flush()

    async def _flush_all(self) -> None:
        fruitless = 0
        while self._ledger.waiting:
            before = self._ledger.positions()
            await self._flush()
            fruitless = fruitless + 1 if self._ledger.positions() == before else 0
            if fruitless == FRUITLESS:
                raise RunError(f"sink {self._driver.NAME}: it does not say that it has written")

    async def _flush(self) -> None:
        flushed = await self._ask(lambda: self._driver.flush(self._now()))
        done, full_names = self._done, {short: full for full, short in self._topics.items()}
        if flushed.culprits:
            await self._bury(
                [
                    Letter(self._driver.NAME, full_names[each.place.topic], each)
                    for each in flushed.culprits
                ]
            )
        self._ledger.tell(flushed.positions)
        done.rows += flushed.rows
        done.dead += len(flushed.culprits)
        done.passed.update(flushed.passed)

    async def _ask(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Await a call of the driver, several times where that may help.

        Raises:
            SinkError: of the last attempt.
        """
        for _ in range(self._settings.sinks.attempts - 1):
            try:
                answer = await call()
            except SinkUnavailableError as error:
                self._patience.failed(error)
                await self._sleep(self._patience.remaining)
            else:
                self._patience.succeeded()
                return answer
        return await call()

    def _place(self, tp: TopicPartition) -> Place:
        return Place(self._topics[tp.topic], tp.partition)


async def _offsets(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition], time_: int | None, *, at_end: bool
) -> dict[TopicPartition, int]:
    """Return the first offset of each partition that was appended at a time or after it."""
    ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    if time_ is None:
        return ends if at_end else dict(await consumer.beginning_offsets(partitions))
    # Append times are whole milliseconds.
    milliseconds = -(-time_ // _MILLISECOND)
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, milliseconds))
    return {
        tp: ends[tp] if found.get(tp) is None else min(found[tp].offset, ends[tp])
        for tp in partitions
    }
