"""Whole topic partitions as a `read_committed` reader sees them, with confluent-kafka."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

METADATA_TIMEOUT = 30.0
#: A batch is waited for so long, in seconds, even where its end was already seen.
POLL_TIMEOUT = 0.2
#: A partition that gives nothing for so many polls has no readable end.
SILENT_POLLS = 300


class UnreadableTopicError(RuntimeError):
    """A topic that is not there, or a partition that cannot be read to its end."""


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record; `append_time` in ms, `headers` by name (the last value of each)."""

    offset: int
    append_time: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]


def _consumer(broker: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": broker.removeprefix("kafka://"),
            "group.id": f"oracle-{uuid.uuid4()}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }
    )


def _headers(message: Message) -> dict[str, bytes | None]:
    pairs = message.headers() or []
    return {
        name: value.encode() if isinstance(value, str) else value
        for name, value in (pairs.items() if isinstance(pairs, dict) else pairs)
    }


def partitions_of(broker: str, topic: str) -> int:
    """Number of partitions of a topic; `broker` with or without `kafka://`.

    Raises:
        UnreadableTopicError: there is no such topic.
    """
    consumer = _consumer(broker)
    try:
        # Of all topics: asking for one by its name may create it.
        found = consumer.list_topics(timeout=METADATA_TIMEOUT).topics.get(topic)
    finally:
        consumer.close()
    if found is None or not found.partitions:
        raise UnreadableTopicError(f"topic {topic!r} is not on {broker}")
    return len(found.partitions)


def read_partition(broker: str, topic: str, partition: int) -> Iterator[LogRecord]:
    """Give the committed records from the partition's first offset to its last stable one.

    Raises:
        UnreadableTopicError: the broker does not answer, or stamps by the producer's clock.
    """
    consumer = _consumer(broker)
    try:
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
        silent = 0
        while True:
            messages = consumer.consume(num_messages=10_000, timeout=POLL_TIMEOUT)
            silent = 0 if messages else silent + 1
            if silent == SILENT_POLLS:
                raise UnreadableTopicError(f"{topic}-{partition}: silence, and no end")
            for message in messages:
                fault = message.error()
                if fault is not None:
                    if fault.code() == KafkaError._PARTITION_EOF:
                        return
                    raise KafkaException(fault)
                kind, append_time = message.timestamp()
                if kind != TIMESTAMP_LOG_APPEND_TIME:
                    raise UnreadableTopicError(f"{topic}: not stamped with LogAppendTime")
                offset = message.offset()
                assert offset is not None
                yield LogRecord(
                    offset=offset,
                    append_time=append_time,
                    key=message.key(),
                    value=message.value(),
                    headers=_headers(message),
                )
    finally:
        consumer.close()
