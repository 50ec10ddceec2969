"""What an administrator does with the tables: make and alter them, end old rows, empty them.

Called by commands, so it may block. Migrations are alembic's (`app/migrations`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg

import app.migrations
from app.durations import NANOSECONDS
from app.settings import Settings
from app.sinks.driver import SinkRefusesError
from app.sinks.postgres_address import Address, read_address
from app.sinks.postgres_check import version_fault
from app.sinks.postgres_errors import connect_error, statement_error
from app.sinks.postgres_rows import RowsRefusedError
from app.sinks.postgres_tables import (
    MOMENT,
    POSITIONS,
    TABLES,
    VERSION,
    Table,
    quoted,
    tables_of,
)
from app.sinks.postgres_timescale import make_hypertables, timescale_version

_FOLDER: Final = Path(app.migrations.__file__).parent
#: Of PostgreSQL's advisory locks: one migration at a time.
_LOCK: Final = 0x63616E646C65
#: ns of event time that one transaction of `retain` ends.
_SLICE: Final = 24 * 3600 * NANOSECONDS["s"]

Connection = psycopg.Connection[Any]


@contextmanager
def connected(settings: Settings) -> Iterator[tuple[Connection, Address]]:
    """Connect; every statement is a transaction of its own, without a time-out.

    Raises:
        SinkUnavailableError, SinkRefusesError: as their names say; also for what is done within.
    """
    address = read_address(settings)
    try:
        connection: Connection = psycopg.connect(address.conninfo, autocommit=True)
    except psycopg.Error as error:
        raise connect_error(error, address.where, address.secrets) from None
    with _told(address), connection:
        connection.execute("SET timezone TO 'UTC'")
        yield connection, address


@contextmanager
def _told(address: Address) -> Iterator[None]:
    """Say what errors of statements mean."""
    try:
        yield
    except psycopg.Error as error:
        found = statement_error(error, address.where, address.secrets)
        if isinstance(found, RowsRefusedError):
            raise SinkRefusesError(f"{address.where}: {found}") from None
        raise found from None


def migrate(settings: Settings) -> list[str]:
    """Bring the tables to `VERSION`; what is there already is left as it is.

    With TimescaleDB they become hypertables, compressed and ended as the settings say.

    Returns: lines that say what was done.

    Raises:
        SinkUnavailableError, SinkRefusesError: as their names say; then nothing has changed.
    """
    with connected(settings) as (connection, address):
        before = _upgrade(connection, address)
        done = f"schema {address.schema}: tables of version {VERSION}"
        lines = [done if before == VERSION else f"{done}, before: {before or 'none'}"]
        if timescale_version(connection) is None:
            lines.append("no TimescaleDB: plain tables; `candlewick postgres retain` ends old rows")
        else:
            lines += make_hypertables(connection, settings)
    return lines


def _upgrade(connection: Connection, address: Address) -> str | None:
    """Run the migrations that lack, in one transaction; return the version before them."""
    # With alembic alone.
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import StaticPool

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["schema"] = address.schema
    # SQLAlchemy has no address to show: the connection is there.
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: connection, poolclass=StaticPool
    )
    connection.autocommit = False
    try:
        with engine.begin() as config.attributes["connection"]:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            _ensure_schema(connection, address.schema)
            before = _version(connection, address.schema)
            if before is not None and before > VERSION:
                raise SinkRefusesError(f"{address.where}: {version_fault(before, address.schema)}")
            if before != VERSION:
                path = quoted(address.schema)
                connection.execute(f"SET LOCAL search_path TO {path}".encode())
                command.upgrade(config, "head")
        return before
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.Error):
            raise error.orig from None
        raise
    finally:
        if not connection.closed:
            connection.rollback()
            connection.autocommit = True


def run_sql(script: str) -> None:
    """Run the SQL file beside a version's script; called by the script, within alembic."""
    from alembic import op

    connection: Any = op.get_bind().connection.driver_connection
    # Not through SQLAlchemy, which would look for parameters in it.
    connection.execute(Path(script).with_suffix(".sql").read_bytes())


def _ensure_schema(connection: Connection, schema: str) -> None:
    # Only where it lacks: to ask for it takes a right that the owner of the schema may not have.
    if not connection.execute("SELECT to_regnamespace(%s)", (quoted(schema),)).fetchall()[0][0]:
        connection.execute(f"CREATE SCHEMA {quoted(schema)}".encode())


def _version(connection: Connection, schema: str) -> str | None:
    place = f"{quoted(schema)}.alembic_version"
    if not connection.execute("SELECT to_regclass(%s)", (place,)).fetchall()[0][0]:
        return None
    rows = connection.execute(f"SELECT version_num FROM {place}".encode()).fetchall()
    return str(rows[0][0]) if rows else None


def _must_be_current(connection: Connection, address: Address) -> None:
    fault = version_fault(_version(connection, address.schema), address.schema)
    if fault is not None:
        raise SinkRefusesError(f"{address.where}: {fault}")


def retain(settings: Settings, now: int) -> list[tuple[str, int]]:
    """Delete rows that are older than `postgres.retention`, by day; 0 keeps all.

    Where TimescaleDB does that itself nothing is done. What a replay brings back that is older is
    deleted by the next call.

    Args:
        now: the present, ns.

    Returns: tables, and how many of their rows are gone.

    Raises:
        SinkUnavailableError, SinkRefusesError: as their names say; the days before are gone.
    """
    keep = settings.postgres.retention
    if not keep:
        return []
    with connected(settings) as (connection, address):
        _must_be_current(connection, address)
        if timescale_version(connection) is not None:
            return []
        return [
            (table.name, _retain(connection, address.schema, table, now - keep))
            for table in TABLES.values()
        ]


def _retain(connection: Connection, schema: str, table: Table, before: int) -> int:
    """Delete the rows before a time, ns, slice by slice: no transaction is long."""
    place, moment = f"{quoted(schema)}.{quoted(table.name)}", quoted(MOMENT)
    instant = "to_timestamp(0) + %s * interval '1 microsecond'"
    end = before // 1_000
    gone = 0
    while True:
        [(first,)] = connection.execute(
            f"SELECT (extract(epoch FROM min({moment})) * 1000000)::bigint FROM {place} "
            f"WHERE {moment} < {instant}".encode(),
            (end,),
        ).fetchall()
        if first is None:
            return gone
        until = min(end, first + _SLICE // 1_000)
        cursor = connection.execute(
            f"DELETE FROM {place} WHERE {moment} < {instant}".encode(), (until,)
        )
        gone += cursor.rowcount


def empty(settings: Settings, topics: Sequence[str]) -> list[str]:
    """Take away all rows of topics, and their positions, in one transaction; return the tables.

    A sink that writes them is told that its positions are gone, and begins anew.

    Raises:
        SinkUnavailableError, SinkRefusesError: as their names say; then nothing has changed.
    """
    names = [table.name for topic in topics for table in tables_of(topic)]
    with connected(settings) as (connection, address):
        _must_be_current(connection, address)
        schema = quoted(address.schema)
        with connection.transaction():
            # Positions first, as a flush does.
            connection.execute(
                f"DELETE FROM {schema}.{quoted(POSITIONS)} WHERE topic = ANY(%s)".encode(),
                (list(topics),),
            )
            places = ", ".join(f"{schema}.{quoted(name)}" for name in names)
            connection.execute(f"TRUNCATE {places}".encode())
    return names
