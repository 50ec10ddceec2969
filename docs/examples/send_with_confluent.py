"""Send a few trades, stamped now, with confluent-kafka (librdkafka).

    python docs/examples/send_with_confluent.py 127.0.0.1:9092 ticks [SYMBOL...]

The worker closes the bars about two seconds after the last trade.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from confluent_kafka import Producer

TRADES_EACH = 20
failed: list[str] = []


def note(error: Any, message: Any) -> None:
    """Called once for each record, when Kafka has it or librdkafka has given it up."""
    if error is not None:
        failed.append(str(error))


def main(broker: str, topic: str, symbols: list[str]) -> int:
    producer = Producer(
        {
            "bootstrap.servers": broker,
            # librdkafka's own default is CRC32, which puts symbols into other partitions.
            "partitioner": "murmur2_random",
            # Retries neither double a trade nor change the order. It includes acks=all.
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 5,
        }
    )
    for number in range(TRADES_EACH):
        for symbol in symbols:
            trade = {
                "symbol": symbol,
                "price": 100.0 + number / 100,
                "size": 10 + number,
                "event_time": time.time_ns(),
                "source": "send_with_confluent",
            }
            producer.produce(topic, key=symbol, value=json.dumps(trade), on_delivery=note)
        producer.poll(0.05)
    unsent = producer.flush(30)
    print(f"sent {TRADES_EACH * len(symbols) - len(failed) - unsent} trades")
    for line in sorted(set(failed)):
        print(f"refused: {line}", file=sys.stderr)
    return 1 if failed or unsent else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:] or ["AAA", "BBB", "CCC"]))
