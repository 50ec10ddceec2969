"""Metrics, health and logs: names, values, and what never appears."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import logging.config
import time
from collections.abc import Iterator

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from app.exits import RefusalError
from app.observe.health import HealthState, Phase
from app.observe.logs import (
    CHATTY,
    configure_structlog,
    get_logger,
    logging_configuration,
    mask_addresses,
)
from app.observe.metrics import Metrics
from app.settings import load_settings


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
        )
    found = values(metrics)
    assert found["candlewick_records_total", "bars", "applied"] == 200
    assert found["candlewick_records_total", "bars", "dead"] == 6
    assert ("candlewick_records_total", "bars", "late") not in found
    assert found["candlewick_dead_records_total", "bars", "malformed"] == 4
    assert found["candlewick_batches_total", "bars"] == 2
    assert found["candlewick_batch_seconds_sum", "bars"] == pytest.approx(0.004)


def test_checkpoints_and_restores_are_counted_in_base_units() -> None:
    metrics = Metrics()
    metrics.checkpoint_committed(
        "bars", seconds=0.03, rows=5, outputs=7, size=900, bars=4, revisions=2
    )
    metrics.checkpoint_failed("bars", TimeoutError())
    metrics.restored("bars", seconds=1.5, records=400)
    metrics.fenced("bars")
    found = values(metrics)
    assert found["candlewick_checkpoint_seconds_count", "bars"] == 1
    assert found["candlewick_checkpoint_records_total", "bars", "output"] == 7
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
    metrics.partition_state("bars", 4, lag=6)
    metrics.partition_released("bars", 3)
    metrics.partition_released("bars", 9)
    left = [key for key in values(metrics) if key[1:] == ("bars", "3")]
    assert left == []
    assert values(metrics)["candlewick_lag_records", "bars", "4"] == 6


def test_every_name_is_ours_or_the_processs_and_in_base_units() -> None:
    metrics = Metrics()
    metrics.fetch_path("bars", slim=True)
    metrics.forming_sent("bars", 3)
    metrics.rebalanced("bars")
    metrics.batch_refused("bars")
    for family in text_string_to_metric_families(metrics.render().decode()):
        assert family.name.startswith(("candlewick_", "process_", "python_")), family.name
        assert not family.name.endswith(("_ms", "_milliseconds", "_percent")), family.name


async def test_a_blocked_event_loop_is_seen() -> None:
    metrics = Metrics()
    asyncio.get_running_loop().call_later(0.02, time.sleep, 0.1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(metrics.watch_event_loop(seconds=0.01), 0.3)
    found = values(metrics)
    assert found["candlewick_event_loop_delay_seconds_count",] > 1
    assert found["candlewick_event_loop_delay_seconds_sum",] > 0.05


def test_a_worker_is_ready_when_all_its_partitions_are() -> None:
    health = HealthState()
    assert not health.is_ready
    health.ready()
    assert health.is_ready
    health.partition("bars", 1, Phase.RESTORING, "400 of 900 records")
    assert not health.is_ready
    assert health.report()["partitions"] == [
        {
            "agent": "bars",
            "partition": 1,
            "phase": "restoring",
            "reason": "400 of 900 records",
        }
    ]
    health.released("bars", 1)
    assert health.is_ready


def test_a_failure_is_final() -> None:
    health = HealthState()
    health.failed("fenced twice")
    health.ready()
    assert not health.is_alive
    assert not health.is_ready
    assert health.report()["reason"] == "fenced twice"


@pytest.fixture
def json_logs() -> Iterator[io.StringIO]:
    """Our logging configuration, into memory; the test run's own afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in CHATTY}
    settings = load_settings(log={"format": "json"}, worker="w1", deployment="d1")
    configuration = logging_configuration(settings)
    stream = io.StringIO()
    configuration["handlers"]["default"]["stream"] = stream
    configure_structlog(settings)
    logging.config.dictConfig(configuration)
    yield stream
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, one in levels.items():
        logging.getLogger(name).setLevel(one)


def test_an_event_is_one_json_line_with_who_says_it(json_logs: io.StringIO) -> None:
    get_logger("candlewick.test").info("restored", partition=3, seconds=0.2)
    event = json.loads(json_logs.getvalue())
    assert event["event"] == "restored"
    assert (event["partition"], event["worker"], event["deployment"]) == (3, "w1", "d1")
    assert event["level"] == "info"


def test_events_of_other_libraries_look_the_same(json_logs: io.StringIO) -> None:
    logging.getLogger("faust.worker").warning("two\nlines at %s", "kafka://me:word@host:1")
    event = json.loads(json_logs.getvalue())
    assert event["logger"] == "faust.worker"
    assert event["event"] == "two | lines at kafka://********@host:1"


def test_secrets_never_get_into_the_logs(json_logs: io.StringIO) -> None:
    get_logger("candlewick.test").info("x", sasl_password="sesame1", url="kafka://me:sesame2@host")
    assert "sesame" not in json_logs.getvalue()
    assert mask_addresses("no address") == "no address"


def test_tracebacks_of_a_refusal_are_left_out(json_logs: io.StringIO) -> None:
    try:
        try:
            raise RefusalError("settings hash differs")
        except RefusalError as refusal:
            raise RuntimeError("crashed") from refusal
    except RuntimeError:
        logging.getLogger("mode").exception("Error")
    logging.getLogger("faust.worker").critical("We experienced a crash!")
    assert json_logs.getvalue() == ""


def test_what_services_say_of_themselves_is_left_out_unless_faust_is_asked_for(
    json_logs: io.StringIO,
) -> None:
    log = logging.getLogger("app.streaming.tables")
    log.info("[^-%s]: Starting...", "StateTableManager")
    assert json_logs.getvalue() == ""
    log.warning("[^-%s]: Crashed", "StateTableManager")
    logging.getLogger("faust").setLevel(logging.INFO)
    log.info("[^-%s]: Stopping...", "StateTableManager")
    assert len(json_logs.getvalue().splitlines()) == 2
