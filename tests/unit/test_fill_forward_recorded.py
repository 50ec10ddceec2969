"""Bars without trades in files: input of what trains and computes, where the setting says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from app.cli.indicators import indicators
from app.cli.models_online import online
from app.cli.train import task_options
from app.contracts.wire import BarRecord
from app.training import online as online_module
from app.training import training as training_module
from app.training.training import Task, train_bars
from models.predicting.dataset import TrainingSet
from tests.unit.serving_feeding import bars
from tests.unit.training_bars import Given, task, write_bars

SETTING = "CANDLEWICK_BARS__FILL_FORWARD"


class TakenError(Exception):
    """Rows were made; what is learned of them is not looked at here."""

    def __init__(self, rows: TrainingSet) -> None:
        self.rows = rows


def some_filled() -> list[BarRecord]:
    """Minutes of a symbol; six in a row are windows without trades, filled a second time."""
    found = bars(150, ("AAA",))
    fill = {"volume": 0.0, "vwap": None, "trades": 0, "filled": True, "revision": 1}
    prices = dict.fromkeys(("open", "high", "low", "close"), found[99].close)
    return [
        msgspec.structs.replace(each, **prices, **fill) if 100 <= number < 106 else each
        for number, each in enumerate(found)
    ]


def no_learning(rows: Any, *_: Any, **__: Any) -> Any:
    """Stand in for what trains.

    Raises:
        TakenError: always.
    """
    raise TakenError(rows)


@pytest.mark.parametrize("on", [True, False])
def test_rows_for_training_are_of_filled_bars_too(
    monkeypatch: pytest.MonkeyPatch, on: bool
) -> None:
    monkeypatch.setattr(training_module, "train", no_learning)
    with pytest.raises(TakenError) as taken:
        train_bars(Given(some_filled()), replace(task(), fill_forward=on))
    ends = set(taken.value.rows.time.tolist())
    there = [each.start + 60_000_000_000 in ends for each in some_filled()[100:106]]
    assert there == [on] * 6


@pytest.mark.parametrize("on", [True, False])
def test_commands_train_by_the_setting(monkeypatch: pytest.MonkeyPatch, on: bool) -> None:
    found: list[Task] = []

    @click.command()
    @task_options
    def command(task: Task) -> None:
        found.append(task)

    monkeypatch.setenv(SETTING, str(on).lower())
    assert CliRunner().invoke(command, []).exit_code == 0
    assert [each.fill_forward for each in found] == [on]


@pytest.mark.parametrize("on", [True, False])
def test_a_learner_goes_over_filled_bars_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on: bool
) -> None:
    monkeypatch.setattr(online_module, "import_river", lambda: None)
    monkeypatch.setattr(
        online_module, "new_online_version", lambda name, rows, **more: no_learning(rows)
    )
    monkeypatch.setenv(SETTING, str(on).lower())
    file = write_bars(tmp_path / "bars.csv", some_filled())
    arguments = ["returns", "--bars", str(file), "--registry", str(tmp_path / "models")]
    error = CliRunner().invoke(online, arguments).exception
    assert isinstance(error, TakenError)
    ends = set(error.rows.time.tolist())
    assert (some_filled()[103].start + 60_000_000_000 in ends) == on


@pytest.mark.parametrize("on", [True, False])
def test_indicators_of_a_file_are_those_of_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on: bool
) -> None:
    monkeypatch.setenv(SETTING, str(on).lower())
    file, out = write_bars(tmp_path / "bars.csv", some_filled()), tmp_path / "out.parquet"
    arguments = ["--bars", str(file), "--indicators", "SMA(5)", "--out", str(out)]
    result = CliRunner().invoke(indicators, arguments)
    assert result.exit_code == 0, result.output
    values = pq.read_table(out).column("SMA(5)").to_pylist()
    closes = [each.close for each in some_filled()]
    of_a_fill = pytest.approx(sum(closes[99:104]) / 5)
    assert values[103] == (of_a_fill if on else None)
    behind = closes[102:107] if on else [*closes[96:100], closes[106]]
    assert values[106] == pytest.approx(sum(behind) / 5)
