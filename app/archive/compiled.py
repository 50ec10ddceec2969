"""The compiled way from many flat records to columns, where there is one; `columns.py` is exact.

It takes what the engine itself writes and leaves the rest: rows of a batch, which then go the exact
way and are put between the others.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.contracts.record_forms import RecordForm, form_of

logger = logging.getLogger(__name__)

Integers = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

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


def known_form(record: type[msgspec.Struct]) -> RecordForm | None:
    """Return a record's form where it is known here: flat, with texts and numbers alone."""
    form = form_of(record)
    if form is None or any(each.kind == "mapping" for each in form.fields):
        return None
    return form


def quick_columns(
    record: type[msgspec.Struct], schema: pa.Schema, values: Sequence[bytes | None]
) -> tuple[list[pa.Array], Integers]:
    """Return the columns of the records of the usual form, and the rows of those that are left.

    Columns are of the schema's first types, in the order of the values.
    """
    form, count = known_form(record), len(values)
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
        made, texts = compiled_reader(form, number_of).columns(values, numbers, valid, rest)
    except OverflowError:
        return [], np.arange(count)
    return [
        _column(schema.field(place).type, numbers[place, :made], valid[place, :made], text, arrays)
        for place, text in enumerate(texts)
    ], rest[: count - made]


def _column(
    kind: pa.DataType, numbers: Integers, valid: Bytes, text: bytes, arrays: list[Any]
) -> pa.Array:
    count, nulls = len(numbers), None
    if not valid.all():
        nulls = pa.py_buffer(np.packbits(valid, bitorder="little"))
    if pa.types.is_list(kind):
        places = pa.array(numbers, mask=valid == 0)
        return pa.array(arrays, kind).take(places)
    if pa.types.is_string(kind):
        ends = np.zeros(count + 1, np.int32)
        ends[1:] = numbers
        return pa.Array.from_buffers(kind, count, [nulls, pa.py_buffer(ends), pa.py_buffer(text)])
    if pa.types.is_boolean(kind):
        return pa.array(numbers.astype(bool), mask=valid == 0)
    # Integers and floats of 64 bits, as they are.
    return pa.Array.from_buffers(kind, count, [nulls, pa.py_buffer(numbers)])
