"""`python -m tests.bench.redis`: latest values in Redis: rates of the sink, hit rate of reads.

A real redis-server on this machine, in a folder of its own. Three figures:

- records a second of the sink, where many are of the same keys, and keys a second, where none are;
- the hit rate of `LatestCache` while a market goes on. Time runs 60 times as fast: a minute's bars
  come every second, and values live 5 s instead of 300 s. Each reader asks for trade, bar and
  indicators; what the cache lacks comes from a dictionary, which has bars alone, as the views do.
  Once in a liquid market, where every symbol trades in every minute; once with a long tail, where
  symbol number n trades in a minute with the probability 50/n and is asked for as often: there the
  newest trade of many is older than 300 s, and by intent not in the cache;
- the times of those reads, on one core together with the writer.

Below 95 % in the liquid market is exit code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from app.contracts.batch import RecordBatch
from app.contracts.wire import BarRecord, IndicatorsRecord, TradeRecord, encoder
from app.settings import Settings
from app.sinks.latest import ANSWER_SECONDS, LatestCache, Wanted
from app.sinks.redis import RedisDriver
from tests.redis_server import INSTALL, RedisServer, redis_settings

#: What requirement 6.5 asks for.
GOAL = 0.95
MINUTE = 60_000_000_000
#: Scaled time: a minute is a second, 300 s are 5.
SCALE = 60
#: Event times begin here; the records' append times are the same.
START = 1_795_132_800_000_000_000


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.redis", description=__doc__)
    parser.add_argument("--records", type=int, default=200_000, help="of the rates")
    parser.add_argument("--symbols", type=int, default=2_000, help="of the read load")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the read load")
    parser.add_argument("--readers", type=int, default=8, help="at the same time")
    parser.add_argument(
        "--answer", type=float, default=ANSWER_SECONDS, help="seconds; more on a busy machine"
    )
    return parser.parse_args()


def batch(topic: str, values: Sequence[bytes], base: int, appended: int) -> RecordBatch:
    """Records of partition 0."""
    offsets = np.arange(base, base + len(values), dtype=np.int64)
    times = np.full(len(values), appended, dtype=np.int64)
    return RecordBatch(topic, 0, base, base + len(values), list(values), offsets, times)


def bar(symbol: str, minute: int) -> bytes:
    """A bar with prices of cents and a vwap of all its digits."""
    price = 100.0 + minute % 100 / 100
    return encoder.encode(
        BarRecord(
            symbol, "1m", START + minute * MINUTE, price, price + 0.5, price - 0.5, price, 1_000.0,
            price + 1 / 3, 17, 0, True, False, ("sip",),
        )
    )  # fmt: skip


def indicators(symbol: str, minute: int) -> bytes:
    """A dozen of them."""
    values = {f"sma_{number}": 100 + minute / 7 for number in range(12)}
    return encoder.encode(
        IndicatorsRecord(symbol, "1m", START + minute * MINUTE, 0, True, dict(values))
    )


async def rate(driver: RedisDriver, values: Sequence[bytes]) -> tuple[float, int]:
    """Write bars in fetches of 20,000; seconds, and keys that were written."""
    began, keys = time.perf_counter(), 0
    for base in range(0, len(values), 20_000):
        driver.add("bars", batch("bars", values[base : base + 20_000], base, START))
        keys += (await driver.flush(0)).rows
    return time.perf_counter() - began, keys


async def rates(settings: Settings, records: int) -> None:
    """Print the rates of the sink."""
    for name, symbols in (("of 1,000 keys", 1_000), ("each of a key of its own", records)):
        driver = RedisDriver(settings)
        await driver.open()
        values = [bar(f"S{number % symbols}", number // symbols) for number in range(records)]
        seconds, keys = await rate(driver, values)
        await driver.close()
        print(
            f"sink: {records:,} bars {name}: {records / seconds:,.0f} records/s, "
            f"{keys / seconds:,.0f} keys/s"
        )


@dataclass
class Market:
    """Who trades when, and what the views would have."""

    symbols: list[str]
    rng: random.Random
    tail: bool
    bars: dict[str, bytes] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)

    def share(self, number: int) -> float:
        """The probability that a symbol trades in a minute."""
        return min(1.0, 50 / (number + 1)) if self.tail else 1.0

    def minute(self, minute: int) -> dict[str, list[bytes]]:
        """What a minute brings, by topic."""
        traded = [
            symbol
            for number, symbol in enumerate(self.symbols)
            if self.rng.random() < self.share(number)
        ]
        self.bars |= {symbol: bar(symbol, minute) for symbol in traded}
        at = START + minute * MINUTE
        return {
            "ticks": [encoder.encode(TradeRecord(each, 100.0, 5.0, at)) for each in traded],
            "bars": [self.bars[symbol] for symbol in traded],
            "indicators": [indicators(symbol, minute) for symbol in traded],
        }

    async def write(self, driver: RedisDriver, minute: int) -> None:
        """Let the sink have a minute."""
        for topic, values in self.minute(minute).items():
            base = self.offsets.get(topic, 0)
            self.offsets[topic] = base + len(values)
            driver.add(topic, batch(topic, values, base, START + minute * MINUTE))
        await driver.flush(0)

    async def fallback(self, wanted: Sequence[Wanted]) -> Mapping[Wanted, bytes]:
        """What the views have: bars."""
        return {
            each: self.bars[each.parts[0]]
            for each in wanted
            if each.topic == "bars" and each.parts[0] in self.bars
        }


async def read_load(settings: Settings, chosen: argparse.Namespace, *, tail: bool) -> float:
    """Print what readers get while the market goes on; the hit rate."""
    count = chosen.symbols if tail else chosen.symbols // 4
    market = Market([f"S{number}" for number in range(count)], random.Random(8), tail)
    registry = CollectorRegistry()
    cache = LatestCache(settings, registry, seconds=chosen.answer)
    driver = RedisDriver(settings)
    await driver.open()
    weights = list(itertools.accumulate(market.share(n) for n in range(count)))
    times: list[float] = []
    cached: Counter[str] = Counter()
    # Ten minutes before anybody asks.
    for minute in range(10):
        await market.write(driver, minute)
    stop = time.perf_counter() + chosen.seconds

    async def write() -> None:
        for minute in itertools.count(10):
            began = time.perf_counter()
            if began >= stop:
                return
            await market.write(driver, minute)
            await asyncio.sleep(max(0.0, began + 60 / SCALE - time.perf_counter()))

    async def read(seed: int) -> None:
        rng = random.Random(seed)
        while (began := time.perf_counter()) < stop:
            (symbol,) = rng.choices(market.symbols, cum_weights=weights)
            found = await cache.get(
                [
                    Wanted("ticks", (symbol,)),
                    *(Wanted(topic, (symbol, "1m")) for topic in ("bars", "indicators")),
                ],
                market.fallback,
            )
            times.append(time.perf_counter() - began)
            cached.update(each.topic for each, one in found.items() if one.source == "cache")

    await asyncio.gather(write(), *(read(seed) for seed in range(chosen.readers)))
    await cache.close()
    await driver.close()
    counts = {
        result: registry.get_sample_value("candlewick_cache_requests_total", {"result": result})
        or 0.0
        for result in ("hit", "miss", "error")
    }
    hits = counts["hit"] / sum(counts.values())
    p50, p95, p99 = np.quantile(times, (0.5, 0.95, 0.99)) * 1e3
    print(
        f"{'long tail' if tail else 'liquid'}: {count:,} symbols, {chosen.readers} readers, "
        f"{chosen.seconds:g} s: "
        f"{len(times) / chosen.seconds:,.0f} reads/s of 3 keys; "
        f"P50 {p50:.2f} ms, P95 {p95:.2f} ms, P99 {p99:.2f} ms"
    )
    told = ", ".join(f"{result} {count:,.0f}" for result, count in counts.items())
    shares = ", ".join(f"{topic} {number / len(times):.1%}" for topic, number in cached.items())
    goal = "" if tail else f" (goal {GOAL:.0%})"
    print(f"hit rate: {hits:.2%}{goal}: {told}; {shares}")
    return hits


def main() -> int:
    """Run all of it."""
    chosen = parse()
    if shutil.which("redis-server") is None:
        print(f"no redis-server: {INSTALL}")
        return 0
    with (
        tempfile.TemporaryDirectory(prefix="candlewick-bench-") as folder,
        RedisServer(Path(folder)) as server,
    ):
        group = {"time_to_live": f"{300 / SCALE:g}s"}
        settings = redis_settings(server.url, redis=group, sinks={"timeout": "10s"})
        settings = settings.model_copy(
            update={"topics": settings.topics.model_copy(update={"partitions": 1})}
        )
        asyncio.run(rates(settings, chosen.records))
        hits = asyncio.run(read_load(settings, chosen, tail=False))
        asyncio.run(read_load(settings, chosen, tail=True))
    return 0 if hits >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
