"""Trades and quotes at a steady rate, with all a log may hold: late, doubled, broken, too large.

One thread with librdkafka's idempotent producer, which waits as long as the broker is away. What is
sent does not matter for the check, which reads the log; that every outcome occurs does.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable

from confluent_kafka import KafkaException, Producer

from app.feeds.partitioning import partition_of

SECOND = 1_000_000_000
SYMBOLS_PER_PARTITION = 3
TICK_SECONDS = 0.02
FLUSH_SECONDS = 60.0
VENUES, SOURCES = ("X", "Q", None), ("feed-a", "feed-b", None)
FLUSH, HISTORICAL = b'{"type":"flush"}', b'{"type":"historical"}'
#: Shares of records, checked in this order.
SHARES = {
    "bad": 0.01,
    "duplicate": 0.015,
    "revising": 0.02,
    "late": 0.01,
    "control": 0.001,
    "ignored": 0.005,
    "correction": 0.004,
    "large": 0.0005,
}


class Market:
    """Values of one partition of one topic, drawn by a seed; the clock is given."""

    def __init__(self, kind: str, partition: int, partitions: int, seed: int, large: int) -> None:
        self.kind = kind
        self._dice = random.Random(f"{seed} {kind} {partition}")
        names = (f"S{number}" for number in range(10_000))
        mine = (name for name in names if partition_of(name, partitions) == partition)
        self.symbols = [next(mine) for _ in range(SYMBOLS_PER_PARTITION)]
        others = (name for name in (f"S{n}" for n in range(10_000)))
        self._stranger = next(
            (name for name in others if partition_of(name, partitions) != partition), "S 1"
        )
        self._prices = {symbol: self._dice.uniform(10, 500) for symbol in self.symbols}
        self._recent: list[bytes] = []
        self._number = 0
        self._large = large
        self._broken: tuple[Callable[[int], bytes | None], ...] = (
            lambda _: None,
            lambda _: b"",
            lambda now: self._usual(now)[:-5],
            lambda _: b"\xff\xfe\x00",
            lambda now: self._usual(now, unknown=1),
            lambda now: self._usual(now, symbol="no such symbol"),
            lambda now: self._usual(now, symbol=self._stranger),
            lambda _: self._usual(SECOND),
            lambda now: self._usual(now + 3_600 * SECOND),
            lambda now: self._usual(now, venue=5),
            lambda _: b'{"type":"clock"}',
        )

    def draw(self, now: int) -> tuple[str, bytes | None]:
        """What it is, and the value; `now` in ns."""
        at, dice = self._dice.random(), self._dice
        for what, share in SHARES.items():
            if at < share:
                return what, self.make(what, now)
            at -= share
        value = self._usual(now - int(dice.random() * 0.6 * SECOND))
        self._recent = [*self._recent[-200:], value]
        return "usual", value

    def make(self, what: str, now: int) -> bytes | None:
        """A value of a kind of `SHARES`."""
        dice = self._dice
        match what:
            case "bad":
                return dice.choice(self._broken)(now)
            case "duplicate":
                return dice.choice(self._recent) if self._recent else self._usual(now)
            case "revising":
                return self._usual(now - int(dice.uniform(2, 90) * SECOND))
            case "late":
                return self._usual(now - int(dice.uniform(17, 30) * 60 * SECOND))
            case "ignored" if self.kind == "quotes":
                return self._usual(now, bid=0.0 if dice.random() < 0.5 else 1e6)
            case "correction" if self._recent:
                return self._correction(now)
            case "large":
                return self._usual(now) + b" " * self._large
            case "control":
                clock = b'{"type":"clock","event_time":%d}' % (now - SECOND)
                # After a flush each record of an open minute is a revision: few of them.
                return dice.choices((clock, FLUSH, HISTORICAL), (96, 2, 2))[0]
        return self._usual(now)

    def _correction(self, now: int) -> bytes:
        """Of a recent trade, by its id or its time; of quotes it is a bad record."""
        dice, named = self._dice, json.loads(self._dice.choice(self._recent))
        fields = {"type": "correction", "symbol": named["symbol"], "event_time": now}
        if "venue" in named:
            fields["venue"] = named["venue"]
        if "trade_id" in named and dice.random() < 0.7:
            fields["trade_id"] = named["trade_id"]
        else:
            fields["original_event_time"] = named["event_time"]
            fields["original_sequence"] = named.get("sequence")
        if dice.random() < 0.5:
            return json.dumps(fields | {"action": "cancel"}).encode()
        new_price = round(dice.uniform(10, 500), 2)
        return json.dumps(fields | {"action": "correct", "new_price": new_price}).encode()

    def _usual(self, event_time: int, **more: object) -> bytes:
        dice, symbol = self._dice, self._dice.choice(self.symbols)
        self._prices[symbol] *= 1 + dice.gauss(0, 2e-4)
        price = round(self._prices[symbol], 2)
        self._number += 1
        fields: dict[str, object] = {"symbol": symbol, "event_time": event_time}
        if self.kind == "trades":
            fields |= {"price": price, "size": dice.randrange(1, 20) * 25 / 4}
            if dice.random() < 0.8:
                fields["trade_id"] = str(self._number)
        else:
            fields |= {"bid": price, "ask": round(price + dice.randrange(1, 9) / 100, 2)}
            fields |= {"bid_size": dice.randrange(9) * 1.0, "ask_size": dice.randrange(9) * 1.0}
        if dice.random() < 0.5:
            fields["sequence"] = self._number
        for name, values in (("venue", VENUES), ("source", SOURCES)):
            if (value := dice.choice(values)) is not None:
                fields[name] = value
        return json.dumps(fields | more).encode()


class Load:
    """Sends to all partitions of both input topics; `start` and `stop`.

    Args:
        topics: kind (`trades`, `quotes`) -> name.
        rate: records a second, of each kind.
        large: bytes that an oversized record has at least.
    """

    def __init__(
        self,
        broker: str,
        topics: dict[str, str],
        partitions: int,
        *,
        rate: int,
        seed: int,
        large: int,
    ) -> None:
        self.sent: Counter[str] = Counter()
        self._topics, self._partitions, self._rate = topics, partitions, rate
        self._dice = random.Random(f"{seed} load")
        self._markets = {
            (kind, number): Market(kind, number, partitions, seed, large)
            for kind in topics
            for number in range(partitions)
        }
        self._producer = Producer(
            {
                "bootstrap.servers": broker.removeprefix("kafka://"),
                "enable.idempotence": True,
                "linger.ms": 5,
                "batch.size": 32 * 1024,
                "message.timeout.ms": 0,
                "message.max.bytes": 8 * large,
                "queue.buffering.max.messages": 2_000_000,
                "reconnect.backoff.max.ms": 200,
                "compression.type": "lz4",
                "log_level": 0,
            }
        )
        self._failed: list[str] = []
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more; a flush record to each partition; wait for all acknowledgements.

        Raises:
            RuntimeError: not all were acknowledged, or the load has failed before.
        """
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        for topic in self._topics.values():
            for number in range(self._partitions):
                self._produce(topic, number, FLUSH)
        left = self._producer.flush(FLUSH_SECONDS)
        if left or self._failed:
            raise RuntimeError(f"{left} records not acknowledged; faults: {self._failed[:3]}")

    def abandon(self) -> None:
        """Send no more, whatever is on its way."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        self._producer.purge()
        self._producer.flush(1.0)

    def burst(self, count: int) -> None:
        """Send bad and oversized records to every partition at once."""
        now = time.time_ns()
        with self._lock:
            for (kind, number), market in self._markets.items():
                for at in range(count):
                    what = "large" if at % 10 == 9 else "bad"
                    self._produce(self._topics[kind], number, market.make(what, now))
                    self.sent[f"{kind} {what}"] += 1

    def _run(self) -> None:
        began, given = time.monotonic(), 0
        places = list(self._markets)
        while not self._ending.wait(TICK_SECONDS):
            due = int((time.monotonic() - began) * self._rate * len(self._topics))
            with self._lock:
                now = time.time_ns()
                for _ in range(due - given):
                    kind, number = self._dice.choice(places)
                    what, value = self._markets[kind, number].draw(now)
                    self._produce(self._topics[kind], number, value)
                    self.sent[f"{kind} {what}"] += 1
            given = due
            self._producer.poll(0)

    def _produce(self, topic: str, partition: int, value: bytes | None) -> None:
        try:
            self._producer.produce(topic, value, partition=partition, on_delivery=self._told)
        except (BufferError, KafkaException) as error:
            self._failed.append(repr(error))

    def _told(self, error: object, _: object) -> None:
        if error is not None:
            self._failed.append(str(error))
