"""The session VWAP begins anew with the sessions of each symbol's market, live and in batch."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from agents.indicators import make_stage
from app import exits
from app.cli import candlewick
from app.contracts.batch import RecordBatch
from app.contracts.wire import BarRecord, encoder
from app.run.export import LAYOUTS, write_export
from app.settings import Settings
from tables.partitioning import partition_of

#: 8 October 2013, in New York 19:58 to 20:02: the UTC date changes, the trading day does not.
START = int(datetime(2013, 10, 8, 23, 58, tzinfo=UTC).timestamp()) * 1_000_000_000
MINUTE = 60_000_000_000
FILE = """
[[instrument]]
symbol = "SPY"
calendar = "XNYS"
"""


def bars(symbol: str) -> list[BarRecord]:
    return [
        BarRecord(
            symbol=symbol, interval="1m", start=START + number * MINUTE, open=price,
            high=price, low=price, close=price, volume=1.0, vwap=price, trades=1,
            revision=0, is_final=True, filled=False, sources=(),
        )
        for number, price in enumerate((100.0, 102.0, 104.0, 106.0))
    ]  # fmt: skip


#: Since the UTC midnight, and since the session began.
EXPECTED = {"BTC-USD": [100.0, 101.0, 104.0, 105.0], "SPY": [100.0, 101.0, 102.0, 103.0]}


@pytest.mark.parametrize("symbol", EXPECTED)
def test_the_agent_knows_the_market_of_each_symbol(tmp_path: Path, symbol: str) -> None:
    (tmp_path / "instruments.toml").write_text(FILE)
    settings = Settings(
        agents=("indicators",),
        markets={"instruments": tmp_path / "instruments.toml"},
        indicators={"default": "SESSION_VWAP"},
    )
    partition = partition_of(symbol.encode(), settings.topics.partitions)
    state = make_stage(settings).load(partition, "topic", lambda key: None, ())
    state.begin(0)
    values = [encoder.encode(each) for each in bars(symbol)]
    times = np.full(len(values), START + 5 * MINUTE, dtype=np.int64)
    offsets = np.arange(len(values), dtype=np.int64)
    state.apply(RecordBatch("t", partition, 0, len(values), list(values), offsets, times))
    found = [
        msgspec.json.decode(each.value)["values"]["SESSION_VWAP"]
        for each in state.take("topic").outputs["indicators"]
    ]
    assert found == EXPECTED[symbol]


def test_the_command_takes_a_calendar_and_an_instrument_file(tmp_path: Path) -> None:
    source, target = tmp_path / "bars.csv", tmp_path / "out.csv"
    (tmp_path / "instruments.toml").write_text(FILE)
    rows = [LAYOUTS["bars"].row(bar) for symbol in EXPECTED for bar in bars(symbol)]
    write_export(source, rows, LAYOUTS["bars"].schema)
    command = ["indicators", "--bars", str(source), "--indicators", "SESSION_VWAP", "--out"]
    for options, names in (
        (["--instruments", str(tmp_path / "instruments.toml")], ("BTC-USD", "SPY")),
        (["--calendar", "XNYS"], ("SPY", "SPY")),
        ([], ("BTC-USD", "BTC-USD")),
    ):
        result = CliRunner().invoke(candlewick, [*command, str(target), *options])
        assert result.exit_code == exits.OK, result.output
        with target.open(newline="") as file:
            found = [float(row["SESSION_VWAP"]) for row in csv.DictReader(file)]
        assert found == [value for name in names for value in EXPECTED[name]]
    result = CliRunner().invoke(candlewick, [*command, str(target), "--calendar", "NOWHERE"])
    assert result.exit_code == exits.USAGE
    assert "NOWHERE" in result.output


def test_the_content_of_the_instrument_file_is_part_of_the_hash(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one.toml", "two.toml", "three.toml")]
    for path, text in zip(paths, (FILE, FILE, FILE.replace("XNYS", "CMES")), strict=True):
        path.write_text(text)
    one, two, three = (
        Settings(markets={"instruments": path}).hash_of("indicators") for path in paths
    )
    assert one == two != three
