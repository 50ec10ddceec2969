"""`candlewick predict`: the bits of the agent, from a file of bars."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from app.cli.predict import predict
from app.contracts.wire import BarRecord
from models.predicting.conformal import Calibration
from models.predicting.features_returns import Returns
from models.predicting.registry import Registry
from models.predicting.serving_models import Wants
from tests.unit.model_records import boosted, described
from tests.unit.serving_feeding import Served, bars, indicators_of
from tests.unit.training_bars import write_bars


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
    write_bars(tmp_path / "bars.csv", bars(150))
    return tmp_path


def run(folder: Path, *more: str) -> tuple[int, str]:
    arguments = [
        *("--bars", str(folder / "bars.csv"), "--model", "returns"),
        *("--registry", str(folder / "models"), "--out", str(folder / "out.parquet"), *more),
    ]
    result = CliRunner().invoke(predict, arguments)
    return result.exit_code, result.output


def published_of(folder: Path, indicators: list[bytes]) -> list[dict[str, Any]]:
    """What the agent publishes of indicators."""
    wanted = Wants({"returns": "1m"}, ("champion",), [Returns], 10)
    served = Served(folder / "models", wanted=wanted)
    served.catalog.refresh()
    served.feed([*served.state.announcements(), *indicators])
    served.checkpoint()
    return sorted(
        (json.loads(value) for value in served.values()),
        key=lambda each: (each["symbol"], each["start"]),
    )


def filled(bar: BarRecord, close: float, revision: int) -> BarRecord:
    """A window without trades, as `bars.fill_forward` publishes it."""
    return msgspec.structs.replace(
        *(bar,),
        **dict.fromkeys(("open", "high", "low", "close"), close),
        **{"volume": 0.0, "vwap": None, "trades": 0, "filled": True, "revision": revision},
    )


@pytest.mark.parametrize("on", [True, False])
def test_bars_without_trades_are_input_where_the_setting_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, on: bool
) -> None:
    """A fill whose close a late trade before it has changed is a revision, as an emptied bar is."""
    chosen = bars(150)
    chosen[260:266] = [filled(each, chosen[259].close, 1) for each in chosen[260:266]]
    write_bars(folder / "bars.csv", chosen)
    monkeypatch.setenv("CANDLEWICK_BARS__FILL_FORWARD", str(on).lower())
    code, output = run(folder, "--json")
    assert code == 0, output
    there = [each for each in chosen if on or not each.filled]
    published = published_of(folder, indicators_of(there, Returns, fill_forward=on))
    rows = pq.read_table(folder / "out.parquet").to_pylist()
    assert [(each["symbol"], each["start_ns"], each["prediction"]) for each in rows] == [
        (each["symbol"], each["start"], each["prediction"]) for each in published
    ]
    starts = {(each["symbol"], each["start_ns"]) for each in rows}
    assert on == all((each.symbol, each.start) in starts for each in chosen[260:266])


def test_rows_have_the_bits_that_the_agent_publishes(folder: Path) -> None:
    code, output = run(folder, "--json")
    assert code == 0, output
    told = json.loads(output)
    assert (told["version"], told["bars"]) == (1, 300)
    published = published_of(folder, indicators_of(bars(150), Returns))
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
