"""Trades in plain CSV or Parquet, under the names of the contract.

Columns: `symbol, price, size, event_time` and, where wanted, `trade_id, sequence, venue,
conditions, source`, in any order; a CSV names them in its first line. `event_time` is whole
nanoseconds since the epoch, or ISO 8601 text with its offset (`2013-10-07T09:30:00.123Z`), in
Parquet also a timestamp with a time zone. `conditions` are names of our vocabulary separated by
`;`. An empty field is an absent one. A quoted CSV field may hold commas, but no line end.

Absent sequences are the record's place in its file, from 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from app.contracts.records import MAX_NOTIONAL, MAX_PRICE, MAX_SIZE
from app.feeds.columns import Origin, TradeColumns, Vocabulary
from app.feeds.errors import FeedError
from app.feeds.files import LineTooLongError, line_blocks
from app.feeds.parquet import NUMBERS, cast_columns
from app.feeds.rows import (
    COLUMNS,
    REQUIRED,
    conditions_of,
    first_fault,
    known_symbol,
    nanoseconds_of,
    short_text,
)

#: Rows of a Parquet file that are read at once.
BLOCK_ROWS: Final = 32_768
_CONVERT: Any = pa.csv.ConvertOptions(
    column_types={name: NUMBERS.get(name, pa.string()) for name in COLUMNS},
    null_values=[""],
    strings_can_be_null=True,
    quoted_strings_can_be_null=True,
)
_PARSE: Any = pa.csv.ParseOptions(ignore_empty_lines=False)


class _BrokenRowError(ValueError):
    """A block has a row that is not as it must be; `first_fault` finds it."""


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A CSV whose header has the required columns."""

    path: Path
    names: tuple[str, ...]

    def columns(self, vocabulary: Vocabulary) -> Iterator[TradeColumns]:
        """Its trades, block by block.

        Raises:
            FeedError: a row is broken.
        """
        read: Any = pa.csv.ReadOptions(use_threads=False, column_names=list(self.names))
        rows = 0
        try:
            with self.path.open("rb") as stream:
                stream.readline()
                for block in line_blocks(stream):
                    try:
                        table = pa.csv.read_csv(
                            pa.BufferReader(block),
                            read_options=read,
                            parse_options=_PARSE,
                            convert_options=_CONVERT,
                        )
                        part = _columns(table, rows, vocabulary)
                    except (_BrokenRowError, pa.ArrowInvalid) as error:
                        line, fault = first_fault(block, self.names) or (None, str(error))
                        at = None if line is None else line + rows + 1
                        raise FeedError(self.path, at, fault) from None
                    rows += len(part)
                    if len(part):
                        yield part
        except OSError as error:
            raise FeedError(self.path, None, f"cannot be read: {error}") from error
        except LineTooLongError as error:
            raise FeedError(self.path, rows + 2, str(error)) from None


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """A Parquet file that has the required columns. Lines of errors are rows, from 1."""

    path: Path
    names: tuple[str, ...]

    def columns(self, vocabulary: Vocabulary) -> Iterator[TradeColumns]:
        """Its trades, block by block.

        Raises:
            FeedError: the file is damaged, or a row is broken.
        """
        rows = 0
        try:
            with pa.parquet.ParquetFile(self.path) as file:
                for batch in file.iter_batches(
                    BLOCK_ROWS, columns=list(self.names), use_threads=False
                ):
                    table = cast_columns(pa.Table.from_batches([batch]), self.path)
                    try:
                        part = _columns(table, rows, vocabulary)
                    except (_BrokenRowError, pa.ArrowInvalid) as error:
                        raise self._explain(table, rows, vocabulary, str(error)) from None
                    rows += len(part)
                    if len(part):
                        yield part
        except (pa.ArrowException, OSError) as error:
            raise FeedError(self.path, None, f"cannot be read: {error}") from error

    def _explain(self, table: Any, rows: int, vocabulary: Vocabulary, otherwise: str) -> FeedError:
        """The first row that is broken on its own."""
        for row in range(len(table)):
            try:
                _columns(table.slice(row, 1), rows, vocabulary)
            except (_BrokenRowError, pa.ArrowInvalid) as error:
                return FeedError(self.path, rows + row + 1, str(error))
        return FeedError(self.path, None, otherwise)


def open_csv(path: Path) -> CsvFile | str:
    """A CSV of ours, or the reason why it is another.

    Raises:
        FeedError: the header is ours but for a column that nobody knows, or has one twice.
    """
    try:
        with path.open("rb") as stream:
            header = stream.readline(1 << 16)
    except OSError as error:
        raise FeedError(path, None, f"cannot be read: {error}") from error
    text = header.decode("utf-8-sig", "replace").strip()
    names = tuple(name.strip().strip('"') for name in text.split(","))
    return _named(path, names, 1) or CsvFile(path, names)


def open_parquet(path: Path) -> ParquetFile | str:
    """A Parquet file of ours, or the reason why it is another.

    Raises:
        FeedError: the file is damaged, or has an unknown column beside all of ours.
    """
    try:
        names = tuple(pa.parquet.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise FeedError(path, None, f"not a whole Parquet file: {error}") from error
    return _named(path, names, None) or ParquetFile(path, names)


def _named(path: Path, names: tuple[str, ...], line: int | None) -> str | None:
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        return f"no column {', '.join(missing)}"
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or len(set(names)) != len(names):
        raise FeedError(
            path, line, f"columns {', '.join(names)}; expected each once of {', '.join(COLUMNS)}"
        )
    return None


def _columns(table: Any, rows: int, vocabulary: Vocabulary) -> TradeColumns:
    """A table of a block, `rows` into the file, as columns."""
    table = table.combine_chunks()
    absent = [name for name in REQUIRED if table.column(name).null_count]
    if absent:
        raise _BrokenRowError(f"{absent[0]} is missing")
    price, size = (table.column(name).to_numpy() for name in ("price", "size"))
    times = _times(table.column("event_time"))
    with np.errstate(invalid="ignore", over="ignore"):
        sound = (
            (np.abs(price) <= MAX_PRICE)
            & (size >= 0)
            & (size <= MAX_SIZE)
            & (np.abs(price * size) <= MAX_NOTIONAL)
            & (times >= 0)
        )
    if not bool(np.all(sound)):
        raise _BrokenRowError("price, size or event_time is out of its bounds")
    identifiers = None
    if "trade_id" in table.column_names and table.column("trade_id").null_count < len(table):
        identifiers = np.array(table.column("trade_id").to_pylist(), dtype=object)
        if not all(value is None or short_text(value) for value in identifiers):
            raise _BrokenRowError("trade_id is too long")
    return TradeColumns(
        symbol=_symbols(table.column("symbol"), vocabulary),
        price=price,
        size=size,
        event_time=times,
        sequence=_sequences(table, rows),
        origin=_origins(table, vocabulary),
        trade_id=identifiers,
    )


def _times(column: Any) -> npt.NDArray[np.int64]:
    if pa.types.is_string(column.type):
        digits = pa.compute.match_substring_regex(column, r"^\d+$")
        if pa.compute.all(digits, min_count=0).as_py():
            column = column.cast(pa.int64())
        elif pa.compute.any(digits).as_py():
            column = pa.chunked_array(
                [[nanoseconds_of(text) for text in column.to_pylist()]], pa.int64()
            )
        else:
            column = column.cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
    times: npt.NDArray[np.int64] = column.to_numpy()
    return times


def _sequences(table: Any, rows: int) -> npt.NDArray[np.int64]:
    places = np.arange(rows, rows + len(table), dtype=np.int64)
    if "sequence" not in table.column_names:
        return places
    column = table.column("sequence")
    given: npt.NDArray[np.int64] = pa.compute.fill_null(column, -1).to_numpy()
    here = np.asarray(pa.compute.is_valid(column).to_numpy(), dtype=np.bool_)
    if bool(np.any(given[here] < 0)):
        raise _BrokenRowError("sequence is negative")
    return np.where(here, given, places)


def _symbols(column: Any, vocabulary: Vocabulary) -> npt.NDArray[np.int32]:
    encoded = column.combine_chunks().dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    for text in texts:
        if not known_symbol(text):
            raise _BrokenRowError(f"symbol {text!r} is outside the alphabet")
    numbers = np.array([vocabulary.symbols.number(text) for text in texts], dtype=np.int32)
    taken: npt.NDArray[np.int32] = numbers[encoded.indices.to_numpy()] if len(texts) else numbers
    return taken


def _origins(table: Any, vocabulary: Vocabulary) -> npt.NDArray[np.int32]:
    combined = np.zeros(len(table), dtype=np.int64)
    texts: list[list[str | None]] = []
    for name in ("venue", "conditions", "source"):
        if name not in table.column_names:
            texts.append([None])
            continue
        column = table.column(name).combine_chunks()
        encoded = column.dictionary_encode(null_encoding="encode")
        texts.append(encoded.dictionary.to_pylist() or [None])
        combined = combined * len(texts[-1]) + encoded.indices.to_numpy()
    distinct, inverse = np.unique(combined, return_inverse=True)
    numbers = []
    for code in distinct.tolist():
        code, source = divmod(code, len(texts[2]))
        venue, conditions = divmod(code, len(texts[1]))
        for text in (texts[0][venue], texts[2][source]):
            if text is not None and not short_text(text):
                raise _BrokenRowError(f"text {text!r} is too long")
        try:
            names = conditions_of(texts[1][conditions] or "")
        except ValueError as error:
            raise _BrokenRowError(str(error)) from None
        origin = Origin(texts[0][venue], names, texts[2][source])
        numbers.append(vocabulary.origins.number(origin))
    return np.array(numbers, dtype=np.int32)[inverse]
