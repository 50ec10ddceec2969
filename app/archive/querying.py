"""SQL over an archive, by DuckDB: each topic is a view, and only what manifests name is in it.

`bars` has the highest revision of each bar, `bars_versions` all of them; so with every topic that
is revised. Each row also has its file's `topic`, `year`, `month` and `day`: a condition on these
keeps DuckDB from opening the files of other days.

The connection has the archive's place and nothing else: no other file, no network, no extension is
loaded, and only queries are run (`SELECT`, `EXPLAIN` of one, `DESCRIBE` ...).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from app.archive.columns import schema_of
from app.archive.layout import LAYOUTS, RAW, view_name
from app.archive.manifest import ArchiveError, Part, State, read_state
from models.predicting.registry_store import LocalStore, Store, open_store

_HIVE: Final = "{'topic': VARCHAR, 'year': BIGINT, 'month': BIGINT, 'day': BIGINT}"
_EXPLAIN: Final = re.compile(
    r"\s*EXPLAIN\s*(\([^)]*\)\s*)?(ANALYZE\s+)?(?P<query>.*)", re.IGNORECASE | re.DOTALL
)


class QueryError(ValueError):
    """SQL that cannot be run; the message is one line."""


def query(location: str | Path | Store, sql: str) -> pa.Table:
    """Run one query over the archive at a folder or address of fsspec's.

    Raises:
        QueryError: the SQL is wrong, or not a query.
        ArchiveError: a manifest, or a file that one names, cannot be read.
        ValueError, ImportError: see `open_store`.
    """
    store = open_store(location) if isinstance(location, str | Path) else location
    with _opened(store, read_state(store)) as connection:
        try:
            _must_be_query(connection, sql)
            found: pa.Table = connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise QueryError(" ".join(str(error).split())) from None
    return found


def stream(
    store: Store, state: State, statements: Iterable[str], rows: int
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of queries, one query after the other, at most so many rows at a time.

    Args:
        state: of the archive, now or a while ago: files that were replaced since are there still.
        statements: SQL of our own.

    Raises:
        ArchiveError: a file that the state names cannot be read, or not any more.
    """
    with _opened(store, state) as connection:
        for sql in statements:
            try:
                yield from connection.sql(sql).to_arrow_reader(rows)
            except (duckdb.Error, pa.ArrowException, OSError) as error:
                raise ArchiveError(" ".join(str(error).split())) from None


@contextmanager
def _opened(store: Store, state: State) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a connection with the views of a state."""
    with (
        tempfile.TemporaryDirectory(prefix="candlewick-query-") as scratch,
        duckdb.connect(config={"temp_directory": scratch}) as connection,
    ):
        try:
            _prepare(connection, store, state)
        except duckdb.Error as error:
            raise ArchiveError(" ".join(str(error).split())) from None
        yield connection


def _prepare(connection: duckdb.DuckDBPyConnection, store: Store, state: State) -> None:
    """Make the views, then close everything else."""
    root = _root(connection, store)
    by_topic: dict[str, list[Part]] = {topic: [] for topic in (*LAYOUTS, RAW)}
    for part in state.parts.values():
        by_topic.setdefault(part.topic, []).append(part)
    connection.execute(f"SET allowed_directories = [{_quoted(root)}]")
    connection.execute("SET enable_external_access = false")
    for topic, parts in by_topic.items():
        _make_views(connection, topic, sorted(f"{root}/{each.path}" for each in parts))
    # Names of Python's variables are no tables.
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET lock_configuration = true")


def _root(connection: duckdb.DuckDBPyConnection, store: Store) -> str:
    """Return the archive's place in the form that DuckDB compares with what is allowed."""
    if isinstance(store, LocalStore):
        return str(Path(store.where("")).absolute())
    from fsspec.core import url_to_fs

    files, root = url_to_fs(store.where(""), use_listings_cache=False)
    connection.register_filesystem(files)
    return str(files.unstrip_protocol(root)).rstrip("/")


def _make_views(connection: duckdb.DuckDBPyConnection, topic: str, places: Iterable[str]) -> None:
    files = ", ".join(map(_quoted, places))
    name = view_name(topic)
    identity = LAYOUTS[topic].identity if topic in LAYOUTS else ()
    every = f"{name}_versions" if identity else name
    if files:
        rows = f"read_parquet([{files}], hive_partitioning = true, hive_types = {_HIVE})"
        connection.execute(f'CREATE VIEW "{every}" AS SELECT * FROM {rows}')
    else:
        _make_empty(connection, every, topic)
    if identity:
        # All versions of a row are of one day: with these, conditions on the day reach the files.
        key = ", ".join(f'"{each}"' for each in (*identity, "year", "month", "day"))
        connection.execute(
            f'CREATE VIEW "{name}" AS SELECT * FROM "{every}" QUALIFY row_number() OVER '
            f"(PARTITION BY {key} ORDER BY revision DESC, log_offset) = 1"
        )


def _make_empty(connection: duckdb.DuckDBPyConnection, name: str, topic: str) -> None:
    """Make a topic without files a table of its columns without rows."""
    hive = [
        pa.field("topic", pa.string()),
        *(pa.field(n, pa.int64()) for n in ("year", "month", "day")),
    ]
    empty = pa.schema([*schema_of(topic), *hive]).empty_table()
    connection.register("nothing", empty)
    connection.execute(f'CREATE TABLE "{name}" AS SELECT * FROM nothing')
    connection.unregister("nothing")


def _must_be_query(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Refuse what is not one query.

    Raises:
        QueryError: it is not.
        duckdb.Error: it is no SQL.
    """
    statements = connection.extract_statements(sql)
    if len(statements) == 1:
        kind = statements[0].type
        if kind == duckdb.StatementType.EXPLAIN:
            inner = _EXPLAIN.fullmatch(sql)
            statements = connection.extract_statements(inner["query"]) if inner else []
            kind = statements[0].type if len(statements) == 1 else kind
        if kind == duckdb.StatementType.SELECT:
            return
    raise QueryError("expected one query: SELECT, or EXPLAIN of one; the archive is only read")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
