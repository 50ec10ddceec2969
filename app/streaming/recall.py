"""Reading a stretch of the source log a second time, for what only the log can say.

It is read by a consumer of its own, so the partition's position does not move; nothing else of the
worker's agent goes on meanwhile. What was read stays with the state's `Recall`: after a fault the
reading goes on where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.contracts.batch import RecordBatch
from app.streaming.protocols import Recall
from app.streaming.restore import POLL_MILLISECONDS, bounds
from app.streaming.slim import SlimBatch
from app.streaming.transport import merge_batches

_MILLISECOND = 1_000_000


async def read_again(
    consumer: AIOKafkaConsumer,
    source: TopicPartition,
    recall: Recall,
    wanted: Callable[[], bool],
) -> bool:
    """Give a stretch of the log to a recall; false where the log does not hold it.

    Args:
        wanted: whether to go on; where it says no, the stretch is left unfinished.

    Raises:
        aiokafka.errors.KafkaError: no broker answers.
    """
    limits = (await bounds(consumer, [source]))[source]
    if limits.first > recall.first:
        return False
    consumer.assign([source])
    consumer.seek(source, recall.first)
    while recall.first < recall.end and wanted():
        fetched = await consumer.getmany(source, timeout_ms=POLL_MILLISECONDS)
        following = await consumer.position(source)
        for batch in _batches(source, recall.first, following, fetched.get(source, [])):
            recall.take(batch)
            # Forming bars and heart-beats of the loop go on between two batches.
            await asyncio.sleep(0)
    return True


def _batches(
    source: TopicPartition, base: int, following: int, fetched: list[Any]
) -> Iterator[RecordBatch]:
    """Batches from position `base` to `following`, whatever kind of records was fetched."""
    topic, partition = source.topic, source.partition
    if fetched and isinstance(fetched[0], SlimBatch):
        for batch in merge_batches(topic, partition, fetched):
            yield batch
            base = batch.next
    elif fetched:
        times = np.array([record.timestamp for record in fetched], dtype=np.int64)
        offsets = np.array([record.offset for record in fetched], dtype=np.int64)
        values = [record.value for record in fetched]
        yield RecordBatch(topic, partition, base, following, values, offsets, times * _MILLISECOND)
        return
    if base < following:
        # Only markers or aborted records; or the end of them was not told.
        none = np.zeros(0, dtype=np.int64)
        yield RecordBatch(topic, partition, base, following, [], none, none)
