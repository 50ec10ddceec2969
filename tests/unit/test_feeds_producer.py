"""The feeds' producer: errors that are not Kafka's, and what it leaves in a trace."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, UnknownTopicOrPartitionError
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.feeds import producer as module
from app.feeds.producer import TickSender
from app.observe.spans import Tracing
from app.settings import Settings
from tests.unit.traced_runner import Where

SETTINGS = Settings(broker={"url": "kafka://127.0.0.1:1"})  # type: ignore[arg-type]


class Batch:
    """Some records."""

    def __init__(self) -> None:
        self.count = 0

    def append(self, *, timestamp: int, key: bytes | None, value: bytes | None) -> object:
        """Take a record."""
        self.count += 1
        return object()

    def record_count(self) -> int:
        """How many there are."""
        return self.count

    def close(self) -> None:
        """No more."""


class Sender:
    """What is under a producer."""

    async def close(self) -> None:
        """End."""


class Producer:
    """Stands for aiokafka's; `failure` is raised by every batch, `refusal` at the start."""

    failure: BaseException | None = None
    refusal: BaseException | None = None
    topic_known = True

    def __init__(self, **options: Any) -> None:
        self.stopped = False
        self._sender = Sender()
        self._end = 0
        made.append(self)

    async def start(self) -> None:
        """Connect."""
        if self.refusal is not None:
            raise self.refusal

    async def stop(self) -> None:
        """Close."""
        self.stopped = True

    async def partitions_for(self, topic: str) -> set[int]:
        """Two; or none is ever known."""
        if not self.topic_known:
            await asyncio.Event().wait()
        return {0, 1}

    def create_batch(self) -> Batch:
        """An empty one."""
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> Any:
        """Acknowledge at once, or fail."""
        if self.failure is not None:
            raise self.failure
        future: asyncio.Future[Where] = asyncio.get_running_loop().create_future()
        future.set_result(Where(topic, partition, self._end))
        self._end += batch.count
        return future


made: list[Producer] = []


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> type[Producer]:
    made.clear()

    class Own(Producer):
        """Changed by one test alone."""

    monkeypatch.setattr(module, "AIOKafkaProducer", Own)
    return Own


RECORDS = [(None, b"{}")] * 10


@pytest.mark.parametrize("error", [RuntimeError("closed"), OSError("no memory"), ValueError("big")])
async def test_an_error_of_any_kind_is_raised_and_nobody_waits_for_ever(
    kafka: type[Producer], error: Exception
) -> None:
    kafka.failure = error
    async with asyncio.timeout(30):
        with pytest.raises(type(error), match=str(error)):  # noqa: PT012 - the first that sees it
            async with TickSender(SETTINGS, 1) as sender:
                for _ in range(100):
                    await sender.send(0, RECORDS)
    assert made[0].stopped
    assert sender.acknowledged == [0, 0]


async def test_flush_raises_it_as_well(kafka: type[Producer]) -> None:
    kafka.failure = RuntimeError("closed")
    async with asyncio.timeout(30):
        with pytest.raises(RuntimeError, match="closed"):  # noqa: PT012 - and what it leaves
            async with TickSender(SETTINGS) as sender:
                await sender.send(1, RECORDS)
                await sender.flush()


async def test_a_start_that_takes_too_long_is_not_taken_for_a_missing_topic(
    kafka: type[Producer],
) -> None:
    kafka.refusal = TimeoutError("no answer")
    with pytest.raises(TimeoutError, match="no answer"):
        async with TickSender(SETTINGS):
            pass
    assert made[0].stopped


async def test_a_missing_topic_is_named(
    kafka: type[Producer], monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka.topic_known = False
    monkeypatch.setattr(module, "TOPIC_SECONDS", 0.01)
    with pytest.raises(UnknownTopicOrPartitionError, match="no topic ticks"):
        async with TickSender(SETTINGS):
            pass
    assert made[0].stopped


# --- traces --------------------------------------------------------------------------------------


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Where the spans of each sender go."""
    exporter = InMemorySpanExporter()
    settings = Settings(tracing={"endpoint": "http://127.0.0.1:1", "ratio": 1.0})  # type: ignore[arg-type]

    def into_memory(_settings: Settings, service: str) -> Tracing:
        return Tracing(settings, service, exporter=exporter)

    monkeypatch.setattr(module, "make_tracing", into_memory)
    return exporter


async def test_each_batch_that_is_acknowledged_leaves_a_span_with_its_place(
    kafka: type[Producer], memory: InMemorySpanExporter
) -> None:
    async with TickSender(SETTINGS, 5) as sender:
        await sender.send(1, RECORDS)
        await sender.flush()
    spans = memory.get_finished_spans()
    assert [each.name for each in spans] == ["send ticks", "send ticks"]
    attributes = [dict(each.attributes or {}) for each in spans]
    assert [each["messaging.kafka.offset"] for each in attributes] == [0, 5]
    assert [each["candlewick.offset.next"] for each in attributes] == [5, 10]
    assert {each["messaging.destination.partition.id"] for each in attributes} == {"1"}
    assert spans[0].resource.attributes["service.name"] == "candlewick-feed"


async def test_a_batch_that_is_refused_leaves_one_with_its_reason(
    kafka: type[Producer], memory: InMemorySpanExporter
) -> None:
    kafka.failure = KafkaConnectionError("away")
    with pytest.raises(KafkaConnectionError):  # noqa: PT012 - and what it leaves
        async with TickSender(SETTINGS) as sender:
            await sender.send(1, RECORDS)
            await sender.flush()
    (span,) = memory.get_finished_spans()
    assert (span.attributes or {})["error.type"] == "KafkaConnectionError"
    assert not span.status.is_ok
