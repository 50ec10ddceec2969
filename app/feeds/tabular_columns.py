"""An Arrow table under the names of the contract as columns, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from app.contracts.records import MAX_NOTIONAL, MAX_PRICE, MAX_SIZE
from app.feeds.columns import Origin, QuoteColumns, TickColumns, TradeColumns, Vocabulary
from app.feeds.files import Kind
from app.feeds.rows import REQUIRED, conditions_of, known_symbol, nanoseconds_of, short_text


class BrokenRowError(ValueError):
    """A block has a row that is not as it must be; `rows.first_fault` finds it."""


def columns_of_table(table: Any, rows: int, vocabulary: Vocabulary, kind: Kind) -> TickColumns:
    """A table of a block, `rows` into the file, as columns.

    Args:
        table: numbers are float64, `sequence` int64, `event_time` int64 (ns) or text, the others
            text; null where absent.
        rows: records of the file before this block: a missing sequence counts on from it.
        vocabulary: takes the texts.
        kind: what the records are; the table has its required columns.

    Raises:
        BrokenRowError, ArrowInvalid: a row is not as it must be.
    """
    table = table.combine_chunks()
    absent = [name for name in REQUIRED[kind] if table.column(name).null_count]
    if absent:
        raise BrokenRowError(f"{absent[0]} is missing")
    times = _times(table.column("event_time"))
    if bool(np.any(times < 0)):
        raise BrokenRowError("event_time is out of its bounds")
    return (_quotes if kind == "quotes" else _trades)(table, rows, times, vocabulary)


def _trades(
    table: Any, rows: int, times: npt.NDArray[np.int64], vocabulary: Vocabulary
) -> TradeColumns:
    price, size = (table.column(name).to_numpy() for name in ("price", "size"))
    with np.errstate(invalid="ignore", over="ignore"):
        sound = _price(price) & _size(size) & (np.abs(price * size) <= MAX_NOTIONAL)
    if not bool(np.all(sound)):
        raise BrokenRowError("price or size is out of its bounds")
    identifiers = None
    if "trade_id" in table.column_names and table.column("trade_id").null_count < len(table):
        identifiers = np.array(table.column("trade_id").to_pylist(), dtype=object)
        if not all(value is None or short_text(value) for value in identifiers):
            raise BrokenRowError("trade_id is too long")
    return TradeColumns(
        symbol=_symbols(table.column("symbol"), vocabulary),
        price=price,
        size=size,
        event_time=times,
        sequence=_sequences(table, rows),
        origin=_origins(table, vocabulary),
        trade_id=identifiers,
    )


def _quotes(
    table: Any, rows: int, times: npt.NDArray[np.int64], vocabulary: Vocabulary
) -> QuoteColumns:
    bid, ask = (table.column(name).to_numpy() for name in ("bid", "ask"))
    sizes = []
    for name in ("bid_size", "ask_size"):
        if name in table.column_names:
            sizes.append(pa.compute.fill_null(table.column(name), 0.0).to_numpy())
        else:
            sizes.append(np.zeros(len(table)))
    sound = _price(bid) & _price(ask) & _size(sizes[0]) & _size(sizes[1])
    if not bool(np.all(sound)):
        raise BrokenRowError("a price or size is out of its bounds")
    return QuoteColumns(
        symbol=_symbols(table.column("symbol"), vocabulary),
        bid=bid,
        ask=ask,
        bid_size=sizes[0],
        ask_size=sizes[1],
        event_time=times,
        sequence=_sequences(table, rows),
        origin=_origins(table, vocabulary),
    )


def _price(column: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.abs(column) <= MAX_PRICE


def _size(column: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return (column >= 0) & (column <= MAX_SIZE)


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
        raise BrokenRowError("sequence is negative")
    return np.where(here, given, places)


def _symbols(column: Any, vocabulary: Vocabulary) -> npt.NDArray[np.int32]:
    encoded = column.combine_chunks().dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    for text in texts:
        if not known_symbol(text):
            raise BrokenRowError(f"symbol {text!r} is outside the alphabet")
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
                raise BrokenRowError(f"text {text!r} is too long")
        try:
            names = conditions_of(texts[1][conditions] or "")
        except ValueError as error:
            raise BrokenRowError(str(error)) from None
        origin = Origin(texts[0][venue], names, texts[2][source])
        numbers.append(vocabulary.origins.number(origin))
    return np.array(numbers, dtype=np.int32)[inverse]
