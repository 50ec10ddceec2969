"""Child: an open-loop producer, whose batches are made beforehand and go when they are due.

Nothing is waited for: where the broker is slow, batches queue here and still count from when their
trades were due. A trade carries the time at which it was due as its event time. Time is cut into
slots of the linger; what is due in one goes at its end, a batch a partition, as a client sends that
waits so long for more. What is noted is how long after its slot's end a batch went, and so how late
this process itself was.

All of it is encoded and compressed before the run begins: on a machine of two cores a client that
does so meanwhile takes the processor from what is measured (0.4 of a core at 10,000 trades a second
with `confluent_kafka.Producer`).
"""

from __future__ import annotations

import asyncio
import gc
import re
import time
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from aiokafka import AIOKafkaProducer

from app.streaming.compression import use_fast_lz4
from tests.bench.latency_figures import Int64Array, Load, begin_within, make_load
from tests.bench.marks import arguments, mark
from tests.bench.ticks import Ticks, chunks

FILE = "sent.npz"
#: Seconds from the moment when all is ready to the first trade, and to spare in a window.
LEAD, SPARE = 0.5, 5.0
#: Seconds that encoding a trade is taken to need at first; doubled where it needs more.
ENCODING = 5e-6
#: Bytes of a batch before it is compressed; the broker's limit holds for what is sent.
BATCH_BYTES = 16 * 1024 * 1024
FLUSH_SECONDS = 60.0
#: A number of the vendor's size.
FIRST_ID = 52_983_525_000_000

_PARTS = re.compile(rb'(.*"event_time":)\d+,"sequence":\d+,"trade_id":"\d+(".*)', re.DOTALL)


class Taking(Protocol):
    """What is needed of an `AIOKafkaProducer`."""

    def create_batch(self) -> Any:
        """Return an empty batch."""

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Awaitable[Any]:
        """Queue a batch; what is returned is done once the broker has it."""


@dataclass(frozen=True)
class Parcel:
    """What is due in one slot of one partition: where its trades stand in the load, and its end."""

    rows: Int64Array
    #: ns after the run's begin.
    end: int
    batch: Any


def split_values(ticks: Ticks) -> list[tuple[bytes, bytes]]:
    """Return what comes before and behind time, sequence and id in each trade's value.

    Raises:
        ValueError: the bench's trades look otherwise.
    """
    found = []
    for values in chunks(ticks, 1):
        for value in values[0]:
            match = _PARTS.fullmatch(value)
            if match is None:
                raise ValueError(f"not the trade that is expected: {value!r}")
            found.append((match[1], match[2]))
    return found


def value_of(parts: tuple[bytes, bytes], due: int, number: int) -> bytes:
    """Return a trade's value: the full contract, with its due time (ns) as its event time."""
    head, tail = parts
    return b'%b%d,"sequence":%d,"trade_id":"%d%b' % (head, due, number, FIRST_ID + number, tail)


def slots(load: Load, partition: int, linger: int) -> Iterator[tuple[Int64Array, int]]:
    """Yield the places of the partition's trades, slot by slot of `linger` ns, and its end (ns)."""
    mine = np.flatnonzero(load.partition == partition)
    if not len(mine):
        return
    slot = load.due[mine] // linger
    for places in np.split(mine, np.flatnonzero(np.diff(slot)) + 1):
        yield places, (int(load.due[places[0]]) // linger + 1) * linger


def encode(producer: Taking, load: Load, begin: int, linger: int) -> list[list[Parcel]]:
    """Return the batches of each partition, as they are sent.

    Raises:
        ValueError: a slot's trades are too many for a batch.
    """
    parts = split_values(load.ticks)
    return [
        [
            Parcel(places, end, _batch(producer, parts, load, places, begin))
            for places, end in slots(load, partition, linger)
        ]
        for partition in range(int(load.partition.max()) + 1)
    ]


def _batch(
    producer: Taking,
    parts: Sequence[tuple[bytes, bytes]],
    load: Load,
    places: Int64Array,
    begin: int,
) -> Any:
    batch = producer.create_batch()
    due = (begin + load.due[places]).tolist()
    for number, row, moment in zip(places.tolist(), load.row[places].tolist(), due, strict=True):
        value = value_of(parts[row], moment, number + 1)
        if batch.append(key=None, value=value, timestamp=moment // 1_000_000) is None:
            raise ValueError(f"{len(places)} trades of a slot are more than {BATCH_BYTES} bytes")
    # As the producer's sender does with a batch that goes (aiokafka 0.14, message_accumulator.py).
    batch._build()
    return batch


async def send(
    producer: Taking, topic: str, parcels: Sequence[Sequence[Parcel]], begin: int, count: int
) -> tuple[Int64Array, int]:
    """Send all trades of a run; how late each went to the client (ns), and how many failed."""
    late = np.zeros(count, dtype=np.int64)
    sent: list[tuple[int, Awaitable[Any]]] = []

    async def of_partition(partition: int, mine: Sequence[Parcel]) -> None:
        for each in mine:
            await asyncio.sleep((begin + each.end - time.time_ns()) / 1e9)
            # The loop's clock is another one: it may be some us early.
            late[each.rows] = max(0, time.time_ns() - begin - each.end)
            told = await producer.send_batch(each.batch, topic, partition=partition)
            sent.append((len(each.rows), told))

    await asyncio.gather(*(of_partition(number, mine) for number, mine in enumerate(parcels)))
    answers = await asyncio.wait_for(
        asyncio.gather(*(told for _, told in sent), return_exceptions=True), FLUSH_SECONDS
    )
    failed = (isinstance(each, BaseException) for each in answers)
    return late, sum(trades for (trades, _), bad in zip(sent, failed, strict=True) if bad)


async def _run(told: dict[str, Any]) -> None:
    span: float = told["seconds"]
    linger = int(told["linger_ms"] * 1e6)
    load = make_load(told["rate"], span, told["symbols"], told["partitions"])
    use_fast_lz4()
    producer = AIOKafkaProducer(
        bootstrap_servers=told["servers"],
        acks="all",
        compression_type=told["compression"],
        max_batch_size=BATCH_BYTES,
    )
    await producer.start()
    try:
        # So that the first trade finds the connection open, and the topic known.
        await producer.partitions_for(told["topic"])
        needed = ENCODING * len(load)
        while True:
            now = time.time_ns() + int(needed * 1e9)
            begin = begin_within(now, int((span + LEAD + SPARE) * 1e9), told["window"])
            begin += int(LEAD * 1e9)
            parcels = encode(producer, load, begin, linger)
            # A pause of the collector would be seen as lateness of ours.
            gc.collect()
            gc.disable()
            if time.time_ns() < begin:
                break
            gc.enable()
            needed *= 2
        await asyncio.sleep((begin - time.time_ns()) / 1e9)
        mark("begin")
        late, left = await send(producer, told["topic"], parcels, begin, len(load))
        mark("end")
    finally:
        await producer.stop()
    np.savez(Path(told["marks"]) / FILE, begin=np.int64(begin), late=late, left=np.int64(left))


def main() -> None:
    """Send, then write what was measured; marks are `begin` and `end`."""
    asyncio.run(_run(arguments()))


if __name__ == "__main__":
    main()
