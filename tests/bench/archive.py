"""`python -m tests.bench.archive`: bars into the archive's Parquet files, and a day's query.

Bars as a topic carries them (JSON bytes), in fetches, through the writer: decoded, split by day,
compressed, written to a folder and flushed to the disk, with manifests. Then queries of one of the
days, each opening the archive anew, after compaction. Wall clock, and processor time, which other
processes of the machine do not lengthen; medians of the repetitions.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np

from app.archive.compacting import compact
from app.archive.querying import query
from app.archive.writing import ArchiveWriter
from app.contracts.batch import RecordBatch
from app.contracts.wire import BarRecord, encoder
from models.predicting.registry_store import LocalStore

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


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    batches = fetches(options.rows)
    with tempfile.TemporaryDirectory(prefix="candlewick-bench-") as place:
        taken = [write(Path(place) / str(turn), batches) for turn in range(options.repeat)]
        took, used = [each[0] for each in taken], [each[1] for each in taken]
        folder = Path(place) / "0"
        compact(LocalStore(folder), now=2_000_000_000_000_000_000)
        seconds: dict[str, float] = {}
        processor_seconds: dict[str, float] = {}
        for name, sql in QUERIES.items():
            found = []
            for _ in range(2 * options.repeat + 1):
                started, began = time.perf_counter(), time.process_time()
                assert query(folder, sql).num_rows > 0
                found.append((time.perf_counter() - started, time.process_time() - began))
            seconds[name] = round(median(each[0] for each in found), 4)
            processor_seconds[name] = round(median(each[1] for each in found), 4)
        size = sum(each.stat().st_size for each in (Path(place) / "1").rglob("*.parquet"))
    print(
        json.dumps(
            {
                "rows": options.rows,
                "rows_per_second": round(options.rows / median(took)),
                "best_rows_per_second": round(options.rows / min(took)),
                "processor_microseconds_per_row": round(median(used) / options.rows * 1e6, 2),
                "bytes_per_row": round(size / options.rows, 1),
                "rows_of_a_day": options.rows // DAYS,
                "query_seconds": seconds,
                "query_processor_seconds": processor_seconds,
                "pyarrow": version("pyarrow"),
                "duckdb": version("duckdb"),
                "machine": platform.processor() or platform.machine(),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
