"""`python -m tests.bench.archive`: bars into the archive's Parquet files, and a day's query.

Bars as a topic carries them (JSON bytes), in fetches, through the writer: decoded, split by day,
compressed, written to a folder and flushed to the disk, with manifests. Then queries of one of the
days, each opening the archive anew, after compaction. Wall clock, and processor time, which other
processes of the machine do not lengthen; medians of the repetitions.

Then, once, from a topic: an embedded broker with bars as the engine writes them, and what a worker
runs: the sink's loop with its consumer group, and the archive's driver with the settings that it
has by default. Measured is from the first records that the driver is given until the last is named
by a manifest; joining the group is no part of it. What is less than a flush at the end would wait
for its age: once all is read the sink is stopped, as a worker is, which writes it. Number and
trades of the rows are compared with the records afterwards; a difference is exit code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from app.archive.compacting import compact
from app.archive.layout import archive_location
from app.archive.querying import query
from app.archive.writing import ArchiveWriter
from app.broker import BrokerConfig, EmbeddedBroker
from app.contracts.batch import RecordBatch
from app.contracts.wire import BarRecord, encoder
from app.settings import PREFIX, Settings
from app.sinks.archive import ArchiveDriver
from app.sinks.consumer import SinkLoop
from app.sinks.letters import DeadLetters
from app.streaming import slim
from app.streaming.tuning import tune_process
from models.predicting.registry_store import LocalStore
from tests.bench.influx import fill
from tests.bench.report import surroundings

GOAL_ROWS, GOAL_SECONDS = 500_000, 0.2
DAY = 86_400_000_000_000
FETCH = 5_000
DAYS = 5
QUERIES = {
    "volume by symbol": "SELECT symbol, sum(volume) AS volume, count(*) AS bars FROM bars "
    "WHERE year = 2026 AND month = 1 AND day = 3 GROUP BY symbol",
    "one symbol": "SELECT start, close, volume FROM bars "
    "WHERE year = 2026 AND month = 1 AND day = 3 AND symbol = 'S007' ORDER BY start",
}


def fetches(rows: int) -> list[RecordBatch]:
    """Return one-second bars of 100 symbols, over five days from 2026-01-01 on."""
    generator = np.random.default_rng(7)
    prices = (np.round(generator.normal(0, 0.01, rows), 2) + 100).tolist()
    sizes = generator.integers(1, 5_000, rows).tolist()
    begin, per_day = 1_767_225_600_000_000_000, -(-rows // DAYS)
    values = []
    for number, (price, size) in enumerate(zip(prices, sizes, strict=True)):
        day, place = divmod(number, per_day)
        bar = BarRecord(
            symbol=f"S{place % 100:03d}",
            interval="1s",
            start=begin + day * DAY + place // 100 * 1_000_000_000,
            open=price,
            high=price + 0.25,
            low=price - 0.25,
            close=price + 0.125,
            volume=float(size),
            vwap=price + 1 / size,
            trades=size,
            revision=0,
            is_final=True,
            filled=False,
            sources=("sip",),
        )
        values.append(encoder.encode(bar))
    found = []
    for base in range(0, rows, FETCH):
        part = values[base : base + FETCH]
        offsets = np.arange(base, base + len(part), dtype=np.int64)
        found.append(
            RecordBatch("bars", 0, base, base + len(part), part, offsets, begin + offsets * 1_000)
        )
    return found


def write(folder: Path, batches: list[RecordBatch]) -> tuple[float, float]:
    """Return the seconds that writing takes, and those of processor time on all cores."""
    started, used = time.perf_counter(), time.process_time()
    writer = ArchiveWriter(LocalStore(folder))
    for now, each in enumerate(batches):
        writer.add("bars", each, now)
        if writer.due(now):
            writer.flush(now)
    writer.flush(len(batches))
    return time.perf_counter() - started, time.process_time() - used


def in_memory(rows: int, repeat: int) -> dict[str, Any]:
    """Write batches that are there already, and query them; the figures."""
    batches = fetches(rows)
    with tempfile.TemporaryDirectory(prefix="candlewick-bench-") as place:
        taken = [write(Path(place) / str(turn), batches) for turn in range(repeat)]
        took, used = [each[0] for each in taken], [each[1] for each in taken]
        folder = Path(place) / "0"
        size = sum(each.stat().st_size for each in folder.rglob("*.parquet"))
        compact(LocalStore(folder), now=2_000_000_000_000_000_000)
        seconds: dict[str, float] = {}
        processor_seconds: dict[str, float] = {}
        for name, sql in QUERIES.items():
            found = []
            for _ in range(2 * repeat + 1):
                started, began = time.perf_counter(), time.process_time()
                assert query(folder, sql).num_rows > 0
                found.append((time.perf_counter() - started, time.process_time() - began))
            seconds[name] = round(median(each[0] for each in found), 4)
            processor_seconds[name] = round(median(each[1] for each in found), 4)
    return {
        "rows": rows,
        "rows_per_second": round(rows / median(took)),
        "best_rows_per_second": round(rows / min(took)),
        "processor_microseconds_per_row": round(median(used) / rows * 1e6, 2),
        "bytes_per_row": round(size / rows, 1),
        "rows_of_a_day": rows // DAYS,
        "query_seconds": seconds,
        "query_processor_seconds": processor_seconds,
        "pyarrow": version("pyarrow"),
        "duckdb": version("duckdb"),
        "machine": platform.processor() or platform.machine(),
    }


class CountingDriver(ArchiveDriver):
    """Knows how many records it was given, and when the first of them came."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.given = 0
        self.began = self.began_processor = 0.0

    def add(self, topic: str, batch: RecordBatch) -> None:
        if not self.given:
            self.began, self.began_processor = time.perf_counter(), time.process_time()
        self.given += len(batch)
        super().add(topic, batch)


async def from_topic(settings: Settings, records: int) -> tuple[float, float]:
    """Return the seconds until all of the topic is in the archive, and those of the processor."""
    driver = CountingDriver(settings)
    loop = SinkLoop(settings, driver, DeadLetters(settings))
    task = asyncio.create_task(loop.run())
    while loop.status.rows < records and not task.done():
        if driver.given >= records:
            loop.stop()
        await asyncio.sleep(0.005)
    taken = time.perf_counter() - driver.began, time.process_time() - driver.began_processor
    loop.stop()
    await task
    return taken


async def whole_way(folder: Path, url: str, chosen: argparse.Namespace) -> tuple[float, bool]:
    """Fill a topic, archive it and print how fast; the rate, and whether all of it is there."""
    settings = Settings(
        broker={"url": url},  # type: ignore[arg-type]
        topics={"partitions": chosen.partitions},  # type: ignore[arg-type]
        topic_prefix="bench.",
        agents=("bars",),
        data_dir=folder / "data",
        sinks={"ticks": False},  # type: ignore[arg-type]
    )
    began = time.monotonic()
    records, trades = await fill(settings, chosen.records, chosen.symbols)
    print(f"{records:,} bars in the topic ({time.monotonic() - began:.0f} s)", flush=True)
    tune_process()
    slim.install()
    seconds, used = await from_topic(settings, records)
    # Else DuckDB complains at the end of what is never freed.
    gc.unfreeze()
    rate = records / seconds
    print(
        f"from the topic {rate:,.0f} rows/s in {seconds:.1f} s, {used / records * 1e6:.2f} us of "
        f"the processor a row"
    )
    # Of all versions: a row that is there twice counts twice.
    sql = "SELECT count(*) AS rows, sum(trades) AS trades FROM bars_versions"
    [held] = query(Path(archive_location(settings)), sql).to_pylist()
    right = held == {"rows": records, "trades": trades}
    print(f"rows in the archive: {held['rows']:,} of {records:,}, all right: {right}")
    return rate, right


def main() -> int:
    """Measure and print, JSON first; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.archive", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="in memory")
    parser.add_argument("--repeat", type=int, default=3, help="of what is in memory")
    parser.add_argument("--records", type=int, default=4_000_000, help="bars in the topic, about")
    parser.add_argument("--symbols", type=int, default=100, help="of the bars in the topic")
    parser.add_argument("--partitions", type=int, default=4)
    chosen = parser.parse_args()
    figures = in_memory(chosen.rows, chosen.repeat)
    print(json.dumps(figures, indent=2), flush=True)
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    # No setting of the caller's environment or folder may change what is measured.
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="candlewick-bench-") as place:
        folder = Path(place)
        os.environ["CANDLEWICK_CONFIG"] = str(folder / "empty.toml")
        (folder / "empty.toml").touch()
        broker = EmbeddedBroker(BrokerConfig(folder / "kafka"))
        try:
            broker.start()
            broker.wait_ready()
            rate, right = asyncio.run(whole_way(folder, broker.url, chosen))
        finally:
            broker.stop()
    print(f"goal {GOAL_ROWS:,} rows/s from the topic: {'met' if rate >= GOAL_ROWS else 'NOT met'}")
    slowest = max(figures["query_seconds"].values())
    print(
        f"goal {GOAL_SECONDS * 1e3:.0f} ms a query of a day: {slowest * 1e3:.0f} ms, "
        f"{'met' if slowest < GOAL_SECONDS else 'NOT met'}"
    )
    for name, text in surroundings("python -m tests.bench.archive").items():
        print(f"{name}: {text}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
