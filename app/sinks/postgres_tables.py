"""What becomes of each topic in PostgreSQL: tables, columns, keys, and how a row is put.

The columns are those that the archive derives from the contracts (`app/archive/columns.py`), and
before them `moment`: the row's event time cut to PostgreSQL's microsecond, for queries, partitions
and retention. `app/migrations` creates the tables; `tests/unit/test_sink_postgres_schema.py` holds
what is created against this, and `docs/postgres.md` says the same for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import msgspec
import pyarrow as pa

from app.archive.columns import POSITION, contract_schema
from app.archive.layout import LAYOUTS, view_name
from app.topics import INPUTS
from tables.quality.events import QualitySummaryRecord

#: The newest of `app/migrations/versions`; a test holds it against alembic's.
VERSION: Final = "0001"
#: Not `time`, which is a field of some records, in ns.
MOMENT: Final = "moment"
#: Which topics are held up to where, and by whom.
POSITIONS: Final = "positions"
#: The temporary table of a connection with what `Table.sift_statement` finds: number and code.
REFUSED: Final = "pg_temp.candlewick_refused"
_POSITION: Final = tuple(field.name for field in POSITION if field.name != "append_time")
#: What names a record of the topics that are never revised; of others see `Layout.identity`. Where
#: a contract names none, the place in the log does.
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "activity": ("symbol", "interval", "number"),
    "features": ("symbol", "kind", "window", "start"),
    "predictions.outcomes": ("symbol", "interval", "model", "alias", "version", "start"),
    "quality": ("symbol", "input", "kind", "offset"),
}
_PLAIN: Final[Mapping[pa.DataType, str]] = {
    pa.int64(): "bigint",
    pa.int32(): "integer",
    pa.float64(): "double precision",
    pa.bool_(): "boolean",
    # By bytes: as quick as can be, and no index is wrong after the system's locales have changed.
    pa.string(): 'text COLLATE "C"',
    pa.timestamp("us"): "timestamp with time zone",
}
_JSON: Final = "jsonb"


def quoted(name: str) -> str:
    """Return a name as SQL takes it, whatever it is."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Iterable[str]) -> str:
    """Return names as a list in SQL."""
    return ", ".join(map(quoted, names))


def type_name(kind: pa.DataType) -> str:
    """Return what PostgreSQL calls the type of a column."""
    if pa.types.is_list(kind):
        return "bigint[]" if pa.types.is_integer(kind.value_type) else "text[]"
    return _JSON if pa.types.is_nested(kind) else _PLAIN[kind]


@dataclass(frozen=True)
class Table:
    """The rows of one kind of record.

    Attributes:
        topic: that carries the records, without prefix and deployment.
        record: their contract.
        event_time: the field that gives `moment`.
        identity: the fields that name a row.
    """

    name: str
    topic: str
    record: type[msgspec.Struct]
    event_time: str
    identity: tuple[str, ...]

    @cached_property
    def schema(self) -> pa.Schema:
        """Its columns as Arrow has them, without `moment`."""
        return contract_schema(self.record)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Their names, in order."""
        return (MOMENT, *self.schema.names)

    @cached_property
    def json_columns(self) -> tuple[str, ...]:
        """Those that are mappings."""
        return tuple(each.name for each in self.schema if type_name(each.type) == _JSON)

    @cached_property
    def key(self) -> tuple[str, ...]:
        """Its primary key: texts, the symbol first, `moment`, numbers.

        So the rows of one symbol and a while lie together.
        """
        texts = [each for each in self.identity if self._is_text(each)]
        texts.sort(key=lambda each: each != "symbol")
        return (*texts, MOMENT, *(each for each in self.identity if each not in texts))

    @property
    def series(self) -> tuple[str, ...]:
        """The texts that its key begins with."""
        return self.key[: self.key.index(MOMENT)]

    @property
    def revised(self) -> bool:
        """Whether of its rows with one key that of the highest revision holds."""
        return "revision" in self.schema.names

    def _is_text(self, name: str) -> bool:
        return bool(pa.types.is_string(self.schema.field(name).type))

    def definition(self) -> list[tuple[str, str, bool]]:
        """Return the columns: name, type, whether it may be null."""
        return [
            (MOMENT, _PLAIN[pa.timestamp("us")], False),
            *((each.name, type_name(each.type), each.nullable) for each in self.schema),
        ]

    @property
    def staging(self) -> str:
        """The temporary table of a connection that rows are copied into."""
        return f"pg_temp.{quoted('staging_' + self.name)}"

    def staging_statement(self, schema: str) -> str:
        """Return what creates `staging`, which is empty after each transaction."""
        return (
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {quoted('staging_' + self.name)} "
            f"(LIKE {quoted(schema)}.{quoted(self.name)}) ON COMMIT DELETE ROWS"
        )

    def copy_statement(self) -> str:
        """Return what takes rows as CSV, of `columns` in order."""
        return f"COPY {self.staging} ({listed(self.columns)}) FROM STDIN (FORMAT csv)"

    def put_statement(self, schema: str) -> str:
        """Return what puts the rows of `staging` where they belong.

        Of one key the highest revision stays, whichever comes first; where rows are never revised,
        the first. So a row that is put again changes nothing.
        """
        order = [*map(quoted, self.key), *(['"revision" DESC'] if self.revised else [])]
        return (
            f"{self._insert(schema)} SELECT DISTINCT ON ({listed(self.key)}) "
            f"{listed(self.columns)} FROM {self.staging} ORDER BY {', '.join(order)} "
            f"{self._conflict()}"
        )

    def sift_statement(self, schema: str) -> str:
        """Return what puts the rows of `staging` one by one, in their order, but for refused ones.

        `REFUSED` gets their numbers, from 0 on, with PostgreSQL's codes; and in a row of number -1
        how many others were new or newer. Rows of a table that was empty before a COPY lie in its
        order, and `ctid` is where they lie.
        """
        return (
            "DO $sift$ DECLARE one record; number bigint := -1; put bigint := 0; changed bigint; "
            f"BEGIN FOR one IN SELECT ctid AS place FROM {self.staging} ORDER BY ctid LOOP "
            "number := number + 1; "
            f"BEGIN {self._insert(schema)} SELECT {listed(self.columns)} FROM {self.staging} "
            f"WHERE ctid = one.place {self._conflict()}; "
            "GET DIAGNOSTICS changed = ROW_COUNT; put := put + changed; "
            "EXCEPTION WHEN data_exception OR integrity_constraint_violation "
            f"OR program_limit_exceeded THEN INSERT INTO {REFUSED} VALUES (number, SQLSTATE); "
            f"END; END LOOP; INSERT INTO {REFUSED} VALUES (-1, put::text); END $sift$"
        )

    def _insert(self, schema: str) -> str:
        name = f"{quoted(schema)}.{quoted(self.name)}"
        return f"INSERT INTO {name} AS held ({listed(self.columns)})"

    def _conflict(self) -> str:
        action = "NOTHING"
        if self.revised:
            changed = [each for each in self.columns if each not in self.key]
            values = ", ".join(f"{quoted(each)} = excluded.{quoted(each)}" for each in changed)
            action = f'UPDATE SET {values} WHERE excluded."revision" > held."revision"'
        return f"ON CONFLICT ({listed(self.key)}) DO {action}"


def _tables() -> Iterable[Table]:
    for topic, layout in LAYOUTS.items():
        identity = layout.identity or _KEYS.get(topic) or (*layout.order, *_POSITION)
        yield Table(view_name(topic), topic, layout.record, layout.time, identity)
    # The topic's other records.
    yield Table(
        "quality_summaries",
        "quality",
        QualitySummaryRecord,
        "start",
        ("symbol", "input", "session"),
    )


#: Every table of rows, by name.
TABLES: Final[Mapping[str, Table]] = {each.name: each for each in _tables()}
#: Topics whose records become rows.
TOPICS: Final = tuple(LAYOUTS)
#: Of them, those that all deployments share; what a deployment computes can be computed again.
SHARED: Final = tuple(each for each in TOPICS if each in INPUTS)


def tables_of(topic: str) -> list[Table]:
    """Return the tables of a topic's records; the first is that of its layout."""
    return [each for each in TABLES.values() if each.topic == topic]
