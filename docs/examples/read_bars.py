"""Print the bars of a topic as it is now, each in its highest revision.

    python docs/examples/read_bars.py 127.0.0.1:9092 default.bars

The table is sorted by symbol, bar size and start.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

ROW = "{:<19}  {:<8} {:>4}" + " {:>12}" * 6 + " {:>7} {:>4}"
COLUMNS = ("open", "high", "low", "close", "volume", "vwap", "trades", "revision")


def read(broker: str, topic: str) -> list[dict[str, Any]]:
    """Read the topic from its first record to its last committed one."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            # Without it the outputs of a checkpoint that failed would be read, too.
            "isolation.level": "read_committed",
            "group.id": "read-bars-example",  # librdkafka wants one; no offset is kept
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        if not partitions:
            raise SystemExit(f"there is no topic {topic}")
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        left = set(partitions)
        highest: dict[tuple[str, str, int], dict[str, Any]] = {}
        while left:
            message = consumer.poll(10)
            if message is None:
                raise SystemExit(f"no answer from {broker}")
            error = message.error()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    raise SystemExit(str(error))
                left.discard(message.partition())
                continue
            bar = json.loads(message.value() or b"")
            key = (bar["symbol"], bar["interval"], bar["start"])
            if key not in highest or highest[key]["revision"] < bar["revision"]:
                highest[key] = bar
        return [highest[key] for key in sorted(highest)]
    finally:
        consumer.close()


def main(broker: str, topic: str) -> None:
    print(ROW.format("start (UTC)", "symbol", "size", *COLUMNS[:-1], "rev."))
    for bar in read(broker, topic):
        start = datetime.fromtimestamp(bar["start"] // 1_000_000_000, UTC)
        figures = ["-" if bar[name] is None else f"{bar[name]:.10g}" for name in COLUMNS]
        print(ROW.format(f"{start:%Y-%m-%d %H:%M:%S}", bar["symbol"], bar["interval"], *figures))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
