"""Read topics plainly: all partitions, no group, from given offsets to given ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from app.connection import client_options, connect
from app.run.errors import UnknownTopicError
from app.settings import Settings

FETCH_BYTES = 4 * 1024 * 1024
#: Milliseconds to wait for records of a fetch.
WAIT_MILLISECONDS = 200


@asynccontextmanager
async def plain_consumer(
    settings: Settings, *, committed: bool = True, **options: Any
) -> AsyncIterator[AIOKafkaConsumer]:
    """Open a consumer without a group; `committed` reads committed transactions alone.

    Ask `partitions_of` first: aiokafka loops on a topic that does not exist.
    """
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        client_id="candlewick-reader",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed" if committed else "read_uncommitted",
        fetch_max_wait_ms=100,
        max_partition_fetch_bytes=FETCH_BYTES,
        check_crcs=settings.broker.check_crcs,
        **options,
    )
    await consumer.start()
    try:
        # aiokafka (0.14, group_coordinator.py, `NoGroupCoordinator.close`) awaits a task that it
        # has cancelled, which raises CancelledError, and hides what ended this, where the task
        # has not run once. To be removed when tests/broker/test_reader.py passes without it.
        await asyncio.sleep(0)
        yield consumer
    finally:
        await consumer.stop()


async def partitions_of(settings: Settings, topics: Iterable[str]) -> list[TopicPartition]:
    """Return all partitions of topics.

    Raises:
        BrokerUnreachableError: no broker answers.
        UnknownTopicError: a topic does not exist.
    """
    async with connect(settings) as client:
        described = {topic["topic"]: topic for topic in await client.describe_topics(None)}
    found = []
    for name in topics:
        if name not in described:
            raise UnknownTopicError(
                f"topic {name} does not exist; check the topic prefix and the deployment, or "
                "create it with `candlewick topics --create`"
            )
        found += [
            TopicPartition(name, entry["partition"]) for entry in described[name]["partitions"]
        ]
    return sorted(found)


async def bounds(
    settings: Settings, partitions: list[TopicPartition], *, committed: bool = False
) -> dict[TopicPartition, tuple[int, int]]:
    """Return the first offset and the end offset of each partition.

    The end is that of the log, not of what is `committed`: a group's offset may be visible a
    moment before the outputs of the same transaction are. `read_range` waits for those.
    """
    async with plain_consumer(settings, committed=committed) as consumer:
        first = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
    return {partition: (first[partition], ends[partition]) for partition in partitions}


async def read_range(
    settings: Settings, ranges: Mapping[TopicPartition, tuple[int, int]]
) -> AsyncIterator[tuple[TopicPartition, list[Any]]]:
    """Yield the committed records of each partition from its first to before its end offset.

    It ends when every partition's position has reached its end, also where the last offsets are
    commit markers or aborted records.
    """
    pending = {partition: end for partition, (first, end) in ranges.items() if end > first}
    if not pending:
        return
    async with plain_consumer(settings) as consumer:
        consumer.assign(list(pending))
        for partition in pending:
            consumer.seek(partition, ranges[partition][0])
        while pending:
            fetched = await consumer.getmany(timeout_ms=WAIT_MILLISECONDS)
            for partition, records in fetched.items():
                end = ranges[partition][1]
                if records and records[-1].offset >= end:
                    records = [record for record in records if record.offset < end]
                if records:
                    yield partition, records
            for partition in list(pending):
                if await consumer.position(partition) >= pending[partition]:
                    del pending[partition]
                    consumer.pause(partition)
