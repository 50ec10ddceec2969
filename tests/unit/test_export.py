"""Export: highest revisions, order, exact bytes, and a file replaced whole or not at all."""

from __future__ import annotations

import csv
import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.contracts.wire import BarRecord, QuoteBarRecord
from app.run.export import LAYOUTS, AnyBar, Highest, check_target, write_export

MINUTE = 60_000_000_000
SCHEMA = LAYOUTS["bars"].schema


def bar(
    symbol: str = "SPY",
    interval: str = "1m",
    start: int = 0,
    revision: int = 0,
    close: float = 1.5,
    vwap: float | None = 1.25,
) -> BarRecord:
    return BarRecord(
        symbol=symbol,
        interval=interval,
        start=start,
        open=1.0,
        high=2.0,
        low=0.1,
        close=close,
        volume=300.0,
        vwap=vwap,
        trades=3,
        revision=revision,
        is_final=True,
        filled=False,
        sources=("test",),
    )


def quote_bar(
    symbol: str = "EURUSD",
    interval: str = "1m",
    start: int = 0,
    revision: int = 0,
    close: float = 1.5,
) -> QuoteBarRecord:
    prices = [1.0, 2.0, 0.1, close, 1.1, 2.1, 0.2, close + 0.1, 1.05, 2.05, 0.15, close + 0.05]
    values = (symbol, interval, start, *prices, 5.0, 6.0, 0.1, 3, revision, True, ("test",))
    return msgspec.convert(
        dict(zip(QuoteBarRecord.__struct_fields__, values, strict=True)), QuoteBarRecord
    )


MAKERS: dict[str, Callable[..., AnyBar]] = {"bars": bar, "quotes": quote_bar}


def some_bars(agent: str = "bars") -> list[AnyBar]:
    return [
        MAKERS[agent](symbol, interval, start * MINUTE, revision, close=1.0 + revision / 7)
        for symbol in ("SPY", "IBM")
        for interval in ("15m", "10s", "1m")
        for start in (2, 0, 1)
        for revision in (1, 0, 2)
    ]


def exported(path: Path, bars: list[AnyBar], agent: str = "bars") -> bytes:
    highest = Highest(agent)
    for one in bars:
        highest.add(one)
    write_export(path, highest.rows(), highest.layout.schema)
    return path.read_bytes()


def test_only_the_highest_revision_of_each_bar_is_kept() -> None:
    highest = Highest("bars")
    for revision in (0, 2, 1):
        highest.add(bar(revision=revision, close=float(revision)))
    assert len(highest) == 1
    assert highest.rows()[0][6] == 2.0
    assert highest.rows()[0][10] == 2


def test_rows_are_sorted_by_symbol_interval_length_and_start() -> None:
    highest = Highest("bars")
    for one in some_bars():
        highest.add(one)
    keys = [row[:3] for row in highest.rows()]
    expected = [
        (symbol, interval, start * MINUTE)
        for symbol in ("IBM", "SPY")
        for interval in ("10s", "1m", "15m")
        for start in (0, 1, 2)
    ]
    assert keys == expected


@pytest.mark.parametrize("agent", LAYOUTS)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_bytes_do_not_depend_on_the_order_of_arrival(
    tmp_path: Path, suffix: str, agent: str
) -> None:
    bars = some_bars(agent)
    first = exported(tmp_path / f"one{suffix}", bars, agent)
    random.Random(7).shuffle(bars)
    assert exported(tmp_path / f"other{suffix}", bars, agent) == first


def test_csv_has_exact_floats_and_an_empty_vwap_where_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    exported(path, [bar(close=0.1 + 0.2, vwap=None)])
    header, row = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    assert header == SCHEMA.names
    assert row[:7] == ["SPY", "1m", "0", "1.0", "2.0", "0.1", "0.30000000000000004"]
    assert row[7:] == ["300.0", "", "3", "0"]


def test_quote_bars_have_columns_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "quotes.csv"
    exported(path, [quote_bar(revision=1), quote_bar()], "quotes")
    assert path.read_text(encoding="utf-8") == (
        "symbol,interval,start_ns,bid_open,bid_high,bid_low,bid_close,"
        "ask_open,ask_high,ask_low,ask_close,mid_open,mid_high,mid_low,mid_close,quotes,revision\n"
        "EURUSD,1m,0,1.0,2.0,0.1,1.5,1.1,2.1,0.2,1.6,1.05,2.05,0.15,1.55,3,1\n"
    )


def test_what_a_worker_publishes_can_be_read() -> None:
    for agent, make in MAKERS.items():
        one = make()
        assert LAYOUTS[agent].decoder.decode(msgspec.json.encode(one)) == one


@pytest.mark.parametrize("agent", LAYOUTS)
def test_csv_and_parquet_hold_the_same(tmp_path: Path, agent: str) -> None:
    exported(tmp_path / "bars.csv", some_bars(agent), agent)
    exported(tmp_path / "bars.parquet", some_bars(agent), agent)
    table = pq.read_table(tmp_path / "bars.parquet")
    with (tmp_path / "bars.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == table.column_names
    columns = [column.to_pylist() for column in table.columns]
    assert rows[1:] == [[str(value) for value in row] for row in zip(*columns, strict=True)]
    assert table.schema.types == LAYOUTS[agent].schema.types


def test_parquet_carries_no_metadata_of_its_writer(tmp_path: Path) -> None:
    exported(tmp_path / "bars.parquet", some_bars())
    assert not pq.read_metadata(tmp_path / "bars.parquet").metadata


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_no_bars_are_an_empty_table(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bars{suffix}"
    exported(path, [])
    if suffix == ".csv":
        assert path.read_text(encoding="utf-8") == ",".join(SCHEMA.names) + "\n"
    else:
        assert pq.read_table(path).num_rows == 0


def test_a_failed_export_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    before = hashlib.sha256(exported(path, some_bars())).hexdigest()
    with pytest.raises(pa.ArrowInvalid, match="double"):
        write_export(path, [("SPY", "1m", 0, "x", 1.0, 1.0, 1.0, 1.0, 1.0, 1, 0)], SCHEMA)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["bars.parquet"]


def test_a_target_of_another_kind_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends with \.csv or \.parquet"):
        check_target(tmp_path / "bars.xlsx")
    with pytest.raises(ValueError, match="no folder"):
        check_target(tmp_path / "missing" / "bars.csv")
