"""TAQ trades and quotes in CSV, as R's `highfrequency` and WRDS write them; plain or `.csv.gz`.

    DT,EX,SYMBOL,COND,SIZE,PRICE,CORR           trades
    DT,EX,BID,BIDSIZ,OFR,OFRSIZ,SYMBOL          quotes

The header tells the kind; columns come in any order, further ones are not read. `DT` is UTC, with
up to nine digits of a second. `sequence` is the place in the file from 0, `venue` the letter `EX`,
`source` is `taq`. `BIDSIZ` and `OFRSIZ` are kept as they are: round lots, mostly of 100 shares; the
file does not say how many, and the contract's sizes are in the venue's units. `COND` and `CORR` are
in `taq_codes.py`: a trade that was cancelled later is a trade here, and the cancel a control record
at its own time (`taq_corrections.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from app.contracts.records import MAX_NOTIONAL, MAX_PRICE, MAX_SIZE
from app.feeds.columns import Origin, QuoteColumns, TickColumns, TradeColumns, Vocabulary
from app.feeds.errors import FeedError
from app.feeds.files import Kind, LineTooLongError, line_blocks
from app.feeds.gzipped import first_line, reading
from app.feeds.rows import known_symbol
from app.feeds.taq_codes import CORRECTIONS, REGULAR, TAPE_C_EXCHANGE, conditions_of
from app.feeds.taq_corrections import Corrections, Row
from app.feeds.taq_rows import COLUMNS, QUOTES, TRADES, first_fault, is_venue

SOURCE: Final = "taq"
TRADE_NUMBERS: Final = ("PRICE", "SIZE", "CORR")
_PARSE: Any = pa.csv.ParseOptions(ignore_empty_lines=False)
_TYPES: Final[dict[str, Any]] = {
    "DT": pa.timestamp("ns"),
    "CORR": pa.int16(),
    **{name: pa.string() for name in ("EX", "SYMBOL", "COND")},
    **{name: pa.float64() for name in ("SIZE", "PRICE", "BID", "BIDSIZ", "OFR", "OFRSIZ")},
}


class _BrokenRowError(ValueError):
    """A block has a row that is not as it must be; `_explain` finds it."""


@dataclass(frozen=True, slots=True)
class TaqFile:
    """One file; `names` are those of its header."""

    path: Path
    kind: Kind
    names: tuple[str, ...]

    def columns(self, vocabulary: Vocabulary, left_out: Counter[str]) -> Iterator[TickColumns]:
        """Its trades and corrections, or its quotes, block by block; nothing is left out.

        Raises:
            FeedError: the gzip file is truncated or damaged (line None), or a row is broken.
        """
        parser = _Parser(self.kind, self.names, vocabulary)
        with reading(self.path) as stream:
            stream.readline()
            try:
                for block in line_blocks(stream):
                    try:
                        part = parser.parse(block)
                    except (_BrokenRowError, pa.ArrowInvalid) as error:
                        raise self._explain(block, parser, str(error)) from None
                    if len(part):
                        yield part
            except LineTooLongError as error:
                raise FeedError(self.path, parser.rows + 2, str(error)) from None

    def _explain(self, block: bytes, parser: _Parser, otherwise: str) -> FeedError:
        """The first broken row of a block that could not be parsed."""
        line, fault = first_fault(block, self.names, self.kind, parser.tape_c) or (None, otherwise)
        return FeedError(self.path, None if line is None else line + parser.rows + 1, fault)


def open_taq(path: Path) -> TaqFile | str:
    """A CSV as TAQ trades or quotes, or the reason why it is something else.

    Raises:
        FeedError: the file cannot be read.
    """
    text = first_line(path).decode("utf-8-sig", "replace")
    names = tuple(name.strip().strip('"') for name in text.split(","))
    if len(set(names)) == len(names):
        for kind, columns in COLUMNS.items():
            if set(columns) <= set(names):
                return TaqFile(path, kind, names)
    return f"no TAQ header ({','.join(TRADES)} or {','.join(QUOTES)})"


class _Keys(NamedTuple):
    """What trades and quotes have in common: `symbol` and `venue` are numbers into the texts."""

    symbols: list[str]
    symbol: npt.NDArray[np.int64]
    venues: list[str]
    venue: npt.NDArray[np.int64]
    event_time: npt.NDArray[np.int64]
    sequence: npt.NDArray[np.int64]


class _Parser:
    """Blocks of one file to columns; remembers what one block must know of those before."""

    def __init__(self, kind: Kind, names: tuple[str, ...], vocabulary: Vocabulary) -> None:
        self.rows = 0
        #: Symbols of Tape C: those that Nasdaq has traded under its letter for that tape.
        self.tape_c: set[str] = set()
        self._kind = kind
        self._vocabulary = vocabulary
        self._corrections = Corrections(SOURCE)
        self._read: Any = pa.csv.ReadOptions(use_threads=False, column_names=list(names))
        self._convert: Any = pa.csv.ConvertOptions(
            column_types=_TYPES,
            include_columns=list(COLUMNS[kind]),
            null_values=[],
            strings_can_be_null=False,
        )

    def parse(self, block: bytes) -> TickColumns:
        """The next block's records.

        Raises:
            _BrokenRowError, ArrowInvalid: a row is broken; nothing was taken of the block.
        """
        table = pa.csv.read_csv(
            pa.BufferReader(block),
            read_options=self._read,
            parse_options=_PARSE,
            convert_options=self._convert,
        ).combine_chunks()
        rows = self._keys(table)
        columns = self._quotes(table, rows) if self._kind == "quotes" else self._trades(table, rows)
        self.rows += len(table)
        return columns

    def _keys(self, table: Any) -> _Keys:
        symbols, symbol_numbers = _encoded(table, "SYMBOL")
        venues, venue_numbers = _encoded(table, "EX")
        if not all(known_symbol(text) for text in symbols):
            raise _BrokenRowError("a symbol outside the alphabet")
        if not all(is_venue(text) for text in venues):
            raise _BrokenRowError("EX")
        times = table.column("DT").cast(pa.int64()).to_numpy()
        if bool(np.any(times < 0)):
            raise _BrokenRowError("DT before 1970")
        sequence = np.arange(self.rows, self.rows + len(table), dtype=np.int64)
        return _Keys(symbols, symbol_numbers, venues, venue_numbers, times, sequence)

    def _symbols(self, rows: _Keys) -> npt.NDArray[np.int32]:
        numbers = [self._vocabulary.symbols.number(text) for text in rows.symbols]
        return np.array(numbers, dtype=np.int32)[rows.symbol]

    def _quotes(self, table: Any, rows: _Keys) -> QuoteColumns:
        bid, bid_size, ask, ask_size = (table.column(name).to_numpy() for name in QUOTES[3:])
        if not _sound(bid, bid_size) or not _sound(ask, ask_size):
            raise _BrokenRowError("a number out of its bounds")
        origins = self._vocabulary.origins
        numbers = [origins.number(Origin(venue, (), SOURCE)) for venue in rows.venues]
        return QuoteColumns(
            symbol=self._symbols(rows),
            bid=bid,
            ask=ask,
            bid_size=bid_size,
            ask_size=ask_size,
            event_time=rows.event_time,
            sequence=rows.sequence,
            origin=np.array(numbers, dtype=np.int32)[rows.venue],
        )

    def _trades(self, table: Any, rows: _Keys) -> TradeColumns:
        price, size, corrections = (table.column(name).to_numpy() for name in TRADE_NUMBERS)
        if not _sound(price, size) or not bool(np.all(price * size <= MAX_NOTIONAL)):
            raise _BrokenRowError("a number out of its bounds")
        if not bool(np.all(np.isin(corrections, CORRECTIONS))):
            raise _BrokenRowError("CORR")
        return TradeColumns(
            symbol=self._symbols(rows),
            price=price,
            size=size,
            event_time=rows.event_time,
            sequence=rows.sequence,
            origin=self._origins(table, rows),
            value=self._values(rows, price, size, corrections),
        )

    def _origins(self, table: Any, rows: _Keys) -> npt.NDArray[np.int32]:
        """Numbers of (venue, conditions) over the distinct (EX, COND, tape)."""
        if TAPE_C_EXCHANGE in rows.venues:
            here = rows.venue == rows.venues.index(TAPE_C_EXCHANGE)
            self.tape_c.update(rows.symbols[number] for number in np.unique(rows.symbol[here]))
        tapes = np.array([text in self.tape_c for text in rows.symbols], dtype=np.int64)
        letters, letter_numbers = _encoded(table, "COND")
        combined = (rows.venue * len(letters) + letter_numbers) * 2 + tapes[rows.symbol]
        distinct, inverse = np.unique(combined, return_inverse=True)
        numbers = []
        for code in distinct.tolist():
            code, tape = divmod(code, 2)
            venue, cond = divmod(code, len(letters))
            try:
                names = conditions_of(letters[cond], bool(tape))
            except ValueError as error:
                raise _BrokenRowError(str(error)) from None
            origin = Origin(rows.venues[venue], names, SOURCE)
            numbers.append(self._vocabulary.origins.number(origin))
        return np.array(numbers, dtype=np.int32)[inverse]

    def _values(
        self,
        rows: _Keys,
        price: npt.NDArray[np.float64],
        size: npt.NDArray[np.float64],
        corrections: npt.NDArray[np.int16],
    ) -> npt.NDArray[np.object_] | None:
        """The control records among the rows; None where there is none."""
        flagged = np.flatnonzero(corrections != REGULAR).tolist()
        if not flagged:
            return None
        values = np.full(len(price), None, dtype=object)
        for row in flagged:
            values[row] = self._corrections.value(
                Row(
                    symbol=rows.symbols[rows.symbol[row]],
                    venue=rows.venues[rows.venue[row]],
                    event_time=int(rows.event_time[row]),
                    sequence=int(rows.sequence[row]),
                    price=float(price[row]),
                    size=float(size[row]),
                    correction=int(corrections[row]),
                )
            )
        return values


def _encoded(table: Any, name: str) -> tuple[list[str], npt.NDArray[np.int64]]:
    """A column's distinct texts, and the number of each row's."""
    encoded = table.column(name).combine_chunks().dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)


def _sound(price: npt.NDArray[np.float64], size: npt.NDArray[np.float64]) -> bool:
    """Whether all are numbers within the contract's bounds, none negative."""
    return bool(np.all((price >= 0) & (price <= MAX_PRICE) & (size >= 0) & (size <= MAX_SIZE)))
