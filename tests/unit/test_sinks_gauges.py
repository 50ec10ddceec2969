"""Metrics of the sinks: what is exported is what is documented, with the right figures."""

from __future__ import annotations

import re

from prometheus_client import CollectorRegistry, generate_latest

from app.sinks.driver import (
    Flushed,
    SinkConflictError,
    SinkRefusesError,
    SinkUnavailableError,
)
from app.sinks.gauges import ERROR_KINDS, SinkGauges
from app.sinks.status import kind_of
from tests.metric_table import DOCUMENT
from tests.unit.sinks_faking import World


def exported(*worlds: World) -> str:
    registry = CollectorRegistry()
    registry.register(SinkGauges(lambda: [world.loop for world in worlds]))
    return generate_latest(registry).decode()


def filled() -> World:
    """A sink that has written, failed and passed records."""
    world = World()
    status = world.loop.status
    for seconds in (0.003, 0.005, 0.2, 99.0):
        status.flushed(Flushed(rows=10, passed={"control": 1}), seconds, world.clock.now)
    status.flushed(Flushed(), 0.001, world.clock.now)
    world.loop._failed(SinkUnavailableError("away"))
    status.retries, status.dead, status.lag = 2, 3, {"bars": 5, "ticks": 0}
    world.clock.now += 8
    return world


def test_the_figures_of_a_sink_are_those_of_its_loop() -> None:
    lines = exported(filled()).splitlines()
    for line in (
        'candlewick_sink_rows_total{sink="redis"} 40.0',
        'candlewick_sink_flush_seconds_bucket{le="0.005",sink="redis"} 3.0',
        'candlewick_sink_flush_seconds_bucket{le="0.25",sink="redis"} 4.0',
        'candlewick_sink_flush_seconds_bucket{le="30.0",sink="redis"} 4.0',
        'candlewick_sink_flush_seconds_bucket{le="+Inf",sink="redis"} 5.0',
        'candlewick_sink_flush_seconds_count{sink="redis"} 5.0',
        'candlewick_sink_retries_total{sink="redis"} 2.0',
        'candlewick_sink_errors_total{kind="unavailable",sink="redis"} 1.0',
        'candlewick_sink_errors_total{kind="conflict",sink="redis"} 0.0',
        'candlewick_sink_dead_records_total{sink="redis"} 3.0',
        'candlewick_sink_passed_records_total{reason="control",sink="redis"} 4.0',
        'candlewick_sink_held_bytes{sink="redis"} 0.0',
        'candlewick_sink_lag_records{sink="redis",topic="bars"} 5.0',
        'candlewick_sink_last_write_age_seconds{sink="redis"} 8.0',
        'candlewick_sink_breaker{sink="redis",state="closed"} 1.0',
        'candlewick_sink_breaker{sink="redis",state="open"} 0.0',
    ):
        assert line in lines


def test_what_is_exported_is_what_is_documented() -> None:
    found = {}
    for family in SinkGauges(lambda: [filled().loop]).collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        (labels,) = {frozenset(sample.labels) - {"le"} for sample in family.samples}
        found[name] = (family.type, labels)
    section = DOCUMENT.read_text(encoding="utf-8").split("### Sinks\n")[1].split("\n### ")[0]
    rows = re.findall(r"^\| `(candlewick_\w+)` \| (\w+) \| ([\w, ]+) \|", section, re.MULTILINE)
    assert found == {name: (kind, frozenset(labels.split(", "))) for name, kind, labels in rows}


def test_before_the_first_write_there_is_no_age() -> None:
    text = exported(World())
    assert "candlewick_sink_last_write_age_seconds{" not in text
    assert 'candlewick_sink_rows_total{sink="redis"} 0.0' in text


def test_every_kind_of_error_is_a_label() -> None:
    errors = (
        SinkUnavailableError("x"),
        SinkUnavailableError("x", limited=True),
        SinkRefusesError("x"),
        SinkConflictError("x"),
        ValueError("x"),
    )
    assert [*map(kind_of, errors), "broker"] == list(ERROR_KINDS)
