"""Export of a deployment's bars: the highest revision of each, sorted, as CSV or Parquet.

The bytes depend on the bars alone: fixed columns, order and writer options, no time, no name.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from app.contracts.wire import BarRecord, bar_decoder
from app.durations import parse_duration
from app.run.reader import bounds, partitions_of, read_range
from app.settings import Settings
from app.topics import output_topic

SUFFIXES = (".csv", ".parquet")
SCHEMA = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("interval", pa.string(), nullable=False),
        pa.field("start_ns", pa.int64(), nullable=False),
        pa.field("open", pa.float64(), nullable=False),
        pa.field("high", pa.float64(), nullable=False),
        pa.field("low", pa.float64(), nullable=False),
        pa.field("close", pa.float64(), nullable=False),
        pa.field("volume", pa.float64(), nullable=False),
        pa.field("vwap", pa.float64(), nullable=True),
        pa.field("trades", pa.int64(), nullable=False),
        pa.field("revision", pa.int64(), nullable=False),
    ]
)
#: Rows of a Parquet row group.
GROUP_ROWS = 1 << 20

Row = tuple[str, str, int, float, float, float, float, float, float | None, int, int]
Key = tuple[str, str, int]


class Highest:
    """The highest revision of each bar, whatever the order in which versions come."""

    def __init__(self) -> None:
        self._bars: dict[Key, BarRecord] = {}

    def __len__(self) -> int:
        return len(self._bars)

    def add(self, bar: BarRecord) -> None:
        """Keep a version unless a higher one is kept already."""
        key = (bar.symbol, bar.interval, bar.start)
        kept = self._bars.get(key)
        if kept is None or bar.revision > kept.revision:
            self._bars[key] = bar

    def rows(self) -> list[Row]:
        """Return the rows, sorted by symbol, interval length and start."""
        lengths = {label: parse_duration(label) for label in {key[1] for key in self._bars}}
        ordered = sorted(self._bars, key=lambda key: (key[0], lengths[key[1]], key[2]))
        return [_row(self._bars[key]) for key in ordered]


def _row(bar: BarRecord) -> Row:
    return (
        bar.symbol,
        bar.interval,
        bar.start,
        bar.open,
        bar.high,
        bar.low,
        bar.close,
        bar.volume,
        bar.vwap,
        bar.trades,
        bar.revision,
    )


async def read_bars(settings: Settings) -> Highest:
    """Read all committed bars of the deployment, up to the end of the topic as it is now.

    Raises:
        BrokerUnreachableError, RunError: the topic cannot be read.
    """
    partitions = await partitions_of(settings, [output_topic(settings, "bars")])
    highest = Highest()
    async for _, records in read_range(settings, await bounds(settings, partitions)):
        for record in records:
            highest.add(bar_decoder.decode(record.value))
    return highest


def check_target(path: Path) -> None:
    """Make sure that an export to this file can work, before a run begins.

    Raises:
        ValueError: the suffix is neither .csv nor .parquet, or the folder is missing.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected a name that ends with {' or '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}; create it first")


def write_export(path: Path, rows: Iterable[Row]) -> None:
    """Write rows to a file, replacing it whole or not at all.

    Raises:
        OSError: the file cannot be written; what was there before is untouched.
    """
    check_target(path)
    write = _write_csv if path.suffix == ".csv" else _write_parquet
    _replace(path, lambda file: write(file, rows))


def _write_csv(file: io.BufferedWriter, rows: Iterable[Row]) -> None:
    """Write CSV: floats in their shortest exact form, a missing vwap empty."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SCHEMA.names)
    writer.writerows(rows)
    text.flush()
    text.detach()


def _write_parquet(file: io.BufferedWriter, rows: Iterable[Row]) -> None:
    columns = list(zip(*rows, strict=True)) or [() for _ in SCHEMA.names]
    arrays = [
        pa.array(column, type=field.type) for column, field in zip(columns, SCHEMA, strict=True)
    ]
    table = pa.Table.from_arrays(arrays, schema=SCHEMA)
    pq.write_table(
        table,
        file,
        row_group_size=GROUP_ROWS,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=3,
        use_dictionary=["symbol", "interval"],
        write_statistics=True,
        store_schema=False,
    )


def _replace(path: Path, write: Callable[[io.BufferedWriter], None]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
