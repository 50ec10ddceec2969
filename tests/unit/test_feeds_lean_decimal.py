"""Lean's futures and crypto ticks: a contract a symbol, decimal prices, sizes of zero."""

import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from app.feeds.columns import Origin, QuoteColumns, TradeColumns, Vocabulary, concatenate
from app.feeds.errors import FeedError
from app.feeds.lean import open_lean
from app.feeds.source import open_source

#: Midnight of 8 October 2013, UTC.
MIDNIGHT = 1_381_190_400_000_000_000
MINUTE = 60_000_000_000


def make(folder: Path, name: str, **members: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, text in members.items():
            archive.writestr(f"{member}.csv", text)
    return path


def read(path: Path) -> tuple[TradeColumns | QuoteColumns, Vocabulary]:
    (file,) = open_lean(path)
    vocabulary = Vocabulary()
    return concatenate(list(file.columns(vocabulary, Counter()))), vocabulary


def test_each_contract_of_a_zip_is_a_symbol(tmp_path: Path) -> None:
    make(
        tmp_path,
        "future/tick/gc/20131008_trade.zip",
        **{
            "20131008_gc_tick_trade_201312": "0,1326.5,1,usa,,0\n2,-0.5,0,usa,,0\n5,1e3,2,,,1\n",
            "20131008_gc_tick_trade_201402_20140226": "1,1327.1,3,usa,,0\n",
        },
    )
    source = open_source([tmp_path])
    assert source.verify() == 4
    assert len(source.files) == 2
    columns = concatenate(list(source.chunks()))
    assert isinstance(columns, TradeColumns)
    symbols = source.vocabulary.symbols.values
    assert [symbols[number] for number in columns.symbol] == [
        "GC-201312",
        "GC-201402",
        "GC-201312",
        "GC-201312",
    ]
    assert columns.price.tolist() == [1326.5, 1327.1, -0.5, 1000.0]
    assert columns.size.tolist() == [1.0, 3.0, 0.0, 2.0]
    assert ((columns.event_time - MIDNIGHT) // 1_000_000).tolist() == [0, 1, 2, 5]
    assert columns.sequence.tolist() == [0, 0, 1, 2]
    assert [source.vocabulary.origins.values[number] for number in columns.origin] == [
        Origin("usa", (), "lean"),
        Origin("usa", (), "lean"),
        Origin("usa", (), "lean"),
        Origin(None, ("suspicious",), "lean"),
    ]


def test_a_broken_row_of_a_contract_is_named_with_its_csv(tmp_path: Path) -> None:
    path = make(
        tmp_path,
        "future/tick/gc/20131008_trade.zip",
        **{
            "20131008_gc_tick_trade_201312": "0,1326.5,1,usa,,0\n",
            "20131008_gc_tick_trade_201402": "0,1326.5,1,usa,,0\n1,1326.5,-1,usa,,0\n",
        },
    )
    with pytest.raises(FeedError) as caught:
        open_source([path]).verify()
    assert caught.value.line == 2
    assert caught.value.message == (
        "20131008_gc_tick_trade_201402.csv: size -1 is out of its bounds"
    )


def test_an_unknown_member_keeps_the_whole_zip_out(tmp_path: Path) -> None:
    path = make(
        tmp_path,
        "future/tick/gc/20131008_trade.zip",
        **{"20131008_gc_tick_trade_201312": "0,1326.5,1,usa,,0\n", "notes": "x\n"},
    )
    assert open_lean(path) == "not Lean ticks (inside: notes.csv)"


def test_two_csvs_are_of_futures_alone(tmp_path: Path) -> None:
    line = "34200000,1674100,100,P,1,0\n"
    path = make(
        tmp_path,
        "two.zip",
        **{"20131007_spy_Trade_Tick": line, "20131007_ibm_Trade_Tick": line},
    )
    assert open_lean(path) == "not Lean ticks (2 CSVs in one zip that is not of futures)"


@pytest.mark.parametrize("tail", ["", ",0"])
def test_crypto_trades_have_three_or_four_columns(tmp_path: Path, tail: str) -> None:
    path = make(
        tmp_path,
        "crypto/gdax/tick/btcusd/20131008_trade.zip",
        **{"20131008_btcusd_tick_trade": f"7,611.78,0.00000001{tail}\n8,611.8,2{tail}\n"},
    )
    columns, vocabulary = read(path)
    assert isinstance(columns, TradeColumns)
    assert vocabulary.symbols.values == ["BTCUSD"]
    assert columns.price.tolist() == [611.78, 611.8]
    assert columns.size.tolist() == [1e-8, 2.0]
    assert vocabulary.origins.values == [Origin(None, (), "lean")]


@pytest.mark.parametrize("tail", ["", ",0"])
def test_crypto_quotes_are_told_from_forex_by_their_columns(tmp_path: Path, tail: str) -> None:
    text = f"7,611.78,0.5,611.79,0.25{tail}\n9,0,0,611.8,1{tail}\n"
    path = make(tmp_path, "anywhere.zip", **{"20131008_btcusd_tick_quote": text})
    columns, _ = read(path)
    assert isinstance(columns, QuoteColumns)
    assert (columns.bid.tolist(), columns.bid_size.tolist()) == ([611.78, 611.78], [0.5, 0.5])
    assert (columns.ask.tolist(), columns.ask_size.tolist()) == ([611.79, 611.8], [0.25, 1.0])


def test_quotes_of_futures_are_read(tmp_path: Path) -> None:
    path = make(
        tmp_path,
        "future/comex/tick/gc/20131008_quote.zip",
        **{"20131008_gc_tick_quote_201312": "1,1326.5,3,0,0,usa,0\n1,0,0,1326.6,2,usa,0\n"},
    )
    columns, vocabulary = read(path)
    assert isinstance(columns, QuoteColumns)
    assert vocabulary.symbols.values == ["GC-201312"]
    assert (columns.bid.tolist(), columns.ask.tolist()) == ([1326.5], [1326.6])
    assert vocabulary.origins.values[columns.origin[0]] == Origin("usa", (), "lean")


@pytest.mark.realdata
def test_the_vendors_bars_of_futures_come_out_of_the_ticks(realdata: Path) -> None:
    """All prices; all volumes but the last bar's, whose last print the tick file has twice."""
    source = open_source([realdata / "future/tick/gc"])
    assert source.verify() == 52_322
    columns = concatenate(list(source.chunks()))
    assert isinstance(columns, TradeColumns)
    with zipfile.ZipFile(realdata / "future/minute/gc/20131008_trade.zip") as archive:
        names = archive.namelist()
        expected = {
            f"GC-{name[-10:-4]}": np.loadtxt(archive.open(name), delimiter=",") for name in names
        }
    assert sorted(expected) == sorted(source.vocabulary.symbols.values)
    for symbol, bars in expected.items():
        mine = columns.take(
            np.flatnonzero(columns.symbol == source.vocabulary.symbols.number(symbol))
        )
        windows = (mine.event_time - MIDNIGHT) // MINUTE
        starts = np.flatnonzero(np.diff(windows, prepend=-1))
        ends = np.append(starts[1:], len(windows)) - 1
        found = np.column_stack(
            [
                windows[starts] * 60_000,
                mine.price[starts],
                np.maximum.reduceat(mine.price, starts),
                np.minimum.reduceat(mine.price, starts),
                mine.price[ends],
                np.add.reduceat(mine.size, starts),
            ]
        )
        assert np.array_equal(found[:, :5], bars[:, :5])
        assert np.array_equal(found[:-1, 5], bars[:-1, 5])
        assert found[-1, 5] == bars[-1, 5] + mine.size[-1]
    assert len(expected["GC-201312"]) == 1_377
