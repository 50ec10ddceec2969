"""A block of a mapped file as a table under our names, in the types of a plain one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute

from app.feeds.mapping import ColumnMapping
from app.feeds.mapping_times import nanoseconds
from app.feeds.rows import REQUIRED
from app.feeds.tabular_columns import BrokenRowError

PRICES: Final = ("price", "bid", "ask")
NUMBERS: Final = (*PRICES, "size", "bid_size", "ask_size")


def plain_table(given: Callable[[str], Any], rows: int, mapping: ColumnMapping) -> Any:
    """A table with our columns of `rows` rows; `given` is the file's column by our name.

    Prices and sizes are doubles, `event_time` and `sequence` int64, the others text. An empty text
    is null.

    Raises:
        BrokenRowError: a value is missing or is none of its kind.
    """
    columns: dict[str, Any] = {}
    for name, value in mapping.constants.items():
        constant = float(value) if name in NUMBERS else value
        columns[name] = pa.repeat(constant, rows)
    for name, theirs in mapping.columns.items():
        column = _simple(given(name))
        if name in REQUIRED[mapping.kind] and column.null_count:
            raise BrokenRowError(f"{name} (column {theirs}) is missing")
        try:
            columns[name] = _converted(name, column, mapping)
        except ValueError as error:
            raise BrokenRowError(f"{name} (column {theirs}) {error}") from None
    return pa.table(columns)


def _simple(column: Any) -> Any:
    """Without dictionaries and blanks around texts; an empty text is null."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_large_string(column.type):
        column = column.cast(pa.string())
    if pa.types.is_string(column.type):
        column = pa.compute.utf8_trim_whitespace(column)
        empty = pa.compute.equal(column, "")
        column = pa.compute.if_else(empty, pa.scalar(None, pa.string()), column)
    return column


def _converted(name: str, column: Any, mapping: ColumnMapping) -> Any:
    kind = column.type
    if name == "event_time":
        return pa.array(nanoseconds(column, mapping.time_unit, mapping.zone))
    if name in NUMBERS:
        wanted, expected = pa.float64(), "a number"
        fits = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    elif name == "sequence":
        wanted, expected, fits = pa.int64(), "a whole number", pa.types.is_integer(kind)
    else:
        wanted, expected, fits = pa.string(), "text", pa.types.is_integer(kind)
    if not (fits or pa.types.is_string(kind) or pa.types.is_null(kind)):
        raise ValueError(f"is {kind}; expected {expected}")
    try:
        converted = column.cast(wanted)
    except pa.ArrowInvalid:
        shown = repr(str(column[0].as_py())[:64])
        raise ValueError(f"{shown}: expected {expected}") from None
    if name in PRICES and mapping.price_scale != 1.0:
        converted = pa.compute.divide(converted, mapping.price_scale)
    return converted
