"""Send a few trades, stamped now, with aiokafka.

    python docs/examples/send_with_aiokafka.py 127.0.0.1:9092 ticks [SYMBOL...]

The worker closes the bars about two seconds after the last trade.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from aiokafka import AIOKafkaProducer

TRADES_EACH = 20


async def main(broker: str, topic: str, symbols: list[str]) -> None:
    # Its partitioner is murmur2 already.
    producer = AIOKafkaProducer(
        bootstrap_servers=broker,
        # Retries neither double a trade nor change the order. It includes acks="all".
        enable_idempotence=True,
        compression_type="lz4",
        linger_ms=5,
    )
    await producer.start()
    try:
        waiting = []
        for number in range(TRADES_EACH):
            for symbol in symbols:
                trade = {
                    "symbol": symbol,
                    "price": 100.0 + number / 100,
                    "size": 10 + number,
                    "event_time": time.time_ns(),
                    "source": "send_with_aiokafka",
                }
                value = json.dumps(trade).encode()
                waiting.append(await producer.send(topic, value, key=symbol.encode()))
            await asyncio.sleep(0.05)
        # Raises what Kafka has refused.
        await asyncio.gather(*waiting)
        print(f"sent {len(waiting)} trades")
    finally:
        await producer.stop()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:] or ["AAA", "BBB", "CCC"]))
