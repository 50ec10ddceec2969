"""`candlewick backup` and `candlewick restore`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app import exits
from app.archive.manifest import read_state
from app.cli import candlewick
from models.predicting.registry import Registry
from models.predicting.registry_store import LocalStore
from models.store.registry import FeatureRegistry
from tests.unit.backup_world import flush, publish
from tests.unit.feature_sets import recorded

SECRET = "hunter2-of-redis"


def run(data: Path, *arguments: str, **environment: str) -> Result:
    """Run it with settings of its own; no broker runs."""
    settings = {
        "CANDLEWICK_DATA_DIR": str(data),
        "CANDLEWICK_DEPLOYMENT": "mine",
        "CANDLEWICK_REDIS__URL": f"redis://:{SECRET}@127.0.0.1:1/0",
    }
    return CliRunner().invoke(candlewick, [*arguments], env=settings | environment)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with a model, a feature set and an archive."""
    folder = tmp_path / "data"
    publish(Registry.at(folder / "models"), alias="champion")
    FeatureRegistry.at(folder / "feature-store").register(recorded())
    flush(LocalStore(folder / "archive" / "mine"), 3)
    return folder


def test_a_backup_is_taken_and_restored(data: Path, tmp_path: Path) -> None:
    place, other = str(tmp_path / "friday"), tmp_path / "other"
    taken = run(data, "backup", place)
    assert taken.exit_code == 0, taken.output
    lines = taken.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["models", "features", "archive"]
    assert lines[2].startswith("archive: 6 files, ")
    assert taken.stderr.startswith("positions are not in it: no broker: ")
    checked = run(other, "restore", place, "--check")
    assert checked.exit_code == 0, checked.output
    assert f"archive: 6 files to restore in {other}/archive/mine" in checked.stdout
    assert not (other / "models").exists()
    restored = run(other, "restore", place)
    assert restored.exit_code == 0, restored.output
    assert Registry.at(other / "models").resolve("returns", "champion") == 1
    assert Registry.at(other / "models").verify("returns", 1).version == 1
    assert FeatureRegistry.at(other / "feature-store").names()
    assert len(read_state(LocalStore(other / "archive" / "mine")).parts) == 3
    again = run(other, "restore", place)
    assert "archive: 0 files restored" in again.stdout
    assert again.stdout.splitlines()[2].endswith("6 are there already")


def test_no_secret_is_in_it(data: Path, tmp_path: Path) -> None:
    place = tmp_path / "friday.tar"
    taken = run(data, "backup", str(place), "--json")
    assert SECRET not in taken.output
    assert SECRET.encode() not in place.read_bytes()
    assert b'"CANDLEWICK_REDIS__URL": "********"' in place.read_bytes()


def test_json_says_what_was_done(data: Path, tmp_path: Path) -> None:
    place = str(tmp_path / "friday")
    taken = json.loads(run(data, "backup", place, "--no-positions", "--json").stdout)
    assert taken["deployment"] == "mine"
    assert taken["notes"] == []
    assert taken["sections"]["archive"]["files"] == 6
    assert not (tmp_path / "friday" / "positions.json").exists()
    options = ("--only", "archive", "--archive", str(tmp_path / "elsewhere"), "--json")
    restored = json.loads(run(tmp_path / "other", "restore", place, *options).stdout)
    assert restored["restored"] == {"archive": 6}
    assert len(read_state(LocalStore(tmp_path / "elsewhere")).parts) == 3
    assert not (tmp_path / "other").exists()


def test_settings_that_differ_are_told(data: Path, tmp_path: Path) -> None:
    place = str(tmp_path / "friday")
    run(data, "backup", place, "--no-positions")
    told = run(data, "restore", place, "--check", CANDLEWICK_BARS__GRACE="3s").stderr.splitlines()
    assert "CANDLEWICK_BARS__GRACE: backup 1s, here 3s" in told
    assert not any("REDIS__URL" in line for line in told)


def test_what_goes_wrong_is_one_line(data: Path, tmp_path: Path) -> None:
    place = tmp_path / "friday"
    run(data, "backup", str(place), "--only", "models")
    other = tmp_path / "other"
    publish(Registry.at(other / "models"), alias="challenger")
    for arguments, text in (
        (["backup", str(place)], "holds a backup already"),
        (["restore", str(tmp_path / "none")], "no backup, or one that was not finished"),
        (["restore", str(place)], "is there and not the backup's"),
        (["restore", str(place), "--only", "archive"], "the backup has no archive; it has models"),
        (["backup", "nonsense://a"], "Protocol not known"),
    ):
        result = run(other, *arguments)
        assert result.exit_code == exits.FAILURE, result.output
        assert result.stderr.splitlines()[-1].startswith("candlewick: ")
        assert text in result.stderr
        assert result.stdout == ""
