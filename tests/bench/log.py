"""The broker's side of the bench: topics, the input written once, and what was committed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from app.admin import ensure_topics
from app.feeds.producer import TickSender
from app.settings import Settings
from app.topics import ticks_topic
from tests.bench.ticks import FULL, JSON, Ticks, chunks, keyed_chunks

SECONDS = 30.0
HISTORICAL = b'{"type":"historical"}'
FLUSH = b'{"type":"flush"}'


def servers(settings: Settings) -> str:
    """The broker as `host:port`."""
    return str(settings.broker.url).removeprefix("kafka://")


def write_ticks(
    settings: Settings,
    ticks: Ticks,
    *,
    control: bool,
    record: str = FULL,
    keyed: bool = False,
    form: str = JSON,
) -> int:
    """Make the topics and write the trades as `candlewick replay` would; the records written.

    Args:
        control: with what a replay writes before and after.
        record: of `ticks.RECORDS`.
        keyed: with the symbol as key, which ours does not need; then JSON.
        form: of `ticks.FORMS`.
    """
    return asyncio.run(_write(settings, control, _routed(settings, ticks, record, keyed, form)))


def _routed(
    settings: Settings, ticks: Ticks, record: str, keyed: bool, form: str
) -> Iterator[list[list[tuple[bytes | None, bytes]]]]:
    partitions = settings.topics.partitions
    if keyed:
        for pairs in keyed_chunks(ticks, partitions, record=record):
            yield [list(part) for part in pairs]
    else:
        for values in chunks(ticks, partitions, record=record, form=form):
            yield [[(None, value) for value in part] for part in values]


async def _write(
    settings: Settings,
    control: bool,
    routed: Iterable[list[list[tuple[bytes | None, bytes]]]],
) -> int:
    await ensure_topics(settings)
    partitions = range(settings.topics.partitions)
    async with TickSender(settings) as sender:
        if control:
            for partition in partitions:
                await sender.send(partition, [(None, HISTORICAL)])
        for chunk in routed:
            for partition, records in enumerate(chunk):
                await sender.send(partition, records)
        if control:
            for partition in partitions:
                await sender.send(partition, [(None, FLUSH)])
        await sender.flush()
        return sum(sender.acknowledged)


def make_topics(settings: Settings, names: dict[str, int]) -> None:
    """Make plain topics, name to partitions; records as old as their events are kept."""
    client = AdminClient({"bootstrap.servers": servers(settings)})
    kept = {"retention.ms": "-1"}
    topics = [NewTopic(name, count, 1, config=kept) for name, count in names.items()]
    made = client.create_topics(topics)
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
