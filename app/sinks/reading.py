"""How a sink reads: committed records, in a group of its own, a fetch as batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError

from app.connection import client_options
from app.contracts.batch import RecordBatch
from app.settings import Settings
from app.sinks.groups import sink_group
from app.streaming.slim import SlimBatch
from app.streaming.transport import MAX_RECORDS, merge_batches
from app.streaming.tuning import close_fetchers_whole

logger = logging.getLogger(__name__)

#: Of a partition and of a whole fetch, compressed: what is read beyond `sinks.max_held_bytes`, and
#: unpacked at once in the event loop that the engine shares (some 15 ms).
PARTITION_BYTES: Final = 512 * 1024
FETCH_BYTES: Final = 1024 * 1024
#: The broker answers at once where there is something.
FETCH_WAIT_MILLISECONDS: Final = 200
#: Seconds to leave the group and close the connections; longer only while no broker answers.
CLOSE_SECONDS: Final = 5.0
_MILLISECOND: Final = 1_000_000


class Reader(Protocol):
    """What the loop needs of `AIOKafkaConsumer`, whose documentation says what each does."""

    def subscribe(self, *, topics: Sequence[str], listener: ConsumerRebalanceListener) -> None: ...

    async def getmany(self, *, timeout_ms: int) -> Mapping[TopicPartition, Sequence[Any]]: ...

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None: ...

    async def committed(self, partition: TopicPartition) -> int | None: ...

    async def beginning_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]: ...

    async def end_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> Mapping[TopicPartition, int]: ...

    def last_stable_offset(self, partition: TopicPartition) -> int | None: ...

    def seek(self, partition: TopicPartition, offset: int) -> None: ...

    def paused(self) -> set[TopicPartition]: ...

    def pause(self, *partitions: TopicPartition) -> None: ...

    def resume(self, *partitions: TopicPartition) -> None: ...


def batches(
    tp: TopicPartition, fetched: Sequence[Any], expected: int | None
) -> Iterator[RecordBatch]:
    """Yield a fetch as batches, one behind the other; both ways of reading.

    Args:
        expected: where the last one ended. aiokafka's own record objects do not say where holes
            are, so then a batch is taken to begin there.
    """
    if isinstance(fetched[0], SlimBatch):
        yield from merge_batches(tp.topic, tp.partition, fetched)
        return
    base = fetched[0].offset if expected is None else min(expected, fetched[0].offset)
    for begin in range(0, len(fetched), MAX_RECORDS):
        part = fetched[begin : begin + MAX_RECORDS]
        following = part[-1].offset + 1
        yield RecordBatch(
            tp.topic,
            tp.partition,
            base,
            following,
            [record.value for record in part],
            np.array([record.offset for record in part], dtype=np.int64),
            np.array([record.timestamp for record in part], dtype=np.int64) * _MILLISECOND,
        )
        base = following


def first_position(fetched: Sequence[Any]) -> int:
    """Return where a fetch begins."""
    first = fetched[0]
    return int(first.base if isinstance(first, SlimBatch) else first.offset)


@asynccontextmanager
async def group_reader(
    settings: Settings, sink: str, longest: float
) -> AsyncIterator[AIOKafkaConsumer]:
    """Open a consumer of committed records in a sink's group; it subscribes to nothing yet.

    Args:
        longest: seconds that one call of the driver may take: the others wait for it before they
            take a partition over, so that a partition never has two writers.
    """
    broker = settings.broker
    wait = round((longest + CLOSE_SECONDS) * 1_000)
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        client_id=f"candlewick-sink-{sink}",
        group_id=sink_group(settings, sink),
        enable_auto_commit=False,
        isolation_level="read_committed",
        # What was there before the sink is written, too.
        auto_offset_reset="earliest",
        session_timeout_ms=broker.session_timeout // _MILLISECOND,
        heartbeat_interval_ms=broker.heartbeat_interval // _MILLISECOND,
        rebalance_timeout_ms=wait,
        max_poll_interval_ms=2 * wait,
        max_partition_fetch_bytes=PARTITION_BYTES,
        fetch_max_bytes=FETCH_BYTES,
        fetch_max_wait_ms=FETCH_WAIT_MILLISECONDS,
        check_crcs=broker.check_crcs,
    )
    close_fetchers_whole()
    try:
        await consumer.start()
        yield consumer
    finally:
        await _close(consumer)


async def _close(consumer: AIOKafkaConsumer) -> None:
    """Close a consumer; without a broker, not waiting for it to leave its group."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await consumer.stop()
    except (TimeoutError, KafkaError) as error:
        logger.debug("closing a consumer: %r", error)
        await consumer._client.close()


async def lags(
    reader: Reader, positions: Mapping[TopicPartition, int | None]
) -> dict[TopicPartition, int]:
    """Return how many offsets each partition is behind its end, by asking the broker.

    Args:
        positions: None where only the group knows it.

    Raises:
        aiokafka.errors.KafkaError: no broker answers.
    """
    partitions = list(positions)
    ends = await reader.end_offsets(partitions)
    found = {}
    firsts: Mapping[TopicPartition, int] = {}
    for tp, position in positions.items():
        known = position if position is not None else await reader.committed(tp)
        if known is None:
            firsts = firsts or await reader.beginning_offsets(partitions)
            known = firsts[tp]
        found[tp] = max(0, ends[tp] - known)
    return found
