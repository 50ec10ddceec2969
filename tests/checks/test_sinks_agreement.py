"""InfluxDB, archive, PostgreSQL and Redis hold what the export says: rows and sums."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from app.broker import EmbeddedBroker
from app.sinks.settings import SINKS
from tests.checks.sinks_agreement import (
    KINDS,
    Agreement,
    Ran,
    Servers,
    differences,
    missing,
    running,
    simulate,
)
from tests.checks.sinks_stored import BARS, FIELDS, Rows, nanoseconds, newest_bars, newest_trades
from tests.command import EQUITY

each_sink = pytest.mark.parametrize("sink", SINKS)
Folders = pytest.TempPathFactory


def there() -> list[str]:
    """The sinks whose servers are installed; the others' tests say what to install."""
    return [sink for sink in SINKS if missing(sink) is None]


@pytest.fixture(scope="module")
def simulated(kafka: EmbeddedBroker, tmp_path_factory: Folders) -> Iterator[tuple[Ran, Agreement]]:
    """A simulated market of this hour, disordered, with duplicates and late trades."""
    folder = tmp_path_factory.mktemp("simulated")
    faults = ("--disorder", "800ms", "--late", "1%", "--duplicates", "1%")
    market = ("--symbols", "3", "--rate", "60", "--duration", "100s", "--seed", "8", *faults)
    simulate(folder, kafka.url, folder.name, *market)
    with running(folder, kafka.url, there(), "--from-log", folder.name) as ran:
        yield ran, ran.compare()


@pytest.fixture(scope="module")
def recorded(kafka: EmbeddedBroker, tmp_path_factory: Folders, realdata: Path) -> Agreement:
    """A day of IBM, of 2013: older than any retention."""
    folder = tmp_path_factory.mktemp("recorded")
    path = realdata / EQUITY / "ibm" / "20131007_trade.zip"
    with running(folder, kafka.url, there(), "--replay", path) as ran:
        return ran.compare()


def holds(agreement: Agreement, sink: str) -> None:
    """Fail where a sink differs, or has had nothing to hold; skip where it is not there."""
    reason = missing(sink)
    if reason is not None:
        pytest.skip(reason)
    assert agreement.differences(sink) == 0, agreement.report()
    for kind in KINDS[sink]:
        (rows,) = [line for line in agreement.lines if line.what == f"{kind}: rows"]
        assert rows.found[sink] == rows.expected != "0"


@pytest.mark.broker
@pytest.mark.slow
@each_sink
def test_a_simulated_market_is_in_every_store_as_in_the_export(
    simulated: tuple[Ran, Agreement], sink: str
) -> None:
    holds(simulated[1], sink)


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.realdata
@each_sink
def test_a_recorded_day_is_in_every_store_as_in_the_export(recorded: Agreement, sink: str) -> None:
    holds(recorded, sink)


def take_away(servers: Servers, archive: Path, sink: str) -> None:
    """Take rows of one kind out of a store."""
    if sink == "archive":
        path = min(archive.glob("topic=ticks/**/*.parquet"))
        pq.write_table(pq.ParquetFile(path).read().slice(1), path)
    elif sink == "influx":
        assert servers.influx is not None
        asked = {"start": "1970-01-01T00:00:00Z", "stop": "2100-01-01T00:00:00Z"}
        asked["predicate"] = '_measurement="bars" AND symbol="SIM-01" AND interval="1m"'
        request = urllib.request.Request(
            f"{servers.influx.url}/api/v2/delete?org=candlewick&bucket=candlewick",
            json.dumps(asked).encode(),
            {"Authorization": f"Token {servers.token('writer')}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 204
    elif sink == "postgres":
        assert servers.postgres is not None
        servers.postgres.sql(
            "DELETE FROM candlewick.ticks WHERE log_offset = (SELECT max(log_offset) "
            "FROM candlewick.ticks WHERE symbol = 'SIM-01') AND symbol = 'SIM-01'"
        )
    else:
        import redis

        assert servers.redis is not None
        with redis.Redis.from_url(servers.redis.url) as client:
            for key in client.scan_iter("*:bars:SIM-01:1m"):
                client.delete(key)


@pytest.mark.broker
@pytest.mark.slow
@each_sink
def test_what_is_taken_out_of_a_store_is_told(simulated: tuple[Ran, Agreement], sink: str) -> None:
    ran, before = simulated
    holds(before, sink)
    take_away(ran.servers, ran.archive, sink)
    after = ran.compare()
    found = [line.what for line in after.lines if line.differences.get(sink)]
    expected = {
        "archive": ["trades: rows", "archive check: faults"],
        "influx": ["bars: rows"],
        "postgres": ["trades: rows"],
        "redis": ["newest bars: rows"],
    }
    assert found == expected[sink]
    kind = expected[sink][0].removesuffix(": rows")
    assert f"{sink}, {kind}: ('SIM-" in after.report()


KEY, OTHER = ("A", "1s", 10), ("A", "1s", 20)
BAR = (1.0, 2.0, 0.5, 1.5, 10.0, None, 3, 0)


def counts(found: Rows) -> dict[str, int]:
    """What differs from one bar, by field."""
    truth = Rows.of([(KEY, BAR)])
    told = differences(truth, found, FIELDS[BARS])[0]
    return {name: n for name, n in zip(("rows", *FIELDS[BARS]), told, strict=True) if n}


def test_the_same_rows_do_not_differ() -> None:
    assert counts(Rows.of([(KEY, BAR)])) == {}


def test_missing_added_and_doubled_rows_are_counted() -> None:
    assert counts(Rows.of([])) == {"rows": 1}
    assert counts(Rows.of([(OTHER, BAR)])) == {"rows": 2}
    assert counts(Rows.of([(KEY, BAR), (KEY, BAR)])) == {"rows": 1}


def test_a_value_that_is_one_bit_off_or_null_is_counted() -> None:
    assert counts(Rows.of([(KEY, (1.0 + 2**-52, *BAR[1:]))])) == {"open": 1}
    assert counts(Rows.of([(KEY, (*BAR[:5], 1.5, 3, 1))])) == {"vwap": 1, "revision": 1}


def test_differences_are_in_the_report_by_sink() -> None:
    agreement = Agreement(["influx", "archive"])
    truth = Rows.of([(KEY, BAR), (OTHER, BAR)])
    agreement.add(BARS, truth, [("influx", Rows.of([(KEY, BAR)])), ("archive", truth)])
    assert agreement.differences("influx") == agreement.differences() == 1
    assert agreement.differences("archive") == 0
    assert "influx, bars: ('A', '1s', 20) is missing" in agreement.report()
    rows, opened = agreement.report().splitlines()[1:3]
    assert rows.split() == ["bars:", "rows", "2", "1", "2", "1"]
    assert opened.split() == ["bars:", "sum", "of", "open", "2.0", "1.0", "2.0", "0"]


def test_the_newest_are_the_latest_and_of_one_time_the_last_in_the_log() -> None:
    bars = Rows.of([(OTHER, BAR), (KEY, BAR), (("B", "1s", 5), BAR)])
    assert newest_bars(bars).values == {("A", "1s"): (20, *BAR), ("B", "1s"): (5, *BAR)}
    trades = Rows.of(
        [(("A", 7), (50, 1.0, 2)), (("A", 9), (50, 3.0, 4)), (("A", 11), (40, 5.0, 6))]
    )
    assert newest_trades(trades).values == {("A",): (50, 9, 3.0, 4)}


def test_times_of_influxdb_are_read_to_the_nanosecond() -> None:
    assert nanoseconds("1970-01-01T00:00:01Z") == 1_000_000_000
    assert nanoseconds("1970-01-01T00:00:01.000000009Z") == 1_000_000_009
    assert nanoseconds("1970-01-01T00:00:01.5Z") == 1_500_000_000
