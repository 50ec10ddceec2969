"""`python -m tests.bench.lines`: how many points a second become line protocol, on one core.

The whole way that a sink has without its network: records of a topic as bytes, decoded, encoded,
cut into batches of 5,000 and made into the bodies of requests. Seeded bars of 100 symbols with
prices of cents and a vwap of all its digits; trades with 1,000 of them a microsecond at most.
Both ways: compiled, and by Python alone.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence

import msgspec
import numpy as np

from app.contracts.batch import RecordBatch
from app.contracts.wire import BarRecord, IndicatorsRecord, TradeRecord
from app.sinks import compiled
from app.sinks.line_batches import LineBatcher
from app.sinks.points import PointEncoder

#: What the issue asks of bars.
GOAL = 300_000
FETCH = 20_000
START = 1_700_000_000_000_000_000
MINUTE = 60_000_000_000


def bars(count: int) -> list[msgspec.Struct]:
    """Return bars as a market has them."""
    rng = random.Random(8)
    made: list[msgspec.Struct] = []
    for number in range(count):
        low = round(rng.uniform(20, 500), 2)
        rest = [round(low + rng.uniform(0, 1), 2) for _ in range(3)]
        made.append(
            BarRecord(
                f"SYM{number % 100}", "1m", START + number // 100 * MINUTE, rest[0], rest[1], low,
                rest[2], float(rng.randrange(1, 100_000)), rng.uniform(low, low + 1),
                rng.randrange(1, 5_000), 0, True, False, ("feed",),
            )
        )  # fmt: skip
    return made


def trades(count: int) -> list[msgspec.Struct]:
    """Return trades, some of which share their time."""
    rng = random.Random(8)
    return [
        TradeRecord(
            f"SYM{number % 100}", round(rng.uniform(20, 500), 2), float(rng.randrange(1, 500)),
            START + number * 300 // 1_000 * 1_000, f"t{number}", number, "XNAS", ("regular",),
            "feed",
        )
        for number in range(count)
    ]  # fmt: skip


def indicators(count: int) -> list[msgspec.Struct]:
    """Return records of ten indicators."""
    rng = random.Random(8)
    return [
        IndicatorsRecord(
            f"SYM{number % 100}", "1m", START + number // 100 * MINUTE, 0, True,
            {f"SMA({length})": rng.uniform(20, 500) for length in range(10, 110, 10)},
        )
        for number in range(count)
    ]  # fmt: skip


def fetches(records: Sequence[msgspec.Struct]) -> list[RecordBatch]:
    """Return records as the engine's fetches have them."""
    values = [msgspec.json.encode(record) for record in records]
    numbers = np.arange(len(values), dtype=np.int64)
    whole = RecordBatch("topic", 0, 0, len(values), values, numbers, numbers + START)
    return list(whole.pieces(FETCH))


def measure(
    topic: str, batches: Sequence[RecordBatch], *, use_compiled: bool
) -> tuple[float, int, int]:
    """Return seconds of CPU, points and bytes of all batches of a topic."""
    encoder, batcher = PointEncoder(topic, use_compiled=use_compiled), LineBatcher(0)
    points = size = 0
    begin = time.process_time()
    for batch in batches:
        made = encoder.take(batch)
        batcher.put(made.lines, made.offsets, made.next)
        points += len(made.lines)
        size += sum(len(full.body()) for full in batcher.full())
    size += len(batcher.rest().body())
    return time.process_time() - begin, points, size


def main() -> int:
    """Print the rates; 1 where the one of bars is below the goal."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.lines", description=__doc__)
    parser.add_argument("--points", type=int, default=200_000, help="records of each topic")
    parser.add_argument("--rounds", type=int, default=3, help="the fastest one counts")
    chosen = parser.parse_args()
    best: dict[str, float] = {}
    ways = [("compiled", True), ("Python", False)]
    if compiled.compiled_encoder is None:
        del ways[0]
    for topic, make in (("bars", bars), ("ticks", trades), ("indicators", indicators)):
        batches = fetches(make(chosen.points))
        for way, use_compiled in ways:
            seconds, points, size = min(
                measure(topic, batches, use_compiled=use_compiled) for _ in range(chosen.rounds)
            )
            best[topic] = max(best.get(topic, 0), points / seconds)
            print(
                f"{topic:<10} {way:<8} {points:>9,} points  {points / seconds:>9,.0f} points/s  "
                f"{seconds / points * 1e6:>5.2f} us a point  {size / points:>4.0f} bytes a point  "
                f"{size / seconds / 1e6:>4.0f} MB/s"
            )
    if best["bars"] < GOAL:
        print(f"bars: below the goal of {GOAL:,} points/s")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
