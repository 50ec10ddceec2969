"""`candlewick train`: what it says, what it writes, and that its page is safe to open."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli import candlewick
from app.run.export import LAYOUTS, write_export
from app.training.document import document
from app.training.pages import training_page
from app.training.pictures import time_axis
from models.predicting.equity import naive_equity
from models.predicting.planted import planted_bars, white_noise
from models.predicting.training import TrainingSettings, train
from tests.unit.test_profile import checked


def write_bars(path: Path, count: int, strength: float) -> Path:
    rows = [
        (
            *(bar.symbol, bar.interval, bar.start, bar.open, bar.high, bar.low, bar.close),
            *(bar.volume, bar.vwap, bar.trades, bar.revision),
        )
        for bar in planted_bars(count, strength)
    ]
    write_export(path, rows, LAYOUTS["bars"].schema)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(candlewick, ["train", *map(str, arguments)])


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("planted")
    bars = write_bars(folder / "<b>bars.csv", 2_500, 1.0)
    return folder, run("--bars", bars, "--features", "returns@1", "--out", folder / "out")


def test_a_signal_planted_in_bars_is_found_by_the_built_in_features(
    planted: tuple[Path, Result],
) -> None:
    folder, result = planted
    assert result.exit_code == 0, result.output
    print(result.stdout)
    assert "Skill: better than every baseline, beyond chance." in result.stdout
    assert str(folder / "out" / "report.html") in result.stdout
    report = json.loads((folder / "out" / "report.json").read_text())
    assert report["proven"]
    assert report["score"]["skills"][0]["low"] > 0.03
    assert report["equity"]["net"] > 0
    assert (report["interval"], report["horizon"]) == ("1m", 1)
    assert report["symbols"] == ["AAA", "BBB"]
    assert report["dropped"]["gap"] == 2
    assert 0.88 <= report["coverage"]["adaptive"] <= 0.92


def test_a_random_walk_has_no_skill_and_its_bytes_are_the_same_twice(tmp_path: Path) -> None:
    bars = write_bars(tmp_path / "bars.parquet", 1_200, 0.0)
    reports = []
    for name in ("one", "two"):
        result = run(
            "--out", tmp_path / name, "--horizon", 3, "--folds", 3, "--json", "--bars", bars
        )
        assert result.exit_code == 0, result.output
        reports.append(json.loads(result.stdout))
    assert reports[0] == reports[1] == json.loads((tmp_path / "one" / "report.json").read_text())
    assert not reports[0]["proven"]
    assert reports[0]["verdict"].startswith("No skill: not better than zero")
    files = {each.name for each in (tmp_path / "one").iterdir()}
    assert files == {"model.ubj", "report.html", "report.json"}
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    model = (tmp_path / "one" / "model.ubj").read_bytes()
    assert reports[0]["model"]["sha256"] == hashlib.sha256(model).hexdigest()


def test_the_page_is_whole_loads_nothing_and_shows_texts_as_texts(
    planted: tuple[Path, Result],
) -> None:
    page = checked(planted[0] / "out" / "report.html")
    assert "<b>bars.csv" in page.texts
    whole = " ".join(page.texts)
    for heading in (
        "Error by time",
        "Equity of the naive strategy, after costs",
        "Intervals: share of targets inside, by time",
        "Intervals: share inside, by width",
        "Importance",
        "Steps of the walk",
    ):
        assert heading in whole
    for baseline in ("zero", "last value", "AR(1)"):
        assert baseline in page.texts
    assert (planted[0] / "out" / "report.html").read_text().count("<svg") == 5


def report_of(cost_bps: float) -> dict[str, Any]:
    model = train(white_noise(1_000), TrainingSettings(folds=2, rounds=20))
    tested = model.out_of_sample
    equity = naive_equity(tested.rows, tested.prediction, cost_bps)
    return document(model, equity, {"gap": 0}, ["bars.csv"])


def test_without_trades_and_splits_the_page_says_so() -> None:
    report = report_of(1_000.0)
    report["importance"] = {}
    assert report["equity"]["points"] == []
    assert report["dropped"] == {}
    page = training_page(report)
    assert "nothing was traded" in page
    assert "reads no feature" in page
    json.dumps(report, allow_nan=False)


def test_parts_of_the_coverage_add_up_to_the_whole() -> None:
    coverage = report_of(1.0)["coverage"]
    for parts in (coverage["by_time"], coverage["by_width"]):
        assert sum(part["rows"] for part in parts) == coverage["rows"] - coverage["endless"]
        inside = sum(part["rows"] * part["coverage"] for part in parts)
        assert inside / coverage["rows"] == pytest.approx(coverage["adaptive"])
    widths = [part["half_width"] for part in coverage["by_width"]]
    assert widths == sorted(widths)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "--bars FILE is missing"),
        (("--features", "nothing"), 2, "no feature set 'nothing'; there are returns@1"),
        (("--cost-bps", "0"), 2, "0 is not in the range"),
        (("--horizon", "0"), 2, "0 is not in the range"),
        (("--interval", "5m"), 1, "no bars of 5m; there are bars of 1m only"),
        ((), 1, "rows are too few: about 6"),
    ],
)
def test_what_is_wrong_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    bars = write_bars(tmp_path / "bars.csv", 150, 0.0)
    source = () if said.startswith("--bars") else ("--bars", bars)
    result = run("--out", tmp_path / "out", *source, *arguments)
    assert result.exit_code == code, result.output
    assert said in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


def test_the_axis_of_time_has_few_moments_whatever_the_length() -> None:
    for seconds in (300, 3_600, 86_400, 30 * 86_400, 400 * 86_400, 4_000 * 86_400):
        moments = time_axis(1_767_571_203.5, 1_767_571_203.5 + seconds)
        assert 1 <= len(moments) <= 13
        assert all(0 <= moment - 1_767_571_203.5 <= seconds for moment, _ in moments)
