"""Short runs of `tests.chaos.sinks`, and whether what judges them tells each kind of deviation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pyarrow as pa
import pytest

from app.broker import EmbeddedBroker
from app.contracts.batch import RecordBatch
from app.contracts.wire import BarRecord, TradeRecord, encoder
from app.sinks.points import PointEncoder
from tests.chaos.sinks_compare import EXPECTED, compare
from tests.chaos.sinks_culprits import (
    POSTGRES_DRAWN,
    POSTGRES_NAMES,
    SHARE,
    Culprits,
    influx_point,
    is_drawn,
    postgres_point,
)
from tests.chaos.sinks_faults import FAULTS, Scene
from tests.chaos.sinks_gate import Gate, spoil
from tests.chaos.sinks_latency import Delay, Stretch, latency_of
from tests.chaos.sinks_log import FIELDS, PLACE, RAW, REFUSED, Log, judge_letters
from tests.chaos.sinks_report import FaultRecord, Report
from tests.chaos.sinks_run import SINKS, MissingServerError, Options, run, schedule
from tests.influx.fake import TOKEN, FakeInflux
from tests.postgres_server import find_binaries, postgres_server

BEGIN = 1_700_000_000_000_000_000
SECOND = 1_000_000_000


@pytest.mark.broker
@pytest.mark.chaos
async def test_each_store_has_each_record_once_after_503_and_kills_of_worker_and_servers(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    sinks = ("influx", *(("postgres",) if find_binaries() is not None else ()))
    faults = ["influx-503", "influx-killed", *(["postgres-killed"] if len(sinks) > 1 else [])]
    options = Options(
        sinks=sinks,
        faults=tuple(faults),
        killed=("influx-503",),
        scale=0.05,
        rate=200,
        folder=tmp_path,
        prefix=f"{unique}.",
    )
    try:
        report = await run(options, kafka)
    except MissingServerError as error:
        pytest.skip(str(error))
    assert report.passes, report.text()
    assert sorted(each.name for each in report.faults) == faults
    assert report.worker_starts == 2
    assert {each.sink for each in report.tables} == set(sinks)
    assert report.gate["answered"] > 0
    assert report.letters is not None
    assert report.letters.found == 0
    for stretches in report.latencies.values():
        assert any(each.records for each in stretches)


# --- what judges ------------------------------------------------------------------------------


def table(topic: str, *rows: dict[str, Any]) -> Any:
    """Rows of the log, or of a store; what is not given is null, and nothing is refused."""
    columns = {**(RAW if topic == "raw" else {**FIELDS[topic], **REFUSED}), **PLACE}
    usual = dict.fromkeys(columns) | dict.fromkeys(REFUSED, False)
    return pa.Table.from_pylist([usual | row for row in rows], pa.schema(list(columns.items())))


def tick(offset: int, **more: Any) -> dict[str, Any]:
    return {
        "symbol": "A",
        "price": 1.5,
        "size": 2.0,
        "event_time": BEGIN + offset,
        "log_partition": 0,
        "log_offset": offset,
        "append_time": BEGIN,
        **more,
    }


def log_of(*ticks: dict[str, Any]) -> dict[str, Any]:
    return {name: table(name, *(ticks if name == "ticks" else ())) for name in (*FIELDS, "raw")}


@pytest.mark.parametrize(
    ("found", "deviations"),
    [
        ([tick(0), tick(1), tick(2)], {}),
        ([tick(0), tick(2)], {"missing": 1}),
        ([tick(0), tick(1), tick(2), tick(3)], {"unexpected": 1}),
        ([tick(0), tick(1), tick(1), tick(1), tick(2)], {"doubled": 2}),
        ([tick(0), tick(1, price=1.25), tick(2, venue="X")], {"differing": 2}),
        ([tick(0), tick(1, size=None), tick(2)], {"differing": 1}),
    ],
    ids=["none", "missing", "unexpected", "doubled", "differing", "null"],
)
def test_the_comparison_tells_each_kind_of_deviation(
    found: list[dict[str, Any]], deviations: dict[str, int]
) -> None:
    verdict = compare("archive", "ticks", log_of(tick(0), tick(1), tick(2)), table("ticks", *found))
    assert {name: count for name, count in verdict.counts.items() if count} == deviations
    assert verdict.exact == (not deviations)
    assert verdict.examples.keys() == deviations.keys()


def test_of_a_bar_the_highest_revision_that_is_not_refused_is_expected() -> None:
    bar = {"symbol": "A", "interval": "1s", "start": BEGIN, "log_partition": 0, "append_time": 1}
    bars = [
        bar | {"revision": 1, "close": 2.0, "log_offset": 5},
        bar | {"revision": 0, "close": 1.0, "log_offset": 9},
        bar | {"start": BEGIN + SECOND, "revision": 0, "log_offset": 6, "postgres_refuses": True},
    ]
    log = log_of() | {"bars": table("bars", *bars)}
    assert compare("postgres", "bars", log, table("bars", bars[0])).exact
    assert compare("postgres", "bars", log, table("bars", bars[1])).counts["differing"] == 1
    assert compare("postgres", "bars", log, table("bars", bars[0], bars[2])).counts[
        "unexpected"
    ] == 1  # fmt: skip
    assert compare("archive", "bars", log, table("bars", *bars)).exact


def test_what_was_appended_after_the_end_is_not_looked_for() -> None:
    rows = [
        {"source_topic": "ticks", "value": b"{}", "log_partition": 0, "log_offset": n}
        for n in (0, 1)
    ]
    log = log_of() | {
        "raw": table("raw", *(row | {"append_time": row["log_offset"]} for row in rows))
    }
    first = table("raw", rows[0] | {"append_time": 0})
    assert compare("archive", "raw", log, first, before=1).exact
    assert compare("archive", "raw", log, first, before=2).counts["missing"] == 1


def test_each_sink_has_something_to_compare() -> None:
    assert EXPECTED.keys() == set(SINKS)
    assert {each.sink for each in FAULTS.values()} == set(SINKS)


def test_dead_letters_are_those_of_the_refused_records_however_often() -> None:
    log = Log(refused={("influx", "t", 0, 1): b"a", ("influx", "t", 0, 2): b"b"})
    for offset, value in ((1, b"a"), (1, b"a"), (3, b"c")):
        log.letters["influx", "t", 0, offset] += 1
        log.letter_values["influx", "t", 0, offset] = value
    verdict = judge_letters(log)
    assert (verdict.expected, verdict.found, verdict.repeated) == (2, 2, 1)
    assert verdict.missing == ["('influx', 't', 0, 2)"]
    assert verdict.unexpected == ["('influx', 't', 0, 3)"]
    assert not verdict.differing
    log.letter_values["influx", "t", 0, 1] = b"other"
    assert len(judge_letters(log).differing) == 1


def test_a_run_without_faults_or_comparison_does_not_pass() -> None:
    report = Report(1, "replay")
    assert report.faults_found == ["no fault was gone through", "nothing was compared"]
    report.faults.append(FaultRecord(1, "influx-503", 0, 1, 1, True, 1))
    assert report.faults_found == ["nothing was compared"]
    assert "FAILS" in report.text()


def test_the_schedule_is_the_seeds_and_has_every_fault_before_one_comes_again() -> None:
    faults = Options(sinks=("influx", "archive")).chosen
    assert {each.sink for each in faults} == {"influx", "archive"}
    first = [each.name for each in islice(schedule(Options(seed=1), faults), 2 * len(faults))]
    again = [each.name for each in islice(schedule(Options(seed=1), faults), 2 * len(faults))]
    assert first == again
    assert sorted(first[: len(faults)]) == sorted(each.name for each in faults)


def test_a_stretch_is_judged_by_the_records_that_were_caused_in_it() -> None:
    delays = [Delay(float(second), second / 10) for second in range(100)]
    found = latency_of(Stretch("calm", 10.0, 21.0), delays)
    assert (found.records, found.p50, found.worst) == (11, 1.5, 2.0)
    assert latency_of(Stretch("none", 200.0, 300.0), delays).records == 0


# --- the culprits and the gate ----------------------------------------------------------------


def lines_of(topic: str, records: list[Any]) -> list[str]:
    """The lines that the sink makes of records."""
    count = len(records)
    batch = RecordBatch(
        topic,
        0,
        0,
        count,
        [encoder.encode(record) for record in records],
        np.arange(count, dtype=np.int64),
        np.full(count, BEGIN, dtype=np.int64),
    )
    return list(PointEncoder(topic).take(batch).lines)


def trades(count: int) -> list[TradeRecord]:
    return [TradeRecord(f"S{n % 7}", 1.0 + n, 2.0, BEGIN + n * 1_234_567) for n in range(count)]


def test_a_culprit_is_named_as_its_line_names_it() -> None:
    bar = BarRecord("S1", "10s", BEGIN, 1.0, 1.0, 1.0, 1.0, 2.0, 1.0, 1, 0, True, False, ("feed",))
    for topic, records in (("ticks", trades(3)), ("bars", [bar])):
        for offset, (record, line) in enumerate(
            zip(records, lines_of(topic, records), strict=True)
        ):
            row = {name: getattr(record, name) for name in record.__struct_fields__}
            head, time = line.partition(" ")[0], line.rpartition(" ")[2]
            assert influx_point(topic, row, offset) == (f"{head} {time}", int(time))


def test_the_lines_of_culprits_are_spoiled_in_both_ways_and_no_others() -> None:
    lines = lines_of("ticks", trades(20_000))
    body = "".join(f"{line}\n" for line in lines).encode()
    assert spoil(body, Culprits()) == (body, 0)
    middle = int(lines[10_000].rpartition(" ")[2])
    spoiled, count = spoil(body, Culprits([(middle, 2 * BEGIN)]))
    changed = [
        (before, after)
        for before, after in zip(lines, spoiled.decode().splitlines(), strict=True)
        if before != after
    ]
    assert len(changed) == count
    assert 0.5 < count / (10_000 / SHARE) < 2
    names = [f"{line.partition(' ')[0]} {line.rpartition(' ')[2]}" for line, _ in changed]
    assert all(map(is_drawn, names))
    assert {"spoiled=," in after for _, after in changed} == {True, False}
    assert all("spoiled=," in after or 'price="spoiled"' in after for _, after in changed)


@pytest.fixture
async def fake() -> AsyncIterator[FakeInflux]:
    server = FakeInflux()
    stop = await server.start()
    try:
        yield server
    finally:
        await stop()


async def test_the_gate_passes_on_answers_and_cuts(fake: FakeInflux) -> None:
    async with Gate(fake.url, 1) as gate, aiohttp.ClientSession() as client:

        async def write() -> tuple[int, str | None]:
            async with client.post(
                f"{gate.url}/api/v2/write?org=candlewick&bucket=candlewick&precision=ns",
                data=b"bars,interval=1s,symbol=A open=1 5\n",
                headers={"Authorization": f"Token {TOKEN}"},
            ) as answer:
                return answer.status, answer.headers.get("Retry-After")

        assert await write() == (204, None)
        gate.answer(503, 7)
        assert await write() == (503, "7")
        gate.answer(429, 3)
        assert await write() == (429, "3")
        # One may have been on its way.
        assert gate.impatient == 0
        assert await write() == (429, "3")
        assert gate.impatient == 1
        gate.let_pass()
        assert await write() == (204, None)
        gate.cut()
        cut = 0
        for _ in range(30):
            try:
                await write()
            except aiohttp.ClientError:
                cut += 1
        assert gate.cuts == cut > 0
        assert (gate.requests, gate.answered) == (35, 3)
    # Some of the requests that were cut off were seen, others not.
    taken = len(fake.taken["candlewick"])
    assert 32 - cut < taken < 32


async def test_postgresql_draws_the_same_rows_as_we_and_has_a_constraint_on_them() -> None:
    with postgres_server() as server:
        names = [f"S{number} 1s {BEGIN + number * SECOND}" for number in range(3_000)]
        listed = ", ".join(f"('{name}')" for name in names)
        drawn = server.sql(
            f"SELECT name FROM (VALUES {listed}) AS names (name) "
            f"WHERE {POSTGRES_DRAWN.format(name='name')}"
        )
        assert {name for (name,) in drawn} == set(filter(is_drawn, names))
        assert drawn
        rows = {
            "ticks": {"symbol": "A", "event_time": BEGIN, "log_offset": 7},
            "bars": {"symbol": "A", "interval": "1s", "start": BEGIN},
        }
        for table, row in rows.items():
            name, _ = POSTGRES_NAMES[table]
            columns = ", ".join(
                f"'{value}'::text AS \"{column}\"" if isinstance(value, str)
                else f"{value}::bigint AS \"{column}\""
                for column, value in row.items()
            )  # fmt: skip
            found = server.sql(f"SELECT {name} FROM (SELECT {columns}) AS row")
            assert found == [(postgres_point(table, row, 7)[0],)]
        admin = pytest.importorskip("app.sinks.postgres_admin")
        admin.migrate(server.settings())
        scene = Scene(None, None, server, None, Culprits())
        async with FAULTS["postgres-refuses"].harm(scene, 5.0):
            pass
        assert len(scene.culprits.stretches) == 1
        checks = server.sql(
            "SELECT conrelid::regclass::text FROM pg_constraint WHERE conname LIKE 'chaos%'"
        )
        assert sorted(name for (name,) in checks) == [
            f"candlewick.{table}" for table in sorted(POSTGRES_NAMES)
        ]
