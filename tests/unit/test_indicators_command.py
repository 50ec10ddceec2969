"""`candlewick indicators`: columns as asked, the same rows, and one line for what is wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from app import exits
from app.cli import candlewick
from app.run.export import LAYOUTS, write_export
from tables.indicators.base import MINUTE, sample_bars
from tables.indicators.registry import parse_indicators

SCHEMA = LAYOUTS["bars"].schema


def export(path: Path, seed: int = 31, count: int = 60) -> Path:
    bars = [
        msgspec.structs.replace(each, symbol=symbol)
        for number, symbol in enumerate(("AAA", "BBB"))
        for each in sample_bars(seed + number, count)
    ]
    write_export(path, [LAYOUTS["bars"].row(each) for each in bars], SCHEMA)
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(candlewick, ["indicators", *map(str, arguments)])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def expected(text: str, symbol: int) -> list[float | None]:
    made = parse_indicators(text)[0].create()
    values = []
    for each in sample_bars(31 + symbol, 60):
        made.update(each)
        assert not isinstance(made.value, tuple)
        values.append(made.value)
    return values


def test_rows_stay_and_get_a_column_an_output(tmp_path: Path) -> None:
    source, target = export(tmp_path / "bars.csv"), tmp_path / "out.csv"
    result = run("--bars", source, "--indicators", "EMA(12),rsi(14), MACD(3,5,2)", "--out", target)
    assert result.exit_code == exits.OK, result.output
    before, after = rows_of(source), rows_of(target)
    added = ["EMA(12)", "rsi(14)", "MACD(3,5,2)", "MACD(3,5,2).signal", "MACD(3,5,2).histogram"]
    assert list(after[0]) == [*before[0], *added]
    assert [{name: row[name] for name in before[0]} for row in after] == before
    for text in ("EMA(12)", "rsi(14)"):
        wanted = [*expected(text, 0), *expected(text, 1)]
        assert [row[text] for row in after] == ["" if v is None else repr(v) for v in wanted]
    assert [row["EMA(12)"] for row in after[60:71]] == [""] * 11


def test_parquet_and_csv_hold_the_same_and_the_default_set_is_twelve(tmp_path: Path) -> None:
    source = export(tmp_path / "bars.parquet")
    for target in (tmp_path / "out.parquet", tmp_path / "out.csv"):
        assert run("--bars", source, "--out", target).exit_code == exits.OK
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert len(table[0]) == len(SCHEMA) + 12 + 2 + 4
    for row, other in zip(table, rows_of(tmp_path / "out.csv"), strict=True):
        assert {n: "" if v is None else str(v) for n, v in row.items()} == other


def test_order_of_rows_and_lower_revisions_do_not_matter(tmp_path: Path) -> None:
    source = export(tmp_path / "bars.csv")
    header, *lines = source.read_text().splitlines()
    stale = lines[10].rsplit(",", 1)[0].replace("100.", "900.") + ",-1"
    shuffled = tmp_path / "shuffled.csv"
    shuffled.write_text("\n".join([header, *reversed(lines), stale.replace(",-1", ",0")]) + "\n")
    newer = shuffled.read_text().replace(lines[10], lines[10].rsplit(",", 1)[0] + ",3")
    shuffled.write_text(newer)
    for path, name in ((source, "one.csv"), (shuffled, "two.csv")):
        assert (
            run("--bars", path, "--indicators", "SMA(5)", "--out", tmp_path / name).exit_code == 0
        )
    one = [row["SMA(5)"] for row in rows_of(tmp_path / "one.csv")]
    two = [row["SMA(5)"] for row in rows_of(tmp_path / "two.csv")]
    assert two == [*reversed(one), ""]


def test_columns_of_ones_own_stay_and_optional_ones_may_be_missing(tmp_path: Path) -> None:
    source = tmp_path / "own.csv"
    source.write_text(
        "note,symbol,interval,start_ns,open,high,low,close,volume\n"
        + "".join(f"n{k},A,1m,{k * MINUTE},1,2,0.5,{k + 1},10\n" for k in range(4))
    )
    target = tmp_path / "out.csv"
    asked = "SMA(2),VWAP(2),VWAP(2,price=typical)"
    assert run("--bars", source, "--indicators", asked, "--out", target).exit_code == exits.OK
    rows = rows_of(target)
    assert [row["note"] for row in rows] == ["n0", "n1", "n2", "n3"]
    assert [row["SMA(2)"] for row in rows] == ["", "1.5", "2.5", "3.5"]
    assert {row["VWAP(2)"] for row in rows} == {""}
    assert rows[1]["VWAP(2,price=typical)"] != ""


def test_a_bar_that_a_correction_emptied_is_left_out(tmp_path: Path) -> None:
    source = export(tmp_path / "bars.csv", count=12)
    header, *lines = source.read_text().splitlines()
    cells = lines[5].split(",")
    cells[header.split(",").index("trades")], cells[-1] = "0", "1"
    source.write_text("\n".join([header, *lines[:5], ",".join(cells), *lines[6:]]) + "\n")
    target = tmp_path / "out.csv"
    assert run("--bars", source, "--indicators", "SMA(2)", "--out", target).exit_code == exits.OK
    rows = rows_of(target)
    assert rows[5]["SMA(2)"] == ""
    mean = (float(rows[4]["close"]) + float(rows[6]["close"])) / 2
    assert float(rows[6]["SMA(2)"]) == pytest.approx(mean)


def test_json_says_what_was_written(tmp_path: Path) -> None:
    source, target = export(tmp_path / "bars.csv"), tmp_path / "out.csv"
    result = run("--bars", source, "--indicators", "SMA(5)", "--out", target, "--json")
    assert json.loads(result.stdout) == {
        "rows": 120,
        "series": 2,
        "columns": ["SMA(5)"],
        "out": str(target),
    }


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--indicators", "EMA(0)"], exits.USAGE, "EMA: length is '0'; expected int >= 1"),
        (["--indicators", "FOO"], exits.USAGE, "there is no 'FOO'"),
        (["--module", "no_such_module"], exits.USAGE, "'no_such_module' cannot be imported"),
        (["--out", "out.txt"], exits.USAGE, ".csv or .parquet"),
        (["--bars", "missing.csv"], exits.USAGE, "does not exist"),
    ],
)
def test_a_wrong_option_is_a_usage_error(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    options = {"--bars": str(export(tmp_path / "bars.csv")), "--out": str(tmp_path / "out.csv")}
    for name, value in zip(arguments[::2], arguments[1::2], strict=True):
        options[name] = value if name in ("--indicators", "--module") else str(tmp_path / value)
    result = run(*(each for option in options.items() for each in option))
    assert result.exit_code == code
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "out.csv").exists()


HEADER = "symbol,interval,start_ns,open,high,low,close,volume\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("symbol,interval,start_ns,open,high,low\n", "has no column close, volume"),
        ("", "bars.csv: "),
        (HEADER + "A,1m,0,1,2,x,1,1\n", "x"),
        (HEADER + "A,1m,0,1,2,,1,1\n", "bars.csv:2: low is empty"),
        (HEADER + "A,1m,0,1,2,1,nan,1\n", "bars.csv:2: close is nan"),
        (
            HEADER + "A,1m,0,1,2,1,1e13,1\n",
            "bars.csv:2: close is 10000000000000.0; expected at most 1e+12",
        ),
        (HEADER + "A,1m,0,1,2,1,1,-1\n", "bars.csv:2: volume is -1.0; expected 0 or more"),
        (HEADER + "A,1m,0,1,2,1,1,1\n" * 2, "two bars of A 1m at 0, revision 0"),
        (HEADER.strip() + ",SMA(5)\nA,1m,0,1,2,1,1,1,2\n", "already has the column SMA(5)"),
    ],
)
def test_a_broken_file_is_one_line_and_nothing_is_written(
    tmp_path: Path, text: str, message: str
) -> None:
    source, target = tmp_path / "bars.csv", tmp_path / "out.csv"
    source.write_text(text)
    result = run("--bars", source, "--indicators", "SMA(5)", "--out", target)
    assert result.exit_code == exits.FAILURE
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not target.exists()


def test_a_file_that_is_no_parquet_is_one_line(tmp_path: Path) -> None:
    source = tmp_path / "bars.parquet"
    source.write_bytes(b"PAR1 not really")
    result = run("--bars", source, "--indicators", "SMA(5)", "--out", tmp_path / "out.csv")
    assert result.exit_code == exits.FAILURE
    assert len(result.output.strip().splitlines()) == 1
