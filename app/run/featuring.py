"""Features of the past for the rows of a file: symbols and times in, the same rows with features.

What comes in: a table of entities with `symbol`, a time (`time_ns`, or `time` as ISO 8601), and any
other columns, labels among them, which stay as they are. What goes out: those columns, then
`feature_time_ns`, `age_ns`, `exact`, and a column a feature, empty where there is nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from app.contracts.wire import BarRecord
from app.feeds.errors import FeedError
from app.run.export import SUFFIXES, check_target, write_export
from app.run.indicating import arrow_faults, bars_of, check_names, read_bar_table
from models.predicting.featuresets import FeatureSet
from models.store.historical import NEVER, Historical, historical_features
from tables.markets import Instruments

#: When a revision was known, in a file of bars; without it each bar's end counts.
KNOWN = "known_ns"
ADDED = ("feature_time_ns", "age_ns", "exact")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Joined:
    """What was written.

    Attributes:
        rows: of the entities.
        there: those that have features.
        last: the latest time asked for, ns.
        known: whether the bars tell when they were known.
    """

    rows: int
    there: int
    last: int
    known: bool
    features: tuple[str, ...]
    feature_set: str


def read_entities(path: Path) -> tuple[pa.Table, list[str], npt.NDArray[np.int64]]:
    """Read entities: the table as it is, and of each row the symbol and the time, ns.

    Raises:
        FeedError: the file is neither CSV nor Parquet, lacks a column, or has an empty cell in it.
    """
    if path.suffix not in SUFFIXES:
        raise FeedError(path, None, f"expected a name that ends with {' or '.join(SUFFIXES)}")
    with arrow_faults(path):
        table = _read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
        check_names(path, table)
        names = table.column_names
        time = next((each for each in ("time_ns", "time") if each in names), None)
        if "symbol" not in names or time is None:
            raise FeedError(path, None, "expected the columns symbol, and time_ns or time")
        symbols = table.column("symbol").cast(pa.string())
        times = _nanoseconds(table.column(time))
    if symbols.null_count or times.null_count:
        raise FeedError(path, None, f"symbol or {time} is empty in a row")
    return table, symbols.to_pylist(), times.to_numpy().astype(np.int64)


def _read_csv(path: Path) -> pa.Table:
    with path.open(encoding="utf-8", newline="") as file:
        names = file.readline().rstrip("\r\n").split(",")
    # Labels stay as they are written; the time is told by its column's name.
    types = {name: pa.int64() if name == "time_ns" else pa.string() for name in names}
    return pa.csv.read_csv(
        path,
        convert_options=pa.csv.ConvertOptions(
            column_types=types, null_values=[""], strings_can_be_null=True
        ),
    )


def _nanoseconds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_integer(column.type):
        return column.cast(pa.int64())
    zone = getattr(column.type, "tz", None)
    if pa.types.is_timestamp(column.type) and zone is None:
        raise pa.ArrowInvalid("time has no zone; expected one, or time_ns")
    return column.cast(pa.timestamp("ns", "UTC")).cast(pa.int64())


def write_historical(
    entities: Path,
    sources: Sequence[Path],
    feature_set: type[FeatureSet],
    interval: str,
    target: Path,
    instruments: Instruments,
    *,
    max_age: int | None = None,
    delay: int = 0,
    fill_forward: bool = False,
    progress: Progress = lambda label, done, total: None,
) -> Joined:
    """Write the entities with the features that were known at their times.

    Args:
        entities: file of rows.
        sources: files of bars; a column `known_ns` in all of them tells when each was known.
        interval: label of the bars to take, `1m`.
        max_age, delay: ns, see `historical_features`.
        fill_forward: whether bars without trades are input (the setting `bars.fill_forward`).

    Raises:
        FeedError: a file is not as it must be, or has a column of a feature's name.
        OSError: a file cannot be read or written.
    """
    check_target(target)
    table, symbols, times = read_entities(entities)
    taken = [each for each in (*ADDED, *feature_set.plan().names) if each in table.column_names]
    if taken:
        raise FeedError(entities, None, f"already has the column {', '.join(taken)}")
    bars, known = _read_bars(sources, interval)
    try:
        found = historical_features(
            symbols,
            times,
            bars,
            feature_set,
            max_age=max_age,
            delay=delay,
            known=known,
            market_of=instruments.market,
            fill_forward=fill_forward,
            progress=progress,
        )
    except ValueError as error:
        raise FeedError(sources[0], None, str(error)) from error
    _write(target, table, found)
    return Joined(
        len(found),
        int(found.there.sum()),
        int(times.max()) if len(times) else 0,
        known is not None,
        found.names,
        found.feature_set,
    )


def _read_bars(paths: Sequence[Path], interval: str) -> tuple[list[BarRecord], list[int] | None]:
    """Return the bars, and when each was known; None where a file does not tell.

    Raises:
        FeedError: a file is broken, none has such bars, or some files tell and others do not.
    """
    bars: list[BarRecord] = []
    known: list[int] = []
    telling = set()
    for path in paths:
        table = read_bar_table(path)
        times = _known(path, table) if KNOWN in table.column_names else None
        telling.add(times is not None)
        for place, bar in enumerate(bars_of(path, table)):
            if bar.interval == interval:
                bars.append(bar)
                if times is not None:
                    known.append(times[place])
    if len(telling) > 1:
        raise FeedError(paths[0], None, f"some files have the column {KNOWN} and others do not")
    if not bars:
        raise FeedError(paths[0], None, f"no bars of {interval}")
    return bars, known if True in telling else None


def _known(path: Path, table: pa.Table) -> list[int]:
    with arrow_faults(path, f"{KNOWN}: "):
        column = table.column(KNOWN).cast(pa.int64())
    if column.null_count:
        raise FeedError(path, None, f"{KNOWN} is empty in a row")
    times: list[int] = column.to_pylist()
    return times


def _write(target: Path, table: pa.Table, found: Historical) -> None:
    schema = table.schema.remove_metadata()
    for name in ADDED[:2]:
        schema = schema.append(pa.field(name, pa.int64()))
    schema = schema.append(pa.field(ADDED[2], pa.bool_()))
    for name in found.names:
        schema = schema.append(pa.field(name, pa.float32()))
    nothing = found.feature_time == NEVER
    added = [
        [None if absent else value for absent, value in zip(nothing, column, strict=True)]
        for column in (found.feature_time.tolist(), found.age.tolist(), found.exact.tolist())
    ]
    # float32, so that a file has what a model is given.
    values = [
        [None if value != value else value for value in found.features[:, place].tolist()]
        for place in range(len(found.names))
    ]
    columns = [column.to_pylist() for column in table.columns]
    write_export(target, zip(*columns, *added, *values, strict=True), schema)
