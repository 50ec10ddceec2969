"""`candlewick sink`: what it prints, exit codes; with drivers that are not there or say no."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiokafka import TopicPartition
from click.testing import CliRunner, Result

from app import exits
from app.cli import candlewick
from app.cli.sink import replay_lines, status_lines
from app.observe.logs import CHATTY
from app.settings import Settings
from app.sinks.driver import SinkRefusesError
from app.sinks.progress import Standing
from app.sinks.replaying import Replayed
from tests.notify.notes import Time
from tests.unit.sinks_faking import FakeDriver


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A folder of its own, no settings around, and the test run's logs as they were."""
    for name in list(os.environ):
        if name.upper().startswith("CANDLEWICK_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in CHATTY}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, one in levels.items():
        logging.getLogger(name).setLevel(one)
    structlog.reset_defaults()


@pytest.fixture
def drivers(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeDriver]:
    """Made in place of the real ones, by name."""
    found: dict[str, FakeDriver] = {}

    def make(settings: Settings, name: str) -> FakeDriver:
        return found[name]

    for name in ("influx", "redis"):
        found[name] = FakeDriver([], Time())
        found[name].NAME = name  # type: ignore[misc]
    monkeypatch.setattr("app.sinks.drivers.make_driver", make)
    return found


def call(*arguments: str, sinks: str | None = "influx,redis") -> Result:
    environment = {} if sinks is None else {"CANDLEWICK_SINKS__DRIVERS": sinks}
    return CliRunner().invoke(candlewick, ["sink", *arguments], env=environment)


@pytest.mark.parametrize("command", ["run", "check", "status", "replay"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == exits.OK
    assert f"candlewick sink {command}" in result.output.split("Example:")[1]


def test_a_check_prints_what_each_sink_says(drivers: dict[str, FakeDriver]) -> None:
    result = call("check")
    assert result.exit_code == exits.OK
    assert result.output.splitlines() == ["influx: it is there", "redis: it is there"]
    assert [event[0] for event in drivers["redis"].events] == ["check", "close"]


def test_a_check_of_a_sink_that_says_no_is_exit_code_one(drivers: dict[str, FakeDriver]) -> None:
    drivers["influx"].fail("check", SinkRefusesError("no bucket: make it"))
    result = call("check")
    assert result.exit_code == exits.FAILURE
    assert result.output.splitlines() == ["influx: no bucket: make it", "redis: it is there"]
    drivers["influx"].fail("check", SinkRefusesError("no bucket: make it"))
    found: list[dict[str, Any]] = json.loads(call("check", "influx", "--json").output)
    assert found == [{"sink": "influx", "ok": False, "lines": [], "error": "no bucket: make it"}]


@pytest.mark.parametrize("command", ["run", "check", "status"])
def test_a_deployment_without_sinks_is_told_so(command: str) -> None:
    result = call(command, sinks="none")
    assert result.exit_code == exits.USAGE
    assert "CANDLEWICK_SINKS__DRIVERS=none: the deployment has no sink" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["replay", "influx"], "Missing option '--from'"),
        (["replay", "nowhere", "--from", "beginning"], "is not one of"),
        (["replay", "influx", "--from", "soon"], "expected 2026-11-20T14:30:00Z"),
        (["replay", "influx", "--from", "20", "--to", "10"], "--from is not before --to"),
        (["check", "nowhere"], "is not one of"),
    ],
)
def test_wrong_usage_is_exit_code_two(arguments: list[str], message: str) -> None:
    result = call(*arguments)
    assert result.exit_code == exits.USAGE
    assert message in result.output


@pytest.mark.parametrize(
    "arguments", [["run"], ["status"], ["replay", "redis", "--from", "beginning"]]
)
def test_without_a_broker_there_is_one_line(
    arguments: list[str], drivers: dict[str, FakeDriver]
) -> None:
    result = call(*arguments)
    assert result.exit_code == exits.FAILURE
    assert "candlewick broker start" in result.output.strip().splitlines()[-1]


def test_a_status_is_a_line_for_each_topic() -> None:
    bars, ticks = TopicPartition("d.bars", 0), TopicPartition("ticks", 1)
    names = {"d.bars": "bars", "ticks": "ticks"}
    positions = {bars: (7, 10), ticks: (1_000, 3_000)}
    standing = Standing("influx", "d.sink.influx", "Stable", positions, names)
    assert status_lines([standing, Standing("redis", "d.sink.redis", "Dead", {})]) == [
        "SINK    GROUP   TOPIC  LAG",
        "influx  Stable  bars   3",
        "influx  Stable  ticks  2,000",
        "redis   Dead    -      -",
    ]
    assert standing.to_json() == {
        "sink": "influx",
        "group": "d.sink.influx",
        "state": "Stable",
        "lag": 2_003,
        "topics": {"bars": 3, "ticks": 2_000},
    }


def test_a_replay_prints_what_it_has_done() -> None:
    done = Replayed("influx", records=1_200, rows=1_100, dead=1)
    done.passed.update(control=99)
    assert replay_lines(done) == [
        "records        1,200",
        "written        1,100",
        "dead           1",
        "passed         99 control",
    ]
    assert done.to_json()["passed"] == {"control": 99}
