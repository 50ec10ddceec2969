"""TimescaleDB, where a database has that extension: hypertables, compression, retention.

Not shown by a test against a real one, which no registry has: the tests hold the statements.
Compression and policies are of its community licence; a server without them gets hypertables alone.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg

from app.durations import NANOSECONDS
from app.settings import Settings
from app.sinks.postgres_tables import MOMENT, TABLES, Table, listed, quoted

#: Event time of a chunk: those of a week, with their indexes, are to fit into memory.
CHUNK: Final = "7 days"
#: Which setting says which licence's functions there are.
_LICENCE: Final = "timescaledb.license"


def timescale_version(connection: psycopg.Connection[Any]) -> str | None:
    """Return the version of the extension in this database; None where it is not there."""
    rows = connection.execute(
        "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
    ).fetchall()
    return str(rows[0][0]) if rows else None


def make_hypertables(connection: psycopg.Connection[Any], settings: Settings) -> list[str]:
    """Make every table a hypertable with the policies of the settings; may be run again.

    Returns: lines that say what is so now.
    """
    [(home, licence)] = connection.execute(
        "SELECT extnamespace::regnamespace::text, current_setting(%s, true) "
        "FROM pg_extension WHERE extname = 'timescaledb'",
        (_LICENCE,),
    ).fetchall()
    schema, community = settings.postgres.table_schema, licence == "timescale"
    connection.execute(f"SET search_path TO {quoted(schema)}, {home}".encode())
    for table in TABLES.values():
        for statement in hypertable_statements(table, schema):
            connection.execute(statement.encode())
        if community:
            compressed = connection.execute(
                "SELECT compression_enabled FROM timescaledb_information.hypertables "
                "WHERE hypertable_schema = %s AND hypertable_name = %s",
                (schema, table.name),
            ).fetchall()
            if compressed != [(True,)]:
                connection.execute(compression_statement(table, schema).encode())
            for statement in policy_statements(table, schema, settings):
                connection.execute(statement.encode())
    version = timescale_version(connection)
    if not community:
        return [f"TimescaleDB {version}: hypertables; its licence {licence} has no policies"]
    return [f"TimescaleDB {version}: hypertables, compression and retention by its policies"]


def hypertable_statements(table: Table, schema: str) -> list[str]:
    """Return what makes a table a hypertable, with the rows that it has."""
    return [
        f"SELECT create_hypertable({_literal(table, schema)}, '{MOMENT}', "
        f"chunk_time_interval => INTERVAL '{CHUNK}', create_default_indexes => false, "
        "if_not_exists => true, migrate_data => true)"
    ]


def compression_statement(table: Table, schema: str) -> str:
    """Return what says how chunks are compressed: each series apart, the newest row first."""
    order = [f"{quoted(MOMENT)} DESC"]
    order += [quoted(each) for each in table.key if each not in (*table.series, MOMENT)]
    return (
        f"ALTER TABLE {quoted(schema)}.{quoted(table.name)} SET (timescaledb.compress, "
        f"timescaledb.compress_segmentby = '{listed(table.series)}', "
        f"timescaledb.compress_orderby = '{', '.join(order)}')"
    )


def policy_statements(table: Table, schema: str, settings: Settings) -> list[str]:
    """Return what sets the policies anew; without a duration there is none."""
    name = _literal(table, schema)
    wanted = {
        "compression": ("compress_after", settings.postgres.compress_after),
        "retention": ("drop_after", settings.postgres.retention),
    }
    statements = []
    for policy, (argument, nanoseconds) in wanted.items():
        statements.append(f"SELECT remove_{policy}_policy({name}, if_exists => true)")
        if nanoseconds:
            seconds = nanoseconds // NANOSECONDS["s"]
            statements.append(
                f"SELECT add_{policy}_policy({name}, {argument} => INTERVAL '{seconds} seconds')"
            )
    return statements


def _literal(table: Table, schema: str) -> str:
    # Of a schema's name the settings allow no quote.
    return f"'{quoted(schema)}.{quoted(table.name)}'::regclass"
