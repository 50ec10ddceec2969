"""The PostgreSQL sink while its server, or itself, dies: no row lacks, none is there twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.settings import Settings
from app.sinks.driver import Flushed, SinkRefusesError, SinkUnavailableError
from app.sinks.postgres import PostgresDriver
from app.sinks.postgres_session import Session
from tests.postgres_server import PASSWORD, PostgresServer, postgres_server
from tests.unit.archive_feeding import FRIDAY, bar, batch
from tests.unit.postgres_feeding import (
    BARS,
    Kafka,
    bars_in,
    fresh,
    log_of,
    newest,
    retried,
    rows_of,
)
from tests.unit.postgres_writer import PARTITIONS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as found:
        yield found


def driver_of(settings: Settings) -> PostgresDriver:
    return PostgresDriver(settings, logs=Kafka())


async def in_the_middle(
    server: PostgresServer, settings: Settings, driver: PostgresDriver
) -> tuple[psycopg.Connection[Any], asyncio.Task[Flushed]]:
    """Return a flush that waits for a lock behind its COPY, and who has that."""
    schema = settings.postgres.table_schema
    holder = psycopg.connect(server.url("postgres"))
    holder.execute(f'LOCK TABLE "{schema}".bars IN SHARE ROW EXCLUSIVE MODE'.encode())
    task = asyncio.create_task(driver.flush(FRIDAY))
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        "AND query LIKE 'INSERT INTO%bars%'"
    )
    while server.sql(waiting) != [(1,)]:
        assert not task.done()
        await asyncio.sleep(0.01)
    return holder, task


@pytest.mark.parametrize("way", ["stop", "crash", "kill"])
async def test_a_server_that_ends_in_the_middle_of_a_flush_has_all_rows_once_afterwards(
    way: str, server: PostgresServer
) -> None:
    settings = fresh(server)
    values = log_of(600)
    driver = driver_of(settings)
    await driver.assign([BARS])
    driver.add("bars", batch(0, 0, values[:200]))
    await driver.flush(FRIDAY)
    driver.add("bars", batch(0, 200, values[200:400]))
    holder, task = await in_the_middle(server, settings, driver)
    if way == "kill":
        server.kill()
    else:
        server.stop(signal.SIGINT if way == "stop" else signal.SIGQUIT)
    try:
        with pytest.raises(SinkUnavailableError):
            await task
        holder.close()
        with pytest.raises(SinkUnavailableError, match="does not answer"):
            await driver.open()
        # What comes meanwhile is held.
        driver.add("bars", batch(0, 400, values[400:]))
        assert driver.held_bytes > 0
    finally:
        server.start()
    assert bars_in(server, settings) == newest(values[:200])
    assert (await retried(driver)).positions == {BARS: 600}
    await driver.close()
    assert bars_in(server, settings) == newest(values)
    assert rows_of(server, settings, "SELECT next FROM positions") == [(600,)]


async def test_a_flush_that_is_cancelled_leaves_nothing_behind(server: PostgresServer) -> None:
    settings = fresh(server)
    driver = driver_of(settings)
    await driver.assign([BARS])
    driver.add("bars", batch(0, 0, log_of(200)))
    holder, task = await in_the_middle(server, settings, driver)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    holder.close()
    assert bars_in(server, settings) == {}
    await retried(driver)
    await driver.close()
    assert bars_in(server, settings) == newest(log_of(200))


async def test_a_server_that_hangs_does_not_hold_a_flush_for_ever(server: PostgresServer) -> None:
    settings = fresh(server)
    settings = settings.model_copy(
        update={"sinks": settings.sinks.model_copy(update={"timeout": 500_000_000})}
    )
    driver = driver_of(settings)
    await driver.assign([BARS])
    driver.add("bars", batch(0, 0, log_of(200)))
    server.freeze()
    try:
        with pytest.raises(SinkUnavailableError, match="has not answered in 2 s"):
            await driver.flush(FRIDAY)
        with pytest.raises(SinkUnavailableError):
            await driver.open()
    finally:
        server.thaw()
    await retried(driver)
    await driver.close()
    assert bars_in(server, settings) == newest(log_of(200))


@pytest.mark.parametrize("done", [True, False])
async def test_a_commit_whose_answer_is_lost_is_found_out(
    done: bool, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = fresh(server)
    driver = driver_of(settings)
    await driver.assign([BARS])
    driver.add("bars", batch(0, 0, [bar("A", FRIDAY)]))
    await driver.flush(FRIDAY)
    execute = Session.execute

    async def losing(self: Session, statement: str, parameters: Any = None) -> Any:
        if statement == "COMMIT":
            if done:
                await execute(self, statement, parameters)
            raise SinkUnavailableError("lost")
        return await execute(self, statement, parameters)

    driver.add("bars", batch(0, 1, [bar("B", FRIDAY)]))
    monkeypatch.setattr(Session, "execute", losing)
    with pytest.raises(SinkUnavailableError, match="lost"):
        await driver.flush(FRIDAY)
    monkeypatch.undo()
    assert len(bars_in(server, settings)) == 1 + done
    flushed = await driver.flush(FRIDAY)
    assert flushed.positions == {BARS: 2}
    assert flushed.rows == 1 - done
    driver.add("bars", batch(0, 2, [bar("C", FRIDAY)]))
    await driver.flush(FRIDAY)
    await driver.close()
    assert {symbol for symbol, _ in bars_in(server, settings)} == {"A", "B", "C"}


async def test_a_position_that_was_set_back_is_a_conflict_and_is_read_from_there(
    server: PostgresServer,
) -> None:
    settings = fresh(server)
    driver = driver_of(settings)
    await driver.assign([BARS])
    for base in (0, 1):
        driver.add("bars", batch(0, base, [bar(f"S{base}", FRIDAY)]))
        await driver.flush(FRIDAY)
    # As from a backup.
    rows_of(server, settings, "DELETE FROM bars WHERE symbol = 'S1'")
    rows_of(server, settings, "UPDATE positions SET next = 1, version = version - 1")
    driver.add("bars", batch(0, 2, [bar("S2", FRIDAY)]))
    with pytest.raises(RuntimeError, match="its position was set back"):
        await driver.flush(FRIDAY)
    assert await driver.assign([BARS]) == {BARS: 1}
    driver.add("bars", batch(0, 1, [bar("S1", FRIDAY), bar("S2", FRIDAY)]))
    await driver.flush(FRIDAY)
    await driver.close()
    assert len(bars_in(server, settings)) == 3


@pytest.mark.chaos
@pytest.mark.slow
def test_writers_that_are_killed_again_and_again_leave_no_row_out_and_none_twice(
    server: PostgresServer,
) -> None:
    settings, count, chance = fresh(server), 8_000, random.Random(5)
    schema = settings.postgres.table_schema
    command = [sys.executable, "-m", "tests.unit.postgres_writer", schema, str(count)]
    environment = {**os.environ, "CANDLEWICK_POSTGRES__URL": server.url()}
    held, killed = [], 0
    for kills_left in reversed(range(5)):
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "writing\n"
            if kills_left:
                time.sleep(chance.uniform(0.02, 0.4))
                if kills_left % 2:
                    server.kill()
                    server.start()
                writer.kill()
                killed += writer.wait() == -signal.SIGKILL
            else:
                assert writer.stdout.readline() == "done\n"
        held.append(sum(next_ or 0 for (next_,) in positions(server, settings)))
    assert killed >= 2
    assert held == sorted(held)
    assert held[0] < held[-1] == PARTITIONS * count
    values = log_of(count)
    found = rows_of(
        server,
        settings,
        "SELECT count(*), count(DISTINCT (symbol, start)), sum(close), max(log_offset) FROM bars",
    )
    # All partitions carry the same bars, so they are each there once.
    expected = newest(values)
    [(rows, keys, total, _)] = found
    assert rows == keys == len(expected)
    assert total == pytest.approx(sum(close for _, close in expected.values()))
    assert bars_in(server, settings) == expected


def positions(server: PostgresServer, settings: Settings) -> list[Any]:
    return rows_of(server, settings, "SELECT next FROM positions")


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 24 MiB; skips where none can be mounted."""
    place = Path(tempfile.mkdtemp(prefix="candlewick-full-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0777", "tmpfs", str(place)]
    try:
        if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("no file system can be mounted: run as root, with CAP_SYS_ADMIN")
        yield place
        subprocess.run(["umount", str(place)], check=True)
    finally:
        place.rmdir()


async def test_a_full_disk_is_waited_for(small_disk: Path) -> None:
    with postgres_server() as server:
        (space := small_disk / "space").mkdir()
        os.chown(space, server.folder.stat().st_uid, -1)
        server.sql(f"CREATE TABLESPACE small LOCATION '{space}'")
        settings = fresh(server)
        schema = settings.postgres.table_schema
        server.sql(f'ALTER TABLE "{schema}".bars SET TABLESPACE small')
        (small_disk / "filler").write_bytes(bytes(23_500_000))
        driver = driver_of(settings)
        driver.add("bars", batch(0, 0, [bar(f"S{number}", FRIDAY) for number in range(20_000)]))
        with pytest.raises(SinkUnavailableError, match=r"No space left on device.*\(53100\)"):
            await driver.flush(FRIDAY)
        assert bars_in(server, settings) == {}
        (small_disk / "filler").unlink()
        while driver.held_bytes:
            await retried(driver)
        await driver.close()
        assert len(bars_in(server, settings)) == 20_000


REFUSALS = [
    ("ALTER ROLE candlewick CONNECTION LIMIT 0", SinkUnavailableError, "too many connections"),
    ("ALTER ROLE candlewick NOLOGIN", SinkRefusesError, "not permitted to log in"),
    ("ALTER ROLE candlewick PASSWORD 'another'", SinkRefusesError, "authentication failed"),
    ("REVOKE INSERT ON {schema}.bars FROM candlewick", SinkRefusesError, "may not SELECT, INSERT"),
    ("REVOKE USAGE ON SCHEMA {schema} FROM candlewick", SinkRefusesError, "permission denied"),
    ("DROP TABLE {schema}.pairs", SinkRefusesError, "pairs.* does not exist"),
    ("DROP SCHEMA {schema} CASCADE", SinkRefusesError, "`candlewick postgres migrate`"),
    ("REVOKE TEMPORARY ON DATABASE market FROM public, candlewick", SinkRefusesError, "temporary"),
]


@pytest.mark.parametrize(("statement", "kind", "text"), REFUSALS)
async def test_what_somebody_must_mend_is_told_from_what_passes(
    statement: str, kind: type[Exception], text: str, server: PostgresServer
) -> None:
    settings = fresh(server)
    driver = driver_of(settings)
    driver.add("bars", batch(0, 0, [bar("A", FRIDAY)]))
    schema = f'"{settings.postgres.table_schema}"'
    # The owner has every right unless it is taken from him.
    server.sql(statement.format(schema=schema))
    try:
        with pytest.raises(kind, match=text) as caught:
            await driver.flush(FRIDAY)
        assert PASSWORD not in str(caught.value)
        assert PASSWORD not in repr(driver.__dict__)
    finally:
        await driver.close()
        server.sql(
            f"ALTER ROLE candlewick LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT -1",
            "GRANT TEMPORARY ON DATABASE market TO public, candlewick",
        )


async def test_a_connection_that_the_administrator_ends_is_made_anew(
    server: PostgresServer,
) -> None:
    settings = fresh(server)
    driver = driver_of(settings)
    driver.add("bars", batch(0, 0, [bar("A", FRIDAY)]))
    await driver.flush(FRIDAY)
    server.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'candlewick'"
    )
    driver.add("bars", batch(0, 1, [bar("B", FRIDAY)]))
    with pytest.raises(SinkUnavailableError):
        await driver.flush(FRIDAY)
    assert (await driver.flush(FRIDAY)).positions == {BARS: 2}
    await driver.close()
    assert len(bars_in(server, settings)) == 2
