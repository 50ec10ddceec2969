"""Records to rows of PostgreSQL's tables, and rows to the CSV that COPY takes; columns all the way.

The archive decodes (`app/archive/columns.py`), so a row says the same in both places. A mapping
(the values of indicators, say) goes as the JSON text that the record has it in: no number is
written twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from app.archive.columns import POSITION, Integers, decode
from app.contracts.batch import RecordBatch
from app.contracts.in_json import in_json
from app.sinks.driver import Place
from app.sinks.points import CONTROLS
from app.sinks.postgres_tables import MOMENT, Table, tables_of, type_name
from app.topics import INPUTS

#: COPY's CSV: text in quotes, so that null and empty text differ.
_CSV: Final = csv.WriteOptions(include_header=False, quoting_style="needed")
_POSITION: Final = frozenset(field.name for field in POSITION)


class RowsRefusedError(Exception):
    """The server will not take these rows, or one of them; the message is without their text."""


class Held(NamedTuple):
    """A batch that waits, of the topic without prefix and deployment."""

    topic: str
    batch: RecordBatch

    @property
    def place(self) -> Place:
        """Its partition."""
        return Place(self.topic, self.batch.partition)


@dataclass(frozen=True)
class Part:
    """Rows of one table.

    Attributes:
        rows: its columns, of types that CSV has.
        whole: all of them as CSV.
    """

    table: Table
    rows: pa.Table
    whole: bytes

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def body(self, chosen: range) -> bytes:
        """Return some of the rows as CSV."""
        return _csv(self.rows.slice(chosen.start, len(chosen)))

    def place(self, row: int) -> tuple[Place, int]:
        """Return which record a row came from: its partition, and its offset."""
        partition, offset = (
            self.rows.column(name)[row].as_py() for name in ("log_partition", "log_offset")
        )
        return Place(self.table.topic, partition), offset


@dataclass(frozen=True)
class Prepared:
    """What batches become; `passed` counts records without a row, by reason."""

    parts: Sequence[Part]
    passed: Counter[str]


class _Typed(msgspec.Struct):
    type: str


_typed_decoder = msgspec.json.Decoder(_Typed)


def prepare(held: Iterable[Held]) -> Prepared:
    """Turn batches into rows, those of one partition in the order of the log."""
    by_place: dict[Place, list[RecordBatch]] = {}
    for each in held:
        if len(each.batch):
            by_place.setdefault(each.place, []).append(each.batch)
    found: dict[str, tuple[Table, list[pa.Table]]] = {}
    passed: Counter[str] = Counter()
    for place, batches in by_place.items():
        for table, rows in _rows(place, batches, passed):
            found.setdefault(table.name, (table, []))[1].append(rows)
    parts = []
    # In one order, so that two writers of the same rows wait for each other, and never in a ring.
    for _, (table, rows) in sorted(found.items()):
        whole = pa.concat_tables(rows)
        parts.append(Part(table, whole, _csv(whole)))
    return Prepared(parts, passed)


def _csv(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    csv.write_csv(rows, sink, _CSV)
    return bytes(sink.getvalue().to_pybytes())


def _rows(
    place: Place, batches: list[RecordBatch], passed: Counter[str]
) -> list[tuple[Table, pa.Table]]:
    """Return the rows of consecutive batches of one partition, by table."""
    values = [value for each in batches for value in each.values]
    offsets = np.concatenate([each.offsets for each in batches])
    times = np.concatenate([each.append_times for each in batches])
    first, *others = tables_of(place.topic)
    decoded = decode(place.topic, place.partition, values, offsets, times)
    found = []
    if decoded.rows.num_rows:
        own = np.isin(offsets, decoded.rows.column("log_offset").to_numpy())
        texts = [values[row] for row in np.flatnonzero(own).tolist()] if first.json_columns else []
        found.append((first, _columns(first, decoded.rows, texts)))
    left = decoded.raw.to_pylist()
    for table in others:
        rows, left = _decoded(table, left)
        if rows is not None:
            found.append((table, rows))
    passed.update(_reason(place.topic, each["value"]) for each in left)
    return found


def _decoded(
    table: Table, raw: list[dict[str, Any]]
) -> tuple[pa.Table | None, list[dict[str, Any]]]:
    """Return rows of those records that are of a table's contract, and the other records."""
    decoder = _decoder(table.record)
    rows, texts, left = [], [], []
    for each in raw:
        try:
            record = decoder.decode(each["value"] or b"")
            row = pa.Table.from_pylist([_row(table, record, each)], schema=_plain_schema(table))
        except (msgspec.DecodeError, UnicodeDecodeError, pa.ArrowException, OverflowError):
            # Not of the contract, or with a number that no column holds.
            left.append(each)
            continue
        rows.append(row)
        texts.append(each["value"])
    if not rows:
        return None, left
    return _columns(table, pa.concat_tables(rows), texts), left


def _row(table: Table, record: Any, raw: dict[str, Any]) -> dict[str, Any]:
    return {
        name: raw[name] if name in _POSITION else getattr(record, name) for name in _plain(table)
    }


def _plain(table: Table) -> list[str]:
    """Return the columns that are no mappings, of those that the archive has."""
    return [name for name in table.schema.names if name not in table.json_columns]


@cache
def _plain_schema(table: Table) -> pa.Schema:
    return pa.schema([table.schema.field(name) for name in _plain(table)])


@cache
def _decoder(record: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    whole = msgspec.defstruct(record.__name__, [], bases=(record,), forbid_unknown_fields=True)
    return msgspec.json.Decoder(whole)


@cache
def _json_decoder(names: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """Return a decoder that takes these fields as the text they are, and nothing else."""
    return msgspec.json.Decoder(
        msgspec.defstruct("Texts", [(name, msgspec.Raw) for name in names], gc=False)
    )


def _columns(table: Table, rows: pa.Table, texts: Sequence[bytes | None]) -> pa.Table:
    """Return the columns of a table, in order; `texts` are the records, where it has mappings."""
    nanoseconds: Integers = rows.column(table.event_time).to_numpy()
    # Down, also before 1970.
    moments = pa.array((nanoseconds // 1_000).astype("datetime64[us]"), pa.timestamp("us"))
    columns: dict[str, Any] = {MOMENT: moments}
    if table.json_columns:
        decode_texts = _json_decoder(table.json_columns).decode
        records = [decode_texts(each or b"") for each in texts]
    for field in table.schema:
        if field.name in table.json_columns:
            own = [bytes(getattr(each, field.name)) for each in records]
            columns[field.name] = pa.array(own, pa.string())
        elif type_name(field.type).endswith("[]"):
            columns[field.name] = _array_texts(rows.column(field.name).combine_chunks())
        else:
            columns[field.name] = rows.column(field.name)
    return pa.table(columns)


def _array_texts(lists: Any) -> pa.Array:
    r"""Return lists as PostgreSQL writes arrays: `{"sip","a \" quote"}`, `{1,2}`."""
    items = lists.flatten()
    if pa.types.is_string(items.type):
        for special in ("\\", '"'):
            items = pc.replace_substring(items, special, "\\" + special)
        items = pc.binary_join_element_wise('"', items, '"', "")
    else:
        items = items.cast(pa.string())
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(ends), items), ",")
    return pc.binary_join_element_wise("{", joined, "}", "")


def _reason(topic: str, value: bytes | None) -> str:
    """Return why a record has no row."""
    try:
        kind = _typed_decoder.decode(in_json(topic, value or b"")).type
    except (msgspec.DecodeError, UnicodeDecodeError):
        kind = None
    if kind in CONTROLS:
        return "control"
    if kind == "portfolio_update":
        return kind
    # What an agent could not read is in its dead topic; on an output it is a fault.
    return "dead" if topic in INPUTS else "malformed"


def value_of(held: Iterable[Held], place: Place, offset: int) -> bytes | None:
    """Return the bytes of a record."""
    for each in held:
        if each.place == place and each.batch.base <= offset < each.batch.next:
            row = int(np.searchsorted(each.batch.offsets, offset))
            if row < len(each.batch) and each.batch.offsets[row] == offset:
                return each.batch.values[row]
    raise ValueError(f"{place.topic} partition {place.partition}: no record at {offset} is held")
