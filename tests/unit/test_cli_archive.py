"""`candlewick archive`."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app import exits
from app.archive.layout import archive_location
from app.archive.manifest import read_state
from app.archive.writing import ArchiveWriter
from app.cli import candlewick
from app.settings import Settings
from app.sinks.archive_logs import Log
from app.sinks.driver import Place
from app.sinks.settings import ArchiveSettings
from models.predicting.registry_store import LocalStore
from tests.unit.archive_feeding import DAY, FRIDAY, bar, batch, trade

MONDAY = FRIDAY + 3 * DAY
# The package has the command under the module's name.
MODULE = importlib.import_module("app.cli.archive")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive where the settings' default place is; it is Monday."""
    monkeypatch.setattr(MODULE, "time", SimpleNamespace(time_ns=lambda: MONDAY))
    place = tmp_path / "data" / "archive" / "mine"
    writer = ArchiveWriter(LocalStore(place))
    for turn in range(2):
        values = [bar("A", FRIDAY), b"bad", bar("A", FRIDAY + DAY)]
        writer.add("bars", batch(0, 3 * turn, values), 0)
        writer.flush(FRIDAY + turn)
    return place


def run(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Result:
    chosen = {
        "CANDLEWICK_DATA_DIR": str(folder.parents[1]),
        "CANDLEWICK_DEPLOYMENT": "mine",
        **(environment or {}),
    }
    return CliRunner().invoke(candlewick, ["archive", *arguments], env=chosen)


def figures(folder: Path) -> tuple[int, int]:
    """Return how many files the manifests name, and rows."""
    parts = read_state(LocalStore(folder)).parts.values()
    return len(parts), sum(each.rows for each in parts)


def test_the_status_is_a_table_by_topic(folder: Path) -> None:
    result = run(folder, "status")
    assert result.exit_code == 0, result.output
    found = [line.split() for line in result.stdout.splitlines()]
    assert found[0] == list(MODULE.COLUMNS)
    size = [str(each) for each in (figure_bytes(folder, "bars"), figure_bytes(folder, "raw"))]
    assert [[cell.replace(",", "") for cell in row] for row in found[1:]] == [
        ["bars", "2026-11-20", "2026-11-21", "2", "4", "4", size[0], "1", "-", "0"],
        ["raw", "2026-11-20", "2026-11-20", "1", "2", "2", size[1], "0", "-", "0"],
    ]
    assert "LAG is not known: no broker" in result.stderr
    assert f"{folder}: manifests up to 2" in result.stderr


def figure_bytes(folder: Path, topic: str) -> int:
    parts = read_state(LocalStore(folder)).parts.values()
    return sum(each.bytes for each in parts if each.topic == topic)


def test_the_lag_is_what_kafka_has_and_the_archive_does_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def logs(settings: Settings, topics: list[str], seconds: float) -> dict[Place, Log]:
        assert {"bars", "ticks", "bars.dead"} <= set(topics)
        return {
            Place("bars", 0): Log("one", 0, 10),
            Place("bars", 1): Log("one", 5, 7),
            Place("ticks", 0): Log("two", 100, 103),
            Place("quotes", 0): Log("three", 9, 9),
        }

    monkeypatch.setattr("app.sinks.archive_logs.topic_logs", logs)
    address = {"CANDLEWICK_BROKER__URL": "kafka://127.0.0.1:1"}
    found = json.loads(run(folder, "status", "--json", environment=address).stdout)
    assert found["location"] == str(folder)
    assert (found["manifest"], found["replaced"]) == (2, 0)
    assert [(each["topic"], each["lag"]) for each in found["topics"]] == [
        ("bars", 6),
        ("raw", None),
    ]
    assert found["topics"][0]["partitions"] == [
        {"partition": 0, "next": 6, "log": "", "lost": 0},
    ]
    lines = run(folder, "status", environment=address).stdout.splitlines()
    assert lines[-1].split() == ["ticks", *"-" * 7, "3", "-"]


def test_small_files_become_one_old_days_go_and_the_files_after_a_day(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(folder, "compact")
    assert result.stdout.splitlines() == [
        "bars 2026-11-20: 2 files to 1, 2 rows",
        "bars 2026-11-21: 2 files to 1, 2 rows",
        "raw 2026-11-20: 2 files to 1, 2 rows",
    ]
    assert result.stderr == "6 files to 3\n"
    assert figures(folder) == (3, 6)
    assert json.loads(run(folder, "compact", "--json").stdout) == []
    assert "6 files replaced or dropped" in run(folder, "status").stderr

    dry = run(folder, "retain", "--retention", "2d", "--dry-run")
    assert dry.stdout.splitlines() == ["bars 2026-11-20: 2 rows", "raw 2026-11-20: 2 rows"]
    assert dry.stderr == "2 files would be dropped; kept are 2d\n"
    assert figures(folder) == (3, 6)
    assert run(folder, "retain", "--retention", "0s").stderr == (
        "0 files dropped; everything is kept\n"
    )
    found = json.loads(run(folder, "retain", "--retention", "2d", "--json").stdout)
    assert [(each["topic"], each["day"], each["rows"]) for each in found] == [
        ("bars", "2026-11-20", 2),
        ("raw", "2026-11-20", 2),
    ]
    assert figures(folder) == (1, 2)

    assert run(folder, "clean").stderr == "0 files removed\n"
    monkeypatch.setattr(MODULE, "time", SimpleNamespace(time_ns=lambda: MONDAY + DAY + 1))
    assert len(json.loads(run(folder, "clean", "--json").stdout)) == 8
    assert len(list(folder.rglob("*.parquet"))) == 1
    assert run(folder, "clean", "--age", "9m").exit_code == exits.USAGE


def test_the_retention_is_the_settings(folder: Path) -> None:
    kept = run(folder, "retain", environment={"CANDLEWICK_ARCHIVE__RETENTION": "36h"})
    assert kept.stderr == "4 files dropped; kept are 36h\n"
    assert run(folder, "retain").stderr == "0 files dropped; kept are 365d\n"


def test_a_whole_archive_is_said_to_be_and_damage_ends_with_one(folder: Path) -> None:
    assert run(folder, "check").stderr == "2 manifests, 6 files, 6 rows: no faults\n"
    path = min(read_state(LocalStore(folder)).parts)
    (folder / path).unlink()
    result = run(folder, "check")
    assert result.exit_code == exits.FAILURE
    assert result.stdout == f"{folder}/{path}: the file is missing\n"
    assert result.stderr == "2 manifests, 6 files, 6 rows: 1 fault\n"
    found: dict[str, Any] = json.loads(run(folder, "check", "--json").stdout)
    assert found["faults"] == [f"{folder}/{path}: the file is missing"]
    assert (found["unnamed"], found["lost"]) == (0, {})


def test_another_archive_is_named_by_its_place(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    writer = ArchiveWriter(LocalStore(other))
    writer.add("ticks", batch(0, 0, [trade("A", FRIDAY)]), 0)
    writer.flush(FRIDAY)
    result = run(folder, "status", "--archive", str(other))
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["TOPIC", "ticks"]
    assert result.stderr == f"{other}: manifests up to 1\n"


def test_each_deployment_has_a_folder_of_its_own_below_the_location(tmp_path: Path) -> None:
    def location(below: str, deployment: str) -> str:
        return archive_location(
            Settings(
                deployment=deployment,
                topic_prefix="p.",
                archive=ArchiveSettings(location=below),
            )
        )

    assert location("s3://bucket/bars/", "one") == "s3://bucket/bars/p.one"
    assert location(str(tmp_path), "two") == str(tmp_path / "p.two")


def test_errors_are_one_line(folder: Path) -> None:
    (folder / "manifests" / f"{2:020d}.json").write_text("{")
    for arguments in (["status"], ["compact"], ["retain"], ["clean"], ["check"]):
        result = run(folder, *arguments)
        assert result.exit_code == exits.FAILURE
        assert result.stderr.startswith("candlewick: ")
        assert "not a manifest" in result.stderr
        assert result.stderr.count("\n") == 1
