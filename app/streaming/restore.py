"""From the changelog to a store that is as far as the last stable offset.

Called after the partition's previous owner was fenced, so that nothing can be added behind it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from app.streaming import slim
from app.streaming.store import PartitionStore, StoreDamagedError

logger = logging.getLogger(__name__)

#: Bytes of rows collected for one RocksDB write.
WRITE_BYTES = 4 * 1024 * 1024
#: Kafka's default `delete.retention.ms`: older stores may have missed tombstones.
TOMBSTONE_SECONDS = 24 * 3600
POLL_MILLISECONDS = 500
RETRY_MILLISECONDS = 10
#: Seconds between attempts while a broker is away; the last one from then on.
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)


def retry_delay(attempt: int) -> float:
    """Seconds to wait after a failed attempt, counted from 0."""
    return RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Offsets of a partition: the first that is kept, and the last stable one plus one."""

    first: int
    end: int


@asynccontextmanager
async def changelog_reader(
    connection: Mapping[str, Any], request_timeout: int
) -> AsyncIterator[AIOKafkaConsumer]:
    """Open a consumer without a group that reads committed records.

    Args:
        connection: see `app.connection.client_options`.
        request_timeout: in ms.
    """
    consumer = AIOKafkaConsumer(
        **connection,
        client_id="candlewick-restore",
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        request_timeout_ms=request_timeout,
        max_partition_fetch_bytes=4 * 1024 * 1024,
        # aiokafka sleeps so long when it is asked for a topic that it has not heard of: twice in a
        # restore, which were 0.2 of its 0.3 s with the default of 100 ms.
        retry_backoff_ms=RETRY_MILLISECONDS,
        # What is asked behind a fetch at the log's end waits for it, on the same connection.
        fetch_max_wait_ms=10,
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


async def bounds(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition]
) -> dict[TopicPartition, Bounds]:
    """Bounds of existing partitions.

    Raises:
        aiokafka.errors.KafkaError: no broker answers.
    """
    first = await consumer.beginning_offsets(partitions)
    end = await consumer.end_offsets(partitions)
    return {tp: Bounds(first[tp], end[tp]) for tp in partitions}


def usable_position(
    store: PartitionStore, changelog_id: str, limits: Bounds, now: float
) -> int | None:
    """Where the store goes on in the changelog; None where it must be rebuilt, with a log line."""
    try:
        position = store.position
    except StoreDamagedError as error:
        logger.warning("%s: rebuilt from the changelog", error)
        return None
    if position is None:
        return None
    offset = position.changelog_next
    if position.changelog_id != changelog_id:
        fault = "belongs to another changelog topic"
    elif offset > limits.end:
        fault = f"is ahead of its changelog ({offset} > {limits.end})"
    elif offset < limits.first:
        fault = f"ends at {offset}, before its changelog begins ({limits.first})"
    elif now - position.written_at > TOMBSTONE_SECONDS:
        fault = f"is {(now - position.written_at) / 3600:.0f} h old and may have missed deletions"
    else:
        return offset
    logger.warning("%s %s: rebuilt from the changelog", store.folder, fault)
    return None


async def catch_up(
    consumer: AIOKafkaConsumer,
    store: PartitionStore,
    changelog: TopicPartition,
    changelog_id: str,
    limits: Bounds,
) -> tuple[int, int]:
    """Bring the store up to the changelog's end; its next offset, and the records read.

    Raises:
        aiokafka.errors.KafkaError: no broker answers.
    """
    offset = usable_position(store, changelog_id, limits, time.time())
    if offset is None:
        if not _is_new(store):
            store.clear()
        offset = limits.first
    if offset >= limits.end:
        return offset, 0
    consumer.assign([changelog])
    consumer.seek(changelog, offset)
    rows: dict[bytes, bytes | None] = {}
    size = records = 0
    while offset < limits.end:
        fetched = await consumer.getmany(changelog, timeout_ms=POLL_MILLISECONDS)
        for batch in fetched.get(changelog, ()):
            keys, values = _rows(batch)
            records += len(keys)
            rows.update(zip(keys, values, strict=True))
            size += sum(map(len, keys)) + sum(map(len, filter(None, values)))
        # The position also moves over commit markers and aborted batches.
        offset = await consumer.position(changelog)
        if size >= WRITE_BYTES:
            store.write(rows.items(), offset, changelog_id)
            rows, size = {}, 0
    store.write(rows.items(), offset, changelog_id)
    return offset, records


def _is_new(store: PartitionStore) -> bool:
    """Whether nothing was ever written, so that it need not be made anew: rows have a position."""
    try:
        return store.position is None
    except StoreDamagedError:
        return False


def _rows(fetched: object) -> tuple[list[bytes], list[bytes | None]]:
    if isinstance(fetched, slim.SlimBatch):
        return fetched.keys or [], fetched.values  # type: ignore[return-value]
    return [fetched.key], [fetched.value]  # type: ignore[attr-defined]
