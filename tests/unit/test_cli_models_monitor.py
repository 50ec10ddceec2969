"""`candlewick models monitor`: what the agents know, joined and compared."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

import app.run.monitoring
from app.cli.models_monitor import monitor
from app.run.monitoring import watched
from app.settings import Settings
from models.predicting.monitoring_records import MonitoringRecord
from tests.unit.serving_feeding import Served, monitored_hours


@pytest.fixture
def records(tmp_path: Path) -> list[MonitoringRecord]:
    """The last hour of two partitions: the same twice, under another number."""
    published = monitored_hours(Served(tmp_path / "models"))[-2:]
    own = [msgspec.json.decode(each, type=MonitoringRecord) for each in published]
    return [*own, *(msgspec.structs.replace(each, partitions=(1,)) for each in own)]


def run(
    records: list[MonitoringRecord], folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str
) -> str:
    async def read(settings: Settings) -> list[MonitoringRecord]:
        return records

    monkeypatch.setattr(app.run.monitoring, "read_monitoring", read)
    monkeypatch.setenv("CANDLEWICK_BROKER__URL", "kafka://127.0.0.1:1")
    found = CliRunner().invoke(monitor, ["--registry", str(folder / "models"), *more])
    assert found.exit_code == 0, found.output
    return found.output


def test_partitions_are_joined_and_the_challenger_is_compared(
    records: list[MonitoringRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = json.loads(run(records, tmp_path, monkeypatch, "--json"))
    champion, challenger = found["records"]
    assert (champion["alias"], challenger["alias"]) == ("champion", "challenger")
    assert champion["partitions"] == [0, 1]
    assert champion["figures"]["outcomes"] == 2 * records[0].figures.outcomes
    assert champion["figures"]["mse"] == pytest.approx(records[0].figures.mse)
    # With the bins of the manifest, and of enough rows, there is a drift.
    assert champion["figures"]["rows"] > 500
    assert champion["figures"]["worst_psi"] > 0.25
    assert challenger["figures"]["psi"] is None
    (comparison,) = found["comparisons"]
    assert comparison["sentence"].startswith("Undecided:")
    assert found["unreadable"] == []
    lines = run(records, tmp_path, monkeypatch).splitlines()
    assert lines[0] == "returns"
    assert lines[2].split()[:2] == ["champion", "1"]
    assert lines[4].startswith("challenger 2 beside champion 1: Undecided: ")


def test_another_model_is_left_out(
    records: list[MonitoringRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert json.loads(run(records, tmp_path, monkeypatch, "--json", "other")) == []
    assert "no version was watched" in run(records, tmp_path, monkeypatch, "other")


def test_a_version_that_is_gone_has_no_drift_and_that_is_said(
    records: list[MonitoringRecord], tmp_path: Path
) -> None:
    from models.predicting.registry import Registry

    (found,) = watched(records, Registry.at(tmp_path / "empty"))
    assert len(found.unreadable) == 2
    assert found.records[0].figures.psi is None
    assert found.records[0].figures.outcomes > 0


def test_the_version_that_was_watched_last_is_shown(
    records: list[MonitoringRecord], tmp_path: Path
) -> None:
    from models.predicting.registry import Registry

    registry = Registry.at(tmp_path / "models")
    newer = msgspec.structs.replace(
        records[0], version=3, until=records[0].until + 3_600_000_000_000, paired=None
    )
    (found,) = watched([*records, newer], registry)
    assert found.records[0].version == 3
    assert found.records[0].partitions == (0,)
    assert found.comparisons[0].rows == 0
