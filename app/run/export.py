"""Export of an agent's bars: the highest revision of each, sorted, as CSV or Parquet.

The bytes depend on the bars alone: fixed columns, order and writer options, no time, no name.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from app.contracts.wire import BarRecord, QuoteBarRecord, bar_decoder, quote_bar_decoder
from app.durations import parse_duration
from app.run.reader import bounds, partitions_of, read_range
from app.settings import Settings
from app.topics import bars_topic

SUFFIXES = (".csv", ".parquet")
#: Rows of a Parquet row group.
GROUP_ROWS = 1 << 20
#: Columns that repeat.
NAMES = ["symbol", "interval"]

AnyBar = BarRecord | QuoteBarRecord
Row = tuple[Any, ...]
Key = tuple[str, str, int]


@dataclass(frozen=True)
class Layout:
    """The columns of an agent's export, and how its bars are read."""

    schema: pa.Schema
    decoder: msgspec.json.Decoder[Any]

    def row(self, bar: AnyBar) -> Row:
        """Return a bar's values; the column `start_ns` is its `start`."""
        return (bar.symbol, bar.interval, bar.start, *(getattr(bar, n) for n in self._values))

    @property
    def _values(self) -> list[str]:
        names: list[str] = self.schema.names
        return names[3:]


def _schema(*values: pa.Field) -> pa.Schema:
    return pa.schema(
        [
            *(pa.field(name, pa.string(), nullable=False) for name in NAMES),
            pa.field("start_ns", pa.int64(), nullable=False),
            *values,
            pa.field("revision", pa.int64(), nullable=False),
        ]
    )


def _floats(*names: str) -> list[pa.Field]:
    return [pa.field(name, pa.float64(), nullable=False) for name in names]


_PRICES = ("open", "high", "low", "close")
LAYOUTS = {
    "bars": Layout(
        _schema(
            *_floats(*_PRICES, "volume"),
            pa.field("vwap", pa.float64(), nullable=True),
            pa.field("trades", pa.int64(), nullable=False),
        ),
        bar_decoder,
    ),
    "quotes": Layout(
        _schema(
            *_floats(*(f"{side}_{each}" for side in ("bid", "ask", "mid") for each in _PRICES)),
            pa.field("quotes", pa.int64(), nullable=False),
        ),
        quote_bar_decoder,
    ),
}


class Highest:
    """The highest revision of each bar of an agent, whatever the order in which versions come."""

    def __init__(self, agent: str) -> None:
        self.layout = LAYOUTS[agent]
        self._bars: dict[Key, AnyBar] = {}

    def __len__(self) -> int:
        return len(self._bars)

    def add(self, bar: AnyBar) -> None:
        """Keep a version unless a higher one is kept already."""
        key = (bar.symbol, bar.interval, bar.start)
        kept = self._bars.get(key)
        if kept is None or bar.revision > kept.revision:
            self._bars[key] = bar

    def rows(self) -> list[Row]:
        """Return the rows, sorted by symbol, interval length and start."""
        lengths = {label: parse_duration(label) for label in {key[1] for key in self._bars}}
        ordered = sorted(self._bars, key=lambda key: (key[0], lengths[key[1]], key[2]))
        return [self.layout.row(self._bars[key]) for key in ordered]


async def read_bars(settings: Settings, agent: str = "bars") -> Highest:
    """Read all committed bars of an agent, up to the end of the topic as it is now.

    Raises:
        BrokerUnreachableError, RunError: the topic cannot be read.
    """
    partitions = await partitions_of(settings, [bars_topic(settings, agent)])
    highest = Highest(agent)
    async for _, records in read_range(settings, await bounds(settings, partitions)):
        for record in records:
            highest.add(highest.layout.decoder.decode(record.value))
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


def write_export(path: Path, rows: Iterable[Row], schema: pa.Schema) -> None:
    """Write rows to a file, replacing it whole or not at all.

    Raises:
        OSError: the file cannot be written; what was there before is untouched.
    """
    check_target(path)
    write = _write_csv if path.suffix == ".csv" else _write_parquet
    _replace(path, lambda file: write(file, rows, schema))


def _write_csv(file: io.BufferedWriter, rows: Iterable[Row], schema: pa.Schema) -> None:
    """Write CSV: floats in their shortest exact form, a missing vwap empty."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(schema.names)
    writer.writerows(rows)
    text.flush()
    text.detach()


def _write_parquet(file: io.BufferedWriter, rows: Iterable[Row], schema: pa.Schema) -> None:
    columns = list(zip(*rows, strict=True)) or [() for _ in schema.names]
    arrays = [
        pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)
    ]
    table = pa.Table.from_arrays(arrays, schema=schema)
    pq.write_table(
        table,
        file,
        row_group_size=GROUP_ROWS,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=3,
        use_dictionary=NAMES,
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
