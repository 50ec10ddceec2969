"""Many records to columns at once, by DuckDB: on all cores, without Python's lock.

DuckDB's JSON is laxer than the contracts (it takes numbers written as text, unknown fields, NaN).
So each record is first held against a regular expression of the bytes that the engine's encoder
writes: fields in order, numbers as numbers, no escapes. One that differs sends all of them the
exact way (`columns.py`), which gives the same columns; `tests/unit/test_archive_columns.py` holds
the two equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.archive.layout import fields_of
from app.contracts.wire import encoder

#: Below, a connection costs more than it saves.
FEWEST: Final = 5_000
#: Records that a thread takes at a time.
CHUNK: Final = 16_384
_TEXT: Final = r'"[^"\\[:cntrl:]]*"'
_WHOLE: Final = r"-?[0-9]{1,19}"
_FRACTION: Final = r"-?[0-9]+(?:\.[0-9]+(?:e[+-]?[0-9]{1,2})?|e[+-]?[0-9]{1,2})"
_KINDS: Final[dict[type[Any], tuple[str, str]]] = {
    msgspec.inspect.StrType: (_TEXT, "VARCHAR"),
    msgspec.inspect.IntType: (_WHOLE, "BIGINT"),
    msgspec.inspect.FloatType: (_FRACTION, "DOUBLE"),
    msgspec.inspect.BoolType: ("(?:true|false)", "BOOLEAN"),
    msgspec.inspect.NoneType: ("null", ""),
}


@cache
def _form(record: type[msgspec.Struct]) -> tuple[str, str] | None:
    """Return a record's bytes as a regular expression, and its shape for DuckDB.

    None where a field is none of text, number, boolean, one of these or null, or several texts.
    """
    if getattr(record, "__struct_config__").tag is not None:  # noqa: B009
        return None
    patterns, shape = [], {}
    for field in fields_of(record):
        kind: Any = field.type
        several = isinstance(kind, msgspec.inspect.VarTupleType)
        if several:
            kind = kind.item_type
        types = kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)
        # Bounds are the exact way's.
        known = [each for each in types if type(each) in _KINDS and each == type(each)()]
        if len(known) < len(types):
            return None
        found = [_KINDS[type(each)] for each in known]
        names = {name for _, name in found} - {""}
        if len(names) != 1 or (several and names != {"VARCHAR"}):
            return None
        one = "(?:" + "|".join(pattern for pattern, _ in found) + ")"
        pattern = rf"\[(?:{one}(?:,{one})*)?\]" if several else one
        patterns.append(f'"{field.encode_name}":{pattern}')
        name = names.pop()
        shape[field.name] = [name] if several else name
    return r"\A\{" + ",".join(patterns) + r"\}\z", encoder.encode(shape).decode()


def bulk_columns(
    record: type[msgspec.Struct], schema: pa.Schema, values: Sequence[bytes | None]
) -> list[pa.ChunkedArray] | None:
    """Return the fields of many records as columns of the schema's first types.

    None where that is not known to be exact: then decode them one by one.
    """
    form = _form(record)
    if form is None or len(values) < FEWEST:
        return None
    # Only here: at the end of a process it says on stderr which of its objects are left.
    import duckdb

    pattern, shape = form

    def written(begin: int) -> pa.Array:
        """Return some of the values as texts; an error where one is not as the engine writes it."""
        texts = pa.array(values[begin : begin + CHUNK], pa.string())
        if not pc.all(pc.match_substring_regex(texts, pattern), skip_nulls=False).as_py():
            raise pa.ArrowInvalid("a record of another form")
        return texts

    try:
        with ThreadPoolExecutor() as pool:
            chunks = list(pool.map(written, range(0, len(values), CHUNK)))
        numbers = pa.array(np.arange(len(values)))
        with duckdb.connect() as connection:
            connection.register(
                "texts", pa.table({"value": pa.chunked_array(chunks), "number": numbers})
            )
            found: pa.Table = connection.sql(
                "SELECT number, unnest(json_transform_strict(value, $shape)) FROM texts",
                params={"shape": shape},
            ).to_arrow_table()
    except (pa.ArrowException, duckdb.Error):
        return None
    if found.column("number").combine_chunks() != numbers:
        return None
    columns = []
    for field in list(schema)[: found.num_columns - 1]:
        column = found.column(field.name)
        if (
            pa.types.is_floating(column.type)
            and not pc.all(pc.is_finite(column)).as_py()
            and (column.null_count < len(column))
        ):
            return None
        columns.append(column.cast(field.type))
    return columns
