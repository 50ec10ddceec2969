"""Trades or quotes in plain CSV or Parquet, under the names of the contract.

Columns of trades: `symbol, price, size, event_time` and, where wanted, `trade_id, sequence, venue,
conditions, source`. Of quotes: `symbol, bid, ask, event_time` and, where wanted, `bid_size,
ask_size, sequence, venue, source`. In any order; a CSV names them in its first line, and the
names tell trades from quotes: a file of both is not read. `event_time` is whole
nanoseconds since the epoch, or ISO 8601 text with its offset (`2013-10-07T09:30:00.123Z`), in
Parquet also a timestamp with a time zone. `conditions` are names of our vocabulary separated by
`;`. An empty field is an absent one. A quoted CSV field may hold commas, but no line end.

Absent sequences are the record's place in its file, from 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from app.feeds.columns import TickColumns, Vocabulary
from app.feeds.errors import FeedError
from app.feeds.files import Kind, LineTooLongError, line_blocks
from app.feeds.parquet import NUMBERS, cast_columns
from app.feeds.rows import COLUMNS, REQUIRED, first_fault
from app.feeds.tabular_columns import BrokenRowError, columns_of_table

#: Rows of a Parquet file that are read at once.
BLOCK_ROWS: Final = 32_768
_CONVERT: Any = pa.csv.ConvertOptions(
    column_types={
        name: NUMBERS.get(name, pa.string()) for names in COLUMNS.values() for name in names
    },
    null_values=[""],
    strings_can_be_null=True,
    quoted_strings_can_be_null=True,
)
_PARSE: Any = pa.csv.ParseOptions(ignore_empty_lines=False)


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A CSV whose header has the required columns."""

    path: Path
    names: tuple[str, ...]
    kind: Kind = "trades"

    def columns(self, vocabulary: Vocabulary, left_out: Counter[str]) -> Iterator[TickColumns]:
        """Its records, block by block.

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
                        part = columns_of_table(table, rows, vocabulary, self.kind)
                    except (BrokenRowError, pa.ArrowInvalid) as error:
                        line, fault = first_fault(block, self.names, self.kind) or (
                            None,
                            str(error),
                        )
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
    kind: Kind = "trades"

    def columns(self, vocabulary: Vocabulary, left_out: Counter[str]) -> Iterator[TickColumns]:
        """Its records, block by block.

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
                        part = columns_of_table(table, rows, vocabulary, self.kind)
                    except (BrokenRowError, pa.ArrowInvalid) as error:
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
                columns_of_table(table.slice(row, 1), rows, vocabulary, self.kind)
            except (BrokenRowError, pa.ArrowInvalid) as error:
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
    kind = _kind(path, names, 1)
    return CsvFile(path, names, kind.kind) if isinstance(kind, _Found) else kind


def open_parquet(path: Path) -> ParquetFile | str:
    """A Parquet file of ours, or the reason why it is another.

    Raises:
        FeedError: the file is damaged, or has an unknown column beside all of ours.
    """
    try:
        names = tuple(pa.parquet.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise FeedError(path, None, f"not a whole Parquet file: {error}") from error
    kind = _kind(path, names, None)
    return ParquetFile(path, names, kind.kind) if isinstance(kind, _Found) else kind


@dataclass(frozen=True, slots=True)
class _Found:
    kind: Kind


def _kind(path: Path, names: tuple[str, ...], line: int | None) -> _Found | str:
    """What a table with these columns holds, or the reason why it is none of ours."""
    quotes = [name for name in ("bid", "ask") if name in names]
    if quotes and "price" in names:
        return f"columns of trades and of quotes (price, {', '.join(quotes)}); expected one kind"
    kind: Kind = "quotes" if quotes else "trades"
    missing = [name for name in REQUIRED[kind] if name not in names]
    if missing:
        return f"no column {', '.join(missing)}"
    known = COLUMNS[kind]
    if not set(names).issubset(known) or len(set(names)) != len(names):
        raise FeedError(
            path, line, f"columns {', '.join(names)}; expected each once of {', '.join(known)}"
        )
    return _Found(kind)
