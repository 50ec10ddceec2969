"""Child: aiokafka's `getmany` as it ships, its record objects and their values, nothing else.

The same collector and switch-interval settings, fetch sizes, isolation and checksums as our worker.
With `slim`, the worker's own way to the values: a list of them for each record batch.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from app.streaming import slim
from app.streaming.tuning import tune_process
from tests.bench.marks import arguments, mark


async def _read() -> None:
    told = arguments()
    if told["slim"]:
        slim.register(told["topic"])
        if not slim.install():
            raise RuntimeError("values cannot be taken straight from record batches here")
    consumer = AIOKafkaConsumer(
        bootstrap_servers=told["servers"],
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=told["fetch_max_bytes"],
        fetch_max_bytes=told["fetch_max_bytes"],
        fetch_max_wait_ms=told["fetch_max_wait_ms"],
        check_crcs=told["check_crcs"],
    )
    count = _count_in_batches if told["slim"] else _count_of_records
    await consumer.start()
    try:
        tune_process()
        consumer.assign([TopicPartition(told["topic"], each) for each in range(told["partitions"])])
        left = told["records"]
        first = True
        while left > 0:
            fetched = await consumer.getmany(timeout_ms=1_000)
            if fetched and first:
                mark("first")
                first = False
            for records in fetched.values():
                left -= count(records)
        mark("last")
    finally:
        await consumer.stop()


def _count_of_records(records: list[Any]) -> int:
    return len([record.value for record in records])


def _count_in_batches(batches: list[slim.SlimBatch]) -> int:
    return sum(len(batch.values) for batch in batches)


if __name__ == "__main__":
    asyncio.run(_read())
