"""Child: an open-loop producer, which sends each trade when it is due, or as soon after as it can.

Nothing is waited for: where the broker is slow, trades queue here and still count from when they
were due. A trade carries the time at which it was due as its event time. What is noted is when the
client took each trade, against its due time: how late this process itself was.
"""

from __future__ import annotations

import gc
import re
import time
from pathlib import Path
from typing import Protocol

import numpy as np
from confluent_kafka import Producer

from tests.bench.latency_figures import Int64Array, Load, begin_within, make_load
from tests.bench.marks import arguments, mark
from tests.bench.ticks import Ticks, chunks

FILE = "sent.npz"
#: Seconds from the moment when all is ready to the first trade.
LEAD = 0.5
#: At most so many trades are taken to be due at once, so that their lateness is exact.
CHUNK = 1_000
#: Seconds that the loop rests at least, once nothing is due: others need the processor.
REST = 0.0002
FLUSH_SECONDS = 60.0
#: A number of the vendor's size.
FIRST_ID = 52_983_525_000_000

_PARTS = re.compile(rb'(.*"event_time":)\d+,"sequence":\d+,"trade_id":"\d+(".*)', re.DOTALL)


class Taking(Protocol):
    """What is needed of a `confluent_kafka.Producer`."""

    def produce(self, topic: str, value: bytes, *, partition: int) -> None:
        """Take a record.

        Raises:
            BufferError: its queue is full.
        """

    def poll(self, timeout: float) -> int:
        """Do what is due, for so many seconds at most."""


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


def send(producer: Taking, topic: str, load: Load, begin: int) -> Int64Array:
    """Send all trades of a run; how late each was handed to the client, in ns."""
    parts = split_values(load.ticks)
    due = begin + load.due
    late = np.empty(len(load), dtype=np.int64)
    done = 0
    while done < len(load):
        now = time.time_ns()
        until = min(int(np.searchsorted(due, now, side="right")), done + CHUNK)
        if until <= done:
            producer.poll(0)
            time.sleep(max(REST, (int(due[done]) - now) / 1e9))
            continue
        chosen = slice(done, until)
        rows, partitions = load.row[chosen].tolist(), load.partition[chosen].tolist()
        moments = due[chosen].tolist()
        for row, partition, moment in zip(rows, partitions, moments, strict=True):
            done += 1
            _produce(producer, topic, value_of(parts[row], moment, done), partition)
        late[chosen] = time.time_ns() - due[chosen]
    return late


def _produce(producer: Taking, topic: str, value: bytes, partition: int) -> None:
    while True:
        try:
            producer.produce(topic, value, partition=partition)
            return
        except BufferError:
            # Its queue is full: what is due meanwhile is late, and counts as that.
            producer.poll(0.001)


def main() -> None:
    """Send, then write what was measured; marks are `begin` and `end`."""
    told = arguments()
    span: float = told["seconds"]
    load = make_load(told["rate"], span, told["symbols"], told["partitions"])
    producer = Producer(
        {
            "bootstrap.servers": told["servers"],
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": told["compression"],
            "linger.ms": told["linger_ms"],
            "queue.buffering.max.messages": 2_000_000,
            "socket.nagle.disable": True,
        }
    )
    # So that the first trade finds the connection open.
    producer.list_topics(told["topic"], timeout=FLUSH_SECONDS)
    # A pause of the collector would be seen as lateness of ours.
    gc.collect()
    gc.disable()
    spare = LEAD + 5.0
    now = begin_within(time.time_ns(), int((span + spare) * 1e9), told["window"])
    begin = now + int(LEAD * 1e9)
    time.sleep((begin - time.time_ns()) / 1e9)
    mark("begin")
    late = send(producer, told["topic"], load, begin)
    left = producer.flush(FLUSH_SECONDS)
    mark("end")
    np.savez(Path(told["marks"]) / FILE, begin=np.int64(begin), late=late, left=np.int64(left))


if __name__ == "__main__":
    main()
