"""CSV and Parquet files under other names than ours, read through a `ColumnMapping`.

Columns that the mapping does not name are not read. A CSV may be compressed (`.csv.gz`); its fields
may be quoted, but hold no line end. Absent sequences are the record's place in its file, from 0.
"""

from __future__ import annotations

import csv
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
from app.feeds.gzipped import first_line, reading
from app.feeds.mapping import ColumnMapping
from app.feeds.mapping_table import plain_table
from app.feeds.rows import COLUMNS, REQUIRED
from app.feeds.tabular import BLOCK_ROWS
from app.feeds.tabular_columns import columns_of_table

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
#: Names of a header that an error lists.
_LISTED: Final = 12


@dataclass(frozen=True, slots=True)
class MappedCsv:
    """A CSV of `width` columns; `places` has the file's column, from 0, by our name."""

    path: Path
    mapping: ColumnMapping
    width: int
    places: dict[str, int]

    @property
    def kind(self) -> Kind:
        """What the mapping's names are of."""
        return self.mapping.kind

    def columns(self, vocabulary: Vocabulary, left_out: Counter[str]) -> Iterator[TickColumns]:
        """Its records, block by block; nothing is left out.

        Raises:
            FeedError: the gzip file is truncated or damaged (line None), or a row is broken.
        """
        rows, above = 0, int(self.mapping.header)
        with reading(self.path) as stream:
            if self.mapping.header:
                stream.readline()
            try:
                for block in line_blocks(stream):
                    block = block if rows or above else block.removeprefix(_BYTE_ORDER_MARK)
                    try:
                        part = self._parsed(block, rows, vocabulary)
                    except (ValueError, pa.ArrowInvalid) as error:
                        line, fault = self._first_fault(block, vocabulary) or (None, str(error))
                        at = None if line is None else line + rows + above
                        raise FeedError(self.path, at, fault) from None
                    rows += len(part)
                    yield part
            except LineTooLongError as error:
                raise FeedError(self.path, rows + above + 1, str(error)) from None

    def _parsed(self, block: bytes, rows: int, vocabulary: Vocabulary) -> TickColumns:
        """A block of whole lines, `rows` into the file."""
        names = [str(place) for place in range(self.width)]
        used = sorted({names[place] for place in self.places.values()})
        table = pa.csv.read_csv(
            pa.BufferReader(block),
            read_options=pa.csv.ReadOptions(use_threads=False, column_names=names),
            parse_options=pa.csv.ParseOptions(
                delimiter=self.mapping.delimiter, ignore_empty_lines=False
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(used, pa.string()), include_columns=used
            ),
        )
        plain = plain_table(
            lambda name: table.column(str(self.places[name])), len(table), self.mapping
        )
        return columns_of_table(plain, rows, vocabulary, self.kind)

    def _first_fault(self, block: bytes, vocabulary: Vocabulary) -> tuple[int, str] | None:
        """The first line, from 1, that cannot be read on its own, and why: found by halves."""
        lines = block.split(b"\n")
        if not lines[-1]:
            lines.pop()
        sound, broken = 0, len(lines)
        while broken - sound > 1:
            middle = (sound + broken) // 2
            if self._fault(lines[sound:middle], vocabulary) is None:
                sound = middle
            else:
                broken = middle
        fault = self._fault(lines[sound:broken], vocabulary)
        return None if fault is None else (sound + 1, fault)

    def _fault(self, lines: list[bytes], vocabulary: Vocabulary) -> str | None:
        """What is wrong with some lines; the first fault's text where it is one line."""
        if len(lines) == 1:
            try:
                fields = next(
                    csv.reader([lines[0].decode()], delimiter=self.mapping.delimiter, strict=True),
                    [],
                )
            except (UnicodeDecodeError, csv.Error) as error:
                return str(error)
            if len(fields) != self.width:
                return f"{len(fields)} columns; expected {self.width}"
        try:
            self._parsed(b"\n".join(lines) + b"\n", 0, vocabulary)
        except (ValueError, pa.ArrowInvalid) as error:
            return str(error)
        return None


@dataclass(frozen=True, slots=True)
class MappedParquet:
    """A Parquet file. Lines of errors are rows, from 1."""

    path: Path
    mapping: ColumnMapping

    @property
    def kind(self) -> Kind:
        """What the mapping's names are of."""
        return self.mapping.kind

    def columns(self, vocabulary: Vocabulary, left_out: Counter[str]) -> Iterator[TickColumns]:
        """Its records, block by block; nothing is left out.

        Raises:
            FeedError: the file is damaged, or a row is broken.
        """
        rows = 0
        used = sorted(set(self.mapping.columns.values()))
        try:
            with pa.parquet.ParquetFile(self.path) as file:
                for batch in file.iter_batches(BLOCK_ROWS, columns=used, use_threads=False):
                    try:
                        part = self._parsed(batch, rows, vocabulary)
                    except (ValueError, pa.ArrowInvalid) as error:
                        raise self._explain(batch, rows, vocabulary, str(error)) from None
                    rows += len(part)
                    if len(part):
                        yield part
        except (pa.ArrowException, OSError) as error:
            raise FeedError(self.path, None, f"cannot be read: {error}") from error

    def _parsed(self, batch: Any, rows: int, vocabulary: Vocabulary) -> TickColumns:
        plain = plain_table(
            lambda name: batch.column(self.mapping.columns[name]), len(batch), self.mapping
        )
        return columns_of_table(plain, rows, vocabulary, self.kind)

    def _explain(self, batch: Any, rows: int, vocabulary: Vocabulary, otherwise: str) -> FeedError:
        """The first row that is broken on its own."""
        for row in range(len(batch)):
            try:
                self._parsed(batch.slice(row, 1), rows, vocabulary)
            except (ValueError, pa.ArrowInvalid) as error:
                return FeedError(self.path, rows + row + 1, str(error))
        return FeedError(self.path, None, otherwise)


def open_mapped(path: Path, mapping: ColumnMapping) -> MappedCsv | MappedParquet | str:
    """A file as `mapping` reads it, or the reason why it cannot: a column that it has not.

    Raises:
        FeedError: the file cannot be read.
    """
    if path.suffix.lower() == ".parquet":
        try:
            names = list(pa.parquet.read_schema(path).names)
        except (pa.ArrowException, OSError) as error:
            raise FeedError(path, None, f"not a whole Parquet file: {error}") from error
        if not mapping.header:
            return "a Parquet file has names; expected columns by name, not by position"
        return _missing(mapping, names) or MappedParquet(path, mapping)
    text = first_line(path).decode("utf-8-sig", "replace")
    names = [name.strip() for name in next(csv.reader([text], delimiter=mapping.delimiter), [])]
    if mapping.header:
        missing = _missing(mapping, names)
        if missing is not None:
            return missing
        places = {ours: names.index(theirs) for ours, theirs in mapping.columns.items()}
    else:
        places = {ours: int(theirs) - 1 for ours, theirs in mapping.columns.items()}
        for ours, place in places.items():
            if place >= len(names):
                return f"no column {place + 1} (for {ours}); its first line has {len(names)}"
    return MappedCsv(path, mapping, len(names), places)


def open_packed(path: Path) -> MappedCsv | str:
    """A `.csv.gz` under our own names, or the reason why it is something else.

    Raises:
        FeedError: the file cannot be read.
    """
    text = first_line(path).decode("utf-8-sig", "replace")
    names = [name.strip() for name in next(csv.reader([text]), [])]
    for kind, required in REQUIRED.items():
        if path.name.lower().endswith(".csv.gz") and set(required) <= set(names):
            if len(set(names)) != len(names) or not set(names) <= set(COLUMNS[kind]):
                return (
                    f"columns {', '.join(names)}; expected each once of {', '.join(COLUMNS[kind])}"
                )
            mapping = ColumnMapping(columns={name: name for name in names})
            return MappedCsv(path, mapping, len(names), {n: names.index(n) for n in names})
    return "it begins neither as TAQ nor as Binance frames nor as a CSV of ours"


def _missing(mapping: ColumnMapping, names: list[str]) -> str | None:
    """Why the file's columns do not fit the mapping, or None."""
    for ours, theirs in mapping.columns.items():
        if names.count(theirs) != 1:
            listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
            found = "no column" if theirs not in names else "more than one column"
            return f"{found} {theirs!r} (for {ours}); expected one of: {listed}"
    return None
