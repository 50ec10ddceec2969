"""Child: confluent-kafka's `consume` in large pieces, its messages and their values, nothing else.

The fetch sizes, isolation and checksums of our worker; the rest as it ships. librdkafka fetches and
decompresses in threads of its own, whose processor time counts.
"""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaException, TopicPartition

from app.streaming.tuning import tune_process
from tests.bench.marks import arguments, mark

#: Messages of one call; it waits for as many, or for all of its time.
PIECE = 10_000
SECONDS = 1.0


def _read() -> None:
    told = arguments()
    consumer = Consumer(
        {
            "bootstrap.servers": told["servers"],
            # It wants a name, and makes no group where partitions are assigned by hand.
            "group.id": "bench-bare-confluent",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "max.partition.fetch.bytes": told["fetch_max_bytes"],
            "fetch.max.bytes": told["fetch_max_bytes"],
            "fetch.wait.max.ms": told["fetch_max_wait_ms"],
            "check.crcs": told["check_crcs"],
        }
    )
    try:
        tune_process()
        consumer.assign(
            [TopicPartition(told["topic"], each, 0) for each in range(told["partitions"])]
        )
        left = told["records"]
        first = True
        while left > 0:
            messages = consumer.consume(min(PIECE, left), SECONDS)
            if messages and first:
                mark("first")
                first = False
            for message in messages:
                error = message.error()
                if error is not None:
                    raise KafkaException(error)
            left -= len([message.value() for message in messages])
        mark("last")
    finally:
        consumer.close()


if __name__ == "__main__":
    _read()
