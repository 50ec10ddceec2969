"""Parquet's many types to the few that a CSV gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from app.feeds.errors import FeedError

_AMOUNTS: Final = ("price", "size", "bid", "ask", "bid_size", "ask_size")
#: Columns that are numbers; the others are texts, and `event_time` may be either.
NUMBERS: Final = {**dict.fromkeys(_AMOUNTS, pa.float64()), "sequence": pa.int64()}


def cast_columns(table: Any, path: Path) -> Any:
    """A table in the types that the CSV reader gives; `event_time` is int64 ns or text.

    Raises:
        FeedError: a column has a type that does not hold its meaning.
    """
    for place, name in enumerate(table.column_names):
        kind = table.schema.field(name).type
        column = table.column(name)
        if pa.types.is_dictionary(kind):
            column, kind = column.cast(kind.value_type), kind.value_type
        wanted = NUMBERS.get(name, pa.string())
        if name == "event_time" and pa.types.is_timestamp(kind):
            if kind.tz is None:
                raise FeedError(path, None, "event_time is a timestamp without a time zone")
            column, kind = column.cast(pa.timestamp("ns", "UTC")).cast(pa.int64()), pa.int64()
        if name == "event_time" and pa.types.is_integer(kind):
            wanted = pa.int64()
        fits = pa.types.is_null(kind) or _is_one_of(kind, name)
        if not fits:
            raise FeedError(path, None, f"column {name} is {kind}; expected {wanted}")
        table = table.set_column(place, name, column.cast(wanted))
    return table


def _is_one_of(kind: Any, name: str) -> bool:
    """Whether Parquet's type holds this column without loss of meaning."""
    types = pa.types
    if name in _AMOUNTS:
        return bool(types.is_integer(kind) or types.is_floating(kind))
    if name in ("event_time", "sequence", "trade_id") and types.is_integer(kind):
        return True
    return name != "sequence" and bool(types.is_string(kind) or types.is_large_string(kind))
