"""Metrics: names, values, and that what is exported is what is documented."""

from __future__ import annotations

import asyncio
import gc
import re
import time
from collections.abc import Mapping

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families

from app.observe.gauges import Stalls
from app.observe.health import HealthState, Phase
from app.observe.latency import Runs, Uncommitted, runs_of
from app.observe.metrics import CONTENT_TYPE, Metrics
from app.observe.requests import measure_requests
from app.streaming.store import MEASURED
from tests.metric_table import documented, expressions

SECOND = 1_000_000_000


def values(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Return all samples by name and label values."""
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            found[(sample.name, *sample.labels.values())] = sample.value
    return found


def test_a_batch_counts_its_records_by_outcome_and_reason() -> None:
    metrics = Metrics()
    for _ in range(2):
        metrics.batch_applied(
            "bars",
            seconds=0.002,
            outcomes={"applied": 100, "dead": 3, "late": 0},
            dead={"malformed": 2, "null": 1},
            ignored={"crossed": 4, "zero": 0},
        )
    found = values(metrics)
    assert found["candlewick_records_total", "bars", "applied"] == 200
    assert found["candlewick_records_total", "bars", "dead"] == 6
    assert ("candlewick_records_total", "bars", "late") not in found
    assert found["candlewick_dead_records_total", "bars", "malformed"] == 4
    assert found["candlewick_ignored_records_total", "bars", "crossed"] == 8
    assert ("candlewick_ignored_records_total", "bars", "zero") not in found
    assert found["candlewick_batches_total", "bars"] == 2
    assert found["candlewick_batch_seconds_sum", "bars"] == pytest.approx(0.004)


def test_checkpoints_and_restores_are_counted_in_base_units() -> None:
    metrics = Metrics()
    metrics.checkpoint_committed(
        "bars",
        seconds=0.03,
        rows=5,
        outputs={"bars": 6, "late": 1},
        size=900,
        bars=4,
        revisions=2,
        phases={"freeze": 0.001, "transaction": 0.027, "store": 0.002},
    )
    metrics.checkpoint_failed("bars", TimeoutError())
    metrics.restored("bars", seconds=1.5, records=400)
    metrics.fenced("bars")
    found = values(metrics)
    assert found["candlewick_checkpoint_seconds_count", "bars"] == 1
    assert found["candlewick_checkpoint_records_total", "bars", "output"] == 7
    assert found["candlewick_output_records_total", "bars", "late"] == 1
    assert found["candlewick_checkpoint_phase_seconds_sum", "bars", "transaction"] == 0.027
    assert found["candlewick_checkpoint_bytes_total", "bars"] == 900
    assert found["candlewick_bars_total", "bars", "revised"] == 2
    assert found["candlewick_checkpoint_failures_total", "bars", "TimeoutError"] == 1
    assert found["candlewick_restore_seconds_sum", "bars"] == 1.5
    assert found["candlewick_fenced_total", "bars"] == 1


def test_the_age_of_a_watermark_is_that_at_the_scrape() -> None:
    clock = [1_000.0]
    metrics = Metrics(now=lambda: clock[0])
    metrics.partition_state("bars", 3, watermark=990_000_000_000, event_time=991_000_000_000, lag=5)
    assert values(metrics)["candlewick_watermark_age_seconds", "bars", "3"] == 10
    clock[0] = 1_060.0
    found = values(metrics)
    assert found["candlewick_watermark_age_seconds", "bars", "3"] == 70
    assert found["candlewick_event_time_seconds", "bars", "3"] == 991
    assert found["candlewick_lag_records", "bars", "3"] == 5


def test_a_released_partition_leaves_no_gauge() -> None:
    metrics = Metrics()
    metrics.partition_state("bars", 3, watermark=1, lag=5, rows=1, pending_outputs=1)
    metrics.partition_waits("bars", 3, uncommitted=1.0, stalled=1.0)
    metrics.partition_state("bars", 4, lag=6)
    metrics.partition_released("bars", 3)
    metrics.partition_released("bars", 9)
    left = [key for key in values(metrics) if key[1:] == ("bars", "3")]
    assert left == []
    assert values(metrics)["candlewick_lag_records", "bars", "4"] == 6


def test_what_waits_grows_until_the_scrape() -> None:
    clock = [50.0]
    metrics = Metrics(monotonic=lambda: clock[0])
    metrics.partition_waits("bars", 0, uncommitted=48.0, stalled=None)
    clock[0] = 60.0
    found = values(metrics)
    assert found["candlewick_checkpoint_age_seconds", "bars", "0"] == 12
    assert found["candlewick_stalled_seconds", "bars", "0"] == 0
    metrics.partition_waits("bars", 0, uncommitted=None, stalled=30.0)
    found = values(metrics)
    assert found["candlewick_checkpoint_age_seconds", "bars", "0"] == 0
    assert found["candlewick_stalled_seconds", "bars", "0"] == 30


def test_a_partition_is_stalled_while_records_wait_and_it_does_not_move() -> None:
    stalls, key = Stalls(), ("bars", 0)
    assert stalls.since(key, 10, 0, 1.0) is None
    assert stalls.since(key, 10, 5, 2.0) == 1.0
    assert stalls.since(key, 10, 9, 3.0) == 1.0
    assert stalls.since(key, 11, 8, 4.0) == 4.0
    assert stalls.since(key, 19, 0, 5.0) is None
    # Idle for a while is not stalled for a while.
    assert stalls.since(key, 19, 0, 90.0) is None
    assert stalls.since(key, 19, 1, 91.0) == 90.0
    stalls.keep([])
    assert stalls.since(key, 19, 1, 99.0) == 99.0


# --- latencies -----------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 5)))
def test_runs_are_the_times_again(times: list[int]) -> None:
    runs = runs_of(np.array(times, dtype=np.int64))
    assert np.repeat(runs.times, runs.counts).tolist() == times
    assert all(runs.counts > 0)
    assert all(runs.times[1:] != runs.times[:-1])


def test_runs_do_not_keep_the_batch() -> None:
    times = np.zeros(20_000, dtype=np.int64)
    assert runs_of(times).times.base is None


LATENCIES = st.lists(st.integers(-2_000, 70_000), min_size=1, max_size=60)


@given(st.lists(LATENCIES, min_size=1, max_size=4))
def test_each_record_of_a_checkpoint_is_one_observation(batches: list[list[int]]) -> None:
    """Against a loop over all records; append times are whole ms, the commit is between two."""
    metrics = Metrics(now=lambda: 1_000.0005)
    uncommitted = Uncommitted()
    for number, batch in enumerate(batches):
        appended = np.array([1_000 * SECOND - ms * 1_000_000 for ms in batch], dtype=np.int64)
        uncommitted.add(runs_of(appended), made_output=number % 2 == 0)
    metrics.published("bars", uncommitted)
    found = values(metrics)
    for parity, effect in enumerate(("output", "state")):
        expected = [max(ms + 0.5, 0) / 1_000 for batch in batches[parity::2] for ms in batch]
        name = "candlewick_end_to_end_latency_seconds"
        labels = ("bars", effect)
        if not expected:
            assert (f"{name}_count", *labels) not in found
            continue
        assert found[f"{name}_count", *labels] == len(expected)
        assert found[f"{name}_sum", *labels] == pytest.approx(sum(expected))
        for bound in (0.001, 0.05, 0.1, 1.0, 60.0):
            below = sum(each <= bound for each in expected)
            assert found[f"{name}_bucket", *labels, str(bound)] == below, bound
        assert found[f"{name}_bucket", *labels, "+Inf"] == len(expected)


def test_a_broker_whose_clock_is_ahead_is_counted_and_makes_no_negative_latency() -> None:
    metrics = Metrics(now=lambda: 100.0)
    runs = Runs(np.array([99, 102]) * SECOND, np.array([3, 4]))
    metrics.batch_applied("bars", seconds=0.0, outcomes={}, appended=runs)
    found = values(metrics)
    assert found["candlewick_clock_skew_records_total", "bars"] == 4
    assert found["candlewick_append_to_apply_seconds_count", "bars"] == 7
    assert found["candlewick_append_to_apply_seconds_sum", "bars"] == 3
    alone = Runs(np.array([102 * SECOND]), np.array([5]))
    metrics.batch_applied("bars", seconds=0.0, outcomes={}, appended=alone)
    found = values(metrics)
    assert found["candlewick_clock_skew_records_total", "bars"] == 9
    assert found["candlewick_append_to_apply_seconds_sum", "bars"] == 3
    assert found["candlewick_append_to_apply_seconds_bucket", "bars", "0.001"] == 9


def test_an_empty_batch_is_no_observation() -> None:
    metrics, uncommitted = Metrics(), Uncommitted()
    runs = runs_of(np.zeros(0, dtype=np.int64))
    metrics.batch_applied("bars", seconds=0.0, outcomes={}, appended=runs)
    uncommitted.add(runs, made_output=True)
    metrics.published("bars", uncommitted)
    assert not [key for key in values(metrics) if "latency" in key[0] or "to_apply" in key[0]]


# --- what is exported, and what is documented ----------------------------------------------------


class FakeStore:
    """A store of round numbers, or a closed one."""

    def __init__(self, size: int | None) -> None:
        self._size = size

    def sizes(self) -> Mapping[str, int] | None:
        """The same for each."""
        return None if self._size is None else dict.fromkeys(MEASURED, self._size)


def filled(partitions: int = 2) -> Metrics:
    """Metrics on which everything has been called once."""
    metrics, health = Metrics(), HealthState()
    stores = [("bars", FakeStore(5)), ("bars", FakeStore(7)), ("quotes", FakeStore(None))]
    metrics.watch("d1", "w1", health, lambda: stores, lambda: 1_000)
    for agent in ("bars", "quotes"):
        one = Runs(np.array([time.time_ns() + 3600 * SECOND]), np.array([1]))
        metrics.batch_applied(
            agent,
            seconds=0.1,
            outcomes={"applied": 1, "dead": 1},
            dead={"null": 1},
            ignored={"zero": 1},
            appended=one,
        )
        uncommitted = Uncommitted()
        uncommitted.add(one, made_output=True)
        metrics.published(agent, uncommitted)
        phases = {"freeze": 0.1, "transaction": 0.1, "store": 0.1}
        metrics.checkpoint_committed(
            agent, seconds=0.3, rows=1, outputs={"bars": 1}, size=1, bars=1, phases=phases
        )
        metrics.checkpoint_failed(agent, OSError())
        metrics.batch_refused(agent)
        metrics.fenced(agent)
        metrics.restored(agent, seconds=0.1, records=1)
        metrics.recalled(agent, seconds=0.1)
        metrics.rebalanced(agent)
        metrics.forming_sent(agent, 1)
        metrics.fetch_path(agent, slim=True)
        for number in range(partitions):
            health.partition(agent, number, Phase.READY)
            metrics.partition_waits(agent, number, uncommitted=1.0, stalled=1.0)
            metrics.partition_state(
                *(agent, number),
                event_time=1,
                watermark=1,
                lag=1,
                pending_outputs=1,
                pending_bytes=1,
                rows=1,
            )
    metrics.request_answered("/metrics", 200, 0.1)
    return metrics


def test_the_table_of_the_documentation_is_what_is_exported() -> None:
    table = documented()
    exported = {}
    for family in filled().registry.collect():
        if not family.name.startswith("candlewick_"):
            assert family.name.startswith(("process_", "python_")), family.name
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert family.samples, f"{name}: `filled` does not reach it"
        (labels,) = {frozenset(sample.labels) - {"le"} for sample in family.samples}
        exported[name] = (family.type, labels)
    assert exported == {name: (row.type, row.labels) for name, row in table.items()}


def test_names_and_units_are_base_units() -> None:
    for name, row in documented().items():
        assert ("_seconds" in name) == (row.unit == "seconds"), name
        assert name.removesuffix("_total").endswith("_bytes") == (row.unit == "bytes"), name
        assert name.endswith("_total") == (row.type == "counter"), name
        assert not re.search("_(ms|milliseconds|percent|minutes|kb|mb)(_|$)", name), name
        assert not row.labels & {"symbol", "path", "trade_id", "source"}, name


def test_expressions_of_the_documentation_use_what_there_is() -> None:
    table = documented()
    found = 0
    for expression in expressions():
        for name, matchers in re.findall(r"(candlewick_\w+)(?:\{(.*?)\})?", expression):
            row = table[name.removesuffix("_bucket")]
            assert name.endswith("_bucket") <= (row.type == "histogram"), expression
            assert set(re.findall(r"(\w+)=", matchers)) <= row.labels, expression
            found += 1
    assert found >= 10


def test_a_scrape_gives_each_series_once_in_both_formats() -> None:
    metrics = filled()
    for text, families in (
        (metrics.render(), text_string_to_metric_families),
        (metrics.expose("application/openmetrics-text; version=1.0.0")[0], open_families),
    ):
        series = [
            (sample.name, *sorted(sample.labels.items()))
            for family in families(text.decode())
            for sample in family.samples
        ]
        assert len(series) == len(set(series)) > 200
        assert not [name for name, *_ in series if name.endswith("_created")]


def test_openmetrics_is_for_those_that_ask_for_it() -> None:
    metrics = Metrics()
    for anything in ("", "*/*"):  # values such as the process's memory move between two calls
        plain, content_type = metrics.expose(anything)
        assert content_type == CONTENT_TYPE
        assert b"# TYPE candlewick_records_total counter" in plain
        assert not plain.endswith(b"# EOF\n")
    asked = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
    body, content_type = metrics.expose(asked)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")


def test_sizes_of_open_stores_are_added_up_and_closed_ones_left_out() -> None:
    found = values(filled())
    assert found["candlewick_store_keys", "bars"] == 12
    assert ("candlewick_store_keys", "quotes") not in found
    assert found["candlewick_store_cache_bytes",] == 1_000


def test_phases_are_numbers() -> None:
    metrics, health = Metrics(), HealthState()
    metrics.watch("d1", "w1", health, list, lambda: 0)
    health.ready()
    health.partition("bars", 0, Phase.READY)
    health.partition("bars", 1, Phase.RESTORING)
    found = values(metrics)
    assert found["candlewick_worker_ready",] == 0
    assert found["candlewick_worker_phase", "ready"] == 1
    assert found["candlewick_worker_phase", "failed"] == 0
    assert found["candlewick_partitions", "bars", "restoring"] == 1
    health.released("bars", 1)
    found = values(metrics)
    assert found["candlewick_worker_ready",] == 1
    assert ("candlewick_partitions", "bars", "restoring") not in found


# --- the process ---------------------------------------------------------------------------------


def test_pauses_of_the_collector_are_seen_while_it_is_watched() -> None:
    metrics = Metrics()
    key = ("candlewick_gc_pause_seconds_count", "2")
    try:
        metrics.garbage.start()
        metrics.garbage.start()
        gc.collect()
        seen = values(metrics)[key]
        assert seen >= 1
        assert values(metrics)["candlewick_gc_pause_seconds_sum", "2"] > 0
    finally:
        metrics.garbage.stop()
    metrics.garbage.stop()
    seen = values(metrics)[key]
    gc.collect()
    assert values(metrics)[key] == seen


async def test_requests_are_counted_by_their_route_never_by_their_path() -> None:
    metrics, server = Metrics(), web.Application()
    measure_requests(server, metrics)

    async def page(request: web.Request) -> web.StreamResponse:
        if request.match_info["key"] == "bad":
            raise web.HTTPBadRequest
        if request.match_info["key"] == "broken":
            raise RuntimeError("broken")
        return web.Response()

    async def connection(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close()
        return socket

    server.router.add_get("/table/{key}", page)
    server.router.add_get("/live", connection)
    async with TestClient(TestServer(server)) as client:
        for path in ("/table/AAPL", "/table/MSFT", "/table/bad", "/table/broken", "/no/such"):
            await client.get(path)
        async with client.ws_connect("/live") as socket:
            await socket.receive()
    found = values(metrics)
    name, route = "candlewick_http_requests_total", "/table/{key}"
    assert found[name, route, "2xx"] == 2
    assert found[name, route, "4xx"] == found[name, route, "5xx"] == 1
    assert found[name, "unknown", "4xx"] == 1
    assert found["candlewick_http_request_seconds_count", route] == 4
    assert found[name, "/live", "1xx"] == 1
    assert ("candlewick_http_request_seconds_count", "/live") not in found
    assert not [key for key in found if "AAPL" in str(key)]


async def test_a_blocked_event_loop_is_seen() -> None:
    metrics = Metrics()
    asyncio.get_running_loop().call_later(0.02, time.sleep, 0.1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(metrics.watch_event_loop(seconds=0.01), 0.3)
    found = values(metrics)
    assert found["candlewick_event_loop_delay_seconds_count",] > 1
    assert found["candlewick_event_loop_delay_seconds_sum",] > 0.05
