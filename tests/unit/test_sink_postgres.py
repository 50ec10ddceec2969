"""The PostgreSQL sink against a real server: what is in the tables, once, at its revision."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from app.contracts.wire import BarRecord, ClockRecord, encoder
from app.sinks.driver import Place, SinkConflictError, SinkRefusesError
from app.sinks.postgres import PostgresDriver
from app.sinks.postgres_admin import empty
from app.sinks.postgres_session import Session
from app.sinks.postgres_tables import TABLES, tables_of
from tests.postgres_server import PostgresServer, postgres_server
from tests.unit.archive_feeding import FRIDAY, bar, batch
from tests.unit.postgres_feeding import (
    BARS,
    RECORDS,
    Kafka,
    bars_in,
    flush_all,
    fresh,
    log_of,
    newest,
    rows_of,
)

NUL = bar("A", FRIDAY).replace(b'"A"', b'"A\\u0000"')


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as found:
        yield found


def driver_of(settings: Any, kafka: Kafka | None = None) -> PostgresDriver:
    return PostgresDriver(settings, logs=kafka or Kafka())


async def test_a_record_of_every_topic_is_a_row_with_its_fields(server: PostgresServer) -> None:
    settings = fresh(server)
    driver = driver_of(settings)
    assert set(driver.topics) == RECORDS.keys()
    for topic, records in RECORDS.items():
        driver.add(topic, batch(2, 5, [encoder.encode(each) for each in records]))
    flushed = await driver.flush(FRIDAY)
    await driver.close()
    assert flushed.rows == sum(map(len, RECORDS.values())) == len(TABLES)
    assert not flushed.passed
    assert not flushed.culprits
    assert dict(flushed.positions) == {
        Place(topic, 2): 5 + len(records) for topic, records in RECORDS.items()
    }
    for topic, records in RECORDS.items():
        for number, record in enumerate(records):
            table = tables_of(topic)[number]
            expected = msgspec.json.decode(encoder.encode(record))
            expected.pop("type", None)
            [found] = rows_of(server, settings, f'SELECT * FROM "{table.name}"')
            named = dict(zip(table.columns, found, strict=True))
            moment = named.pop("moment")
            assert moment == datetime.fromtimestamp(named[table.event_time] // 10**9, UTC)
            assert named.pop("log_partition") == 2
            assert named.pop("log_offset") == 5 + number
            assert named.pop("append_time") == FRIDAY + (5 + number) * 1_000
            assert named == expected


async def test_texts_and_numbers_come_back_as_they_are(server: PostgresServer) -> None:
    settings = fresh(server)
    driver = driver_of(settings)
    texts = [
        "",
        "\\.",
        "a,b",
        'quo"te',
        "new\nline\r",
        "back\\slash",
        "ÄÖ\U0001f600",
        " NULL ",
        "{}",
    ]
    numbers = [-0.0, 5e-324, 1.7976931348623157e308, 0.1, 1e17, -123456789.12345679]
    records = [
        BarRecord(
            *(text, "1m", start, number, 1.0, 1.0, 1.0, 1.0, None, 2**63 - 1, 0, True, False),
            (text, *texts) if text else (),
        )
        for text, number, start in zip(
            texts, [*numbers, 1.0, 2.0, 3.0], [0, -1, -(10**18) - 1, *range(6)], strict=True
        )
    ]
    driver.add("bars", batch(0, 0, [encoder.encode(each) for each in records]))
    assert (await driver.flush(FRIDAY)).rows == len(records)
    await driver.close()
    found = rows_of(
        server,
        settings,
        "SELECT symbol, start, open, trades, vwap, sources, "
        "(extract(epoch FROM moment) * 1000000)::bigint FROM bars ORDER BY log_offset",
    )
    assert [repr(each) for each in found] == [
        repr((r.symbol, r.start, r.open, r.trades, None, list(r.sources), r.start // 1_000))
        for r in records
    ]


async def test_what_is_put_again_changes_no_row(server: PostgresServer) -> None:
    settings = fresh(server)
    values = log_of(500)
    for base in (0, 0, 100):
        driver = driver_of(settings)
        driver.add("bars", batch(0, base, values[base:]))
        flushed = await driver.flush(FRIDAY)
        await driver.close()
        seen = rows_of(server, settings, "SELECT xmin::text, ctid::text FROM bars ORDER BY ctid")
        if base == 0 and flushed.rows:
            first = seen
            assert flushed.rows == len(newest(values))
        else:
            assert flushed.rows == 0
            assert flushed.passed == {"older": len(values) - base}
        assert seen == first
    assert bars_in(server, settings) == newest(values)
    assert rows_of(server, settings, "SELECT topic, partition, next FROM positions") == [
        ("bars", 0, 500)
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
@pytest.mark.parametrize("together", [True, False])
async def test_the_highest_revision_holds_whichever_comes_first(
    order: tuple[int, ...], together: bool, server: PostgresServer
) -> None:
    settings = fresh(server)
    driver = driver_of(settings)
    for place, revision in enumerate(order):
        driver.add("bars", batch(0, place, [bar("A", FRIDAY, close=revision, revision=revision)]))
        if not together:
            await driver.flush(FRIDAY)
    await flush_all(driver)
    await driver.close()
    assert bars_in(server, settings) == {("A", FRIDAY): (2, 2.0)}


@pytest.mark.parametrize("seed", range(3))
async def test_however_a_log_is_cut_read_again_and_taken_over_its_rows_are_the_same(
    seed: int, server: PostgresServer
) -> None:
    chance = random.Random(seed)
    settings = fresh(server, rows=chance.choice([7, 100, 20_000]))
    values = log_of(1_500)
    driver = driver_of(settings)
    position = (await driver.assign([BARS])).get(BARS, 0)
    while position < len(values):
        size = chance.randrange(1, 300)
        driver.add("bars", batch(0, position, values[position : position + size]))
        position = min(position + size, len(values))
        action = chance.random()
        if action < 0.5:
            await driver.flush(FRIDAY)
        elif action < 0.7:
            # Another worker takes over what is held here.
            driver.revoke([BARS])
            old, driver = driver, driver_of(settings)
            position = (await driver.assign([BARS])).get(BARS, 0)
            await old.close()
        elif action < 0.8:
            driver.revoke([BARS])
            position = (await driver.assign([BARS])).get(BARS, 0)
    await flush_all(driver)
    assert (await driver.assign([BARS])) == {BARS: len(values)}
    await driver.close()
    assert bars_in(server, settings) == newest(values)


async def test_a_row_that_is_never_taken_is_a_culprit_and_no_other_is(
    server: PostgresServer,
) -> None:
    settings = fresh(server)
    driver = driver_of(settings)
    values = [bar(f"S{number:03d}", FRIDAY) for number in range(200)]
    bad = [3, 50, 51, 199]
    for number in bad:
        values[number] = NUL
    driver.add("bars", batch(0, 10, values))
    driver.add("bars", batch(1, 0, [bar("other", FRIDAY)]))
    flushed = await driver.flush(FRIDAY)
    assert [each.offset for each in flushed.culprits] == [10 + number for number in bad]
    assert {each.value for each in flushed.culprits} == {NUL}
    assert {each.reason for each in flushed.culprits} == {
        "PostgreSQL refuses it: CharacterNotInRepertoire (22021)"
    }
    assert flushed.rows == 197
    assert flushed.positions == {BARS: 210, Place("bars", 1): 1}
    assert len(bars_in(server, settings)) == 197
    # Until its dead letter is written the position stays before the first of them.
    positions = "SELECT next FROM positions ORDER BY partition"
    assert rows_of(server, settings, positions) == [(13,), (1,)]
    driver.add("bars", batch(0, 210, [bar("Z", FRIDAY)]))
    assert not (await driver.flush(FRIDAY)).culprits
    assert rows_of(server, settings, positions) == [(211,), (1,)]
    await driver.close()


async def test_json_and_keys_that_postgresql_cannot_hold_are_culprits(
    server: PostgresServer,
) -> None:
    settings = fresh(server)
    driver = driver_of(settings)
    [indicators] = [encoder.encode(each) for each in RECORDS["indicators"]]
    worst = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=9_000))
    values = [
        indicators,
        indicators.replace(b"RSI(14)", b"R\\u0000"),
        indicators.replace(b'"SPY"', f'"{worst}"'.encode()),
    ]
    driver.add("indicators", batch(0, 0, values))
    flushed = await driver.flush(FRIDAY)
    await driver.close()
    assert [(each.offset, each.reason.rpartition(" ")[2]) for each in flushed.culprits] == [
        (1, "(22P05)"),
        (2, "(54000)"),
    ]
    assert flushed.rows == 1


async def test_controls_and_what_is_no_record_give_no_row(server: PostgresServer) -> None:
    settings = fresh(server)
    driver = driver_of(settings)
    clock = encoder.encode(ClockRecord(FRIDAY))
    driver.add("ticks", batch(0, 0, [clock, b"{", None]))
    driver.add("bars", batch(0, 0, [b"{}", b'{"type":"alias"}', bar("A", FRIDAY)]))
    flushed = await driver.flush(FRIDAY)
    await driver.close()
    assert flushed.passed == {"control": 2, "dead": 2, "malformed": 1}
    assert flushed.rows == 1
    assert flushed.positions == {Place("ticks", 0): 3, BARS: 3}


async def test_a_batch_without_records_moves_the_position(server: PostgresServer) -> None:
    settings = fresh(server)
    driver = driver_of(settings)
    assert not driver.due(0.0)
    driver.add("bars", batch(0, 0, [], following=7))
    assert not driver.due(1.0)
    assert driver.due(1.5)
    assert (await driver.flush(FRIDAY)).positions == {BARS: 7}
    assert await driver.assign([BARS]) == {BARS: 7}
    await driver.close()


async def test_a_transaction_takes_no_more_rows_than_it_may(server: PostgresServer) -> None:
    driver = driver_of(fresh(server, rows=100))
    driver.add("bars", batch(0, 0, log_of(250)))
    assert driver.due(0.0)
    found = await flush_all(driver)
    await driver.close()
    assert [dict(each.positions) for each in found] == [{BARS: 100}, {BARS: 200}, {BARS: 250}]


async def test_a_writer_that_was_replaced_is_told_and_has_written_nothing(
    server: PostgresServer,
) -> None:
    settings = fresh(server)
    old, new = driver_of(settings), driver_of(settings)
    await old.assign([BARS])
    old.add("bars", batch(0, 0, [bar("A", FRIDAY)]))
    await old.flush(FRIDAY)
    assert await new.assign([BARS]) == {BARS: 1}
    new.add("bars", batch(0, 1, [bar("B", FRIDAY)]))
    await new.flush(FRIDAY)
    old.add("bars", batch(0, 1, [bar("zombie", FRIDAY)]))
    with pytest.raises(SinkConflictError, match="another writer has bars partition 0"):
        await old.flush(FRIDAY)
    assert {symbol for symbol, _ in bars_in(server, settings)} == {"A", "B"}
    # It asks anew, and is the writer again.
    assert await old.assign([BARS]) == {BARS: 2}
    old.add("bars", batch(0, 2, [bar("C", FRIDAY)]))
    await old.flush(FRIDAY)
    new.add("bars", batch(0, 2, [bar("C", FRIDAY)]))
    with pytest.raises(SinkConflictError):
        await new.flush(FRIDAY)
    await old.close()
    await new.close()


async def test_a_replay_runs_beside_the_writer_and_brings_back_what_was_deleted(
    server: PostgresServer,
) -> None:
    settings = fresh(server)
    values = log_of(300)
    writer, replay = driver_of(settings), driver_of(settings)
    writer.add("bars", batch(0, 0, values[:200]))
    await writer.flush(FRIDAY)
    rows_of(server, settings, "DELETE FROM bars WHERE symbol < 'S4'")
    assert await replay.assign([BARS]) == {BARS: 200}
    replay.replay([BARS])
    replay.add("bars", batch(0, 0, values[:150]))
    await replay.flush(FRIDAY)
    writer.add("bars", batch(0, 200, values[200:]))
    await writer.flush(FRIDAY)
    # Up to the end, beyond where the writer was when it began.
    replay.add("bars", batch(0, 150, values[150:]))
    assert (await replay.flush(FRIDAY)).positions == {BARS: 300}
    writer.add("bars", batch(0, 300, [bar("last", FRIDAY)]))
    await writer.flush(FRIDAY)
    assert bars_in(server, settings) == newest([*values, bar("last", FRIDAY)])
    assert rows_of(server, settings, "SELECT next FROM positions") == [(301,)]
    await writer.close()
    await replay.close()


@pytest.mark.parametrize("begin", [0, 200, 250])
@pytest.mark.parametrize("written", [0, 200])
async def test_a_replay_moves_no_position_wherever_it_begins(
    begin: int, written: int, server: PostgresServer
) -> None:
    """Also where the workers are behind it, or have written nothing yet: none is skipped."""
    settings = fresh(server)
    values = log_of(300)
    writer, replay = driver_of(settings), driver_of(settings)
    if written:
        writer.add("bars", batch(0, 0, values[:written]))
        await writer.flush(FRIDAY)
    await replay.assign([BARS])
    replay.replay([BARS])
    replay.add("bars", batch(0, begin, values[begin:]))
    assert (await replay.flush(FRIDAY)).positions == {BARS: 300}
    await replay.close()
    kept = rows_of(server, settings, "SELECT next FROM positions")
    assert kept == ([(written,)] if written else [])
    writer.add("bars", batch(0, written, values[written:]))
    await writer.flush(FRIDAY)
    assert rows_of(server, settings, "SELECT next FROM positions") == [(300,)]
    assert bars_in(server, settings) == newest(values)
    await writer.close()


async def test_a_topic_that_was_made_anew_is_refused_until_its_rows_are_gone(
    server: PostgresServer,
) -> None:
    settings = fresh(server)
    first = driver_of(settings, Kafka(bars="first"))
    assert await first.assign([BARS]) == {BARS: 0}
    first.add("bars", batch(0, 0, log_of(50)))
    await first.flush(FRIDAY)
    await first.close()
    kafka = Kafka(bars="second")
    second = driver_of(settings, kafka)
    with pytest.raises(SinkRefusesError, match="`candlewick postgres empty bars`"):
        await second.assign([BARS])
    empty(settings, ["bars"])
    kafka.first = 4
    assert await second.assign([BARS]) == {BARS: 4}
    second.add("bars", batch(0, 4, [bar("new", FRIDAY)]))
    await second.flush(FRIDAY)
    await second.close()
    assert {symbol for symbol, _ in bars_in(server, settings)} == {"new"}


async def test_trades_and_quotes_are_taken_where_the_settings_say_so(
    server: PostgresServer,
) -> None:
    settings = server.settings()
    without = settings.model_copy(
        update={"sinks": settings.sinks.model_copy(update={"ticks": False})}
    )
    assert set(driver_of(settings).topics) - set(driver_of(without).topics) == {"ticks", "quotes"}


async def test_many_rows_that_a_constraint_refuses_are_found_with_few_statements(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = fresh(server)
    schema = settings.postgres.table_schema
    server.sql(f'ALTER TABLE "{schema}".bars ADD CHECK (close <> 13)')
    statements: list[str] = []
    execute = Session.execute

    async def noted(self: Session, statement: str, parameters: Any = None) -> Any:
        statements.append(statement)
        return await execute(self, statement, parameters)

    monkeypatch.setattr(Session, "execute", noted)
    driver = driver_of(settings)
    values = [bar(f"S{number:04d}", FRIDAY) for number in range(5_000)]
    bad = [*range(0, 5_000, 97), 1_999, 2_000, 4_999]
    for number in bad:
        values[number] = bar(f"S{number:04d}", FRIDAY, close=13.0)
    # Among the last thousand one that not even COPY takes, which hides no other.
    values[4_500] = NUL
    driver.add("bars", batch(0, 0, values))
    [flushed] = await flush_all(driver)
    await driver.close()
    assert [each.offset for each in flushed.culprits] == sorted({*bad, 4_500})
    assert {each.reason.rpartition(" ")[2] for each in flushed.culprits} == {"(23514)", "(22021)"}
    assert flushed.rows == 5_000 - len(flushed.culprits)
    expected = [value for number, value in enumerate(values) if number not in {*bad, 4_500}]
    assert bars_in(server, settings) == newest(expected)
    # Halves of all would be some thousand.
    assert len(statements) < 250


async def test_rows_that_are_put_one_by_one_leave_the_highest_revision(
    server: PostgresServer,
) -> None:
    settings = fresh(server)
    server.sql(f'ALTER TABLE "{settings.postgres.table_schema}".bars ADD CHECK (close <> 13)')
    driver = driver_of(settings)
    values = [
        bar("A", FRIDAY, revision=0),
        bar("A", FRIDAY, revision=2),
        bar("A", FRIDAY, revision=1),
        bar("A", FRIDAY, revision=3, close=13.0),
        bar("B", FRIDAY, revision=1),
        bar("B", FRIDAY, revision=0),
    ]
    driver.add("bars", batch(0, 0, values))
    flushed = await driver.flush(FRIDAY)
    await driver.close()
    assert [each.offset for each in flushed.culprits] == [3]
    assert bars_in(server, settings) == newest(
        [each for each in values if b'"close":13' not in each]
    )
