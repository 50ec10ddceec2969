"""One checkpoint as one Kafka transaction, and the producer that fences previous owners."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient

from app.contracts.outputs import Headers

logger = logging.getLogger(__name__)

#: Bytes of a record batch; larger single records travel alone.
BATCH_BYTES = 256 * 1024
#: Seconds to wait for a producer that is dropped; its transaction is aborted by the next owner.
STOP_SECONDS = 5.0
Row = tuple[bytes | None, bytes | None, Headers]


@dataclass(frozen=True, slots=True)
class ProducerOptions:
    """What a transactional producer needs; durations in milliseconds."""

    #: See `app.connection.client_options`; holds a password.
    connection: Mapping[str, Any] = field(repr=False)
    transactional_id: str
    transaction_timeout: int
    request_timeout: int
    max_request_bytes: int
    compression: str | None


class TransactionalProducer:
    """Publishes checkpoints of one partition of one agent."""

    def __init__(self, options: ProducerOptions) -> None:
        self._producer = AIOKafkaProducer(
            **options.connection,
            client_id=options.transactional_id,
            transactional_id=options.transactional_id,
            transaction_timeout_ms=options.transaction_timeout,
            request_timeout_ms=options.request_timeout,
            max_batch_size=BATCH_BYTES,
            max_request_size=options.max_request_bytes,
            compression_type=options.compression,
            retry_backoff_ms=20,
        )

    async def start(self) -> None:
        """Fence the previous owner; its open transaction is aborted when this returns.

        Raises:
            aiokafka.errors.KafkaError: no broker or coordinator answers.
        """
        await self._producer.start()

    @property
    def client(self) -> AIOKafkaClient:
        """The producer's client, for questions about topics."""
        return self._producer.client

    async def publish(
        self,
        partition: int,
        records: Mapping[str, Sequence[Row]],
        changelog: str,
        source: TopicPartition,
        position: int,
        group: str,
    ) -> int:
        """Send records of all topics and the source position; the next changelog offset.

        Args:
            records: by topic, all for the same partition; the changelog's among them.

        Raises:
            aiokafka.errors.KafkaError: nothing of it is visible to `read_committed` readers,
                or (if the answer to the commit was lost) all of it.
        """
        producer = self._producer
        await producer.begin_transaction()
        sent: list[asyncio.Future[object]] = []
        ends: list[tuple[Any, int]] = []
        try:
            for topic, rows in records.items():
                for batch, count in self._batches(rows):
                    future = await producer.send_batch(batch, topic, partition=partition)
                    sent.append(future)
                    if topic == changelog:
                        ends.append((future, count))
            await producer.send_offsets_to_transaction({source: position}, group)
            for future in sent:
                await future
            last, count = ends[-1]
            following: int = last.result().offset + count
            await producer.commit_transaction()
        finally:
            # Otherwise aiokafka logs "exception was never retrieved" for each of them.
            for future in sent:
                future.add_done_callback(_retrieve)
        return following

    def _batches(self, rows: Sequence[Row]) -> Iterable[tuple[object, int]]:
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

    async def stop(self) -> None:
        """Close; a broken producer is left behind after a while."""
        try:
            await asyncio.wait_for(self._producer.stop(), STOP_SECONDS)
        except Exception as error:  # noqa: BLE001
            # A fenced or disconnected producer raises what broke it: known already.
            logger.debug("closing a producer: %r", error)


def _retrieve(future: asyncio.Future[object]) -> None:
    if not future.cancelled():
        future.exception()
