"""The profile report: what is in it, that it is safe to open, and how the command speaks."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from app.cli.profile import profile
from app.contracts.wire import TradeRecord
from app.feeds.source import MemorySource
from app.profile.document import document
from app.profile.pages import file_stem, length_text, share_text
from app.profile.plots import histogram, number_text, ticks
from app.profile.profiling import profiles
from app.profile.reading import records
from tables.quality import QualityConfiguration
from tests.unit.quality_records import MILLISECOND, SECOND, STOCKS, at, quotes_of, walk

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Checked(HTMLParser):
    """Reads a page: its tags balance, and nothing is loaded from anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            assert name != "src"
            if name == "href":
                assert value is not None
                assert ":" not in value

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def checked(path: Path) -> Checked:
    page = Checked()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    assert "script" not in page.seen
    return page


def write_csv(path: Path, trades: list[TradeRecord]) -> Path:
    lines = ["symbol,price,size,event_time,trade_id,sequence,venue,conditions,source"]
    lines += [
        f"{each.symbol},{each.price},{each.size},{each.event_time},{each.trade_id or ''},"
        f'{each.sequence},"{each.venue or ""}",{";".join(each.conditions)},{each.source or ""}'
        for each in trades
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def planted() -> list[TradeRecord]:
    """Two days with an outlier, a repeated id, a gap of 20 s, and a venue named in markup."""
    trades = walk(3000, at("2026-11-20T12:00"), source="a")
    trades[500] = msgspec.structs.replace(
        trades[500], price=150.0, venue="<script>alert(1)</script>"
    )
    trades[1500:] = [
        msgspec.structs.replace(each, event_time=each.event_time + 20 * SECOND)
        for each in trades[1500:]
    ]
    trades[2000] = msgspec.structs.replace(trades[2000], trade_id=trades[1999].trade_id)
    return [*trades, *walk(1000, at("2026-11-23T12:00"), seed=1, source="a")]


def report(folder: Path, *arguments: str) -> Any:
    result = CliRunner().invoke(
        profile, [*arguments, "--calendar", "XNYS", "--out", str(folder), "--json"]
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_planted_faults_are_in_the_report_of_their_day(tmp_path: Path) -> None:
    ticks_file = write_csv(tmp_path / "ticks.csv", planted())
    index = report(tmp_path / "out", "--ticks", str(ticks_file))
    assert [(day["session"], day["records"], day["flagged"]) for day in index["days"]] == [
        (20261120, 3000, 2),
        (20261123, 1000, 0),
    ]
    first = json.loads((tmp_path / "out" / "SPY-20261120.json").read_text())
    assert first["events"] == {"duplicate": 1, "gap": 1, "incomplete": 1, "outlier": 1}
    assert first["gaps"][0]["length"] == pytest.approx(20 * SECOND, abs=SECOND)
    assert first["summary"]["counts"]["gaps_5s"] == 1
    assert first["conditions"] == {"(none)": 3000}
    assert first["sources"] == {"a": 3000}
    assert sum(each["count"] for each in first["intervals"]) == 2999
    assert [event["kind"] for event in first["worst"]][-1] == "duplicate"
    assert json.loads((tmp_path / "out" / "index.json").read_text()) == index


def test_pages_are_whole_load_nothing_and_show_texts_as_texts(tmp_path: Path) -> None:
    ticks_file = write_csv(tmp_path / "<b>ticks.csv", planted())
    report(tmp_path / "out", "--ticks", str(ticks_file))
    day = checked(tmp_path / "out" / "SPY-20261120.html")
    assert "<script>alert(1)</script>" in "".join(day.texts)
    assert {"svg", "polyline", "polygon", "rect"} <= day.seen
    index = checked(tmp_path / "out" / "index.html")
    assert "<b>ticks.csv" in "".join(index.texts)


def test_the_outlier_is_a_mark_and_does_not_stretch_the_axis(tmp_path: Path) -> None:
    ticks_file = write_csv(tmp_path / "ticks.csv", planted())
    report(tmp_path / "out", "--ticks", str(ticks_file))
    page = (tmp_path / "out" / "SPY-20261120.html").read_text()
    assert page.count('class="mark"') == 1
    assert page.count('class="gap"') == 1
    assert ">150<" not in page.split("Worst findings")[0]


def test_quotes_have_a_report_of_mids_and_spreads(tmp_path: Path) -> None:
    quotes = quotes_of(walk(1000, at("2026-11-20T12:00")))
    quotes[500] = msgspec.structs.replace(quotes[500], bid=quotes[500].ask + 1)
    lines = ["symbol,bid,ask,event_time"]
    lines += [f"{each.symbol},{each.bid},{each.ask},{each.event_time}" for each in quotes]
    file = tmp_path / "quotes.csv"
    file.write_text("\n".join(lines) + "\n")
    (day,) = report(tmp_path / "out", "--kind", "quotes", "--ticks", str(file))["days"]
    assert (day["flagged"], day["events"]) == (1, {"crossed": 1})
    texts = "".join(checked(tmp_path / "out" / f"{day['file']}.html").texts)
    assert "Mean spread" in texts
    assert "1, 0, 0" in texts


def test_the_report_of_a_day_is_that_of_the_checks_alone() -> None:
    trades = planted()
    source = MemorySource(trades)
    found = list(profiles(records(source), False, STOCKS, QualityConfiguration()))
    assert [each.day.identifier for each in found] == [20261120, 20261123]
    for each in found:
        assert each.summary is not None
        assert each.summary.counts["records"] == document(each)["records"]
        assert each.summary.counts["outliers"] == each.event_counts["outlier"]
    assert found[0].summary is not None
    assert found[0].summary.is_final
    json.dumps(document(found[0]), allow_nan=False)


def test_a_day_without_records_between_two_has_a_report_too() -> None:
    trades = [*walk(100, at("2026-11-19T12:00")), *walk(100, at("2026-11-23T12:00"), seed=1)]
    source = MemorySource(trades)
    found = list(profiles(records(source), False, STOCKS, QualityConfiguration()))
    assert [(each.day.identifier, document(each)["records"]) for each in found] == [
        (20261119, 100),
        (20261120, 0),
        (20261123, 100),
    ]


def test_files_must_be_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(profile, ["--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "--ticks PATH is missing" in result.output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--calendar", "XMAR"), "unknown calendar 'XMAR'"),
        (("--instruments", "wrong.toml"), "wrong.toml:1: tick_size = -1"),
    ],
)
def test_a_wrong_option_is_one_line(
    tmp_path: Path, arguments: tuple[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrong.toml").write_text('[[instrument]]\nsymbol = "A"\ntick_size = -1\n')
    file = write_csv(tmp_path / "ticks.csv", walk(10, at("2026-11-20T12:00")))
    result = CliRunner().invoke(profile, ["--ticks", str(file), "--out", "out", *arguments])
    assert result.exit_code == 2
    assert expected in result.output
    assert not Path("out").exists()


def test_the_command_prints_a_line_a_day(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "ticks.csv", planted())
    out = str(tmp_path / "out")
    result = CliRunner().invoke(profile, ["--ticks", str(file), "--out", out, "--calendar", "XNYS"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["symbol", "day", "records", "flagged", "complete", "findings"]
    assert lines[1].split()[:4] == ["SPY", "20261120", "3,000", "2"]
    assert lines[-1] == f"report: {out}/index.html"


def test_file_names_are_plain_and_different_for_each_symbol() -> None:
    symbols = ["BTC/USD", "BTC:USD", "BTC_USD", "^GSPC", "A.B", "SPY"]
    stems = [file_stem(symbol, 20261120) for symbol in symbols]
    assert len(set(stems)) == len(symbols)
    assert stems[-1] == "SPY-20261120"
    assert all("/" not in stem and ":" not in stem for stem in stems)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_are_round_few_and_within_the_range(low: float, length: float) -> None:
    high = low + length
    found = ticks(low, high)
    assert 1 <= len(found) <= 12
    if high > low and length > abs(low) * 1e-9:
        margin = (high - low) * 1e-6
        assert all(low - margin <= each <= high + margin for each in found)


def test_texts_for_people() -> None:
    assert [length_text(each) for each in (None, 12, 1500, 3 * MILLISECOND, 90 * SECOND)] == [
        "-",
        "12 ns",
        "1.5 us",
        "3 ms",
        "90 s",
    ]
    assert length_text(3 * 3600 * SECOND) == "3 h 00 min"
    assert [share_text(each) for each in (None, 1.0, 0.9999999, 0.998, 0.0)] == [
        "-",
        "100 %",
        "99.999 %",
        "99.8 %",
        "0 %",
    ]
    assert [number_text(each) for each in (0.0, 1250.0, 12_500.0, 3e6)] == [
        "0",
        "1,250",
        "12.5k",
        "3M",
    ]


def test_labels_of_plots_are_escaped() -> None:
    svg = str(histogram('<b>"x"', [("<i>", 3)]))
    assert "<b>" not in svg
    assert "<i>" not in svg
    assert "&lt;i&gt;: 3" in svg
