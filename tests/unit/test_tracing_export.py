"""Traces on their way to a real receiver of OTLP on this machine: there, away, and refusing."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.observe.health import HealthState
from app.observe.metrics import Metrics
from app.observe.spans import Tracing
from app.observe.tracing import make_tracing
from app.settings import Settings, SettingsError
from app.streaming.engine import Engine
from tests.otlp import ERROR, collecting
from tests.unit.traced_runner import BARS, TICKS, batch, plain_runner


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a proxy nor OpenTelemetry's own settings have a say."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def settings_of(endpoint: str, **changes: Any) -> Settings:
    tracing = {"endpoint": endpoint, "ratio": 1.0, "delay": "20ms", **changes}
    return Settings(deployment="d1", worker="w1", tracing=tracing)  # type: ignore[arg-type]


def tracing_to(endpoint: str, **changes: Any) -> Tracing:
    made = make_tracing(settings_of(endpoint, **changes), "worker")
    assert made is not None
    return made


async def test_spans_arrive_with_who_made_them_and_what_they_hang_together_by() -> None:
    async with collecting() as collector:
        tracing = tracing_to(collector.url, headers="X-Scope=one, x-key = two=2")
        runner, _, _ = plain_runner(tracing)
        for first in (0, 10):
            runner.accept(batch(first, first + 10))
        await runner.checkpoint()
        await collector.until(lambda: len(collector.spans) == 4)
        await tracing.close()
    (checkpoint,) = collector.named("checkpoint bars")
    batches = collector.named(f"process {TICKS}")
    (sent,) = collector.named(f"send {BARS}")
    assert checkpoint.links == tuple(each.span for each in batches)
    assert (sent.parent, sent.trace) == (checkpoint.span, checkpoint.trace)
    assert [each.stretch for each in batches] == [(TICKS, "3", 0, 10), (TICKS, "3", 10, 20)]
    assert checkpoint.attributes["candlewick.position"] == 20
    for resource in collector.resources:
        assert resource["service.name"] == "candlewick-worker"
        assert (resource["service.namespace"], resource["service.instance.id"]) == ("d1", "w1")
    (one, *_) = collector.requests
    assert (one["x-scope"], one["x-key"]) == ("one", "two=2")


async def test_what_a_broken_collector_does_not_take_comes_when_it_works_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with collecting() as collector:
        collector.status = 503
        tracing = tracing_to(collector.url)
        tracing.flushed("influx", 0.0, {})
        await collector.until(lambda: len(collector.requests) == 1)
        # The exporter tries the same spans again by itself, after about a second.
        collector.status = 200
        await collector.until(lambda: len(collector.spans) == 1)
        await tracing.close()
    assert (tracing.exporter.taken, tracing.exporter.lost) == (1, 0)
    assert caplog.records == []


async def test_a_collector_that_refuses_is_told_once_with_its_reason_and_once_that_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with collecting() as collector:
        collector.status = 400
        tracing = tracing_to(collector.url)
        for number in range(3):
            tracing.flushed("influx", 0.0, {})
            await until_counted(tracing, lost=number + 1)
        assert len(collector.requests) == 3
        collector.status = 200
        tracing.flushed("influx", 0.0, {})
        await until_counted(tracing, taken=1)
        await tracing.close()
    told = [each.getMessage() for each in caplog.records]
    assert len(told) == 2
    assert told[0].startswith(f"no traces at {collector.url}: ")
    assert "400" in told[0]
    assert told[1] == f"traces are taken at {collector.url} again, 3 were lost"


async def test_nobody_at_the_address_costs_lines_of_the_log_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with collecting() as gone:
        url, port = gone.url, gone.port
    tracing = tracing_to(url, timeout="500ms")
    runner, _, _ = plain_runner(tracing)
    for _ in range(20):
        assert runner.accept(batch(runner.position, runner.position + 1))
        assert await runner.checkpoint()
    await until_counted(tracing, lost=60)
    assert len([each for each in caplog.records if each.levelno >= logging.WARNING]) == 1
    async with collecting(port) as back:
        runner.accept(batch(20, 21))
        await runner.checkpoint()
        await back.until(lambda: len(back.named("checkpoint bars")) == 1)
        await tracing.close()


async def test_what_waits_at_the_end_still_goes_out() -> None:
    async with collecting() as collector:
        tracing = tracing_to(collector.url, delay="1h")
        tracing.flushed("influx", 0.0, {}, error=OSError("full"))
        await tracing.close()
        (span,) = collector.spans
    assert span.status == ERROR


async def test_spans_are_counted_by_what_became_of_them() -> None:
    async with collecting() as collector:
        metrics = Metrics()
        engine = Engine(settings_of(collector.url), [], HealthState(), metrics)
        assert engine.tracing is not None
        engine.tracing.flushed("influx", 0.0, {})
        await until_counted(engine.tracing, taken=1)
        text = metrics.render().decode()
        await engine.tracing.close()
    found = {
        sample.labels["state"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "candlewick_trace_spans_total"
    }
    assert found == {"ended": 1, "taken": 1, "lost": 0}


async def test_a_path_of_ones_own_is_kept(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("authorization=Bearer sesame\n")
    async with collecting() as collector:
        tracing = tracing_to(f"{collector.url}/v1/traces", headers_file=key)
        tracing.flushed("influx", 0.0, {})
        await collector.until(lambda: bool(collector.spans))
        await tracing.close()
    assert collector.requests[0]["authorization"] == "Bearer sesame"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"headers": "sesame"}, "HEADERS: expected NAME=VALUE"),
        ({"headers": "=sesame"}, "HEADERS: expected NAME=VALUE"),
        ({"headers_file": "nowhere"}, "HEADERS_FILE='nowhere': No such file"),
        ({"ca_file": "nowhere"}, "CA_FILE='nowhere': no such file"),
    ],
)
def test_a_wrong_setting_is_refused_without_its_secret(changes: Any, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as told:
        make_tracing(settings_of("http://127.0.0.1:4318", **changes), "worker")
    assert "sesame" not in str(told.value)


async def until_counted(tracing: Tracing, *, taken: int = 0, lost: int = 0) -> None:
    """Wait until the exporting thread has counted: it has nothing that could be awaited."""
    async with asyncio.timeout(30):
        while tracing.exporter.taken < taken or tracing.exporter.lost < lost:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
