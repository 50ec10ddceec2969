"""`candlewick features`: the registry of feature sets, rows of the past, the ranking."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from app.cli import candlewick
from app.cli.features_store import store_location
from app.run.export import LAYOUTS, write_export
from app.settings import Settings
from models.predicting.building import build
from models.predicting.features_returns import Returns
from models.predicting.planted import planted_bars
from models.store.registry import FeatureRegistry
from models.store.usage import Usage
from tables.indicators.base import MINUTE
from tests.unit.feature_sets import Small, recorded

#: Two sets of this name are in modules that tests write.
CALM = """
from models.predicting.features_plan import Feature
from models.predicting.features_terms import Change, Reading
from models.predicting.featuresets import FeatureSet

class Calm(FeatureSet):
    "A quiet set."
    NAME = "calm"
    VERSION = 1

    @classmethod
    def declare(cls):
        return (Feature("one", Change(Reading("CLOSE"), BARS)),)
"""
AHEAD = """
    closes = []

    def prepare(self, bars):
        type(self).closes = [bar.close for bar in bars]

    def _take(self, start, readings):
        super()._take(start, readings)
        if self.value is not None and self.closes:
            self.value = (self.closes[-1],)
"""
BARS = planted_bars(300, 0.5)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A folder of its own; logs are left as they were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CANDLEWICK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("USER", "ada")
    monkeypatch.setattr("app.cli.common.configure_logging", lambda settings: None)
    monkeypatch.syspath_prepend(str(tmp_path))
    return iter([None])


def call(*arguments: object) -> Result:
    return CliRunner().invoke(candlewick, ["features", *map(str, arguments)])


def done(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def told(*arguments: object) -> Any:
    return json.loads(done(*arguments, "--json"))


@pytest.fixture
def registry(tmp_path: Path) -> FeatureRegistry:
    return FeatureRegistry.at(tmp_path / "data/feature-store")


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    layout = LAYOUTS["bars"]
    write_export(tmp_path / "bars.parquet", [layout.row(each) for each in BARS], layout.schema)
    return tmp_path / "bars.parquet"


def test_the_store_is_in_the_data_folder_unless_one_is_chosen(tmp_path: Path) -> None:
    assert store_location(Settings(data_dir=tmp_path)) == str(tmp_path / "feature-store")
    assert store_location(Settings(), "s3://bucket/sets") == "s3://bucket/sets"


def test_a_set_is_registered_listed_shown_and_found() -> None:
    label = Returns.plan().label
    words = ("--owner", "ada", "--tag", "team=equities", "--tag", "new", "--promote", "active")
    assert done("register", "returns@1", *words).splitlines() == [
        label,
        "returns active: version 1, generation 1",
    ]
    (row,) = told("list")
    assert (row["name"], row["aliases"], row["tags"]) == (
        *("returns", ["active"]),
        {"new": "", "team": "equities"},
    )
    lines = [line.split() for line in done("list").splitlines()]
    assert lines[1][:5] == ["returns@1", "active", "40", "50", "bars"]
    shown = done("show", "returns")
    assert f"feature set {label}" in shown
    assert "feature     return_5 = Change(CLOSE, 5)  return over 5 bars" in shown
    assert "reads       MACD(12,26,9): MACD(12,26,9), MACD(12,26,9).histogram" in shown
    assert told("show", "returns", 1)["record"]["hash"] == Returns.plan().hash
    found = done("search", "returns", "volume", "trend", "--input", "rsi", "--tag", "team=equities")
    assert found.splitlines()[1].startswith("  volume_trend = Ratio(Mean(VOLUME, 5)")
    assert told("search", "--tag", "team=crypto") == []
    assert "nothing fits" in call("search", "nowhere").stderr


def test_an_empty_store_says_how_to_begin() -> None:
    assert told("list") == []
    assert "candlewick features register" in call("list").stderr


def test_registering_again_changes_nothing(registry: FeatureRegistry) -> None:
    done("register", "returns@1", "--owner", "ada", "--unchecked")
    again = call("register", "returns@1", "--owner", "bob", "--unchecked")
    assert "registered already" in again.stderr
    assert registry.record("returns", 1).owner == "ada"


def test_another_hash_of_a_version_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    for name, length in (("calm_one", "1"), ("calm_two", "2")):
        (tmp_path / f"{name}.py").write_text(CALM.replace("BARS", length))
    done("register", "calm_one:calm@1")
    refused = call("register", "calm_two:calm@1")
    assert refused.exit_code == 1
    assert "one is Change(CLOSE, 2), was Change(CLOSE, 1)" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_set_that_looks_ahead_is_not_registered(
    tmp_path: Path, registry: FeatureRegistry
) -> None:
    (tmp_path / "calm_ahead.py").write_text(CALM.replace("BARS", "1") + AHEAD)
    refused = call("register", "calm_ahead:calm@1")
    assert refused.exit_code == 1
    assert "not registered: features differ with what comes later" in refused.stderr
    assert registry.names() == ()


def test_an_unknown_set_and_a_bad_tag_are_wrong_usage() -> None:
    assert call("register", "nothing@1").exit_code == 2
    assert call("register", "returns@1", "--tag", "a b").exit_code == 2
    assert call("show", "returns").exit_code == 1


def test_versions_are_promoted_rolled_back_retired_and_the_history_tells(
    registry: FeatureRegistry,
) -> None:
    for version in (1, 2):
        kind = type("Made", (Small,), {"VERSION": version, "__module__": Small.__module__})
        registry.register(recorded(kind, time=version))
    done("promote", "small", 1, "--reason", "first")
    assert told("promote", "small", 2, "--reason", "better", "--by", "bob")["version"] == 2
    refused = call("retire", "small", 2, "--reason", "leaks")
    assert refused.exit_code == 1
    assert "named by the alias active" in refused.stderr
    assert done("rollback", "small", "--reason", "worse").strip() == (
        "small active: version 1, generation 3"
    )
    assert done("retire", "small", 2, "--reason", "leaks").strip() == "small@2: retired"
    assert call("promote", "small", 2, "--reason", "again").exit_code == 1
    assert [(each["verb"], each["version"], each["by"]) for each in told("history", "small")] == [
        ("register", 1, "ada"),
        ("register", 2, "ada"),
        ("promote", 1, "ada"),
        ("promote", 2, "bob"),
        ("rollback", 1, "ada"),
        ("retire", 2, "ada"),
    ]
    assert [each["retired"] for each in told("list", "small")] == [False, True]
    assert done("history", "small").splitlines()[-1].endswith("leaks")


def test_usage_is_by_version_and_caller(registry: FeatureRegistry) -> None:
    usage = Usage()
    usage.count("small@1:0123456789abcdef", "online", "desk", rows=1_000, served=900, time=1)
    usage.count("other@1:0123456789abcdef", "online", "desk", rows=1, served=1, time=1)
    usage.flush(registry.store, 2)
    (row,) = told("usage", "small")
    assert (row["lookups"], row["rows"], row["served"]) == (1, 1_000, 900)
    assert len(done("usage").splitlines()) == 3


def test_rows_of_the_past_are_those_of_training(tmp_path: Path, bars: Path) -> None:
    rows = build(BARS, Returns, 1)
    names = [rows.symbols[each] for each in rows.symbol]
    entities = pa.table({"label": rows.target, "symbol": names, "time_ns": rows.time})
    pq.write_table(entities, tmp_path / "entities.parquet")
    found = told(
        *("historical", "entities.parquet", "--bars", bars, "--out", "rows.parquet"),
        *("--features", "returns@1", "--caller", "desk"),
    )
    assert (found["rows"], found["there"], found["known"]) == (len(rows), len(rows), False)
    table = pq.read_table(tmp_path / "rows.parquet")
    added = ["feature_time_ns", "age_ns", "exact"]
    assert table.column_names == ["label", "symbol", "time_ns", *added, *rows.names]
    written = np.array([table.column(name).to_numpy() for name in rows.names], np.float32).T
    assert written.tobytes() == rows.features.tobytes()
    assert table.column("label").to_numpy().tobytes() == rows.target.tobytes()
    (use,) = told("usage")
    assert (use["verb"], use["caller"], use["rows"]) == ("historical", "desk", len(rows))


def test_times_are_read_as_text_and_labels_stay_as_written(tmp_path: Path, bars: Path) -> None:
    moment = BARS[-1].start + MINUTE
    text = datetime.fromtimestamp(moment // 10**9, UTC).isoformat()
    (tmp_path / "e.csv").write_text(
        f"symbol,time,label\nAAA,{text},007\nNONE,{text},\nAAA,1999-01-01T00:00:00Z,x\n"
    )
    done("historical", "e.csv", "--bars", bars, "--out", "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [each["label"] for each in rows] == ["007", "", "x"]
    assert [each["age_ns"] for each in rows] == ["0", "", ""]
    assert rows[0]["feature_time_ns"] == str(moment)
    assert [each["return_1"] == "" for each in rows] == [False, True, True]
    # And older ones than allowed are none.
    (tmp_path / "late.csv").write_text(f"symbol,time_ns\nAAA,{moment + 61 * 10**9}\n")
    late = told("historical", "late.csv", "--bars", bars, "--out", "l.csv", "--max-age", "1m")
    assert late["there"] == 0


def test_bars_that_tell_when_they_were_known_are_read_so(tmp_path: Path, bars: Path) -> None:
    table = pq.read_table(bars)
    known = pa.array([each + 2 * MINUTE for each in table.column("start_ns").to_pylist()])
    pq.write_table(table.append_column("known_ns", known), tmp_path / "known.parquet")
    moment = BARS[-1].start + MINUTE
    (tmp_path / "e.csv").write_text(f"symbol,time_ns\nAAA,{moment}\n")
    found = told("historical", "e.csv", "--bars", "known.parquet", "--out", "out.csv")
    assert found["known"]
    assert (tmp_path / "out.csv").read_text().splitlines()[1].split(",")[3] == str(MINUTE)
    mixed = ("--bars", "known.parquet", "--bars", bars)
    refused = call("historical", "e.csv", *mixed, "--out", "out.csv")
    assert "some files have the column known_ns" in refused.stderr


@pytest.mark.parametrize(
    ("content", "told_of"),
    [
        ("symbol,label\nAAA,1\n", "expected the columns symbol, and time_ns or time"),
        ("symbol,time_ns\nAAA,\n", "symbol or time_ns is empty"),
        ("symbol,time\nAAA,2026-01-05T10:00:00\n", "e.csv"),
        ("symbol,time_ns,return_1\nAAA,5,1\n", "already has the column return_1"),
    ],
)
def test_entities_that_are_none_are_one_line(
    tmp_path: Path, bars: Path, content: str, told_of: str
) -> None:
    (tmp_path / "e.csv").write_text(content)
    refused = call("historical", "e.csv", "--bars", bars, "--out", "out.csv")
    assert refused.exit_code == 1
    assert told_of in refused.stderr
    assert not (tmp_path / "out.csv").exists()


def test_the_active_version_is_taken_and_only_if_the_code_makes_it(
    tmp_path: Path, bars: Path
) -> None:
    module = tmp_path / "calm_active.py"
    module.write_text(CALM.replace("BARS", "1"))
    done("register", "calm_active:calm@1", "--promote", "active")
    (tmp_path / "e.csv").write_text(f"symbol,time_ns\nAAA,{BARS[-1].start}\n")
    words = ("historical", "e.csv", "--bars", bars, "--out", "out.csv", "--features", "calm")
    assert told(*words)["features"] == ["one"]
    record = tmp_path / "data/feature-store/calm/versions/000001/record.json"
    record.write_bytes(record.read_bytes().replace(b'"warm_up": 2', b'"warm_up": 3'))
    assert call(*words).exit_code == 1


def test_a_ranking_finds_what_was_planted_and_says_when_nothing_is_there(tmp_path: Path) -> None:
    layout = LAYOUTS["bars"]
    for name, strength in (("planted", 0.8), ("noise", 0.0)):
        rows = [layout.row(each) for each in planted_bars(700, strength)]
        write_export(tmp_path / f"{name}.parquet", rows, layout.schema)
    found = told("rank", "--bars", "planted.parquet", "--best", 5)
    assert "return_2" in found["proven"]
    assert len(found["chosen"]) == 5
    assert done("rank", "--bars", "planted.parquet").splitlines()[-1].startswith("beyond chance: ")
    lines = done("rank", "--bars", "noise.parquet", "--horizon", 5).splitlines()
    assert lines[0].startswith("returns@1:")
    assert lines[-2].endswith(" chosen of 40; - is not")
    assert lines[-1].startswith("nothing here: the best, ")
    short = call("rank", "--bars", "noise.parquet", "--horizon", 690)
    assert short.exit_code == 1


def test_every_command_has_an_example() -> None:
    for name in candlewick.commands["features"].commands:  # type: ignore[attr-defined]
        assert f"candlewick features {name}" in done(name, "--help")
