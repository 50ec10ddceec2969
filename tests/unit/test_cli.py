"""The command line: help, exit codes, one line for each expected error, masked secrets."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import structlog
from click.testing import CliRunner, Result

from app import __version__, exits
from app.admin import TopicMismatchError
from app.broker import BrokerError
from app.cli import candlewick
from app.cli.bars import HEADER, table_line
from app.cli.common import DURATION, SHARE, CandlewickGroup, overlay
from app.cli.run import summary_lines
from app.contracts.wire import BarRecord
from app.feeds.errors import FeedError
from app.observe.logs import CHATTY
from app.run.errors import WorkerRefusedError
from app.run.outcomes import Outcomes
from app.run.session import RunSummary, fresh_name, log_prefix
from app.settings import SettingsError, load_settings

COMMANDS = sorted(candlewick.commands)


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


def call(*arguments: str, environment: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(candlewick, list(arguments), env=environment)


def test_the_version_is_the_packages() -> None:
    assert call("--version").output.strip().endswith(__version__)


def test_help_tells_the_exit_codes() -> None:
    text = call("--help").output
    for code in (exits.OK, exits.FAILURE, exits.USAGE, exits.REFUSED):
        assert f"\n    {code}  " in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = call(name, "--help")
    assert result.exit_code == exits.OK
    assert len(result.output.splitlines()) > 5


def test_settings_print_a_file_that_reads_back_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment = {
        "CANDLEWICK_BARS__INTERVALS": "1s,1m",
        "CANDLEWICK_BARS__FILL_FORWARD": "true",
        "CANDLEWICK_TOPICS__PARTITIONS": "7",
    }
    result = call("settings", environment=environment)
    assert result.exit_code == exits.OK
    assert 'grace = "1s"' in result.output
    assert "# CANDLEWICK_BARS__GRACE" in result.output
    (tmp_path / "candlewick.toml").write_text(result.output, encoding="utf-8")
    read = load_settings()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "candlewick.toml").unlink()
    assert read == load_settings()


def test_settings_as_json_are_by_name() -> None:
    found = json.loads(call("settings", "--json").output)
    assert found["CANDLEWICK_BARS__GRACE"] == "1s"
    assert found["CANDLEWICK_TOPICS__PARTITIONS"] == 4
    assert found["CANDLEWICK_BARS__FILL_FORWARD"] is False
    assert found["CANDLEWICK_BROKER__URL"] is None


@pytest.mark.parametrize("arguments", [["settings"], ["settings", "--json"]])
def test_settings_mask_secrets(arguments: list[str]) -> None:
    url = "kafka://reader:sesame@127.0.0.1:9092"
    result = call(*arguments, environment={"CANDLEWICK_BROKER__URL": url})
    assert "sesame" not in result.output
    assert "kafka://********@127.0.0.1:9092" in result.output


def test_a_wrong_setting_is_one_line_and_exit_code_two() -> None:
    result = call("settings", environment={"CANDLEWICK_BARS__GRACE": "soon"})
    assert result.exit_code == exits.USAGE
    assert len(result.output.strip().splitlines()) == 1
    assert "CANDLEWICK_BARS__GRACE='soon'" in result.output


def test_a_secret_in_a_wrong_setting_is_masked() -> None:
    url = "kafka://reader:sesame@127.0.0.1/path"
    result = call("settings", environment={"CANDLEWICK_BROKER__URL": url})
    assert result.exit_code == exits.USAGE
    assert "sesame" not in result.output


def test_topics_are_printed_as_a_table_and_as_json() -> None:
    table = call("topics", environment={"CANDLEWICK_TOPIC_PREFIX": "p."}).output
    assert "p.ticks" in table
    assert "p.default.bars.changelog" in table
    names = [spec["name"] for spec in json.loads(call("topics", "--json").output)]
    assert names[:3] == ["ticks", "quotes", "default.bars"]
    assert "default.quotes.bars" in names


def test_schemas_are_json_schemas() -> None:
    schemas = json.loads(call("topics", "--schema").output)
    assert schemas["trade"]["properties"]["price"]["type"] == "number"


@pytest.mark.parametrize(
    "arguments",
    [["topics", "--create"], ["worker"], ["bars", "SPY"], ["reset", "--yes"], ["simulate"]],
)
def test_without_a_broker_there_is_one_line(arguments: list[str]) -> None:
    result = call(*arguments)
    assert result.exit_code == exits.FAILURE
    assert "candlewick broker start" in result.output.strip().splitlines()[-1]


def test_a_broker_that_does_not_answer_is_one_line() -> None:
    result = call(
        "topics", "--create", environment={"CANDLEWICK_BROKER__URL": "kafka://127.0.0.1:1"}
    )
    assert result.exit_code == exits.FAILURE
    assert len(result.output.strip().splitlines()) == 1
    assert "no broker answers at kafka://127.0.0.1:1" in result.output


def test_the_status_of_a_folder_without_a_broker_is_exit_code_one(tmp_path: Path) -> None:
    result = call("broker", "status", "--folder", str(tmp_path / "none"))
    assert result.exit_code == exits.FAILURE
    assert result.output.startswith("not running")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "--replay PATH is missing"),
        (["run", "--replay", "nowhere.csv"], "does not exist"),
        (["run", "--replay", ".", "--export", "bars.csv"], "--export needs --until-drained"),
        (["run", "--replay", ".", "--until-drained", "--export", "bars.txt"], "ends with .csv"),
        (["run", "--replay", ".", "--workers", "0"], "--workers"),
        (["run", "--replay", ".", "--late", "101%"], "is not a share"),
        (["run", "--replay", ".", "--disorder", "soon"], "is not a duration"),
        (["replay"], "PATH"),
        (["up", "--interval", "7s"], "expected one of 1s"),
        (["no-such-command"], "No such command"),
    ],
)
def test_wrong_usage_is_exit_code_two(arguments: list[str], message: str) -> None:
    result = call(*arguments)
    assert result.exit_code == exits.USAGE
    assert message in result.output


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("A=1: no"), exits.USAGE),
        (BrokerError("the broker\nis gone"), exits.FAILURE),
        (TopicMismatchError("topic t: differs"), exits.REFUSED),
        (FeedError(Path("a.zip"), 7, "truncated"), exits.FAILURE),
        (WorkerRefusedError("settings hash differs"), exits.REFUSED),
        (OSError(28, "No space left on device"), exits.FAILURE),
        (KeyboardInterrupt(), exits.FAILURE),
    ],
)
def test_each_expected_error_is_one_line(error: BaseException, code: int) -> None:
    @click.group(cls=CandlewickGroup)
    def group() -> None:
        """A group."""

    @group.command()
    def fail() -> None:
        raise error

    result = CliRunner().invoke(group, ["fail"])
    assert result.exit_code == code
    assert len(result.output.strip().splitlines()) == 1
    assert result.output.startswith("candlewick: ")


def test_an_unexpected_error_keeps_its_traceback() -> None:
    @click.group(cls=CandlewickGroup)
    def group() -> None:
        """A group."""

    @group.command()
    def fail() -> None:
        raise ZeroDivisionError

    assert isinstance(CliRunner().invoke(group, ["fail"]).exception, ZeroDivisionError)


def test_options_that_were_not_given_override_nothing() -> None:
    assert overlay(deployment=None, bars={"policy": None}) == {}
    assert overlay(worker="w", bars={"policy": "sip", "grace": None}) == {
        "worker": "w",
        "bars": {"policy": "sip"},
    }


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), ("0.01", 0.01), ("5 %", 0.05), ("0", 0)])
def test_shares(text: str, share: float) -> None:
    assert SHARE.convert(text, None, None) == pytest.approx(share)


def test_durations_are_nanoseconds() -> None:
    assert DURATION.convert("900ms", None, None) == 900_000_000


def test_fresh_names_are_fit_for_topics() -> None:
    name = fresh_name()
    assert load_settings(deployment=name, topic_prefix=log_prefix(name)).topic_prefix == f"{name}."
    assert fresh_name() != name
    assert log_prefix("run-1.") == "run-1."
    assert log_prefix("") == ""


def test_a_bar_is_one_line_below_its_header() -> None:
    bar = BarRecord("SPY", "1s", 1_500_000_000, 1, 2, 0.5, 1.5, 300, None, 3, 2, True, True, ())
    line = table_line(bar)
    assert line.startswith("1970-01-01 00:00:01.500 SPY")
    assert line.endswith("revision 2 (filled)")
    assert line.index("revision") == HEADER.index("version")


def test_the_summary_tells_every_outcome() -> None:
    counts = {"applied": 1_000, "late": 3, "dead": 2}
    summary = RunSummary("run.bars", Outcomes(counts), None, 12, restarts=3, seconds=0.5)
    text = "\n".join(summary_lines(summary, Path("bars.csv")))
    assert "records read   1,005" in text
    assert "late         3" in text
    assert "bars exported  12 to bars.csv" in text
    assert "restarts       3" in text
    assert "2,010 ticks/s" in text
