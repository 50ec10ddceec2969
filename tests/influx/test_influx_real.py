"""The driver against a real InfluxDB: what was sent is there, once, whatever happened between."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from urllib.error import HTTPError

import pytest

from app.contracts.batch import RecordBatch
from app.sinks.driver import Place, SinkRefusesError, SinkUnavailableError
from app.sinks.influx import InfluxDriver
from app.sinks.influx_http import Refusal
from app.sinks.influx_partition import InfluxPartition
from app.sinks.line_bodies import Lines
from app.sinks.points import Encoded
from tests.chaos.sinks_gate import Gate
from tests.influx.real import Account, settings_of
from tests.influx.records import MINUTE, SECOND, bar, bars, fetch, flush_all, text, trade
from tests.influx_server import InfluxServer

BARS = Place("bars", 0)
#: Of shards. They begin on Mondays, so that a multiple since the epoch, a Thursday, is inside.
WEEK = 7 * 24 * 60 * MINUTE
FIELDS = ("open", "high", "low", "close", "volume", "vwap", "trades")


def now() -> int:
    """The present, as a whole minute: InfluxDB has a clock of its own."""
    return time.time_ns() // MINUTE * MINUTE


async def test_number_and_sum_of_each_field_are_those_of_the_records(account: Account) -> None:
    end = now()
    values = {0: bars(12_000, end, "SPY"), 1: bars(7_001, end, "QQQ")}
    driver = InfluxDriver(account.settings)
    await driver.open()
    for partition, own in values.items():
        driver.add("bars", fetch(own, partition=partition))
    places = {Place("bars", partition): len(own) for partition, own in values.items()}
    told = await flush_all(driver, places, end)
    await driver.close()
    records = [text(value) for own in values.values() for value in own]
    assert (told.rows, told.culprits) == (len(records), [])
    for field in FIELDS:
        expected = (len(records), sum(record[field] for record in records))
        assert account.totals("bars", field) == expected, field


async def test_a_revision_overwrites_also_in_one_request_and_after_a_replay(
    account: Account,
) -> None:
    end = now()
    versions = [
        bar(number, end - MINUTE * (1 + number % 5), revision=number // 5, volume=float(number))
        for number in range(20)
    ]
    driver = InfluxDriver(account.settings)
    await driver.open()
    driver.add("bars", fetch(versions))
    await flush_all(driver, {BARS: 20}, end)
    await driver.close()
    again = InfluxDriver(account.settings)
    again.add("bars", fetch(versions[:12]))
    again.add("bars", fetch(versions[12:], base=12))
    await flush_all(again, {BARS: 20}, end)
    await again.close()
    rows = account.rows("bars")
    assert [(row["revision"], float(row["volume"])) for row in rows] == [
        ("3", 19.0), ("3", 18.0), ("3", 17.0), ("3", 16.0), ("3", 15.0),
    ]  # fmt: skip


async def test_ticks_that_share_their_time_are_all_there_also_after_a_replay(
    account: Account,
) -> None:
    at = now() - 3_600 * SECOND
    # A hundred in each microsecond.
    values = [trade(number, at + number // 100 * 1_000) for number in range(6_000)]
    settings = account.settings.model_copy(
        update={"topics": account.settings.topics.model_copy(update={"partitions": 1})}
    )
    for begin in (0, 2_345):
        driver = InfluxDriver(settings)
        await driver.open()
        driver.add("ticks", fetch(values[begin:], base=begin, appended=now()))
        # Appended later than they happened, or they would be dead.
        await flush_all(driver, {Place("ticks", 0): 6_000}, now())
        await driver.close()
    prices = sum(text(value)["price"] for value in values)
    assert account.totals("trades", "price", "_ticks") == (6_000, prices)


def counted(driver: InfluxDriver, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have a driver's requests noted: their lines."""
    found: list[int] = []
    write = driver._http.write

    async def noted(bucket: str, body: bytes) -> Refusal | None:
        found.append(body.count(b"\n"))
        return await write(bucket, body)

    monkeypatch.setattr(driver._http, "write", noted)
    return found


async def test_of_lines_that_cannot_be_read_the_culprits_are_told_and_the_rest_is_there(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = now()
    bad = {number for number in range(5_000) if number % 100 == 42}
    encode = InfluxPartition.encode

    def spoil(self: InfluxPartition, piece: RecordBatch) -> tuple[Encoded, int]:
        made, left_out = encode(self, piece)
        lines = [
            line.replace("open=", "open=x") if offset in bad else line
            for line, offset in zip(made.lines, made.offsets, strict=True)
        ]
        return Encoded(Lines.of(lines), made.offsets, made.next, made.counts), left_out

    monkeypatch.setattr(InfluxPartition, "encode", spoil)
    values = bars(5_000, end)
    driver = InfluxDriver(account.settings)
    requests = counted(driver, monkeypatch)
    await driver.open()
    driver.add("bars", fetch(values))
    told = await flush_all(driver, {BARS: 5_000}, end)
    await driver.close()
    # It names them all, and takes the rest.
    assert requests == [5_000, 4_950]
    assert [each.offset for each in told.culprits] == sorted(bad)
    assert [each.value for each in told.culprits] == [values[number] for number in sorted(bad)]
    reasons = {each.reason for each in told.culprits}
    assert len(reasons) == 1
    assert "unable to parse" in (reason := reasons.pop())
    assert "SPY" not in reason
    assert "invalid boolean" in reason
    good = [text(value)["volume"] for number, value in enumerate(values) if number not in bad]
    assert account.totals("bars", "volume") == (4_950, sum(good))


async def test_lines_that_were_spoiled_on_the_way_are_named_by_their_points(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = now()
    async with Gate(account.server.url, 1) as gate:
        gate.culprits.stretches.append((0, end))
        tokens = {"token": account.tokens["writer"]}
        driver = InfluxDriver(settings_of(gate, account.bucket, **tokens))
        requests = counted(driver, monkeypatch)
        driver.add("bars", fetch(bars(5_000, end)))
        told = await flush_all(driver, {BARS: 5_000}, end)
        await driver.close()
    # Those that cannot be read are named at once; of the others only the field is.
    kinds = ["unable to parse" in each.reason for each in told.culprits]
    unread, others = kinds.count(True), kinds.count(False)
    print(f"{unread} + {others} spoiled lines among 5,000: {len(requests)} requests")
    assert min(unread, others) > 10
    assert requests[:2] == [5_000, 5_000 - unread]
    assert account.totals("bars", "close")[0] == told.rows == 5_000 - len(told.culprits)
    assert len(requests) < 2 + 5_000 // 250 + 16 * others


async def test_a_field_that_somebody_has_written_with_another_type_buries_what_meets_it(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    end, day = now(), 24 * 60 * MINUTE
    first = InfluxDriver(account.settings)
    # Types hold for a shard, here a week.
    seed = f'bars,interval=1m,symbol=SPY volume="text" {end - 60 * day}\n'
    assert await first._http.write(account.bucket, seed.encode()) is None
    await first.close()
    values = [
        bar(number, end - 60 * day + number * MINUTE if number < 5 else end - number * MINUTE)
        for number in range(300)
    ]
    driver = InfluxDriver(account.settings)
    requests = counted(driver, monkeypatch)
    driver.add("bars", fetch(values))
    told = await flush_all(driver, {BARS: 300}, end)
    await driver.close()
    # The batch; in two parts; of the first one halves by time, the older ones first.
    assert len(requests) < 20
    assert [each.offset for each in told.culprits] == [0, 1, 2, 3, 4]
    assert all("volume" in each.reason and "type" in each.reason for each in told.culprits)
    assert account.totals("bars", "close")[0] == 295


async def test_lines_of_another_type_are_told_by_their_number_and_all_others_are_there(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = now() // WEEK * WEEK
    first = InfluxDriver(account.settings)
    seed = f'bars,interval=1m,symbol=OTHER vwap="text" {end}\n'
    assert await first._http.write(account.bucket, seed.encode()) is None
    await first.close()
    values = [
        bar(number, end - (300 - number) * MINUTE, vwap=1.5 if number % 30 == 7 else None)
        for number in range(300)
    ]
    driver = InfluxDriver(account.settings)
    requests = counted(driver, monkeypatch)
    driver.add("bars", fetch(values))
    told = await flush_all(driver, {BARS: 300}, end)
    await driver.close()
    assert [each.offset for each in told.culprits] == list(range(7, 300, 30))
    assert {each.reason for each in told.culprits} == {
        "InfluxDB: failure writing points to database: partial write: field type conflict: input "
        'field "vwap" on measurement "bars" is type float, already exists as type string'
    }
    assert account.totals("bars", "close")[0] == told.rows == 290
    assert requests == [300, 290]


async def test_old_points_go_to_the_history_by_the_settings_and_by_influxdbs_own_retention(
    shared_server: tuple[InfluxServer, str], unique: str
) -> None:
    server, operator = shared_server
    # The bucket keeps an hour, and the sink believes that it keeps a year.
    made = Account.make(server, operator, unique, influx={"bar_retention": "1h"})
    settings = settings_of(server, unique, token=made.tokens["writer"])
    end = now()
    values = [*bars(1_000, 1_381_154_400 * SECOND), *bars(600, end)]
    driver = InfluxDriver(settings)
    await driver.open()
    driver.add("bars", fetch(values))
    told = await flush_all(driver, {BARS: 1_600}, end)
    await driver.close()
    assert (told.rows, told.culprits) == (1_600, [])
    fresh, old = made.totals("bars", "open"), made.totals("bars", "open", "_history")
    assert fresh[0] + old[0] == 1_600
    # The hour, and what else is in its oldest shard.
    assert 57 <= fresh[0] <= 120


async def test_a_writers_token_cannot_read_and_a_readers_cannot_write(account: Account) -> None:
    end = now()
    driver = InfluxDriver(account.settings)
    driver.add("bars", fetch(bars(3, end)))
    await flush_all(driver, {BARS: 3}, end)
    await driver.close()
    assert account.totals("bars", "open")[0] == 3
    with pytest.raises(HTTPError) as refused:
        account.query(f'from(bucket: "{account.bucket}") |> range(start: -1h)', token="writer")
    assert refused.value.code in (401, 403, 404)
    refused.value.close()
    for token, bucket in ((account.tokens["reader"], account.bucket), ("none", account.bucket)):
        other = InfluxDriver(settings_of(account.server, bucket, token=token))
        with pytest.raises(SinkRefusesError):
            await other.open()
        other.add("bars", fetch(bars(1)))
        with pytest.raises(SinkRefusesError):
            await other.flush(end)
        await other.close()
    # Another deployment's bucket is none of its business.
    foreign = InfluxDriver(settings_of(account.server, "first", token=account.tokens["writer"]))
    with pytest.raises(SinkRefusesError):
        await foreign.open()
    await foreign.close()


async def test_a_check_of_a_real_one_says_its_version(account: Account) -> None:
    driver = InfluxDriver(account.settings)
    lines = await driver.check()
    await driver.close()
    assert re.fullmatch(r"InfluxDB \S+ answers at http://127\.0\.0\.1:\d+", lines[0])
    assert len(lines) == 4


async def test_nothing_is_lost_or_doubled_while_it_stops_dies_and_hangs(
    program: Path, tmp_path: Path, unique: str
) -> None:
    with InfluxServer(program, tmp_path) as server:
        account = Account.make(server, None, unique)
        end = now()
        values = {0: bars(30_000, end, "SPY"), 1: bars(30_000, end, "QQQ")}
        settings = settings_of(
            server,
            unique,
            token=account.tokens["writer"],
            influx={"batch": 1_000},
            sinks={"timeout": "500ms"},
        )
        driver = InfluxDriver(settings)
        await driver.open()
        for partition, own in values.items():
            driver.add("bars", fetch(own, partition=partition))
        places = {Place("bars", partition): len(own) for partition, own in values.items()}
        failures: list[float] = []
        work = asyncio.create_task(
            flush_all(driver, places, end, lambda: failures.append(time.monotonic()))
        )

        async def written(rows: int) -> None:
            """Wait until so many requests' lines are written."""
            async with asyncio.timeout(20):
                while sum(each.position or 0 for each in driver._partitions.values()) < rows:
                    assert not work.done(), "too quick to be disturbed"
                    await asyncio.sleep(0.001)

        await written(5_000)
        await asyncio.to_thread(server.kill9)
        await asyncio.sleep(1)
        await asyncio.to_thread(server.start)
        await written(20_000)
        server.pause()
        await asyncio.sleep(1.5)
        server.resume()
        await written(35_000)
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(1)
        await asyncio.to_thread(server.start)
        told = await work
        await driver.close()
        assert len(failures) >= 3
        assert (told.rows, told.culprits) == (60_000, [])
        for field in FIELDS:
            records = [text(value)[field] for own in values.values() for value in own]
            assert account.totals("bars", field) == (60_000, sum(records)), field


async def test_a_server_that_is_away_is_unavailable_not_refusing(
    program: Path, tmp_path: Path, unique: str
) -> None:
    with InfluxServer(program, tmp_path) as server:
        account = Account.make(server, None, unique)
        driver = InfluxDriver(account.settings)
        await driver.open()
        server.stop()
        driver.add("bars", fetch(bars(5, now())))
        for ask in (driver.open, lambda: driver.flush(now())):
            with pytest.raises(SinkUnavailableError):
                await ask()
        server.start()
        await driver.open()
        assert (await driver.flush(now())).positions == {BARS: 5}
        await driver.close()
