"""`candlewick predict`: the bits of the agent, from a file of bars."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from app.cli.predict import predict
from app.run.export import LAYOUTS, write_export
from models.predicting.conformal import Calibration
from models.predicting.features_returns import Returns
from models.predicting.registry import Registry
from models.predicting.serving_models import Wants
from tests.unit.model_records import boosted, described
from tests.unit.serving_feeding import Served, bars, indicators_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Bars and a registry with a champion for them."""
    plan = Returns.plan()
    registry = Registry.at(tmp_path / "models")
    description = described(
        feature_set=plan.label,
        feature_names=tuple(plan.names),
        horizon=2,
        calibration=Calibration(tuple(number / 40 for number in range(200)), 1e-3),
    )
    manifest = registry.publish(description, {"model.ubj": boosted(len(plan.names))})
    registry.promote("returns", "champion", manifest.version, reason="a test", time=1)
    schema = LAYOUTS["bars"].schema
    rows = [
        tuple(bar.start if name == "start_ns" else getattr(bar, name) for name in schema.names)
        for bar in bars(150)
    ]
    write_export(tmp_path / "bars.csv", iter(rows), schema)
    return tmp_path


def run(folder: Path, *more: str) -> tuple[int, str]:
    arguments = [
        *("--bars", str(folder / "bars.csv"), "--model", "returns"),
        *("--registry", str(folder / "models"), "--out", str(folder / "out.parquet"), *more),
    ]
    result = CliRunner().invoke(predict, arguments)
    return result.exit_code, result.output


def test_rows_have_the_bits_that_the_agent_publishes(folder: Path) -> None:
    code, output = run(folder, "--json")
    assert code == 0, output
    told = json.loads(output)
    assert (told["version"], told["bars"]) == (1, 300)
    wanted = Wants({"returns": "1m"}, ("champion",), [Returns], 10)
    served = Served(folder / "models", wanted=wanted)
    served.catalog.refresh()
    served.feed([*served.state.announcements(), *indicators_of(bars(150), Returns)])
    served.checkpoint()
    published = sorted(
        (json.loads(value) for value in served.values()),
        key=lambda each: (each["symbol"], each["start"]),
    )
    rows = pq.read_table(folder / "out.parquet").to_pylist()
    assert len(rows) == told["rows"] == len(published) > 100
    for row, record in zip(rows, published, strict=True):
        assert row.pop("start_ns") == record["start"]
        assert row == {name: record[name] for name in row}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--version", "7"), "no file"),
        (("--version", "challenger"), "names no version"),
        (("--features", "nothing"), "no feature set 'nothing'"),
    ],
)
def test_what_lacks_is_named(folder: Path, more: tuple[str, ...], said: str) -> None:
    code, output = run(folder, *more)
    assert code != 0
    assert said in output
