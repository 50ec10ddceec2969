"""Child: the consumers that measure, each `read_committed`: floor, forming bars and closed bars.

The floor is what the broker alone makes of it: bare aiokafka reads the same trades, of one
partition, so that it does not take the processor from what is measured. When records have come is
noted at once; what is in the bars is read when all is over.
"""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.bench.marks import arguments, mark

FLOOR_FILE, FORMING_FILE, CLOSED_FILE = "floor.npz", "forming.npz", "closed.npz"
#: The partition that the floor is measured in.
FLOOR_PARTITION = 0
POLL_MILLISECONDS = 100


class Seen(msgspec.Struct):
    """Of a bar, what is needed here."""

    symbol: str
    interval: str
    start: int
    trades: int
    revision: int


_decode_closed = msgspec.json.Decoder(Seen).decode
_decode_forming = msgspec.json.Decoder(list[Seen]).decode
#: A moment (ns) and the values that came then.
Held = list[tuple[int, list[bytes]]]


async def _open(told: dict[str, Any], topic: str, partitions: list[int]) -> AIOKafkaConsumer:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=told["servers"],
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=told["fetch_max_bytes"],
        fetch_max_wait_ms=told["fetch_max_wait_ms"],
    )
    await consumer.start()
    places = [TopicPartition(topic, each) for each in partitions]
    consumer.assign(places)
    for place in places:
        await consumer.position(place)
    return consumer


async def _follow_values(consumer: AIOKafkaConsumer, held: Held) -> None:
    while True:
        fetched = await consumer.getmany(timeout_ms=POLL_MILLISECONDS)
        now = time.time_ns()
        for records in fetched.values():
            held.append((now, [record.value for record in records]))


async def _follow_offsets(consumer: AIOKafkaConsumer, held: list[tuple[int, int, int]]) -> None:
    while True:
        fetched = await consumer.getmany(timeout_ms=POLL_MILLISECONDS)
        now = time.time_ns()
        for records in fetched.values():
            held.append((now, records[0].offset, records[-1].offset + 1))


def _write_bars(path: Path, seen: list[tuple[int, Seen]]) -> None:
    np.savez(
        path,
        time=np.array([moment for moment, _ in seen], dtype=np.int64),
        symbol=np.array([bar.symbol for _, bar in seen], dtype=np.str_),
        interval=np.array([bar.interval for _, bar in seen], dtype=np.str_),
        start=np.array([bar.start for _, bar in seen], dtype=np.int64),
        trades=np.array([bar.trades for _, bar in seen], dtype=np.int64),
        revision=np.array([bar.revision for _, bar in seen], dtype=np.int64),
    )


async def _read() -> None:
    told = arguments()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    everywhere = list(range(told["partitions"]))
    floor = await _open(told, told["topic"], [FLOOR_PARTITION])
    forming = await _open(told, told["forming"], everywhere)
    closed = await _open(told, told["closed"], everywhere)
    offsets: list[tuple[int, int, int]] = []
    forming_held: Held = []
    closed_held: Held = []
    tasks = [
        asyncio.create_task(_follow_offsets(floor, offsets)),
        asyncio.create_task(_follow_values(forming, forming_held)),
        asyncio.create_task(_follow_values(closed, closed_held)),
    ]
    try:
        mark("ready")
        stopped = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            # One that failed says why.
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for consumer in (floor, forming, closed):
            await consumer.stop()
    folder = Path(told["marks"])
    columns = np.array(offsets, dtype=np.int64).reshape(-1, 3)
    np.savez(
        folder / FLOOR_FILE,
        time=columns[:, 0],
        begin=columns[:, 1],
        end=columns[:, 2],
    )
    # Of the longest interval alone: its windows hold all trades of a run.
    longest: str = told["interval"]
    shown = [
        (moment, bar)
        for moment, values in forming_held
        for value in values
        for bar in _decode_forming(value)
        if bar.interval == longest
    ]
    _write_bars(folder / FORMING_FILE, shown)
    _write_bars(
        folder / CLOSED_FILE,
        [(moment, _decode_closed(value)) for moment, values in closed_held for value in values],
    )


if __name__ == "__main__":
    asyncio.run(_read())
