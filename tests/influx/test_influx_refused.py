"""The driver and lines that InfluxDB refuses: who is to blame, and that the rest is written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.sinks.driver import Place, SinkRefusesError
from app.sinks.influx import InfluxDriver
from tests.influx.driving import opened, settings, starts
from tests.influx.fake import Answer, FakeInflux, Write, error
from tests.influx.records import MINUTE, NOW, bar, bars, fetch, flush_all


def parse_errors(
    is_bad: Callable[[str], bool], names: bool = True
) -> Callable[[Write], Answer | None]:
    """Refuse a request for any bad line, with all of them in the message, as InfluxDB does.

    Args:
        names: false for a message that says nothing of them.
    """

    def judge(write: Write) -> Answer | None:
        bad = [line for line in write.lines if is_bad(line)]
        said = "\n".join(f"unable to parse '{line}': bad, and it's so" for line in bad)
        return error(400, "invalid", said if names else "no") if bad else None

    return judge


@pytest.mark.parametrize("names", [True, False], ids=["named", "searched"])
async def test_of_refused_batches_the_culprits_alone_are_told_and_the_rest_is_written_in_order(
    fake: FakeInflux, names: bool
) -> None:
    bad = {number for number in range(5_000) if number % 100 == 7}
    times = {NOW - (5_000 - number) * MINUTE for number in bad}
    fake.judge = parse_errors(lambda line: int(line.rpartition(" ")[2]) in times, names)
    values = bars(5_000)
    async with opened(settings(fake.url)) as driver:
        driver.add("bars", fetch(values))
        told = await flush_all(driver, {Place("bars", 0): 5_000})
    assert [each.offset for each in told.culprits] == sorted(bad)
    assert [each.value for each in told.culprits] == [values[number] for number in sorted(bad)]
    said = "unable to parse ...: bad, and it's so" if names else "no"
    assert {each.reason for each in told.culprits} == {f"InfluxDB: {said}"}
    assert told.rows == 5_000 - len(bad)
    written = starts(fake.taken["candlewick"])
    assert written == sorted(written)
    assert len(written) == 5_000 - len(bad)
    print(f"{len(bad)} culprits among 5,000 lines, {said!r}: {len(fake.requests)} requests")
    if names:
        assert [len(write.lines) for write in fake.requests] == [5_000, 4_950]


async def test_a_conflict_of_types_is_told_by_names_not_by_values(fake: FakeInflux) -> None:
    said = (
        'failure writing points to database: partial write: field type conflict: input field "x" '
        'on measurement "bars" is type float, already exists as type integer dropped=1'
    )
    fake.judge = lambda write: error(422, "unprocessable entity", said)
    async with opened(settings(fake.url)) as driver:
        driver.add("bars", fetch(bars(1)))
        told = await flush_all(driver, {Place("bars", 0): 1})
    (culprit,) = told.culprits
    assert culprit.reason == f"InfluxDB: {said}"
    assert (told.rows, len(fake.requests)) == (0, 1)


async def test_a_failure_amid_a_search_tells_each_culprit_once(fake: FakeInflux) -> None:
    refuse = parse_errors(lambda line: "volume=3.5," in line, names=False)
    calls = 0

    def judge(write: Write) -> Answer | None:
        nonlocal calls
        calls += 1
        return error(503, "unavailable", "") if calls == 6 else refuse(write)

    fake.judge = judge
    async with opened(settings(fake.url)) as driver:
        driver.add("bars", fetch(bars(64)))
        told = await flush_all(driver, {Place("bars", 0): 64})
    assert [each.offset for each in told.culprits] == [28]
    assert told.rows == 63


async def test_a_search_that_takes_too_long_goes_on_in_smaller_parts(fake: FakeInflux) -> None:
    clock = 0.0
    refuse = parse_errors(lambda line: "volume=3.5," in line, names=False)

    def judge(write: Write) -> Answer | None:
        nonlocal clock
        # A flush has ten.
        clock += 3.0
        return refuse(write)

    fake.judge = judge
    driver = InfluxDriver(settings(fake.url), monotonic=lambda: clock)
    driver.add("bars", fetch(bars(200)))
    told = await flush_all(driver, {Place("bars", 0): 200})
    await driver.close()
    assert [each.offset for each in told.culprits] == [28]
    assert told.rows == 199


@pytest.mark.parametrize("names", [True, False], ids=["named", "searched"])
async def test_where_nothing_is_taken_nothing_is_buried(fake: FakeInflux, names: bool) -> None:
    fake.judge = parse_errors(lambda line: True, names)
    async with opened(settings(fake.url)) as driver:
        driver.add("bars", fetch(bars(5_000)))
        with pytest.raises(SinkRefusesError, match="100 points of bars partition 0 in a row"):
            await driver.flush(NOW)
        # Its answer is longer than a mebibyte where it names them.
        assert len(fake.requests) < (2 if names else 500)
        fake.judge = lambda write: None
        told = await flush_all(driver, {Place("bars", 0): 5_000})
    assert (told.rows, told.culprits) == (5_000, [])


@pytest.mark.parametrize("names", [True, False], ids=["named", "searched"])
async def test_a_hundred_culprits_in_a_row_are_no_matter_of_lines_but_ninety_nine_are(
    fake: FakeInflux, names: bool
) -> None:
    # In two requests: the row goes on.
    bad = {NOW - each * MINUTE for each in range(150, 250)}
    fake.judge = parse_errors(lambda line: int(line.rpartition(" ")[2]) in bad, names)
    values = bars(400)
    async with opened(settings(fake.url, batch=200)) as driver:
        driver.add("bars", fetch(values))
        with pytest.raises(SinkRefusesError, match="100 points of bars partition 0 in a row"):
            await driver.flush(NOW)
    bad.remove(NOW - 200 * MINUTE)
    async with opened(settings(fake.url, batch=200)) as driver:
        driver.add("bars", fetch(values))
        told = await flush_all(driver, {Place("bars", 0): 400})
    assert (told.rows, len(told.culprits)) == (301, 99)


async def test_of_a_conflict_of_types_the_lines_are_told_by_their_number(fake: FakeInflux) -> None:
    said = (
        "failure writing points to database: partial write: field type conflict: input field "
        '"vwap" on measurement "bars" is type float, already exists as type integer'
    )

    def judge(write: Write) -> Answer | None:
        bad = [line for line in write.lines if "vwap=" in line]
        rest = [line for line in write.lines if line not in bad]
        if not bad:
            return None
        fake.taken[write.bucket] += rest
        return error(422, "unprocessable entity", f"{said} dropped={len(bad)}")

    fake.judge = judge
    values = [bar(number, NOW - (900 - number) * MINUTE, vwap=None if number % 90 else 2.5)
              for number in range(900)]  # fmt: skip
    async with opened(settings(fake.url)) as driver:
        driver.add("bars", fetch(values))
        told = await flush_all(driver, {Place("bars", 0): 900})
    assert [each.offset for each in told.culprits] == list(range(0, 900, 90))
    assert {each.reason for each in told.culprits} == {f"InfluxDB: {said}"}
    assert told.rows == 890
    assert [len(write.lines) for write in fake.requests] == [900, 890]


async def test_what_a_shard_that_goes_cannot_take_goes_to_the_history(fake: FakeInflux) -> None:
    said = "failure writing points to database: partial write: shard 7 is pending deletion"
    old = NOW - 20 * MINUTE

    def judge(write: Write) -> Answer | None:
        count = sum(time < old for time in starts(write.lines))
        if write.bucket != "candlewick" or not count:
            return None
        return error(422, "unprocessable entity", f"{said} dropped={count}")

    fake.judge = judge
    async with opened(settings(fake.url)) as driver:
        driver.add("bars", fetch(bars(50)))
        told = await flush_all(driver, {Place("bars", 0): 50})
    assert (told.rows, told.culprits) == (50, [])
    assert len(fake.taken["candlewick_history"]) == 30


async def test_what_is_too_large_together_is_written_in_parts(fake: FakeInflux) -> None:
    fake.judge = lambda write: (413, {}, "too large") if len(write.lines) > 60 else None
    async with opened(settings(fake.url)) as driver:
        driver.add("bars", fetch(bars(1_000)))
        told = await flush_all(driver, {Place("bars", 0): 1_000})
    assert (told.rows, told.culprits) == (1_000, [])
    assert starts(fake.taken["candlewick"]) == sorted(starts(fake.taken["candlewick"]))
