"""`candlewick query`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app import exits
from app.archive.writing import ArchiveWriter
from app.cli import candlewick
from models.predicting.registry_store import LocalStore
from tests.unit.archive_feeding import FRIDAY, bar, batch

SQL = "SELECT symbol, vwap, close, sources FROM bars ORDER BY symbol"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An archive where the settings' default place is."""
    place = tmp_path / "data" / "archive" / "mine"
    writer = ArchiveWriter(LocalStore(place))
    writer.add("bars", batch(0, 0, [bar("A", FRIDAY), bar("B", FRIDAY, close=2.0)]), 0)
    writer.flush(FRIDAY)
    return place


def run(folder: Path, *arguments: str) -> Result:
    environment = {
        "CANDLEWICK_DATA_DIR": str(folder.parents[1]),
        "CANDLEWICK_DEPLOYMENT": "mine",
    }
    return CliRunner().invoke(candlewick, ["query", *arguments], env=environment)


def test_rows_come_as_a_table(folder: Path) -> None:
    result = run(folder, SQL)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "symbol  vwap  close  sources",
        "A             1.5    ['sip']",
        "B             2.0    ['sip']",
    ]
    assert result.stderr == "2 rows\n"


def test_rows_come_as_json_and_csv(folder: Path) -> None:
    assert json.loads(run(folder, SQL, "--json").stdout)[1] == {
        "symbol": "B",
        "vwap": None,
        "close": 2.0,
        "sources": ["sip"],
    }
    found = run(folder, "SELECT symbol, vwap, close FROM bars ORDER BY 1", "--csv")
    assert found.stdout == "symbol,vwap,close\nA,,1.5\nB,,2.0\n"
    assert run(folder, SQL, "--csv", "--json").exit_code == exits.USAGE


def test_an_archive_is_named_by_its_place(folder: Path, tmp_path: Path) -> None:
    elsewhere = run(tmp_path / "a" / "b" / "c", "SELECT 1 AS x", "--archive", str(folder), "--csv")
    assert elsewhere.stdout == "x\n1\n"


def test_errors_are_one_line(folder: Path) -> None:
    for sql, text in [
        ("SELECT nothing FROM bars", "nothing"),
        ("SELEC 1", "syntax error"),
        ("DROP VIEW bars", "expected one query"),
    ]:
        result = run(folder, sql)
        assert result.exit_code == exits.FAILURE
        assert result.stderr.startswith("candlewick: ")
        assert text in result.stderr
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""


def test_a_plan_is_shown_as_it_is(folder: Path) -> None:
    result = run(folder, "EXPLAIN ANALYZE SELECT * FROM bars WHERE day = 20")
    assert "Total Time" in result.stdout
    assert "explain_value" not in result.stdout
