"""Samples, ages and the points of a worker's own health: what needs no server."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter

from app.influx.client import InfluxError
from app.influx.downsampling import tasks
from app.influx.setup import set_up
from app.influx.tokens import read_token, write_token
from app.observe.latency import Runs, Uncommitted
from app.observe.metrics import Metrics
from app.settings import Settings
from app.sinks.driver import Place
from app.sinks.influx import InfluxDriver
from app.sinks.influx_health import Health, collect_from, quantile
from app.sinks.influx_http import Refusal, retry_after
from app.sinks.influx_partition import InfluxPartition, Written, sampled
from app.sinks.influx_routes import Bucket, Buckets, divide, oldest
from app.sinks.line_batches import LineBatch
from app.sinks.points import PointEncoder
from app.sinks.settings import InfluxSettings
from tests.influx.fake import TOKEN, FakeInflux
from tests.influx.records import MINUTE, NOW, SECOND, bar, bars, fetch
from tests.influx_server import ADVISED_ENVIRONMENT, ADVISED_OPTIONS
from tests.unit.line_protocol import parse


@given(st.integers(0, 2**40), st.integers(0, 7), st.lists(st.integers(1, 60), max_size=5))
def test_a_sample_is_the_same_however_the_log_is_fetched(
    base: int, partition: int, cuts: list[int]
) -> None:
    whole = fetch([b"%d" % number for number in range(100)], base, partition)
    chosen = sampled(whole, 5)
    found: list[int] = []
    place = 0
    for cut in [*cuts, 100]:
        part = whole.since(base + place).until(base + min(100, place + cut))
        found += sampled(part, 5).offsets.tolist()
        place += cut
    assert found == chosen.offsets.tolist()
    assert [int(value or b"-1") + base for value in chosen.values] == chosen.offsets.tolist()


def test_a_sample_is_about_as_large_as_asked_for_and_another_one_in_each_partition() -> None:
    values: list[bytes | None] = [b""] * 100_000
    first, second = (set(sampled(fetch(values, 0, p), 10).offsets.tolist()) for p in (0, 1))
    # Five standard deviations.
    assert abs(len(first) - 10_000) < 475
    assert abs(len(second) - 10_000) < 475
    assert abs(len(first & second) - 1_000) < 160
    # Neighbours are chosen as often as the rest: no pattern of the offsets is.
    both = sum(offset + 1 in first for offset in first)
    assert abs(both - 1_000) < 160


@given(
    st.lists(st.integers(-(2**60), 2**63 - 2), max_size=8),
    st.integers(-(2**60), 2**63 - 2),
)
def test_lines_are_divided_by_their_times(times: list[int], before: int) -> None:
    batch = LineBatch([f"m v=1 {time}" for time in times], list(range(len(times))), 99)
    fresh, old = divide(batch, before)
    assert fresh.times.tolist() == [time for time in times if time >= before]
    assert old.times.tolist() == [time for time in times if time < before]
    assert sorted([*fresh.offsets, *old.offsets]) == list(range(len(times)))
    assert fresh.next == old.next == 99
    assert divide(batch, None)[0] is batch


def test_the_oldest_lines_are_chosen_by_time_and_stay_in_log_order() -> None:
    batch = LineBatch([f"m v=1 {time}" for time in (5, 1, 9, 1, 3)], [0, 1, 2, 3, 4], 7)
    kept, old = oldest(batch, 3)
    assert (list(kept.offsets), list(old.offsets)) == ([0, 2], [1, 3, 4])


def test_a_bucket_lets_go_of_points_before_they_are_deleted() -> None:
    assert Bucket("b", 0).oldest(NOW) is None
    hour, day = 3_600 * SECOND, 24 * 3_600 * SECOND
    assert Bucket("b", 90 * day).oldest(NOW) == NOW - 90 * day + hour
    assert Bucket("b", hour).oldest(NOW) == NOW - hour * 9 // 10


def test_records_stay_until_their_lines_are_written_and_a_split_moves_on_part_by_part() -> None:
    partition = InfluxPartition(Place("bars", 0), Bucket("b", 0), PointEncoder("bars"), 10, 1)
    values = bars(10)
    partition.add(fetch(values, base=40))
    piece = partition.piece
    assert piece is not None
    partition.encoded(piece, *partition.encode(piece))
    partition.split(partition.ready[0], 4)
    assert [(len(each.lines), each.next) for each in partition.ready] == [(4, 44), (4, 48), (2, 50)]
    size = partition.held_bytes
    partition.written(partition.ready[0], Written(3, 0, [(41, "no"), (41, "again")]))
    position, rows, (culprit,), _ = partition.tell()
    assert (position, rows, culprit.offset, culprit.value) == (44, 3, 41, values[1])
    assert culprit.reason == "no"
    assert (partition.held_bytes, partition.waits) == (size, True)
    for batch in list(partition.ready):
        partition.written(batch, Written(len(batch.lines)))
    assert partition.tell()[0] == 50
    partition.finish()
    partition.written(partition.ready[0], Written())
    assert (partition.held_bytes, partition.waits, partition.tell()[0]) == (0, False, None)


def test_a_culprit_whose_lines_go_on_in_the_next_batch_waits_for_its_position() -> None:
    partition = InfluxPartition(Place("bars", 0), Bucket("b", 0), PointEncoder("bars"), 10, 1)
    partition.add(fetch(bars(3)))
    partition.ready.extend([LineBatch(["a", "b"], [0, 1], 1), LineBatch(["c", "d"], [1, 2], 3)])
    partition.written(partition.ready[0], Written(1, 0, [(1, "first")]))
    assert partition.tell()[:3] == (1, 1, [])
    partition.written(partition.ready[0], Written(1, 0, [(1, "second")]))
    position, _, culprits, _ = partition.tell()
    assert (position, [(each.offset, each.reason) for each in culprits]) == (3, [(1, "first")])


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("unable to parse 'm,s=SPY v=1 5': it's bad", "unable to parse ...: it's bad"),
        ("points beyond retention policy dropped=1", "points beyond retention policy dropped=1"),
        ("dropped 1: oldest point m,s=SPY at 1970", "dropped 1:"),
        ("m,s=SPY is\nwrong", "... is wrong"),
        ("no 'SPY' and no 'v=1'", "no ..."),
        ("x" * 500, "x" * 199 + "…"),
    ],
)
def test_a_reason_repeats_nothing_of_the_line(message: str, reason: str) -> None:
    assert Refusal(message).reason("m,s=SPY v=1 5") == f"InfluxDB: {reason}"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, None), ("7", 7.0), (" 30 ", 30.0), ("soon", None), ("-1", None),
     ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0), ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    assert retry_after(text, 10.0) == seconds


def test_a_quantile_lies_within_its_bucket() -> None:
    bounds, counts = [1.0, 2.0, float("inf")], [10.0, 30.0, 40.0]
    assert quantile(0.125, bounds, counts) == 0.5
    assert quantile(0.5, bounds, counts) == 1.5
    assert quantile(0.99, bounds, counts) == 2.0
    assert quantile(0.5, bounds, [0.0, 4.0, 4.0]) == 1.5


def observed(metrics: Metrics, seconds: float, records: int) -> None:
    batches = Uncommitted()
    times = np.array([round((1_000 - seconds) * 1e9)], dtype=np.int64)
    batches.add(Runs(times, np.array([records], dtype=np.int64)), made_output=True)
    metrics.published("bars", batches)


def test_latency_is_that_since_the_last_time_and_lag_that_of_the_moment() -> None:
    metrics = Metrics(now=lambda: 1_000.0, monotonic=lambda: 0.0)
    Counter("other", "Not asked for", registry=metrics.registry)
    health = Health("w1", collect_from(metrics.registry))
    assert health.lines(NOW) == []
    observed(metrics, 0.07, 1_000)
    metrics.partition_state("bars", 3, lag=17, watermark=995 * SECOND)
    latency, kafka = map(parse, health.lines(NOW))
    assert (latency.measurement, latency.time) == ("latency", NOW)
    assert latency.tags == {"agent": "bars", "effect": "output", "worker": "w1"}
    assert latency.fields["records"] == 1_000
    assert 0.05 < float(latency.fields["p50"]) < float(latency.fields["p99"]) <= 0.075
    assert float(latency.fields["mean"]) == pytest.approx(0.07)
    assert (kafka.measurement, kafka.time) == ("kafka", NOW)
    assert kafka.tags == {"agent": "bars", "partition": "3", "worker": "w1"}
    assert kafka.fields == {"lag": 17, "watermark_age": 5.0}
    observed(metrics, 3.0, 10)
    later, _ = map(parse, health.lines(NOW + 10 * SECOND))
    assert later.fields["records"] == 10
    assert float(later.fields["mean"]) == pytest.approx(3.0)
    assert [parse(line).measurement for line in health.lines(NOW + 20 * SECOND)] == ["kafka"]


async def test_a_worker_without_records_has_its_points_every_ten_seconds(fake: FakeInflux) -> None:
    clock = 0.0
    metrics = Metrics(now=lambda: 1_000.0, monotonic=lambda: clock)
    metrics.partition_state("bars", 0, lag=4)
    chosen = Settings(influx={"url": fake.url, "token": TOKEN})  # type: ignore[arg-type]
    driver = InfluxDriver(chosen, monotonic=lambda: clock)
    driver.watch(metrics.registry)
    await driver.open()
    assert (driver.held_bytes, driver.due(0.0)) == (0, False)
    clock = 10.0
    assert driver.held_bytes > 0
    assert driver.due(clock)
    assert (await driver.flush(NOW)).positions == {}
    assert (driver.held_bytes, driver.due(clock)) == (0, False)
    driver.add("bars", fetch([bar(1)]))
    assert (await driver.flush(NOW)).rows == 1
    await driver.close()
    assert [parse(write.lines[0]).measurement for write in fake.requests] == ["kafka", "bars"]


def test_without_the_engines_metrics_there_is_nothing_to_say() -> None:
    assert Health("w", collect_from(CollectorRegistry())).lines(NOW) == []


def test_without_the_package_the_command_that_installs_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "influxdb_client", None)
    chosen = Settings(influx={"url": "http://127.0.0.1:1"})  # type: ignore[arg-type]
    with pytest.raises(InfluxError, match=r"pip install 'candlewick\[influx\]'"):
        set_up(chosen, None, dict[str, str]().__setitem__)


def test_a_token_is_written_for_its_owner_alone_also_over_another_one(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "secrets"
    path = write_token(folder, "writer", "first")
    path.chmod(0o644)
    assert write_token(folder, "writer", "second") == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (read_token(path), read_token(folder / "none")) == ("second", None)
    assert [each.name for each in folder.iterdir()] == ["writer.token"]


def test_the_page_advises_the_options_that_the_bench_measures_with() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "influxdb.md"
    text = page.read_text(encoding="utf-8")
    for name, value in ADVISED_ENVIRONMENT.items():
        assert f"`{name}={value}`" in text
    assert all(f"`{option}`" in text for option in ADVISED_OPTIONS)


def test_hours_are_made_of_the_longest_interval_that_they_are_made_of() -> None:
    buckets = Buckets.of(InfluxSettings())
    minutes = [MINUTE, 7 * MINUTE, 15 * MINUTE, 120 * MINUTE]
    first, second = tasks(buckets, "mine", minutes, 90 * MINUTE)
    assert (first.name, second.name) == ("mine: bars_1h", "mine: quote_bars_1h")
    assert 'r.interval == "15m"' in first.flux
    # A day, and what corrections reach back.
    assert "date.sub(d: 26h, from: stop)" in first.flux
    assert 'from(bucket: "candlewick")' in first.flux
    assert 'to(bucket: "candlewick_history")' in first.flux
    assert tasks(buckets, "mine", [120 * MINUTE], 0) == []
