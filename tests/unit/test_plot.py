"""`candlewick plot`: what it reads, where things stand in the picture, and whose text is text."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from app import exits
from app.archive.querying import query
from app.archive.writing import ArchiveWriter
from app.cli import candlewick
from app.contracts.predictions import AlternativeRecord, PredictionRecord
from app.contracts.wire import AnomalyRecord, BarRecord, IndicatorsRecord, encoder
from app.plot.archived import archived_chart, sql_of
from app.plot.chart import MOST_BARS, Chart, PlotError, Selection, make_chart
from app.plot.drawing import draw
from app.plot.recorded import recorded_chart
from app.run.export import LAYOUTS, write_export
from app.run.indicating import indicate
from app.run.predicting import SCHEMA
from app.setting_groups import AnomalySettings
from models.predicting.registry_store import LocalStore
from tables.indicators.base import Context
from tables.indicators.registry import parse_indicators
from tests.unit.archive_feeding import DAY, FRIDAY, batch

MINUTE = 60_000_000_000
COUNT = 60


def bar(place: int, *, symbol: str = "A", start: int = FRIDAY, revision: int = 0) -> BarRecord:
    """A bar of a price that swings."""
    close = 100.0 + 5.0 * np.sin(place / 4).item()
    return BarRecord(
        symbol=symbol,
        interval="1m",
        start=start + place * MINUTE,
        open=close - 0.5,
        high=close + 1.0,
        low=close - 1.0,
        close=close,
        volume=10.0 + place,
        vwap=None if place == 3 else close - 0.25,
        trades=3,
        revision=revision,
        is_final=True,
        filled=False,
        sources=(),
    )


def prediction(place: int, value: float | None, model: str = "m") -> PredictionRecord:
    """What a model says at a bar of the close two bars later."""
    others = {"challenger": AlternativeRecord(2, 0.5, None, None)}
    low, high = (None, None) if value is None else (value - 0.01, value + 0.01)
    start = FRIDAY + place * MINUTE
    return PredictionRecord(
        "A", "1m", start, 0, True, model, 2, "champion", 1, value, low, high, others
    )


def anomaly(place: int, *, odd: bool = True, source: str = "bars") -> AnomalyRecord:
    start = FRIDAY + place * MINUTE
    return AnomalyRecord("A", "1m", start, 0, source, 0.9, 0.8, odd, "return", (), {}, True)


def indicators(place: int, value: float | None) -> IndicatorsRecord:
    return IndicatorsRecord("A", "1m", FRIDAY + place * MINUTE, 0, True, {"RSI(14)": value})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An archive with all that is drawn, where the settings' default place is."""
    place = tmp_path / "data" / "archive" / "mine"
    writer = ArchiveWriter(LocalStore(place))
    topics = {
        "bars": [
            *(bar(n) for n in range(COUNT)),
            *(bar(n, start=FRIDAY + DAY) for n in range(5)),
            bar(0, symbol="B"),
            replace_close(bar(2, revision=1), 111.0),
        ],
        "indicators": [indicators(n, None if n < 14 else 40.0 + n / 10) for n in range(COUNT)],
        "anomalies": [anomaly(20), anomaly(30, odd=False), anomaly(31, source="quotes.bars")],
        "predictions": [prediction(n, 0.01) for n in (10, 58)] + [prediction(12, None)],
    }
    for topic, records in topics.items():
        writer.add(topic, batch(0, 0, [encoder.encode(each) for each in records]), 0)
    writer.flush(FRIDAY)
    return place


def replace_close(made: BarRecord, close: float) -> BarRecord:
    made.close = close
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of bars as an export has them."""
    path = tmp_path / "bars.parquet"
    layout = LAYOUTS["bars"]
    rows = [layout.row(bar(n)) for n in range(COUNT)]
    rows += [layout.row(bar(0, symbol="B"))]
    write_export(path, rows, layout.schema)
    return path


def select(**changes: object) -> Selection:
    return replace(Selection("A", "1m"), **changes)  # type: ignore[arg-type]


# --- from an archive -----------------------------------------------------------------------------


def test_an_archive_gives_what_was_published_of_the_symbol(folder: Path) -> None:
    chart = archived_chart(str(folder), select(begin=FRIDAY, end=FRIDAY + DAY))
    assert chart.start.tolist() == [FRIDAY + n * MINUTE for n in range(COUNT)]
    assert chart.close[2] == 111.0, "the highest revision"
    assert np.isnan(chart.vwap).tolist() == [n == 3 for n in range(COUNT)]
    assert np.isnan(chart.rsi).tolist() == [n < 14 for n in range(COUNT)]
    assert chart.rsi[20] == 42.0
    assert chart.anomalies.tolist() == [20]


def test_a_prediction_stands_at_the_bar_that_it_is_of(folder: Path) -> None:
    chart = archived_chart(str(folder), select(begin=FRIDAY, end=FRIDAY + DAY))
    made = chart.predictions
    assert made.start.tolist() == [FRIDAY + n * MINUTE for n in (12, 60)]
    assert made.close[0] == pytest.approx(chart.close[10] * 1.01)
    assert made.low[0] == pytest.approx(chart.close[10] * 1.00)
    assert made.high[0] == pytest.approx(chart.close[10] * 1.02)


def test_without_ends_it_is_the_newest_bars_and_with_a_begin_the_first(folder: Path) -> None:
    newest = archived_chart(str(folder), select(last=3))
    assert newest.start.tolist() == [FRIDAY + DAY + n * MINUTE for n in (2, 3, 4)]
    first = archived_chart(str(folder), select(last=3, begin=FRIDAY + MINUTE))
    assert first.start.tolist() == [FRIDAY + n * MINUTE for n in (1, 2, 3)]


def test_files_of_other_days_are_not_opened(folder: Path) -> None:
    one_day = sql_of("start", "bars", select(begin=FRIDAY, end=FRIDAY + DAY - 1))
    plan = str(query(str(folder), f"EXPLAIN ANALYZE {one_day}").to_pylist())
    assert "Scanning Files: 1/2" in plan


def test_a_symbol_is_no_sql(folder: Path) -> None:
    with pytest.raises(PlotError, match="there are no bars of x' OR '1'='1 1m"):
        archived_chart(str(folder), select(symbol="x' OR '1'='1"))


def test_of_several_models_one_has_to_be_chosen(folder: Path) -> None:
    writer = ArchiveWriter(LocalStore(folder))
    other = encoder.encode(prediction(11, 0.5, model="other"))
    writer.add("predictions", batch(0, 3, [other]), 0)
    writer.flush(FRIDAY)
    chosen = select(begin=FRIDAY, end=FRIDAY + DAY)
    with pytest.raises(PlotError, match="predictions of m, other: choose one with --model"):
        archived_chart(str(folder), chosen)
    found = archived_chart(str(folder), replace(chosen, model="other")).predictions
    assert found.start.tolist() == [FRIDAY + 13 * MINUTE]


# --- from files ----------------------------------------------------------------------------------


def test_a_file_gives_the_rsi_that_the_command_gives(file: Path) -> None:
    chart = recorded_chart(file, None, select(last=COUNT), AnomalySettings())
    bars = [bar(n) for n in range(COUNT)]
    values, _ = indicate(
        bars, parse_indicators("RSI(14)"), lambda symbol: Context(), lambda *done: None
    )
    wanted = [each["RSI(14)"] for each in values if each]
    assert len(wanted) == COUNT
    assert chart.rsi.tolist() == pytest.approx(
        [np.nan if each is None else each for each in wanted], nan_ok=True
    )
    assert not len(chart.predictions.start)
    assert chart.close.tolist() == [each.close for each in bars]


def test_bars_of_a_file_are_scored_as_the_agent_scores_them(tmp_path: Path) -> None:
    bars = [bar(n) for n in range(400)]
    wild = bars[350]
    bars[350] = BarRecord(
        *(wild.symbol, wild.interval, wild.start, wild.open, 160.0, wild.low, 150.0, wild.volume),
        *(wild.vwap, 3, 0, True, False, ()),
    )
    path = tmp_path / "bars.parquet"
    layout = LAYOUTS["bars"]
    write_export(path, [layout.row(each) for each in bars], layout.schema)
    chart = recorded_chart(path, None, select(last=100), AnomalySettings(warm_up=150))
    assert chart.start[chart.anomalies[0]] == wild.start


def test_a_file_of_predictions_is_drawn_too(file: Path, tmp_path: Path) -> None:
    rows = [("A", "1m", FRIDAY + 10 * MINUTE, "m", 1, 2, 0.01, None, None)]
    for name in ("p.csv", "p.parquet"):
        write_export(tmp_path / name, rows, SCHEMA)
        chart = recorded_chart(file, tmp_path / name, select(last=COUNT), AnomalySettings())
        made = chart.predictions
        assert made.start.tolist() == [FRIDAY + 12 * MINUTE]
        assert made.close[0] == pytest.approx(bar(10).close * 1.01)
        assert np.isnan(made.low[0])


# --- the picture ---------------------------------------------------------------------------------


def chart_of(count: int = COUNT, symbol: str = "A") -> Chart:
    rows = [bar(n) for n in range(count)]
    return make_chart(
        Selection(symbol, "1m", last=count),
        [(b.start, b.open, b.high, b.low, b.close, b.volume, b.vwap) for b in rows],
        {b.start: 50.0 for b in rows[14:]},
        [rows[20].start] if count > 20 else [],
        [(rows[0].start, 2, 0.01, 0.0, 0.02)],
    )


def test_the_same_chart_gives_the_same_bytes(tmp_path: Path) -> None:
    for suffix in ("png", "svg"):
        for name in ("one", "two"):
            draw(chart_of(), tmp_path / f"{name}.{suffix}")
        one, two = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "two"))
        assert one == two
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        *("one.png", "one.svg", "two.png", "two.svg"),
    ]


def test_text_of_users_is_drawn_as_it_is(tmp_path: Path) -> None:
    hostile = "$x_1$ <script>alert(1)</script> --> & \"'"
    draw(chart_of(symbol=hostile), tmp_path / "hostile.svg")
    root = ElementTree.parse(tmp_path / "hostile.svg").getroot()
    tags = {each.tag.rpartition("}")[2] for each in root.iter() if isinstance(each.tag, str)}
    assert "script" not in tags
    assert {"svg", "path", "g"} <= tags


def test_a_picture_of_many_bars_is_small(tmp_path: Path) -> None:
    draw(chart_of(1_000), tmp_path / "many.svg")
    assert (tmp_path / "many.svg").stat().st_size < 400_000


@pytest.mark.parametrize("count", [1, 2])
def test_few_bars_are_drawn_too(tmp_path: Path, count: int) -> None:
    draw(chart_of(count), tmp_path / "few.svg")
    ElementTree.parse(tmp_path / "few.svg")


def test_too_many_bars_and_none_are_told() -> None:
    row = (0, 1.0, 1.0, 1.0, 1.0, 1.0, None)
    rows = [(n, *row[1:]) for n in range(MOST_BARS + 1)]
    both = Selection("A", "1m", 0, 10**9)
    with pytest.raises(PlotError, match=r"more than 3,000 bars .* choose a larger --interval"):
        make_chart(both, rows, {}, [], [])
    with pytest.raises(PlotError, match="there are no bars of A 1m in that time"):
        make_chart(both, [], {}, [], [])


def test_without_matplotlib_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PlotError, match=r"pip install 'candlewick\[charts\]'"):
        draw(chart_of(), tmp_path / "a.svg")


# --- the command ---------------------------------------------------------------------------------


def call(folder: Path, *arguments: str | Path) -> Result:
    environment = {"CANDLEWICK_DATA_DIR": str(folder), "CANDLEWICK_DEPLOYMENT": "mine"}
    return CliRunner().invoke(candlewick, ["plot", *map(str, arguments)], env=environment)


def test_the_deployments_archive_is_drawn(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.svg"
    ended = call(
        tmp_path / "data",
        *("A", "--from", "2026-11-20T00:00:00Z", "--to", "2026-11-21T00:00:00Z", "--out", target),
    )
    assert ended.exit_code == exits.OK, ended.output
    assert ended.stderr == f"{target}: bars 60, anomalies 1, predictions 2\n"
    assert target.read_text().startswith("<?xml")


def test_a_file_of_bars_is_drawn(file: Path, tmp_path: Path) -> None:
    ended = call(tmp_path, "A", "--bars", file, "--out", tmp_path / "a.png")
    assert ended.exit_code == exits.OK, ended.output
    assert "bars 60" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["A", "--out", "a.pdf"], "expected a name that ends with .png or .svg"),
        (["<b>", "--out", "a.png"], "is no symbol"),
        (["A", "--out", "a.png", "--predictions", "{file}"], "--predictions needs --bars"),
        (["A", "--out", "a.png", "--bars", "{file}", "--archive", "x"], "expected one of them"),
        (["A", "--out", "a.png", "--from", "2", "--to", "1"], "--to is not after --from"),
    ],
)
def test_wrong_options_are_told(
    file: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    ended = call(tmp_path, *(each.format(file=file) for each in arguments))
    assert ended.exit_code == exits.USAGE
    assert said in ended.stderr


def test_what_is_not_there_is_one_line(file: Path, tmp_path: Path) -> None:
    ended = call(tmp_path, "NONE", "--bars", file, "--out", tmp_path / "a.png")
    assert ended.exit_code == exits.FAILURE
    assert ended.stderr == "candlewick: there are no bars of NONE 1m in that time\n"
    bad = tmp_path / "bad.parquet"
    pa.parquet.write_table(pa.table({"x": [1]}), bad)
    ended = call(
        *(tmp_path, "A", "--bars", file, "--predictions", bad, "--out", tmp_path / "a.png")
    )
    assert ended.exit_code == exits.FAILURE
    assert "no predictions" in ended.stderr
    assert not (tmp_path / "a.png").exists()
