"""How a sink reads: committed records, in a group of its own, a fetch as batches."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener

from app.contracts.batch import RecordBatch
from app.settings import Settings
from app.sinks.groups import sink_group
from app.streaming.beside import CLOSE_SECONDS, group_consumer
from app.streaming.merging import cut_records, merge_batches
from app.streaming.slim import SlimBatch

#: Of a partition and of a whole fetch, compressed: what is read beyond `sinks.max_held_bytes`, and
#: unpacked at once in the event loop that the engine shares (some 15 ms).
PARTITION_BYTES: Final = 512 * 1024
FETCH_BYTES: Final = 1024 * 1024
#: The broker answers at once where there is something.
FETCH_WAIT_MILLISECONDS: Final = 200


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
    first = first_position(fetched)
    base = first if expected is None else min(expected, first)
    yield from cut_records(tp.topic, tp.partition, fetched, base)


def first_position(fetched: Sequence[Any]) -> int:
    """Return where a fetch begins."""
    first = fetched[0]
    return int(first.base if isinstance(first, SlimBatch) else first.offset)


def group_reader(
    settings: Settings, sink: str, longest: float
) -> AbstractAsyncContextManager[AIOKafkaConsumer]:
    """Open a consumer in a sink's group; it subscribes to nothing yet.

    Args:
        longest: seconds that one call of the driver may take: the others wait for it before they
            take a partition over, so that a partition never has two writers.
    """
    wait = round((longest + CLOSE_SECONDS) * 1_000)
    return group_consumer(
        settings,
        sink_group(settings, sink),
        client_id=f"candlewick-sink-{sink}",
        rebalance_timeout_ms=wait,
        max_poll_interval_ms=2 * wait,
        max_partition_fetch_bytes=PARTITION_BYTES,
        fetch_max_bytes=FETCH_BYTES,
        fetch_max_wait_ms=FETCH_WAIT_MILLISECONDS,
    )


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
