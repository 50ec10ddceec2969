"""The tables of the PostgreSQL sink: migrations, versions, retention, and the commands."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from click.testing import CliRunner, Result

from app import exits
from app.archive.columns import schema_of
from app.archive.layout import LAYOUTS
from app.cli.postgres import postgres
from app.settings import Settings
from app.sinks import postgres_admin
from app.sinks.driver import SinkRefusesError
from app.sinks.measurements import MEASUREMENTS
from app.sinks.postgres import PostgresDriver
from app.sinks.postgres_admin import migrate, retain
from app.sinks.postgres_tables import TABLES, TOPICS, VERSION
from app.sinks.postgres_timescale import (
    compression_statement,
    hypertable_statements,
    policy_statements,
)
from tests.postgres_server import PASSWORD, PostgresServer, postgres_server
from tests.unit.archive_feeding import DAY, FRIDAY, bar, batch
from tests.unit.postgres_feeding import Kafka, fresh, rows_of

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "postgres.md"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as found:
        yield found


def test_the_tables_are_those_of_the_contracts(server: PostgresServer) -> None:
    settings = fresh(server)
    schema = settings.postgres.table_schema
    columns = rows_of(
        server,
        settings,
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) || CASE WHEN "
        "a.attcollation = 950 THEN ' COLLATE \"C\"' ELSE '' END, NOT a.attnotnull "
        "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
        f"WHERE c.relnamespace = '\"{schema}\"'::regnamespace AND c.relkind = 'r' "
        "AND a.attnum > 0 ORDER BY c.relname, a.attnum",
    )
    keys = rows_of(
        server,
        settings,
        "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint "
        f"WHERE connamespace = '\"{schema}\"'::regnamespace AND contype = 'p'",
    )
    indexes = rows_of(
        server,
        settings,
        f"SELECT tablename FROM pg_indexes WHERE schemaname = '{schema}' "
        "AND indexdef LIKE '%USING brin (moment)%'",
    )
    found: dict[str, list[tuple[str, str, bool]]] = {}
    for table, *column in columns:
        found.setdefault(table, []).append(tuple(column))
    assert found.keys() == {*TABLES, "positions", "alembic_version"}
    for name, table in TABLES.items():
        assert found[name] == table.definition(), name
    wanted = {name: f"PRIMARY KEY ({', '.join(table.key)})" for name, table in TABLES.items()}
    assert {name: text.replace('"', "") for name, text in keys if name in TABLES} == wanted
    assert {name for (name,) in indexes} == set(TABLES)


def test_every_topic_with_columns_has_a_table_of_the_archives_columns() -> None:
    assert {table.topic for table in TABLES.values()} == set(LAYOUTS) == set(TOPICS)
    for topic, layout in LAYOUTS.items():
        [table] = [each for each in TABLES.values() if each.record is layout.record]
        assert table.columns == ("moment", *schema_of(topic).names)


def test_a_key_names_what_a_point_of_influxdb_does() -> None:
    for measurement in MEASUREMENTS:
        named = [each for each in TABLES.values() if each.record is measurement.record]
        for table in named:
            ordinal = measurement.ordinal
            if ordinal == "offset" and ordinal not in table.schema.names:
                ordinal = "log_offset"
            wanted = {*measurement.tags, ordinal or measurement.time}
            if table.name == "quality_summaries":
                wanted = {*measurement.tags, "session"}
            assert wanted <= set(table.key), table.name


def test_the_version_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(postgres_admin._FOLDER))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_current_head() == VERSION
    # They are compared as text.
    assert all(re.fullmatch(r"\d{4}", each.revision) for each in scripts.walk_revisions())


def test_migrating_again_changes_nothing_and_two_at_once_do_it_once(
    server: PostgresServer,
) -> None:
    settings = server.settings(table_schema="twice")
    with ThreadPoolExecutor() as pool:
        lines = list(pool.map(lambda _: migrate(settings)[0], range(2)))
    assert sorted(lines) == [
        f"schema twice: tables of version {VERSION}",
        f"schema twice: tables of version {VERSION}, before: none",
    ]
    before = rows_of(server, settings, "SELECT oid, relname FROM pg_class ORDER BY oid")
    assert migrate(settings)[0] == f"schema twice: tables of version {VERSION}"
    assert rows_of(server, settings, "SELECT oid, relname FROM pg_class ORDER BY oid") == before


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("UPDATE alembic_version SET version_num = '0000'", "`candlewick postgres migrate`"),
        ("DELETE FROM alembic_version", "`candlewick postgres migrate`"),
        ("UPDATE alembic_version SET version_num = '9999'", "newer than this candlewick"),
        (
            "INSERT INTO positions (topic, partition, deployment, writer, version) "
            "VALUES ('bars', 0, 'theirs', 'x', 1)",
            "holds deployment 'theirs', not 'mine'",
        ),
    ],
)
async def test_tables_of_another_version_or_deployment_are_refused(
    change: str, text: str, server: PostgresServer
) -> None:
    settings = fresh(server)
    rows_of(server, settings, change)
    driver = PostgresDriver(settings, logs=Kafka())
    with pytest.raises(SinkRefusesError, match=re.escape(text)):
        await driver.open()
    await driver.close()
    if "9999" in change:
        with pytest.raises(SinkRefusesError, match="newer than this candlewick"):
            migrate(settings)


async def write(settings: Settings, *days: int) -> None:
    driver = PostgresDriver(settings, logs=Kafka())
    values = [bar("A", FRIDAY - day * DAY + 5) for day in days]
    driver.add("bars", batch(0, 0, values))
    await driver.flush(FRIDAY)
    await driver.close()


async def test_retention_ends_rows_that_are_older_and_no_others(server: PostgresServer) -> None:
    settings = fresh(server, retention="10d")
    await write(settings, 0, 9, 10, 11, 40, 400)
    # To the microsecond: the row of ten days ago is 5 ns from its end.
    assert dict(retain(settings, FRIDAY))["bars"] == 3
    assert dict(retain(settings, FRIDAY))["bars"] == 0
    left = rows_of(server, settings, "SELECT start FROM bars ORDER BY 1")
    assert left == [(FRIDAY - day * DAY + 5,) for day in (10, 9, 0)]
    assert rows_of(server, settings, "SELECT next FROM positions") == [(6,)]
    forever = server.settings(table_schema=settings.postgres.table_schema, retention="0s")
    assert retain(forever, FRIDAY + 900 * DAY) == []


def run(server: PostgresServer, schema: str, *arguments: str) -> Result:
    environment = {
        "CANDLEWICK_POSTGRES__URL": server.url(),
        "CANDLEWICK_POSTGRES__TABLE_SCHEMA": schema,
        "CANDLEWICK_DEPLOYMENT": "mine",
    }
    return CliRunner().invoke(postgres, list(arguments), env=environment)


def test_the_commands_make_check_and_empty_the_tables(server: PostgresServer) -> None:
    result = run(server, "commands", "migrate")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"schema commands: tables of version {VERSION}, before: none",
        "no TimescaleDB: plain tables; `candlewick postgres retain` ends old rows",
    ]
    settings = server.settings(table_schema="commands")
    asyncio.run(write(settings, 0, 400))
    lines = json.loads(run(server, "commands", "check", "--json").stdout)
    assert lines[0].startswith("PostgreSQL at /")
    assert f"schema commands, tables of version {VERSION}" in lines[0]
    assert any(line.startswith("bars: 1 partitions, offsets before 2 in all") for line in lines)
    assert any(line.startswith("table bars: about ") for line in lines)
    result = run(server, "commands", "retain")
    assert (result.stdout, result.stderr) == ("bars: 1 rows\n", "1 rows are gone\n")
    result = run(server, "commands", "empty", "bars", "--yes", "--json")
    assert json.loads(result.stdout) == ["bars"]
    assert rows_of(server, settings, "SELECT count(*) FROM bars") == [(0,)]
    assert rows_of(server, settings, "SELECT count(*) FROM positions") == [(0,)]
    assert run(server, "commands", "empty", "trades", "--yes").exit_code == exits.USAGE
    result = run(server, "commands", "empty", "--yes")
    assert "ticks" not in result.stderr
    assert "quality" in result.stderr


@pytest.mark.parametrize("command", ["migrate", "retain", "empty"])
def test_what_goes_wrong_is_one_line_without_the_password(
    command: str, server: PostgresServer
) -> None:
    from app.run.errors import RunError

    nowhere = server.url().replace("/market", "/nowhere")
    arguments = [command, *(["--yes"] if command == "empty" else [])]
    result = CliRunner().invoke(postgres, arguments, env={"CANDLEWICK_POSTGRES__URL": nowhere})
    assert isinstance(result.exception, RunError)
    text = str(result.exception)
    assert "does not exist" in text
    assert "\n" not in text
    assert PASSWORD not in text + result.output


def test_with_timescaledb_each_table_is_compressed_by_its_series(server: PostgresServer) -> None:
    settings = server.settings(retention="10d", compress_after="0s")
    bars = TABLES["bars"]
    assert hypertable_statements(bars, "s") == [
        "SELECT create_hypertable('\"s\".\"bars\"'::regclass, 'moment', "
        "chunk_time_interval => INTERVAL '7 days', create_default_indexes => false, "
        "if_not_exists => true, migrate_data => true)"
    ]
    assert compression_statement(bars, "s") == (
        'ALTER TABLE "s"."bars" SET (timescaledb.compress, '
        'timescaledb.compress_segmentby = \'"symbol", "interval"\', '
        'timescaledb.compress_orderby = \'"moment" DESC, "start"\')'
    )
    name = '\'"s"."bars"\'::regclass'
    assert policy_statements(bars, "s", settings) == [
        f"SELECT remove_compression_policy({name}, if_exists => true)",
        f"SELECT remove_retention_policy({name}, if_exists => true)",
        f"SELECT add_retention_policy({name}, drop_after => INTERVAL '864000 seconds')",
    ]


def test_the_page_lists_the_tables_and_their_keys() -> None:
    page = DOCUMENT.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \| `([\w.]+)` \| (.+?) \|", page, re.MULTILINE)
    assert rows == [
        (name, table.topic, ", ".join(f"`{each}`" for each in table.key))
        for name, table in TABLES.items()
    ]
