"""Indicators of recorded bars: a file of bars in, the same rows with a column an output out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from app.contracts.records import MAX_PRICE, MAX_SIZE
from app.contracts.wire import BarRecord
from app.feeds.errors import FeedError
from app.run.export import LAYOUTS, SUFFIXES, write_export
from tables.indicating import ContextOf
from tables.indicators.registry import Request
from tables.indicators.sets import IndicatorSet

#: Columns that need not be there, and what is taken for them.
OPTIONAL: dict[str, Any] = {"vwap": None, "trades": 1, "revision": 0}
_SCHEMA = LAYOUTS["bars"].schema
#: A file's content that is not what it should be. That memory is short is no fault of the file.
_NOT_AS_EXPECTED = (
    *(pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, pa.ArrowKeyError),
    UnicodeDecodeError,
)
_PRICES = ("open", "high", "low", "close")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Indicated:
    """What was written."""

    rows: int
    series: int
    columns: tuple[str, ...]


def read_bar_table(path: Path) -> pa.Table:
    """Read bars as `candlewick run --export` writes them; columns beyond those stay as they are.

    Raises:
        FeedError: the file is neither, has not the columns, or a cell of the wrong type.
    """
    if path.suffix not in SUFFIXES:
        raise FeedError(path, None, f"expected a name that ends with {' or '.join(SUFFIXES)}")
    with arrow_faults(path):
        table = _read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
        check_names(path, table)
        absent = [
            name
            for name in _SCHEMA.names
            if name not in table.column_names and name not in OPTIONAL
        ]
        if absent:
            raise FeedError(
                path,
                None,
                f"has no column {', '.join(absent)}; expected {', '.join(_SCHEMA.names)}",
            )
        for field in _SCHEMA:
            place = table.schema.get_field_index(field.name)
            if place >= 0:
                table = table.set_column(place, field, table.column(place).cast(field.type))
    return table


@contextmanager
def arrow_faults(path: Path, what: str = "") -> Iterator[None]:
    """Say of a file what Arrow says of its content; what is not the file's fault goes on.

    Args:
        what: begins the message, such as the name of a column.

    Raises:
        FeedError: its content is not what it should be.
    """
    try:
        yield
    except _NOT_AS_EXPECTED as error:
        raise FeedError(path, None, f"{what}{' '.join(str(error).split())}") from error
    except OSError as error:
        if type(error) is not OSError or error.errno is not None:
            raise
        # A file that cannot be opened has a number or a class; this is Arrow's of a damaged one.
        raise FeedError(path, None, f"{what}{' '.join(str(error).split())}") from error


def check_names(path: Path, table: pa.Table) -> None:
    """Refuse a file whose columns cannot be told apart by their names.

    Raises:
        FeedError: one is there twice.
    """
    twice = [name for name, count in Counter(table.column_names).items() if count > 1]
    if twice:
        raise FeedError(path, None, f"has the column {', '.join(twice)} more than once")


def _read_csv(path: Path) -> pa.Table:
    with path.open(encoding="utf-8", newline="") as file:
        header = file.readline()
    names = header.rstrip("\r\n").split(",")
    types = {name: pa.string() for name in names} | {each.name: each.type for each in _SCHEMA}
    options: Any = pa.csv.ConvertOptions(
        column_types=types, null_values=[""], strings_can_be_null=True
    )
    return pa.csv.read_csv(path, convert_options=options)


def bars_of(path: Path, table: pa.Table) -> Iterator[BarRecord]:
    """Yield the rows as bars.

    Raises:
        FeedError: a cell is empty or out of the bounds of the contract.
    """
    count = len(table)
    columns = {
        name: table.column(name).to_pylist()
        if name in table.column_names
        else [OPTIONAL[name]] * count
        for name in _SCHEMA.names
    }
    lines = 2 if path.suffix == ".csv" else 1
    for number, values in enumerate(zip(*columns.values(), strict=True)):
        row = dict(zip(columns, values, strict=True))
        for name, value in row.items():
            if value is None and name != "vwap":
                raise FeedError(path, number + lines, f"{name} is empty")
            greatest = MAX_PRICE if name in (*_PRICES, "vwap") else MAX_SIZE
            if isinstance(value, float) and not (math.isfinite(value) and abs(value) <= greatest):
                raise FeedError(
                    path, number + lines, f"{name} is {value}; expected at most {greatest:g}"
                )
        if row["volume"] < 0:
            raise FeedError(path, number + lines, f"volume is {row['volume']}; expected 0 or more")
        start = row.pop("start_ns")
        # An export has no flag: a bar without trades was filled, and one that is a revision was
        # emptied; or, where `bars.fill_forward` is on, filled anew. Both are the same to take.
        emptied = row["trades"] == 0 and row["revision"] > 0
        yield BarRecord(**row, start=start, is_final=True, filled=emptied, sources=())


def indicate(
    bars: Sequence[BarRecord],
    requests: Sequence[Request],
    context_of: ContextOf,
    progress: Progress,
    *,
    fill_forward: bool = False,
) -> tuple[list[dict[str, float | None] | None], int]:
    """Return the values of each bar, and of how many symbols and intervals they are.

    Each symbol and interval by its starts, each start by its highest revision; None for lower
    ones, and for bars without trades left, unless these are input (the setting
    `bars.fill_forward`).

    Raises:
        ValueError: two bars are of one symbol, interval, start and revision.
    """
    order = sorted(
        range(len(bars)),
        key=lambda row: (
            bars[row].symbol,
            bars[row].interval,
            bars[row].start,
            -bars[row].revision,
        ),
    )
    values: list[dict[str, float | None] | None] = [None] * len(bars)
    series: tuple[str, str] | None = None
    count = 0
    before: BarRecord | None = None
    for done, row in enumerate(order):
        bar = bars[row]
        if (bar.symbol, bar.interval) != series:
            series, before = (bar.symbol, bar.interval), None
            context = context_of(bar.symbol)
            indicators = IndicatorSet(requests, context, fill_forward=fill_forward)
            count += 1
        if before is not None and before.start == bar.start:
            if before.revision == bar.revision:
                raise ValueError(
                    f"two bars of {bar.symbol} {bar.interval} at {bar.start}, revision "
                    f"{bar.revision}; expected one"
                )
            continue
        before = bar
        indicators.take(bar)
        if fill_forward or not bar.filled:
            values[row] = indicators.values()
        if done % 4096 == 0:
            progress("bars", done, len(bars))
    return values, count


def write_indicators(
    source: Path,
    requests: Sequence[Request],
    target: Path,
    context_of: ContextOf,
    progress: Progress,
    *,
    fill_forward: bool = False,
) -> Indicated:
    """Write the rows of a file with a column an output, empty in the warm-up.

    Args:
        fill_forward: see `indicate`.

    Raises:
        FeedError: the file is not as it must be, or already has such a column.
        OSError: a file cannot be read or written.
    """
    table = read_bar_table(source)
    names = tuple(name for each in requests for name in each.names)
    taken = [name for name in names if name in table.column_names]
    if taken:
        raise FeedError(source, None, f"already has the column {', '.join(taken)}")
    bars = list(bars_of(source, table))
    try:
        values, series = indicate(bars, requests, context_of, progress, fill_forward=fill_forward)
    except ValueError as error:
        raise FeedError(source, None, str(error)) from error
    added = [[None if each is None else each[name] for each in values] for name in names]
    schema = table.schema.remove_metadata()
    for name in names:
        schema = schema.append(pa.field(name, pa.float64()))
    columns = [column.to_pylist() for column in table.columns]
    write_export(target, zip(*columns, *added, strict=True), schema)
    return Indicated(len(bars), series, names)
