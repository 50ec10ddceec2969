"""A running worker against `docs/metrics.md`: its metrics, the fields of its log, its health."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app import __version__
from app.broker import EmbeddedBroker
from app.settings import Settings
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import (
    FLUSH,
    HISTORICAL,
    market,
    prepared,
    send,
    symbol_of,
    wait_drained,
)
from tests.metric_table import documented

pytestmark = pytest.mark.broker

Samples = dict[tuple[str, ...], float]
OBSERVED = "candlewick_end_to_end_latency_seconds_count"


def check_documented(text: str) -> set[str]:
    """Fail for a family or a label set that the table does not have; the names that there are."""
    table = documented()
    seen = set()
    for family in text_string_to_metric_families(text):
        if not family.name.startswith("candlewick_"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert name in table, f"{name} is not documented"
        assert family.type == table[name].type, name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == table[name].labels, sample
        if family.samples:
            seen.add(name)
    return seen


def samples(text: str) -> Samples:
    """Return all samples by name and sorted labels' values."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def settled(worker: WorkerProcess, records: int) -> str:
    """Return the metrics once that many records are committed and the gauges are set."""
    text = ""

    async def there() -> bool:
        nonlocal text
        text = (await worker.get("/metrics"))[1]
        found = samples(text)
        committed = sum(value for key, value in found.items() if key[0] == OBSERVED)
        gauges = [key for key in found if key[0] == "candlewick_lag_records"]
        idle = all(
            value == 0
            for key, value in found.items()
            if key[0] in ("candlewick_checkpoint_age_seconds", "candlewick_lag_records")
        )
        return committed >= records and len(gauges) == 2 and idle

    await until(there, lambda: worker.tail)
    return text


def events(worker: WorkerProcess) -> list[dict[str, Any]]:
    """Return the lines of its log that are JSON."""
    return [json.loads(line) for line in worker.log.splitlines() if line.startswith("{")]


def deployment(kafka: EmbeddedBroker, unique: str, folder: Path) -> Settings:
    """Settings with JSON logs."""
    return worker_settings(kafka, unique, folder, log={"format": "json"})


async def test_what_a_worker_exports_is_documented_and_each_record_is_observed_once(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = await prepared(deployment(kafka, unique, tmp_path))
    parts = {number: [HISTORICAL, *market(number, 2, 1_000), FLUSH] for number in range(2)}
    total = sum(map(len, parts.values()))
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await send(settings, parts)
        await wait_drained(settings, worker)
        symbol = symbol_of(0, 2)
        assert (await worker.get(f"/table/bars/{symbol}/"))[0] == 200
        text = await settled(worker, total)
        seen = check_documented(text)
        found = samples(text)

        observed = {key[2]: value for key, value in found.items() if key[0] == OBSERVED}
        assert sum(observed.values()) == total
        assert observed["output"] > 0
        assert found["candlewick_append_to_apply_seconds_count", "bars"] == total
        assert sum(v for k, v in found.items() if k[0] == "candlewick_records_total") == total
        # Broker and worker share a clock: what is negative is a fault of ours.
        assert ("candlewick_clock_skew_records_total", "bars") not in found
        spent = found["candlewick_end_to_end_latency_seconds_sum", "bars", "output"]
        assert 0 < spent / observed["output"] < 60

        assert found["candlewick_lag_records", "bars", "0"] == 0
        assert found["candlewick_checkpoint_age_seconds", "bars", "1"] == 0
        assert found["candlewick_watermark_age_seconds", "bars", "0"] > 86_400 * 365
        assert found["candlewick_store_keys", "bars"] > 10
        assert found["candlewick_store_memtable_bytes", "bars"] > 0
        assert found["candlewick_store_background_errors", "bars"] == 0
        assert found["candlewick_worker_ready",] == 1
        assert found["candlewick_partitions", "bars", "ready"] == 2
        assert found["candlewick_worker_info", "d", "worker"] == 1
        assert found["candlewick_output_records_total", "bars", "dead"] == 50
        commits = found["candlewick_checkpoint_seconds_count", "bars"]
        for phase in ("freeze", "transaction", "store"):
            name = "candlewick_checkpoint_phase_seconds_count"
            assert found[name, "bars", phase] == commits
        routes = {key[1] for key in found if key[0] == "candlewick_http_requests_total"}
        assert "/readyz" in routes
        assert not [route for route in routes if symbol in route]
        assert [route for route in routes if route.startswith("/table/{")]
        # What only trouble or another agent makes is not here; all else is.
        missing = {
            "candlewick_ignored_records_total",
            "candlewick_batches_refused_total",
            "candlewick_checkpoint_failures_total",
            "candlewick_clock_skew_records_total",
            "candlewick_fenced_total",
            "candlewick_recall_seconds",
        }
        assert documented().keys() - seen <= missing | {"candlewick_forming_bars_total"}
        assert await worker.stop() == 0


async def test_series_of_a_partition_go_with_it_and_lines_of_the_log_have_their_fields(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = await prepared(deployment(kafka, unique, tmp_path))
    await send(settings, {number: market(number, 2, 100) for number in range(2)})
    async with WorkerProcess(settings, "one") as one:
        await one.wait_ready()
        await wait_drained(settings, one)
        await settled(one, 0)
        async with WorkerProcess(settings, "two") as two:

            async def shared() -> bool:
                mine, theirs = await one.partitions(), await two.partitions()
                return len(mine) == len(theirs) == 1 and mine != theirs

            await until(shared, lambda: f"{one.tail}\n{two.tail}")
            (gone,) = await two.partitions()
            left = [key for key in samples((await one.get("/metrics"))[1]) if str(gone) in key[2:]]
            assert [key for key in left if key[0] == "candlewick_lag_records"] == []
            check_documented((await two.get("/metrics"))[1])
            assert await two.stop() == 0
        assert await one.stop() == 0

    for worker, name in ((one, "one"), (two, "two")):
        lines = events(worker)
        assert all((line["deployment"], line["worker"]) == ("d", name) for line in lines)
        start = next(line for line in lines if line["event"].startswith("starting candlewick"))
        assert (start["version"], start["agents"]) == (__version__, ["bars"])
        ready = next(line for line in lines if line["event"].startswith("ready with"))
        assert ready["partitions"] in (1, 2)
        assert ready["generation"] > 0
        restored = [line for line in lines if ": restored to position" in line["event"]]
        assert {line["agent"] for line in restored} == {"bars"}
        assert all(line["partition"] in (0, 1) and line["seconds"] > 0 for line in restored)
        stopped = next(line for line in lines if line["event"].startswith("stopped:"))
        assert stopped["partitions"] in (1, 2)
    (released,) = (line for line in events(one) if ": released at" in line["event"])
    assert (released["agent"], released["partition"]) == ("bars", gone)
    assert released["position"] >= 100


async def test_a_refusal_is_an_event_with_its_partition_and_one_plain_line(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = await prepared(deployment(kafka, unique, tmp_path))
    await send(settings, {number: market(number, 2, 100) for number in range(2)})
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    other = settings.model_copy(
        update={"bars": settings.bars.model_copy(update={"grace": settings.bars.grace * 2})}
    )
    async with WorkerProcess(other) as worker:
        assert await worker.wait() == 3
        lines = worker.log.splitlines()
        (told,) = (line for line in events(worker) if line["level"] == "critical")
    assert told["agent"] == "bars"
    assert told["partition"] in (0, 1)
    assert told["exit_code"] == 3
    assert "computed with settings" in told["event"]
    assert lines[-1] == f"candlewick worker: {told['event']}"


async def test_health_says_who_and_since_when(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = await prepared(deployment(kafka, unique, tmp_path))
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        status, text = await worker.get("/healthz")
        report = json.loads(text)
        assert status == 200
        assert (report["version"], report["deployment"]) == (__version__, "d")
        assert (report["worker"], report["agents"]) == ("worker", ["bars"])
        assert report["phase"] == "ready"
        assert report["started"] < report["since"]
        assert report["uptime_seconds"] > report["phase_seconds"] >= 0
        assert all(each["since"] > report["started"] for each in report["partitions"])
        assert await worker.stop() == 0
