"""`candlewick train --publish` and `candlewick retrain`, from files to aliases."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import candlewick
from models.predicting.planted import planted_bars
from models.predicting.registry import Registry
from tests.unit.training_bars import write_bars

pytest.importorskip("xgboost")
ROOT = Path(__file__).resolve().parents[2]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(candlewick, [*map(str, arguments)])


def said(result: Result) -> str:
    return " ".join(result.stderr.split())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    write_bars(folder / "noise.csv", planted_bars(500, 0.0, seed=1))
    write_bars(folder / "planted.csv", planted_bars(1_200, 1.5, seed=2))
    return folder


def test_from_bars_to_a_champion_that_only_a_better_one_replaces(
    files: Path, tmp_path: Path
) -> None:
    place = tmp_path / "models"
    options = ("--folds", 2, "--registry", place)
    train = ("train", "--bars", files / "noise.csv", "--out", tmp_path / "out", *options)
    first = call(*train, "--publish", "minutes", "--promote", "champion", "--by", "Ann")
    assert first.exit_code == 0, first.output
    assert first.stdout.splitlines()[-2:] == [
        "published: minutes 1",
        "minutes champion: version 1, generation 1",
    ]
    registry = Registry.at(place)
    manifest = registry.verify("minutes", 1)
    assert manifest.market is not None
    assert manifest.market[0].name == "24/7"
    assert "calendar   24/7 (24/7), 2 symbols" in call("models", "show", "minutes", "--registry",
                                                      place).stdout  # fmt: skip
    move = registry.current("minutes", "champion")
    assert move is not None
    assert (move.by, move.reason.startswith("by candlewick train: No skill")) == ("Ann", True)

    again = call(*train, "--publish", "minutes", "--promote", "champion")
    assert "the same model as minutes 1: nothing is published" in again.stdout
    assert "champion names version 1 already" in again.stderr
    assert registry.versions("minutes") == (1,)

    retrain = ("retrain", "minutes", "--bars", files / "planted.csv", *options)
    better = call(*retrain, "--out", tmp_path / "again")
    assert better.exit_code == 0, better.output
    lines = better.stdout.splitlines()
    assert lines[-3] == "published: minutes 2"
    assert lines[-2].startswith("promoted: better than version 1: skill +")
    assert lines[-1] == "minutes champion: version 2, generation 2"
    move = registry.current("minutes", "champion")
    assert move is not None
    assert lines[-2] == f"promoted: {move.reason}"
    report = json.loads((tmp_path / "again/report.json").read_text())
    assert report["retraining"]["reason"] == move.reason

    same = call(*retrain, "--json")
    assert same.exit_code == 0
    found = json.loads(same.stdout)["retraining"]
    assert (found["published"], found["promoted"], found["version"]) == (False, False, 2)
    assert found["reason"] == "the same model as version 2, the champion"


def test_white_noise_becomes_no_first_champion_and_says_why(files: Path, tmp_path: Path) -> None:
    place = tmp_path / "models"
    noise = ("retrain", "minutes", "--bars", files / "noise.csv", "--registry", place)
    result = call(*noise, "--folds", 2, "--challenger")
    assert result.exit_code == 0, result.output
    assert "not promoted: no champion yet. No skill: not better than" in result.stdout
    assert result.stdout.splitlines()[-1] == "minutes challenger: version 1, generation 1"
    assert list(Registry.at(place).aliases("minutes")) == ["challenger"]
    (place / "minutes/versions/000001/model.ubj").write_bytes(b"short")
    broken = call(*noise, "--folds", 2, "--alias", "challenger")
    assert (broken.exit_code, broken.stdout) == (1, "")
    assert f"{place}/minutes/versions/000001/model.ubj: 5 bytes; expected" in broken.stderr


def test_a_broken_file_of_bars_is_named_and_nothing_is_published(
    files: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bars"
    folder.mkdir()
    (folder / "a.csv").write_bytes((files / "noise.csv").read_bytes())
    (folder / "b.parquet").write_bytes(b"PAR1 and no more")
    place = tmp_path / "models"
    result = call("retrain", "minutes", "--folder", folder, "--registry", place)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"candlewick: {folder / 'b.parquet'}: " in result.stderr
    assert not place.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("retrain", "minutes"), "expected --bars FILE or --folder FOLDER, one of them"),
        (("retrain", "Upper case", "--folder", "."), "'Upper case': expected a name of a-z"),
        (("retrain", "minutes", "--folder", ".", "--alias", "../up"), "expected a name of a-z"),
        (("retrain", "minutes", "--bars", "BARS", "--days", "3"), "--days needs --folder"),
        (
            ("retrain", "minutes", "--folder", ".", "--force", "x", "--promote-if", "never"),
            "--force contradicts --promote-if never",
        ),
        (
            ("retrain", "minutes", "--folder", ".", "--force", "x", "--every", "24h"),
            "--force is for one time, not for --every",
        ),
        (("retrain", "minutes", "--folder", ".", "--every", "1s"), "expected 1m or more"),
        (("retrain", "minutes", "--folder", ".", "--features", "x"), "no feature set 'x'"),
        (
            ("train", "--bars", "BARS", "--out", "out", "--promote", "champion"),
            "--promote needs --publish NAME",
        ),
        (("train", "--bars", "BARS", "--out", "out", "--publish", "a/b"), "'a/b': expected a name"),
    ],
)
def test_a_wrong_option_is_told_before_anything_is_done(
    files: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    bars = str(files / "noise.csv")
    place = str(tmp_path / "models")
    result = call(*(bars if each == "BARS" else each for each in arguments), "--registry", place)
    assert result.exit_code == 2, result.output
    assert words in said(result)
    assert not Path(place).exists()


def test_an_unknown_kind_of_place_is_told_before_the_training(files: Path, tmp_path: Path) -> None:
    result = call(
        *("train", "--bars", files / "noise.csv", "--out", tmp_path / "out"),
        *("--publish", "minutes", "--registry", "nonsense://a"),
    )
    assert result.exit_code == 1
    assert result.stderr.startswith("candlewick: Protocol not known")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_timer_outlives_a_failure_and_stops_when_asked(
    tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "bars.csv").write_text("no bars\n")
    command = [sys.executable, "-m", "app.cli", "retrain", "minutes", "--folder", str(tmp_path)]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("CANDLEWICK_")
    }
    process = subprocess.Popen(
        [*command, "--registry", str(tmp_path / "models"), "--every", "24h"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT), "CANDLEWICK_LOG__FORMAT": "json"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        now = process.stderr.readline()
        fault = json.loads(process.stderr.readline())
        later = process.stderr.readline()
        process.send_signal(number)
        rest = process.communicate()
    finally:
        process.kill()
    assert now.startswith("training at ")
    assert fault["level"] == "error"
    assert "bars.csv: has no column" in fault["event"]
    assert later.startswith("training at ")
    assert later != now
    assert (process.returncode, rest) == (0, ("", "stopped\n"))
