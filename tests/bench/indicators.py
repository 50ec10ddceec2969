"""`python -m tests.bench.indicators`: what a closed bar costs in indicators, without Kafka.

The default set of 12: decoding the bar, all updates, encoding the record that goes out; each
indicator alone; revised bars; one bar of each of 10,000 symbols, as when a second ends; and bars of
as many through the agent's partition, with what each checkpoint stores. Process times, the best of
some rounds: another process on the machine must not count.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from app.contracts.batch import RecordBatch
from app.contracts.wire import BarRecord, bar_decoder, encoder
from tables.derived import DerivedConfiguration
from tables.indicating import IndicatorsPartition
from tables.indicators.base import sample_bars
from tables.indicators.registry import (
    DEFAULT_INDICATORS,
    Request,
    indicators,
    parse_indicators,
)
from tables.indicators.sets import IndicatorSet

#: Updates before anything is timed: all warm-ups are over.
WARM = 100


class Out(msgspec.Struct, gc=False):
    """A record as it could go out."""

    symbol: str
    interval: str
    start: int
    revision: int
    exact: bool
    values: dict[str, float | None]


def microseconds(work: Callable[[], object], count: int, rounds: int) -> float:
    """Return the process time of the best round, a `count`-th of it, in us."""
    best = float("inf")
    gc.collect()
    for _ in range(rounds):
        begin = time.process_time_ns()
        work()
        best = min(best, time.process_time_ns() - begin)
    return best / count / 1_000


def put(made: IndicatorSet, value: bytes) -> bytes:
    """Take a bar as the topic holds it, and return the record of its indicators."""
    bar = bar_decoder.decode(value)
    made.take(bar)
    return encoder.encode(
        Out(bar.symbol, bar.interval, bar.start, bar.revision, made.exact, made.values())
    )


def through_partition(requests: Sequence[Request], symbols: int, rounds: int) -> float:
    """Return the process time of a bar, from the log's record to output and row, in us.

    One bar of each symbol a checkpoint; a round is so many that each entry is stored once as a
    whole. The first one, in which all windows fill, does not count.
    """
    configuration = DerivedConfiguration(1, "bench", 1 << 20, symbols)
    partition = IndicatorsPartition(configuration, 0, None, {"1m": requests}, 0)
    partition.begin(0)
    length = partition.LENGTH + 1
    best, spent, base = float("inf"), 0, 0
    times = np.full(symbols, 2**62)
    for number, bar in enumerate(sample_bars(2, (rounds + 1) * length), 1):
        values = [
            encoder.encode(msgspec.structs.replace(bar, symbol=f"SYM{each:05d}"))
            for each in range(symbols)
        ]
        offsets = np.arange(base, base + symbols)
        begin = time.process_time_ns()
        partition.apply(RecordBatch("bars", 0, base, base + symbols, values, offsets, times))
        partition.take("bench")
        partition.stored()
        spent += time.process_time_ns() - begin
        base += symbols
        if number % length == 0:
            best = best if number == length else min(best, spent)
            spent = 0
    if partition.counts["applied"] != base:
        raise RuntimeError(f"not all bars were applied: {partition.counts}")
    return best / (length * symbols) / 1_000


def measure(text: str, count: int, symbols: int, rounds: int) -> dict[str, float]:
    """Return figures by what they are of, in us a bar, where they do not name another unit."""
    requests = parse_indicators(text)
    bars = sample_bars(1, count + WARM)

    def sets(values: Sequence[BarRecord]) -> Callable[[], object]:
        made = IndicatorSet(requests)
        encoded = [encoder.encode(each) for each in values]

        def work() -> None:
            made.start = None
            for each in encoded:
                put(made, each)

        return work

    figures = {"a closed bar, decoded to encoded": microseconds(sets(bars), len(bars), rounds)}
    made = IndicatorSet(requests)

    def updates() -> None:
        made.start = None
        for each in bars:
            made.take(each)

    figures["of it the set's updates"] = microseconds(updates, len(bars), rounds)
    made.take(bars[-1])
    last = [
        encoder.encode(msgspec.structs.replace(bars[-1], revision=number + 1))
        for number in range(count)
    ]

    def revisions() -> None:
        made.revision = 0
        for each in last:
            put(made, each)

    figures["a revised bar, decoded to encoded"] = microseconds(revisions, len(last), rounds)
    for request in requests:
        update = request.create().update

        def alone(update: Callable[[BarRecord], None] = update) -> None:
            for each in bars:
                update(each)

        figures[request.label] = microseconds(alone, len(bars), rounds)
    held = [IndicatorSet(requests) for _ in range(symbols)]
    for each in bars[:WARM]:
        for one in held:
            one.take(each)
    value = encoder.encode(bars[WARM])

    def second() -> None:
        for one in held:
            put(one, value)

    figures[f"{symbols:,} symbols, a bar each (ms)"] = microseconds(second, 1_000, 1)
    name = f"a bar of {symbols:,} symbols through the agent's partition, rows included (us)"
    figures[name] = through_partition(requests, symbols, 2)
    return figures


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.indicators", description=__doc__)
    parser.add_argument("--indicators", default=DEFAULT_INDICATORS)
    parser.add_argument("--all", action="store_true", help="every indicator there is")
    parser.add_argument("--bars", type=int, default=3_000)
    parser.add_argument("--symbols", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args()
    text = ",".join(indicators()) if chosen.all else chosen.indicators
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, us a bar: {text}")
    figures = measure(text, chosen.bars, chosen.symbols, chosen.rounds)
    for name, figure in figures.items():
        print(f"{figure:10.3f}  {name}")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
