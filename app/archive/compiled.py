"""The compiled way from many records to columns, where there is one; `columns.py` is exact.

It takes what the engine itself writes of flat records, and of those with one mapping of floats, and
leaves the rest: rows of a batch, which then go the exact way and are put between the others.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.contracts.record_forms import form_of

logger = logging.getLogger(__name__)

Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.integer[Any]]
#: Of a mapping, as the compiled reader writes it.
ENTRY: Final = np.dtype([("bits", np.int64), ("end", np.int32), ("valid", np.int32)])

compiled_reader: Any = None
try:
    from app.archive import _reading as module
except ImportError as error:
    logger.warning(
        "the compiled reading of records is missing (%s): the archive takes three times as much of "
        "the processor; install a C compiler and run `make setup` again",
        error,
    )
else:
    compiled_reader = module.Reader


def quick_columns(
    record: type[msgspec.Struct], schema: pa.Schema, values: Sequence[bytes | None]
) -> tuple[list[pa.Array], Integers]:
    """Return the columns of the records of the usual form, and the rows of those that are left.

    Columns are of the schema's first types, in the order of the values.
    """
    form, count = form_of(record), len(values)
    if compiled_reader is None or form is None:
        return [], np.arange(count)
    arrays: list[Any] = []

    def number_of(text: bytes) -> bytes | None:
        try:
            value = form.texts.decode(text)
        except msgspec.DecodeError:
            return None
        arrays.append(value)
        return (len(arrays) - 1).to_bytes(8, "little")

    numbers = np.empty((len(form.fields), count), np.int64)
    valid = np.empty((len(form.fields), count), np.uint8)
    rest = np.empty(count, np.int64)
    try:
        made, texts, entries = compiled_reader(form, number_of).columns(
            values, numbers, valid, rest
        )
    except OverflowError:
        return [], np.arange(count)
    columns = []
    for place, text in enumerate(texts):
        kind, column = schema.field(place).type, (numbers[place, :made], valid[place, :made])
        if pa.types.is_map(kind):
            columns.append(_mappings(kind, column[0], text, np.frombuffer(entries, ENTRY)))
        else:
            columns.append(_column(kind, *column, text, arrays))
    return columns, rest[: count - made]


def _mappings(
    kind: pa.MapType, ends: Numbers, names: bytes, entries: npt.NDArray[np.void]
) -> pa.Array:
    there = np.ones(len(entries), np.uint8)
    return pa.MapArray.from_arrays(
        pa.array(_offsets(ends)),
        _column(kind.key_type, entries["end"], there, names, []),
        _column(kind.item_type, np.ascontiguousarray(entries["bits"]), entries["valid"], b"", []),
        type=kind,
    )


def _column(
    kind: pa.DataType, numbers: Numbers, valid: Numbers, text: bytes, arrays: list[Any]
) -> pa.Array:
    count, nulls = len(numbers), None
    if not valid.all():
        nulls = pa.py_buffer(np.packbits(valid, bitorder="little"))
    if pa.types.is_list(kind):
        places = pa.array(numbers, mask=valid == 0)
        return pa.array(arrays, kind).take(places)
    if pa.types.is_string(kind):
        ends = pa.py_buffer(_offsets(numbers))
        return pa.Array.from_buffers(kind, count, [nulls, ends, pa.py_buffer(text)])
    if pa.types.is_boolean(kind):
        return pa.array(numbers.astype(bool), mask=valid == 0)
    # Integers and floats of 64 bits, as they are.
    return pa.Array.from_buffers(kind, count, [nulls, pa.py_buffer(numbers)])


def _offsets(ends: Numbers) -> npt.NDArray[np.int32]:
    offsets = np.zeros(len(ends) + 1, np.int32)
    offsets[1:] = ends
    return offsets
