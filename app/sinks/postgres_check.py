"""Whether a database has what the sink writes to, and what there is, for people."""

from __future__ import annotations

from typing import Final

from app.sinks.driver import SinkRefusesError
from app.sinks.postgres_session import Session
from app.sinks.postgres_tables import POSITIONS, TABLES, VERSION, quoted

MIGRATE: Final = "run `candlewick postgres migrate`"
#: Of `server_version_num`.
_OLDEST: Final = 14_00_00
_RIGHTS: Final = ("SELECT", "INSERT", "UPDATE")


def version_fault(found: str | None, schema: str) -> str | None:
    """Return what is wrong with the version of the tables; None where nothing is."""
    if found is None:
        return f"schema {schema} has no tables of candlewick: {MIGRATE}"
    if found < VERSION:
        return f"the tables in schema {schema} are of version {found}, not {VERSION}: {MIGRATE}"
    if found > VERSION:
        return (
            f"the tables in schema {schema} are of version {found}, newer than this candlewick's "
            f"{VERSION}: install the candlewick that made them, or a later one"
        )
    return None


async def check_tables(session: Session, deployment: str) -> None:
    """See that the tables are there, of the right version, ours, and may be written.

    Raises:
        SinkUnavailableError: the server does not answer.
        SinkRefusesError: it is not so.
    """
    where, schema = session.address.where, session.address.schema
    [(number, encoding)] = await session.fetch(
        "SELECT current_setting('server_version_num')::integer, current_setting('server_encoding')"
    )
    if number < _OLDEST:
        raise SinkRefusesError(f"{where} is older than PostgreSQL 14: its number is {number}")
    if encoding != "UTF8":
        raise SinkRefusesError(f"{where}: its encoding is {encoding}, expected UTF8")
    fault = version_fault(await table_version(session), schema)
    if fault is not None:
        raise SinkRefusesError(f"{where}: {fault}")
    rights = " AND ".join(f"has_table_privilege(full_name, '{each}')" for each in _RIGHTS)
    lacking = await session.fetch(
        "SELECT name FROM (SELECT name, format('%%I.%%I', %s::text, name) AS full_name "
        f"FROM unnest(%s::text[]) AS name) AS names WHERE NOT ({rights})",
        (schema, [POSITIONS, *TABLES]),
    )
    if lacking:
        names = ", ".join(name for (name,) in lacking)
        raise SinkRefusesError(
            f"{where}: this user may not {', '.join(_RIGHTS)} in {names}; the tables' owner grants "
            "it, see docs/postgres.md"
        )
    foreign = await session.fetch(
        f"SELECT deployment FROM {quoted(schema)}.{quoted(POSITIONS)} "
        "WHERE deployment <> %s LIMIT 1",
        (deployment,),
    )
    if foreign:
        raise SinkRefusesError(
            f"{where}: schema {schema} holds deployment {foreign[0][0]!r}, not {deployment!r}; "
            "another one is named by CANDLEWICK_POSTGRES__TABLE_SCHEMA"
        )


async def table_version(session: Session) -> str | None:
    """Return the version of the tables; None where there are none."""
    place = f"{quoted(session.address.schema)}.alembic_version"
    [(there,)] = await session.fetch("SELECT to_regclass(%s) IS NOT NULL", (place,))
    if not there:
        return None
    rows = await session.fetch(f"SELECT version_num FROM {place}")
    return str(rows[0][0]) if rows else None


async def describe(session: Session) -> list[str]:
    """Return lines that say what is there; errors as of `Session.execute`."""
    schema = session.address.schema
    [(server, timescale)] = await session.fetch(
        "SELECT current_setting('server_version'), "
        "(SELECT extversion FROM pg_extension WHERE extname = 'timescaledb')"
    )
    lines = [
        f"{session.address.where}: server {server}, schema {schema}, tables of version {VERSION}",
        f"TimescaleDB {timescale}" if timescale else "no TimescaleDB: plain tables",
    ]
    positions = await session.fetch(
        f"SELECT topic, count(next), coalesce(sum(next), 0)::bigint, max(changed) FROM "
        f"{quoted(schema)}.{quoted(POSITIONS)} GROUP BY topic ORDER BY topic"
    )
    lines += [
        f"{topic}: {partitions} partitions, offsets before {total:,} in all, "
        f"last written {changed:%Y-%m-%d %H:%M:%S} UTC"
        for topic, partitions, total, changed in positions
    ]
    if timescale:
        # The statistics below are of the chunks, not of the table itself.
        return lines
    rows = await session.fetch(
        "SELECT relname, greatest(reltuples, 0)::bigint, pg_total_relation_size(oid) "
        "FROM pg_class WHERE relnamespace = %s::regnamespace AND relname = ANY(%s) "
        "ORDER BY relname",
        (quoted(schema), list(TABLES)),
    )
    lines += [f"table {name}: about {count:,} rows, {size:,} bytes" for name, count, size in rows]
    return lines
