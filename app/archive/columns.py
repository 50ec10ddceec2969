"""Records to Arrow tables, and tables to the bytes of Parquet files.

Field types become column types: `int` int64, `float` double, `str` and literals string, `bool`
bool, a tuple a list, a dictionary with text keys a map, a struct a struct; int or float is double.
A dictionary whose values are of mixed types is a map to text (what is no text, as JSON).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from app.archive.compiled import quick_columns
from app.archive.layout import LAYOUTS, Layout, fields_of
from app.contracts.in_json import all_in_json
from app.contracts.wire import encoder

Integers = npt.NDArray[np.int64]
Records = list[Any]

POSITION: Final = (
    pa.field("log_partition", pa.int32(), nullable=False),
    pa.field("log_offset", pa.int64(), nullable=False),
    pa.field("append_time", pa.int64(), nullable=False),
)
RAW_SCHEMA: Final = pa.schema(
    [
        pa.field("source_topic", pa.string(), nullable=False),
        pa.field("value", pa.binary(), nullable=True),
        *POSITION,
    ]
)
#: Rows of a Parquet row group: what DuckDB reads in one thread.
GROUP_ROWS: Final = 122_880
_PLAIN: Final[dict[type[Any], pa.DataType]] = {
    msgspec.inspect.IntType: pa.int64(),
    msgspec.inspect.FloatType: pa.float64(),
    msgspec.inspect.StrType: pa.string(),
    msgspec.inspect.BoolType: pa.bool_(),
}


@dataclass(frozen=True)
class Decoded:
    """The records of one partition: rows of the topic, rows of `raw`, and their times in ns."""

    rows: pa.Table
    times: Integers
    raw: pa.Table
    raw_times: Integers


@cache
def schema_of(topic: str) -> pa.Schema:
    """Return a topic's columns; those of `raw` where it has none of its own."""
    layout = LAYOUTS.get(topic)
    return RAW_SCHEMA if layout is None else contract_schema(layout.record)


@cache
def contract_schema(record: type[msgspec.Struct]) -> pa.Schema:
    """Return the columns of a contract's fields, and behind them those of its place in the log."""
    fields = [
        pa.field(each.name, _arrow(each.type), nullable=_optional(each.type))
        for each in fields_of(record)
    ]
    return pa.schema([*fields, *POSITION])


def _optional(kind: Any) -> bool:
    return isinstance(kind, msgspec.inspect.UnionType) and any(
        isinstance(each, msgspec.inspect.NoneType) for each in kind.types
    )


def _arrow(kind: Any) -> pa.DataType:
    """Return the column type of a field's type."""
    plain = _PLAIN.get(type(kind))
    if plain is not None:
        return plain
    if isinstance(kind, msgspec.inspect.LiteralType):
        return pa.string()
    if isinstance(kind, msgspec.inspect.UnionType):
        parts = {_arrow(e) for e in kind.types if not isinstance(e, msgspec.inspect.NoneType)}
        if len(parts) == 1:
            return parts.pop()
        return pa.float64() if parts <= {pa.int64(), pa.float64()} else pa.string()
    if isinstance(kind, msgspec.inspect.VarTupleType | msgspec.inspect.ListType):
        return pa.list_(_arrow(kind.item_type))
    if isinstance(kind, msgspec.inspect.DictType):
        return pa.map_(pa.string(), _arrow(kind.value_type))
    if isinstance(kind, msgspec.inspect.StructType):
        return pa.struct([pa.field(each.name, _arrow(each.type)) for each in kind.fields])
    raise TypeError(f"{kind}: the archive has no column type for it")


@cache
def _decoder(record: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    """Return a decoder that refuses what would be left out: the row is all of the record."""
    whole = msgspec.defstruct(record.__name__, [], bases=(record,), forbid_unknown_fields=True)
    return msgspec.json.Decoder(whole)


def decode(
    topic: str,
    partition: int,
    values: Sequence[bytes | None],
    offsets: Integers,
    append_times: Integers,
) -> Decoded:
    """Turn consecutive records of a partition into tables, in log order.

    A record that is not of the topic's contract, or has a number that its column cannot hold, is a
    row of `raw`, with its own bytes.
    """
    layout = LAYOUTS.get(topic)
    schema = schema_of(topic)
    if layout is None:
        rows, times, kept = schema.empty_table(), append_times[:0], np.zeros(len(values), bool)
    else:
        columns, kept = _both_ways(layout, schema, all_in_json(topic, values))
        placed = _positions(partition, offsets[kept], append_times[kept])
        rows = pa.Table.from_arrays([*columns, *placed], schema=schema)
        times = rows.column(layout.time).to_numpy()
    if kept.all():
        return Decoded(rows, times, RAW_SCHEMA.empty_table(), append_times[:0])
    left = np.flatnonzero(~kept)
    raw = pa.Table.from_arrays(
        [
            pa.array([topic] * len(left), pa.string()),
            pa.array([values[n] for n in left.tolist()], pa.binary()),
            *_positions(partition, offsets[left], append_times[left]),
        ],
        schema=RAW_SCHEMA,
    )
    return Decoded(rows, times, raw, append_times[left])


def _both_ways(
    layout: Layout, schema: pa.Schema, values: Sequence[bytes | None]
) -> tuple[Sequence[Any], npt.NDArray[np.bool_]]:
    """Return the contract's columns, and which of the values they are."""
    kept = np.ones(len(values), bool)
    quick, rest = quick_columns(layout.record, schema, values)
    if quick and not len(rest):
        return quick, kept
    exact, fine = _exact_columns(layout, schema, [values[row] for row in rest.tolist()])
    kept[rest[~fine]] = False
    if not quick:
        return exact, kept
    rows = np.concatenate([np.delete(np.arange(len(values)), rest), rest[fine]])
    order = pa.array(np.argsort(rows, kind="stable"))
    return [
        pa.concat_arrays([one, other]).take(order) for one, other in zip(quick, exact, strict=True)
    ], kept


def _exact_columns(
    layout: Layout, schema: pa.Schema, values: Sequence[bytes | None]
) -> tuple[list[pa.Array], npt.NDArray[np.bool_]]:
    """Return the columns as msgspec reads the records, and which of the values they are."""
    records, kept = _records(layout, values)
    columns = _columns(schema, records)
    if columns is None:
        fits = [_columns(schema, [each]) is not None for each in records]
        records = [each for each, one in zip(records, fits, strict=True) if one]
        kept[kept] = fits
        columns = _columns(schema, records)
        assert columns is not None
    return columns, kept


def _records(
    layout: Layout, values: Sequence[bytes | None]
) -> tuple[Records, npt.NDArray[np.bool_]]:
    """Return the records of the contract, and which of the values they are."""
    decoder = _decoder(layout.record).decode
    kept = np.ones(len(values), bool)
    try:
        return [decoder(each) for each in values], kept  # type: ignore[arg-type]
    except (msgspec.DecodeError, TypeError, UnicodeDecodeError):
        # Some are not; one by one then.
        records = []
    for number, value in enumerate(values):
        try:
            if value is None:
                raise msgspec.DecodeError("a deletion")
            records.append(decoder(value))
        except (msgspec.DecodeError, UnicodeDecodeError):
            kept[number] = False
    return records, kept


def _positions(partition: int, offsets: Integers, append_times: Integers) -> list[pa.Array]:
    return [
        pa.array(np.full(len(offsets), partition, np.int32)),
        pa.array(offsets),
        pa.array(append_times),
    ]


def _columns(schema: pa.Schema, records: Records) -> list[pa.Array] | None:
    """Return the records' fields as columns; None where a number does not fit into its column."""
    fields = list(schema)[: -len(POSITION)]
    try:
        return [_column(f.type, list(map(attrgetter(f.name), records))) for f in fields]
    except (pa.ArrowException, OverflowError):
        return None


def _column(kind: pa.DataType, values: list[Any]) -> pa.Array:
    if pa.types.is_map(kind):
        item = kind.item_type
        if pa.types.is_struct(item):
            values = [list(msgspec.to_builtins(each).items()) for each in values]
        elif pa.types.is_string(item):
            values = [[(key, _text(one)) for key, one in each.items()] for each in values]
        else:
            values = [list(each.items()) for each in values]
    elif pa.types.is_struct(kind):
        values = [msgspec.to_builtins(each) for each in values]
    return pa.array(values, type=kind)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return encoder.encode(value).decode()


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as a Parquet file: zstd 3, text by dictionary, numbers as they are."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=GROUP_ROWS,
        version="2.6",
        compression="zstd",
        compression_level=3,
        use_dictionary=[path for field in table.schema for path in _texts(field)],
        write_statistics=True,
    )
    return bytes(sink.getvalue().to_pybytes())


def _texts(field: pa.Field) -> list[str]:
    """Return the paths of a column's leaves that are text, as Parquet names them."""
    if pa.types.is_string(field.type):
        return [field.name]
    if pa.types.is_list(field.type):
        return [f"{field.name}.list.element"] if pa.types.is_string(field.type.value_type) else []
    return [f"{field.name}.key_value.key"] if pa.types.is_map(field.type) else []


def read_parquet(content: bytes) -> pa.Table:
    """Return the table of a file's bytes."""
    return pq.read_table(pa.BufferReader(content))
