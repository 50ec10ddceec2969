"""Reading a stretch of the source log a second time, for what only the log can say.

It is read by a consumer of its own, so the partition's position does not move; nothing else of the
worker's agent goes on meanwhile. What was read stays with the state's `Recall`: after a fault the
reading goes on where it was. One consumer reads for all that a batch asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from app.contracts.batch import RecordBatch
from app.streaming.merging import merge_batches
from app.streaming.protocols import Recall
from app.streaming.restore import POLL_MILLISECONDS, bounds, retry_delay
from app.streaming.slim import SlimBatch

if TYPE_CHECKING:
    from app.streaming.runner import PartitionRunner

_MILLISECOND = 1_000_000


async def take_rest(
    runner: PartitionRunner,
    batch: RecordBatch,
    open_reader: Callable[[], AbstractAsyncContextManager[AIOKafkaConsumer]],
) -> bool:
    """Give a state what it asks of the log until it has taken a whole batch.

    False where the state was dropped meanwhile. A broker that is away is waited for.
    """
    state = runner.state

    def wanted() -> bool:
        return runner.ready and runner.state is state

    def asked() -> Recall | None:
        return state.recall if wanted() else None

    attempt = 0
    while asked() is not None:
        try:
            async with open_reader() as reader:
                while (recall := asked()) is not None:
                    whole = await read_again(reader, runner.source, recall, wanted)
                    if not wanted():
                        return False
                    state.recalled(whole=whole)
                    attempt = 0
                    if asked() is None and not runner.accept(batch.since(runner.position)):
                        return False
        except (KafkaError, OSError) as error:
            delay = retry_delay(attempt)
            attempt += 1
            runner.log.warning(
                "%s %d: the log cannot be read again: %r; again in %.1f s",
                runner.stage.agent, runner.partition, error, delay,
                extra={"error": type(error).__name__, "seconds": delay},
            )  # fmt: skip
            await asyncio.sleep(delay)
        except Exception as error:
            # As with a batch: whatever it is, nothing may be skipped.
            runner.log.exception("%s %d: a recall failed", runner.stage.agent, runner.partition)
            if wanted():
                runner.fail(error)
    return wanted()


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
