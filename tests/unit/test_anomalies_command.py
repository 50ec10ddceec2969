"""`candlewick anomalies`: a file in, the same rows with scores out."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app import exits
from app.cli import candlewick
from models.anomalies.series import SeriesScorer

SECOND = 1_000_000_000


def run(*arguments: object) -> Result:
    return CliRunner().invoke(candlewick, ["anomalies", *map(str, arguments)])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """600 quiet values, one a minute, but one."""
    chance = random.Random(1)
    path = tmp_path / "in.csv"
    lines = [
        f"2026-01-01 {number // 60:02}:{number % 60:02}:00,{chance.gauss(5.0, 1.0):.3f}"
        for number in range(600)
    ]
    lines[500] = f"{lines[500].split(',')[0]},95.0"
    path.write_text("timestamp,value\n" + "\n".join(lines) + "\n")
    return path


def test_the_rows_come_back_with_score_verdict_and_readiness(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    result = run("--series", source, "--out", target)
    assert result.exit_code == exits.OK, result.output
    given = list(csv.DictReader(source.read_text().splitlines()))
    rows = list(csv.DictReader(target.read_text().splitlines()))
    assert list(rows[0]) == ["timestamp", "value", "score", "is_anomaly", "ready"]
    assert [{k: row[k] for k in ("timestamp", "value")} for row in rows] == given
    assert [row["ready"] for row in rows] == ["false"] * 200 + ["true"] * 400
    assert all((row["score"] == "") == (row["ready"] == "false") for row in rows)
    assert rows[500]["is_anomaly"] == "true"
    assert sum(row["is_anomaly"] == "true" for row in rows) < 5

    scorer = SeriesScorer(60 * SECOND)
    for number, row in enumerate(rows):
        scorer.update((number * 60 * SECOND, float(row["value"])))
        if scorer.value is not None:
            assert float(row["score"]) == scorer.value.score


def test_fewer_false_alarms_are_fewer_anomalies(source: Path, tmp_path: Path) -> None:
    counts = []
    for target in (50, 0.01):
        out = tmp_path / "out.csv"
        assert (
            run("--series", source, "--out", out, "--false-alarms-per-day", target).exit_code == 0
        )
        counts.append(out.read_text().count("true,true"))
    assert counts[0] > counts[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'timestamp'"),
        ("time,value\n1,2\n", "no column 'timestamp'"),
        ("timestamp,value\n2026-01-01,1\n2026-01-02,nan\n", "in.csv:3: value is nan"),
        ("timestamp,value\n2026-01-01,1\nyesterday,1\n", "in.csv:3: "),
        ("timestamp,value\n2026-01-01\n", "in.csv:2: a cell lacks"),
        ("timestamp,value\n2026-01-01,1\n", "at least two values"),
        ("timestamp,value\n5,1\n5,1\n", "at least two values"),
    ],
)
def test_a_broken_file_is_one_line_and_nothing_is_written(
    tmp_path: Path, text: str, message: str
) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(text)
    result = run("--series", source, "--out", target)
    assert result.exit_code == exits.FAILURE
    assert message in result.output
    assert result.output.count("\n") == 1
    assert list(tmp_path.iterdir()) == [source]


def test_a_wrong_option_is_a_usage_error(source: Path, tmp_path: Path) -> None:
    for arguments in (
        ["--series", tmp_path / "none.csv", "--out", tmp_path / "out.csv"],
        ["--series", source, "--out", tmp_path / "out.csv", "--false-alarms-per-day", "0"],
        ["--series", source, "--out", tmp_path / "out.csv", "--interval", "0s"],
        ["--series", source],
    ):
        assert run(*arguments).exit_code == exits.USAGE
