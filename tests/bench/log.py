"""The broker's side of the bench: topics, the input written once, and what was committed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from app.admin import ensure_topics
from app.feeds.producer import TickSender
from app.settings import Settings
from app.topics import ticks_topic
from tests.bench.ticks import Ticks, chunks

SECONDS = 30.0
HISTORICAL = b'{"type":"historical"}'
FLUSH = b'{"type":"flush"}'


def servers(settings: Settings) -> str:
    """The broker as `host:port`."""
    return str(settings.broker.url).removeprefix("kafka://")


def write_ticks(settings: Settings, ticks: Ticks, *, control: bool) -> int:
    """Make the topics and write the trades as `candlewick replay` would; the records written."""
    return asyncio.run(_write(settings, ticks, control))


async def _write(settings: Settings, ticks: Ticks, control: bool) -> int:
    await ensure_topics(settings)
    partitions = range(settings.topics.partitions)
    async with TickSender(settings) as sender:
        if control:
            for partition in partitions:
                await sender.send(partition, [(None, HISTORICAL)])
        for routed in chunks(ticks, settings.topics.partitions):
            for partition, values in enumerate(routed):
                await sender.send(partition, [(None, value) for value in values])
        if control:
            for partition in partitions:
                await sender.send(partition, [(None, FLUSH)])
        await sender.flush()
        return sum(sender.acknowledged)


def make_topics(settings: Settings, names: dict[str, int]) -> None:
    """Make plain topics, name to partitions."""
    client = AdminClient({"bootstrap.servers": servers(settings)})
    made = client.create_topics([NewTopic(name, count, 1) for name, count in names.items()])
    for future in made.values():
        future.result(SECONDS)


class GroupWatch:
    """Looks at a group's committed offsets without joining it."""

    def __init__(self, settings: Settings, group: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": servers(settings), "group.id": group})
        topic = ticks_topic(settings)
        self._partitions = [
            TopicPartition(topic, each) for each in range(settings.topics.partitions)
        ]
        self._ends = [
            self._consumer.get_watermark_offsets(partition, timeout=SECONDS)[1]
            for partition in self._partitions
        ]

    def at_end(self) -> bool:
        """Whether every partition is committed to the end of the log."""
        found = self._consumer.committed(self._partitions, timeout=SECONDS)
        return all(each.offset >= end for each, end in zip(found, self._ends, strict=True))

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()


def committed_values(settings: Settings, topic: str) -> Iterator[bytes]:
    """All values of a topic that `read_committed` readers see, to its present end."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers(settings),
            "group.id": "bench-oracle",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    try:
        open_partitions = set(range(settings.topics.partitions))
        consumer.assign([TopicPartition(topic, each, 0) for each in open_partitions])
        deadline = time.monotonic() + SECONDS
        while open_partitions:
            # It waits for that many, or for all of its time.
            messages = consumer.consume(10_000, timeout=0.1)
            if messages:
                deadline = time.monotonic() + SECONDS
            elif time.monotonic() > deadline:
                raise KafkaException(f"{topic}: nothing for {SECONDS:g} s before its end")
            for message in messages:
                error = message.error()
                if error is None:
                    yield message.value() or b""
                elif error.code() == KafkaError._PARTITION_EOF:
                    open_partitions.discard(message.partition())
                else:
                    raise KafkaException(error)
    finally:
        consumer.close()
