"""Records to the topic `ticks` or `quotes`: own batches, order kept, nothing lost, nothing twice.

An idempotent producer with all acks. Batches are made here, because their size shows up in
tests and benchmarks; each partition has a task that sends its batches one after the other while
the next is filled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError, UnknownTopicOrPartitionError

from app.connection import client_options
from app.observe.tracing import make_tracing
from app.settings import Settings
from app.streaming.compression import use_fast_lz4
from app.topics import ticks_topic

if TYPE_CHECKING:
    from app.observe.spans import Tracing

#: Records of a batch unless told otherwise: enough to make the cost of a batch vanish.
BATCH_RECORDS: Final = 4_000
#: Uncompressed bytes of a batch; the topic's limit, if that is less.
BATCH_BYTES: Final = 768 * 1024
#: The same in topic limits, where the number of records is asked for and batches are compressed:
#: the broker's limit is for the compressed batch, and trades compress to about a tenth.
COMPRESSIBLE_LIMITS: Final = 4
#: Batches of a partition that wait for the one on its way.
BATCHES_WAITING: Final = 2
#: Room for a batch's own header within the topic's limit.
BATCH_HEADER: Final = 1024
#: Give up a batch that is not acknowledged for so long. aiokafka's idempotent producer itself
#: never does (0.14, sender.py, `_can_retry`), and its `stop` waits for what never arrives.
DELIVERY_SECONDS: Final = 60.0
#: For the topic to be known to the broker.
TOPIC_SECONDS: Final = 10.0


class TickSender:
    """An open producer on an input topic of these settings; use it in `async with`.

    Leaving it by an exception (cancellation, too) abandons what is not yet acknowledged.

    Args:
        settings: broker, topic, compression and limits.
        batch_records: at most so many records in a batch.
        delivery_seconds: how long the broker may be away.
        topic: its full name; None: the topic `ticks`.

    Raises:
        BrokerUnreachableError: no address is configured.
        KafkaError: from every method: the broker is away, the topic is missing, or a batch was
            refused. Then an unknown part of what was sent after the last `flush` is in the topic.
    """

    def __init__(
        self,
        settings: Settings,
        batch_records: int | None = None,
        delivery_seconds: float = DELIVERY_SECONDS,
        topic: str | None = None,
    ) -> None:
        if batch_records is not None and batch_records < 1:
            raise ValueError(f"batch_records {batch_records}; expected at least 1")
        limit = settings.topics.max_message_bytes
        compressed = settings.topics.compression != "none"
        size = min(BATCH_BYTES, limit - BATCH_HEADER)
        if batch_records is not None and compressed:
            size = COMPRESSIBLE_LIMITS * limit
        self.topic = ticks_topic(settings) if topic is None else topic
        self.partitions = 0
        #: Records that Kafka has acknowledged, by partition.
        self.acknowledged: list[int] = []
        self._batch_records = batch_records or BATCH_RECORDS
        self._delivery_seconds = delivery_seconds
        self._options: dict[str, Any] = {
            **client_options(settings),
            "acks": "all",
            "enable_idempotence": True,
            "compression_type": settings.topics.compression if compressed else None,
            "max_batch_size": size,
            "max_request_size": limit,
            "linger_ms": 0,
        }
        self._producer: Any = None
        self._open: list[Any] = []
        self._queues: list[asyncio.Queue[Any]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: Exception | None = None
        self._settings = settings
        self._tracing: Tracing | None = None

    async def __aenter__(self) -> Self:
        use_fast_lz4()
        self._producer = AIOKafkaProducer(**self._options)
        try:
            self._tracing = make_tracing(self._settings, "feed")
            await self._producer.start()
            self.partitions = await self._count_partitions()
        except BaseException:
            # Also when it is cancelled: nobody else knows of it.
            await self._producer.stop()
            await self._end_traces()
            raise
        self.acknowledged = [0] * self.partitions
        self._open = [None] * self.partitions
        self._queues = [asyncio.Queue(BATCHES_WAITING) for _ in range(self.partitions)]
        self._tasks = [
            asyncio.create_task(self._deliver(partition)) for partition in range(self.partitions)
        ]
        return self

    async def _count_partitions(self) -> int:
        try:
            async with asyncio.timeout(TOPIC_SECONDS):
                return len(await self._producer.partitions_for(self.topic))
        except TimeoutError:
            raise UnknownTopicOrPartitionError(f"no topic {self.topic} on the broker") from None

    async def _end_traces(self) -> None:
        tracing, self._tracing = self._tracing, None
        if tracing is not None:
            await tracing.close()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            if error is not None:
                # Without its task `stop` has nothing to wait for; see DELIVERY_SECONDS.
                await self._producer._sender.close()
            await self._producer.stop()
        finally:
            await self._end_traces()

    async def send(
        self, partition: int, records: Iterable[tuple[bytes | None, bytes | None]]
    ) -> None:
        """Add (key, value) records to the partition's batches; full ones go on their way."""
        limit = self._batch_records
        now = time.time_ns() // 1_000_000
        batch = self._open[partition]
        room = 0 if batch is None else limit - batch.record_count()
        for key, value in records:
            if batch is None:
                batch, room = self._producer.create_batch(), limit
            if batch.append(timestamp=now, key=key, value=value) is None:
                await self._hand_over(partition, batch)
                batch, room = self._producer.create_batch(), limit
                batch.append(timestamp=now, key=key, value=value)
            room -= 1
            if not room:
                batch.close()
                await self._hand_over(partition, batch)
                batch = None
        self._open[partition] = batch

    async def push(self) -> None:
        """Send what is begun, without waiting for it to arrive."""
        for partition, batch in enumerate(self._open):
            if batch is not None:
                self._open[partition] = None
                batch.close()
                await self._hand_over(partition, batch)

    async def flush(self) -> None:
        """Send what is begun and wait until Kafka has acknowledged all of it."""
        await self.push()
        for queue in self._queues:
            await queue.join()
        self._check()

    async def _hand_over(self, partition: int, batch: Any) -> None:
        self._open[partition] = None
        await self._queues[partition].put(batch)
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _deliver(self, partition: int) -> None:
        """Send a partition's batches in order; after a failure, drop them."""
        queue, producer, tracing = self._queues[partition], self._producer, self._tracing
        while True:
            batch = await queue.get()
            count, began = batch.record_count(), time.perf_counter()
            try:
                if self._failure is None:
                    async with asyncio.timeout(self._delivery_seconds):
                        sent = await producer.send_batch(batch, self.topic, partition=partition)
                        where = await sent
                    self.acknowledged[partition] += count
                    if tracing is not None:
                        first = where.offset if where.offset >= 0 else None
                        tracing.sent(self.topic, partition, first, count, began)
            except TimeoutError:
                seconds = self._delivery_seconds
                late = KafkaTimeoutError(f"no acknowledgement within {seconds:g} s")
                self._fail(partition, count, began, late)
            except Exception as error:  # noqa: BLE001
                # Of whatever kind: `send` raises it. It would wait for room in the queue for ever
                # if this task ended here.
                self._fail(partition, count, began, error)
            finally:
                queue.task_done()

    def _fail(self, partition: int, count: int, began: float, error: Exception) -> None:
        self._failure = error
        if self._tracing is not None:
            self._tracing.sent(self.topic, partition, None, count, began, error)
