"""The driver against a server that answers as a test says: what is written, kept, refused."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings, SettingsError
from app.sinks.driver import Place, SinkRefusesError, SinkUnavailableError
from app.sinks.influx import InfluxDriver
from tests.influx.driving import opened, settings, starts
from tests.influx.fake import TOKEN, Answer, FakeInflux, Write, error
from tests.influx.records import (
    MINUTE,
    NOW,
    SECOND,
    Told,
    bar,
    bars,
    fetch,
    flush_all,
    trade,
)
from tests.notify.servers import closed_port

DAY = 24 * 60 * MINUTE
#: 2023-11-14.
LONG_AGO = 1_700_000_000 * SECOND


async def test_lines_arrive_in_log_order_and_the_position_covers_them(fake: FakeInflux) -> None:
    async with opened(settings(fake.url, batch=400)) as driver:
        assert not driver.due(1e9)
        driver.add("bars", fetch(bars(1_000)))
        driver.add("bars", fetch([None, b'{"type":"clock"}', b"{"], base=1_000))
        assert driver.held_bytes > sum(map(len, bars(1_000)))
        told = await flush_all(driver, {Place("bars", 0): 1_003})
        assert (driver.held_bytes, driver.due(1e9)) == (0, False)
        assert (told.rows, told.culprits, told.passed) == (
            1_000, [], {"control": 1, "malformed": 2},
        )  # fmt: skip
        driver.add("bars", fetch(bars(1, NOW + MINUTE), base=1_003))
        assert (await driver.flush(NOW)).positions == {Place("bars", 0): 1_004}
    assert [len(write.lines) for write in fake.requests] == [400, 400, 200, 1]
    assert {write.bucket for write in fake.requests} == {"candlewick"}
    times = starts(fake.taken["candlewick"])
    assert times == [NOW - (1_000 - number) * MINUTE for number in range(1_001)]


async def test_a_partition_has_one_request_under_way_and_all_together_no_more_than_asked_for(
    fake: FakeInflux,
) -> None:
    async with opened(settings(fake.url, batch=10, requests=3)) as driver:
        for partition in range(6):
            values = bars(50, symbol=f"S{partition}")
            driver.add("bars", fetch(values, partition=partition))
        fake.gate.clear()
        flush = asyncio.create_task(driver.flush(NOW))
        for _ in range(3):
            await fake.arrived.get()
        assert fake.most == 3
        assert len({write.lines[0].split(" ")[0] for write in fake.requests}) == 3
        fake.gate.set()
        flushed = await flush
    assert flushed.positions == {Place("bars", partition): 50 for partition in range(6)}
    assert fake.most == 3
    for partition in range(6):
        own = [line for line in fake.taken["candlewick"] if f"symbol=S{partition} " in line]
        assert starts(own) == sorted(starts(own))
        assert len(own) == 50


@pytest.mark.parametrize(
    ("answer", "after", "limited"),
    [
        (error(503, "unavailable", "queue full", **{"Retry-After": "7"}), 7.0, False),
        (error(429, "too many requests", "slow down", **{"Retry-After": "30"}), 30.0, True),
        ((502, {}, "<html>bad gateway"), None, False),
        (error(500, "internal error", "engine: no space left on device"), None, False),
    ],
    ids=["503", "429", "502", "500"],
)
async def test_what_asks_for_patience_is_written_later_and_nothing_twice(
    fake: FakeInflux, answer: Answer, after: float | None, limited: bool
) -> None:
    answers: list[Answer | None] = [None, answer]
    fake.judge = lambda write: answers.pop(0) if answers else None
    async with opened(settings(fake.url, batch=100)) as driver:
        driver.add("bars", fetch(bars(300)))
        with pytest.raises(SinkUnavailableError) as found:
            await driver.flush(NOW)
        assert (found.value.retry_after, found.value.limited) == (after, limited)
        assert "\n" not in str(found.value)
        driver.add("bars", fetch(bars(100, NOW + 100 * MINUTE), base=300))
        told = await flush_all(driver, {Place("bars", 0): 400})
    assert told.rows == 400
    times = starts(fake.taken["candlewick"])
    assert times == sorted(times)
    assert len(times) == len(set(times)) == 400


async def test_a_server_that_hangs_is_unavailable_after_the_timeout(fake: FakeInflux) -> None:
    async with opened(settings(fake.url, {"timeout": "200ms"})) as driver:
        driver.add("bars", fetch(bars(10)))
        fake.gate.clear()
        with pytest.raises(SinkUnavailableError, match=r"no answer within 0\.2 s"):
            await driver.flush(NOW)
        fake.gate.set()
        await flush_all(driver, {Place("bars", 0): 10})


async def test_nobody_at_the_address_is_unavailable() -> None:
    driver = InfluxDriver(settings(f"http://127.0.0.1:{closed_port()}"))
    with pytest.raises(SinkUnavailableError, match="Connect"):
        await driver.open()
    await driver.close()


@pytest.mark.parametrize(
    ("influx", "said"),
    [
        ({"token": "wrong"}, "TOKEN_FILE to the writer's token of `candlewick influx setup`"),
        ({"bucket": "other"}, "make it with `candlewick influx setup`"),
        ({"organization": "other"}, "organization other is not there"),
        ({"token": None}, "TOKEN_FILE is not set"),
        ({"ca_file": "/nowhere.pem"}, "CA_FILE='/nowhere.pem': No such file"),
    ],
    ids=["token", "bucket", "organization", "no token", "authorities"],
)
async def test_what_somebody_has_to_act_on_says_what_to_do(
    fake: FakeInflux, influx: dict[str, Any], said: str
) -> None:
    driver = InfluxDriver(settings(fake.url, **influx))
    with pytest.raises(SinkRefusesError) as found:
        await driver.open()
    await driver.close()
    assert said in str(found.value)
    assert "wrong" not in str(found.value)


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}, "<html>welcome"),
        (400, {}, "<html>bad request"),
        (302, {"Location": "http://127.0.0.1:1/"}, ""),
        error(403, "forbidden", "insufficient permissions for write"),
    ],
    ids=["200", "400", "302", "403"],
)
async def test_an_answer_that_is_not_influxdbs_blames_no_line(
    fake: FakeInflux, answer: Answer
) -> None:
    async with opened(settings(fake.url)) as driver:
        driver.add("bars", fetch(bars(10)))
        fake.judge = lambda write: answer
        with pytest.raises(SinkRefusesError):
            await driver.flush(NOW)
        fake.judge = lambda write: None
        told = await flush_all(driver, {Place("bars", 0): 10})
    assert (told.rows, told.culprits) == (10, [])


async def test_what_is_older_than_its_bucket_keeps_goes_to_the_history_without_asking(
    fake: FakeInflux, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    edge = NOW - 365 * DAY + 60 * MINUTE
    values = [bar(number, edge + (number - 5) * MINUTE) for number in range(10)]
    async with opened(settings(fake.url)) as driver:
        driver.add("bars", fetch([*bars(50, LONG_AGO), *values]))
        driver.add("ticks", fetch([trade(0, NOW - 89 * DAY), trade(1, NOW - 91 * DAY)]))
        told = Told()
        told.add(await driver.flush(NOW))
    assert told.positions == {Place("bars", 0): 60, Place("ticks", 0): 2}
    assert told.rows == 62
    assert min(starts(fake.taken["candlewick"])) == edge
    assert len(fake.taken["candlewick"]) == 5
    assert len(fake.taken["candlewick_ticks"]) == 1
    assert len(fake.taken["candlewick_history"]) == 56
    (line,) = [each.message for each in caplog.records if "older than" in each.message]
    assert line == (
        "influx: 56 points, older than their bucket keeps them, are in candlewick_history"
    )


async def test_what_a_bucket_finds_too_old_all_the_same_goes_to_the_history(
    fake: FakeInflux,
) -> None:
    edge = NOW - 10 * DAY

    def judge(write: Write) -> Answer | None:
        old = [line for line in write.lines if int(line.rpartition(" ")[2]) < edge]
        if write.bucket != "candlewick" or not old:
            return None
        fake.taken[write.bucket] += [line for line in write.lines if line not in old]
        said = f"partial write: points beyond retention policy dropped={len(old)}"
        return error(422, "unprocessable entity", f"failure writing points to database: {said}")

    fake.judge = judge
    values = bars(40, edge + 20 * MINUTE)
    async with opened(settings(fake.url)) as driver:
        # Not in the order of their times: the oldest are not the first.
        driver.add("bars", fetch(values[20:] + values[:20]))
        told = await flush_all(driver, {Place("bars", 0): 40})
    assert (told.rows, told.culprits) == (40, [])
    # Twice, to see that none of these is missing.
    fresh = [edge + each * MINUTE for each in range(20)]
    assert starts(fake.taken["candlewick"]) == fresh * 2
    assert starts(fake.taken["candlewick_history"]) == [
        edge + each * MINUTE for each in range(-20, 0)
    ]
    assert len(fake.requests) == 3


async def test_what_is_dropped_is_found_also_where_it_is_not_the_oldest(
    fake: FakeInflux,
) -> None:
    # A shard of the first hour is there still, which its bucket should have let go.
    gone = {NOW - each * MINUTE for each in range(60, 90)}

    def judge(write: Write) -> Answer | None:
        old = [line for line in write.lines if int(line.rpartition(" ")[2]) in gone]
        if write.bucket != "candlewick" or not old:
            return None
        said = f"partial write: points beyond retention policy dropped={len(old)}"
        return error(422, "unprocessable entity", said)

    fake.judge = judge
    async with opened(settings(fake.url)) as driver:
        driver.add("bars", fetch(bars(120)))
        told = await flush_all(driver, {Place("bars", 0): 120})
    assert (told.rows, told.culprits) == (120, [])
    assert gone <= set(starts(fake.taken["candlewick_history"]))
    both = fake.taken["candlewick"] + fake.taken["candlewick_history"]
    assert set(starts(both)) == {NOW - each * MINUTE for each in range(1, 121)}


async def test_a_partition_that_goes_amid_a_flush_is_told_nothing_of(fake: FakeInflux) -> None:
    async with opened(settings(fake.url, batch=10, requests=1)) as driver:
        driver.add("bars", fetch(bars(30)))
        fake.gate.clear()
        flush = asyncio.create_task(driver.flush(NOW))
        await fake.arrived.get()
        driver.revoke([Place("bars", 0)])
        driver.add("bars", fetch(bars(5), base=10))
        fake.gate.set()
        assert (await flush).positions == {}
        assert len(fake.requests) == 1
        assert (await driver.flush(NOW)).positions == {Place("bars", 0): 15}


async def test_what_one_partition_has_written_is_told_after_another_ones_failure(
    fake: FakeInflux,
) -> None:
    fake.judge = lambda write: error(503, "", "") if "symbol=BAD" in write.lines[0] else None
    async with opened(settings(fake.url)) as driver:
        driver.add("bars", fetch(bars(10)))
        driver.add("bars", fetch(bars(10, symbol="BAD"), partition=1))
        with pytest.raises(SinkUnavailableError):
            await driver.flush(NOW)
        fake.judge = lambda write: None
        told = Told()
        told.add(await driver.flush(NOW))
    assert told.positions == {Place("bars", 0): 10, Place("bars", 1): 10}
    assert (told.rows, len(fake.taken["candlewick"])) == (20, 20)


async def test_a_flush_is_due_by_number_or_by_age(fake: FakeInflux) -> None:
    driver = InfluxDriver(settings(fake.url, batch=100, delay="200ms"))
    driver.add("bars", fetch(bars(99)))
    assert not driver.due(50.0)
    assert not driver.due(50.1)
    assert driver.due(50.2)
    driver.add("bars", fetch(bars(1), base=99))
    assert driver.due(50.1)
    await driver.close()


async def test_ticks_are_left_out_where_they_are_not_wanted_and_a_retention_is_checked(
    fake: FakeInflux,
) -> None:
    driver = InfluxDriver(settings(fake.url, {"ticks": False}))
    assert "ticks" not in driver.topics
    assert "bars" in driver.topics
    with pytest.raises(SettingsError, match=r"TICK_RETENTION=30m: expected at least 1h"):
        InfluxDriver(settings(fake.url, tick_retention="30m"))
    with pytest.raises(SettingsError, match="INFLUX__URL is not set"):
        InfluxDriver(Settings())


async def test_a_check_says_what_is_there(fake: FakeInflux, tmp_path: Path) -> None:
    file = tmp_path / "writer.token"
    file.write_text(f"{TOKEN}\n")
    driver = InfluxDriver(settings(fake.url, token=None, token_file=file))
    lines = await driver.check()
    await driver.close()
    assert lines[0] == f"InfluxDB v2.7.12 answers at {fake.url}"
    assert [line.split(" ")[1] for line in lines[1:]] == [
        "candlewick", "candlewick_ticks", "candlewick_history",
    ]  # fmt: skip
    assert fake.requests == []


async def test_what_comes_while_a_flush_writes_is_the_next_ones(fake: FakeInflux) -> None:
    place = Place("bars", 0)
    async with opened(settings(fake.url, batch=10)) as driver:
        driver.add("bars", fetch(bars(25)))
        fake.gate.clear()
        flush = asyncio.create_task(driver.flush(NOW))
        await fake.arrived.get()
        driver.add("bars", fetch(bars(100, NOW + 200 * MINUTE), base=25))
        fake.gate.set()
        told = await flush
        assert 25 <= told.positions[place] < 125
        assert driver.due(1e9)
        assert (await flush_all(driver, {place: 125})).rows == 125 - told.rows
    times = starts(fake.taken["candlewick"])
    assert times == sorted(times)
    assert len(times) == 125
