"""One checkpoint as one Kafka transaction, and the producer that fences previous owners."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    BrokerResponseError,
    KafkaError,
    ProducerFenced,
    TopicAuthorizationFailedError,
)
from aiokafka.producer.message_accumulator import BatchBuilder

from app.contracts.outputs import LEFT_OUT, RoutedRecord
from app.observe.filters import note_taken
from app.streaming.packing import PackedBatch, Row, compress_all, pack_batches

logger = logging.getLogger(__name__)

#: Bytes of a record batch; larger single records travel alone.
BATCH_BYTES = 256 * 1024
#: Of a checkpoint, from which on it is compressed in a thread while the worker goes on: 1 ms.
THREAD_BYTES = 128 * 1024
#: Seconds to wait for a producer that is dropped; its transaction is aborted by the next owner.
STOP_SECONDS = 5.0
#: Of a batch with one record, for headers and framing.
LETTER_HEADROOM = 8 * 1024
#: Seconds for requests under way of a producer that is given up.
ABANDON_SECONDS = 0.2
#: Seconds for the question which topics there are.
ASK_SECONDS = 2.0


class CoordinatorSilentError(KafkaError):  # type: ignore[misc]
    """The transaction coordinator does not make a producer; waiting helps."""

    retriable = True


class TopicRefusesError(KafkaError):  # type: ignore[misc]
    """A topic does not take what a checkpoint sends to it; the message names topic and reason."""


class TransactionTimedOutError(ProducerFenced):  # type: ignore[misc]
    """A transaction was open for longer than `transaction_timeout`: the broker ends it.

    It says no more than to a producer that another one has fenced.
    """


@dataclass(frozen=True, slots=True)
class ProducerOptions:
    """What a transactional producer needs; durations in milliseconds."""

    #: See `app.connection.client_options`; holds a password.
    connection: Mapping[str, Any] = field(repr=False)
    transactional_id: str
    transaction_timeout: int
    request_timeout: int
    max_request_bytes: int
    #: Of a batch of small records.
    max_batch_bytes: int
    compression: str | None
    #: Of topics whose records may be larger than they take: bytes of a batch that they take.
    limits: Mapping[str, int]


def _nothing() -> None:
    """Nobody wants to know."""


class TransactionalProducer:
    """Publishes checkpoints of one partition of one agent."""

    def __init__(self, options: ProducerOptions) -> None:
        self._transaction_seconds = options.transaction_timeout / 1000
        self._producer = AIOKafkaProducer(
            **options.connection,
            client_id=options.transactional_id,
            transactional_id=options.transactional_id,
            transaction_timeout_ms=options.transaction_timeout,
            request_timeout_ms=options.request_timeout,
            max_batch_size=min(BATCH_BYTES, options.max_batch_bytes),
            max_request_size=options.max_request_bytes,
            compression_type=options.compression,
            retry_backoff_ms=20,
        )
        self._batch_bytes = min(BATCH_BYTES, options.max_batch_bytes)
        self._compression = options.compression
        self._name = options.transactional_id
        self._limits = options.limits
        #: Batches of the last transaction, for traces: where each is, and its records.
        self.sent: list[tuple[asyncio.Future[Any], int]] = []
        #: Of these, before compression.
        self.sent_bytes = 0
        #: A transaction was begun and has not ended well: nothing more may be sent.
        self._broken = False
        self._start_seconds = max(options.request_timeout, options.transaction_timeout) / 1000

    async def start(self) -> None:
        """Fence the previous owner; its open transaction is aborted when this returns.

        Raises:
            aiokafka.errors.KafkaError: no broker or coordinator answers, or not in time: aiokafka
                itself asks forever (0.14, sender.py, `_maybe_wait_for_pid`).
        """
        try:
            async with asyncio.timeout(self._start_seconds):
                await self._producer.start()
        except TimeoutError:
            raise CoordinatorSilentError(
                f"no producer for the transactional id {self._name} within "
                f"{self._start_seconds:g} s: its coordinator does not answer, or cannot end the "
                "transaction before"
            ) from None

    @property
    def client(self) -> AIOKafkaClient:
        """The producer's client, for questions about topics."""
        return self._producer.client

    async def publish(
        self,
        partition: int,
        records: Mapping[str, Sequence[Row | RoutedRecord]],
        changelog: str,
        source: TopicPartition,
        position: int,
        group: str,
        acknowledged: Callable[[], None] = _nothing,
    ) -> int:
        """Send records of all topics and the source position; the next changelog offset.

        It takes no longer than the transaction may: then the broker aborts it anyway, and tells
        that in the words of fencing. aiokafka itself would wait forever.

        Args:
            partition: of all records that name none of their own.
            records: by topic; the changelog's among them.
            acknowledged: called when `sent` is known, before anybody can read what was sent.

        Raises:
            TopicRefusesError: a topic is missing or does not take its records; nothing is visible.
            TransactionTimedOutError: it took too long.
            aiokafka.errors.KafkaError: nothing of it is visible to `read_committed` readers,
                or (if the answer to the commit was lost) all of it.
        """
        producer = self._producer
        began = time.monotonic()
        self._broken = True
        self.sent, self.sent_bytes = [], 0
        sent: list[tuple[str, asyncio.Future[Any]]] = []
        places: set[TopicPartition] = set()
        ends: list[tuple[Any, int]] = []
        try:
            async with asyncio.timeout(self._transaction_seconds):
                batches = [
                    (topic, number, *each)
                    for topic, number, rows in _by_partition(records, partition)
                    for each in self._batches(rows, self._limits.get(topic))
                ]
                # Before anything is compressed.
                self.sent_bytes = sum(batch.size() for _, _, batch, _ in batches)
                if self.sent_bytes >= THREAD_BYTES:
                    packed = [each[2] for each in batches if isinstance(each[2], PackedBatch)]
                    await asyncio.to_thread(compress_all, packed)
                await producer.begin_transaction()
                for topic, number, batch, count in batches:
                    future = await producer.send_batch(batch, topic, partition=number)
                    sent.append((topic, future))
                    self.sent.append((future, count))
                    places.add(TopicPartition(topic, number))
                    if topic == changelog:
                        ends.append((future, count))
                await producer.send_offsets_to_transaction({source: position}, group)
                for topic, future in sent:
                    await _taken(topic, future)
                last, count = ends[-1]
                following: int = last.result().offset + count
                acknowledged()
                await producer.commit_transaction()
            self._broken = False
            note_taken(places, time.monotonic())
        except TimeoutError:
            raise await self._not_in_time(records) from None
        except TopicAuthorizationFailedError as error:
            # Of the coordinator, before anything is sent; its argument is a set of topics.
            names = ", ".join(sorted(error.args[0]))
            raise TopicRefusesError(f"topic {names} refuses records: {_name(error)}") from error
        except ProducerFenced as error:
            seconds = time.monotonic() - began
            if seconds < self._transaction_seconds:
                raise
            raise TransactionTimedOutError(f"it was open for {seconds:.1f} s") from error
        finally:
            # Otherwise aiokafka logs "exception was never retrieved" for each of them.
            for _, future in sent:
                future.add_done_callback(_retrieve)
        return following

    async def _not_in_time(self, topics: Collection[str]) -> KafkaError:
        """Why nothing was published in time: a topic that is gone is waited for without a word."""
        within = f"within {self._transaction_seconds:g} s"
        try:
            async with asyncio.timeout(ASK_SECONDS):
                cluster = await self.client.fetch_all_metadata()
        except Exception as error:  # noqa: BLE001
            # Whatever it is: the time is up all the same.
            logger.debug("asking which topics there are: %r", error)
            return TransactionTimedOutError(f"no answer from the broker {within}")
        missing = [topic for topic in topics if not cluster.partitions_for_topic(topic)]
        if missing:
            return TopicRefusesError(f"there is no topic {', '.join(missing)}")
        return TransactionTimedOutError(f"it did not end {within}")

    def _batches(
        self, rows: Sequence[Row], limit: int | None
    ) -> Iterable[tuple[BatchBuilder, int]]:
        if limit is not None:
            rows = [self._fitting(row, limit) for row in rows]
        packed = pack_batches(rows, self._batch_bytes, self._compression)
        return self._built(rows) if packed is None else packed

    def _built(self, rows: Sequence[Row]) -> Iterator[tuple[BatchBuilder, int]]:
        """By aiokafka's builder."""
        producer = self._producer
        batch = producer.create_batch()
        count = 0
        for key, value, headers in rows:
            if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
                batch.close()
                yield batch, count
                batch = producer.create_batch()
                count = 0
                if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
                    raise ValueError(f"a record of {len(value or b'')} bytes fits no batch")
            count += 1
        if count:
            batch.close()
            yield batch, count

    def _fitting(self, row: Row, limit: int) -> Row:
        """A record without its value, where the topic would not take it.

        A sender's codec may have got past the limit of the source a value that ours does not get
        past the limit here. Refused for ever, it would keep its partition for ever; the value stays
        in the source's log, and the header `value_bytes` says how long it is.
        """
        key, value, headers = row
        if value is None or len(value) <= limit - LETTER_HEADROOM:
            return row
        alone = self._producer.create_batch()
        alone.append(timestamp=None, key=key, value=value, headers=headers)
        # Its `size` is that before compression, until it is built.
        if len(alone._build()) <= limit:
            return row
        return key, None, [*headers, (LEFT_OUT, str(len(value)).encode())]

    async def stop(self) -> None:
        """Close; what a failed transaction still wants to send is dropped, not waited for."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await (abandon(self._producer) if self._broken else self._producer.stop())
        except Exception as error:  # noqa: BLE001
            # A fenced or disconnected producer raises what broke it: known already.
            logger.debug("closing a producer: %r", error)


async def abandon(producer: AIOKafkaProducer) -> None:
    """Close without aiokafka's `stop`, which sends first and waits for that forever.

    A producer left alone goes on trying until the broker is back, hundreds of times a second where
    it does not know a leader (0.14, sender.py, `unknown_leaders_exist`).
    """
    producer._closed = True
    task = producer._sender.sender_task
    # The first makes it wait for its requests, the second ends that.
    for _ in range(2):
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=ABANDON_SECONDS)
    await producer.client.close()


async def _taken(topic: str, future: asyncio.Future[Any]) -> None:
    try:
        await future
    except BrokerResponseError as error:
        # Of a produce request: the broker's answer about this very topic.
        raise TopicRefusesError(f"topic {topic} refuses records: {_name(error)}") from error


def _name(error: Exception) -> str:
    return type(error).__name__


def _retrieve(future: asyncio.Future[object]) -> None:
    if not future.cancelled():
        future.exception()


def _by_partition(
    records: Mapping[str, Sequence[Row | RoutedRecord]], partition: int
) -> Iterator[tuple[str, int, Sequence[Row]]]:
    """Topic, partition and rows; `partition` is that of records that name none."""
    for topic, rows in records.items():
        if not isinstance(rows[0], RoutedRecord):
            yield topic, partition, cast("Sequence[Row]", rows)
            continue
        routed: dict[int, list[Row]] = {}
        for row in cast("Sequence[RoutedRecord]", rows):
            routed.setdefault(row.partition, []).append(row[:3])
        for number, group in sorted(routed.items()):
            yield topic, number, group
