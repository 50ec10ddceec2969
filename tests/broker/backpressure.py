"""What tests of back-pressure share: a broker that goes away, a steady feed, a watched worker."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from aiokafka import AIOKafkaProducer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from prometheus_client.parser import text_string_to_metric_families

from app.broker import BrokerConfig, EmbeddedBroker
from app.connection import BrokerUnreachableError, bootstrap_servers, connect
from app.settings import Settings
from app.topics import ticks_topic
from tests.broker.worker import NotInTimeError, WorkerProcess, until
from tests.chaos.deployment import FLUSH, SECOND, START, Value, committed, market

MEGABYTE = 1024 * 1024
#: Records of a partition in one step of the feed, and how long a step is in event time.
STEP_RECORDS, STEP = 100, 5 * SECOND
#: Between two steps, in seconds.
STEP_SECONDS = 0.1
#: To send one.
SEND_SECONDS = 2.0
SAMPLE_SECONDS = 0.2
#: For a broker to start, on a machine that has other things to do.
START_SECONDS = 180.0
_CHANGING = re.compile(r"\d+(\.\d+)?|0x[0-9a-f]+")
#: Makes a broker go away; what it returns brings it back.
Away = Callable[[EmbeddedBroker], Awaitable[Callable[[], Awaitable[None]]]]


# --- a broker that goes away -------------------------------------------------------------------


@contextmanager
def own_broker(folder: Path) -> Iterator[EmbeddedBroker]:
    """A Kafka that a module may do with as it likes."""
    broker = EmbeddedBroker(BrokerConfig(folder))
    broker.start()
    try:
        broker.wait_ready(START_SECONDS)
        yield broker
    finally:
        broker.stop()


async def paused(broker: EmbeddedBroker) -> Callable[[], Awaitable[None]]:
    """Stop the process where it is: connections stay open and nothing answers."""
    pid = _pid(broker)
    os.kill(pid, signal.SIGSTOP)

    async def resume() -> None:
        os.kill(pid, signal.SIGCONT)

    return resume


async def stopped(broker: EmbeddedBroker) -> Callable[[], Awaitable[None]]:
    """End it in order: connections are refused."""
    await asyncio.to_thread(broker.stop)
    return _starter(broker)


async def killed(broker: EmbeddedBroker) -> Callable[[], Awaitable[None]]:
    """End it by SIGKILL: connections break in the middle of a request."""
    os.kill(_pid(broker), signal.SIGKILL)
    # So that its record is deleted, too; there is nothing to end any more.
    await asyncio.to_thread(broker.stop)
    return _starter(broker)


def _starter(broker: EmbeddedBroker) -> Callable[[], Awaitable[None]]:
    async def start() -> None:
        if not broker.status().running:
            await asyncio.to_thread(broker.start)
        await asyncio.to_thread(broker.wait_ready, START_SECONDS)

    return start


def _pid(broker: EmbeddedBroker) -> int:
    pid = broker.status().pid
    assert pid is not None
    return pid


# --- what an operator sees ---------------------------------------------------------------------


@dataclass
class Seen:
    """One look at a worker."""

    health: int
    ready: int
    #: Why partitions are not ready.
    reasons: set[str]
    metrics: dict[tuple[str, ...], float]
    resident: int

    def total(self, name: str) -> float:
        """Sum of a metric over its labels; 0 where there is none."""
        return sum(value for key, value in self.metrics.items() if key[0] == f"candlewick_{name}")

    def of(self, name: str, label: str) -> float:
        """Sum of a metric over those of its labels' sets that hold a label."""
        return sum(
            value
            for (known, *labels), value in self.metrics.items()
            if known == f"candlewick_{name}" and label in labels
        )


@dataclass
class Watch:
    """Looks at a worker again and again; what it has seen, in order."""

    worker: WorkerProcess
    seen: list[Seen] = field(default_factory=list)

    async def look(self) -> Seen:
        """Ask all pages once.

        Raises:
            NotInTimeError: the worker has ended.
        """
        if not self.worker.running:
            raise NotInTimeError(f"the worker has ended: {self.worker.tail}")
        health, _ = await self.worker.get("/healthz")
        ready, report = await self.worker.get("/readyz")
        _, text = await self.worker.get("/metrics")
        partitions: list[dict[str, Any]] = json.loads(report)["partitions"] if report else []
        seen = Seen(
            health,
            ready,
            {each["reason"] for each in partitions if each["reason"]},
            {
                (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            },
            psutil.Process(self.worker.pid).memory_info().rss,
        )
        self.seen.append(seen)
        return seen

    async def says(self, text: str, seconds: float = 60.0) -> None:
        """Wait until `/readyz` says 503 and a partition's reason has the text."""

        async def said() -> bool:
            seen = await self.look()
            return seen.ready == 503 and any(text in reason for reason in seen.reasons)

        await until(said, lambda: f"{text!r}, only {self._reasons()}; {self.worker.tail}", seconds)

    async def commits(self) -> None:
        """Wait until one more checkpoint has been committed.

        The worker is asked: the group's coordinator comes back later than the broker.
        """
        before = (await self.look()).total("checkpoint_seconds_count")

        async def more() -> bool:
            return (await self.look()).total("checkpoint_seconds_count") > before

        await until(more, lambda: f"a checkpoint; {self.worker.tail}", START_SECONDS)

    def _reasons(self) -> set[str]:
        return {reason for seen in self.seen for reason in seen.reasons}

    async def for_seconds(self, seconds: float) -> None:
        """Look as often as fits into so many seconds."""
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            await self.look()
            await asyncio.sleep(SAMPLE_SECONDS)

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Look all the time beside what is done in here."""

        async def always() -> None:
            while True:
                await self.look()
                await asyncio.sleep(SAMPLE_SECONDS)

        task = asyncio.create_task(always())
        try:
            yield
        finally:
            task.cancel()
            [ended] = await asyncio.gather(task, return_exceptions=True)
        if isinstance(ended, BaseException) and not isinstance(ended, asyncio.CancelledError):
            raise ended

    @property
    def growth(self) -> int:
        """Resident bytes, greatest minus first."""
        return max(seen.resident for seen in self.seen) - self.seen[0].resident


def repeated_lines(log: str) -> Counter[str]:
    """How often each warning or error was told, but for its numbers."""
    told = [line.split("] ", 1)[1] for line in log.splitlines() if _is_warning(line)]
    return Counter(_CHANGING.sub("#", line) for line in told)


def _is_warning(line: str) -> bool:
    return "[warning  ] " in line or "[error    ] " in line


# --- what goes in ------------------------------------------------------------------------------


@asynccontextmanager
async def steady_feed(settings: Settings) -> AsyncIterator[None]:
    """Send trades to each partition all the time; at the end all windows are closed.

    What is sent while the broker goes away may arrive in part: the log says what there is.
    """
    enough = asyncio.Event()
    topic, partitions = ticks_topic(settings), range(settings.topics.partitions)
    # One for all the time: a client that is closed while it starts leaves its connection open.
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers(settings),
        request_timeout_ms=int(SEND_SECONDS * 1000),
    )

    async def sent(values: Mapping[int, Sequence[Value]]) -> bool:
        answers = [
            await producer.send(topic, value, partition=each)
            for each, records in values.items()
            for value in records
        ]
        ended = await asyncio.gather(*answers, return_exceptions=True)
        errors = [each for each in ended if isinstance(each, BaseException)]
        for error in errors:
            if not isinstance(error, KafkaError):
                raise error
        return not errors

    async def feed() -> None:
        number = 0
        while not enough.is_set():
            begin = START + number * STEP
            with suppress(KafkaError):
                await sent(
                    {
                        each: market(each, len(partitions), STEP_RECORDS, begin)
                        for each in partitions
                    }
                )
            number += 1
            await asyncio.sleep(STEP_SECONDS)
        await until(lambda: sent({each: [FLUSH] for each in partitions}), lambda: "a flush sent")

    await producer.start()
    task = asyncio.create_task(feed())
    try:
        yield
        enough.set()
        await asyncio.wait_for(task, 60)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await producer.stop()


async def committed_at_last(settings: Settings) -> dict[int, int]:
    """As `committed`, once the group's coordinator is there: it comes back after the broker."""
    found: dict[int, int] = {}

    async def answered() -> bool:
        nonlocal found
        try:
            found = await committed(settings)
        except BrokerUnreachableError:
            return False
        return True

    await until(answered, lambda: "an answer of the group's coordinator", START_SECONDS)
    return found


async def limit_topic(settings: Settings, topic: str, size: int) -> None:
    """Set `max.message.bytes` of a topic: below a bar's size it refuses all of them.

    Above 100, so that the broker's own markers of transactions still fit.
    """
    configuration = {"max.message.bytes": str(size), "message.timestamp.type": "LogAppendTime"}
    async with connect(settings) as client:
        await client.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topic, configs=configuration)]
        )


async def delete_topic(settings: Settings, topic: str) -> None:
    """Delete a topic, and wait until it is gone."""
    async with connect(settings) as client:
        await client.delete_topics([topic])

        async def gone() -> bool:
            return topic not in await client.list_topics()

        await until(gone, lambda: f"{topic} is still there")
