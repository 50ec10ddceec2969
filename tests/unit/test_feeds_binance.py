"""Raw Binance frames: trades among book updates, bad lines as they are, each line accounted for."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.wire import quote_decoder, trade_decoder
from app.feeds.binance import BinanceFile, open_binance
from app.feeds.columns import (
    Origin,
    QuoteColumns,
    TickColumns,
    TradeColumns,
    Vocabulary,
    concatenate,
)
from app.feeds.encode import TickEncoder
from app.feeds.errors import FeedError
from app.feeds.files import Kind
from app.feeds.source import open_source

LOCAL = b"1723161254087896568 "
T = 1_723_161_255_342
SPOT = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":7,'
    b'"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}'
)
FUTURES = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"T":1723161255342,'
    b'"s":"BTCUSDT","t":8,"p":"61800.30","q":"0.006","X":"MARKET","m":false}}'
)
DEPTH = (
    b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,'
    b'"b":[["1","0"]],"a":[]}}'
)
SPOT_TICKER = (
    b'{"stream":"btcusdt@bookTicker","data":{"u":5,"s":"BTCUSDT","b":"61837.63","B":"3.7",'
    b'"a":"61837.64","A":"1.5"}}'
)
FUTURES_TICKER = (
    b'{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":9,"s":"BTCUSDT",'
    b'"b":"61800.20","B":"2.507","a":"61800.30","A":"2.510","T":1723161255342,"E":1723161255350}}'
)
SNAPSHOT = b'{"lastUpdateId":5,"bids":[["1","1"]],"asks":[]}'


def make(folder: Path, lines: list[bytes], local: bytes = LOCAL) -> Path:
    path = folder / "frames.gz"
    path.write_bytes(gzip.compress(b"".join(local + line + b"\n" for line in lines)))
    return path


def opened(path: Path, kind: Kind) -> BinanceFile:
    files = open_binance(path)
    assert not isinstance(files, str)
    (file,) = (file for file in files if file.kind == kind)
    return file


def read(path: Path, kind: Kind = "trades") -> tuple[TickColumns | None, Vocabulary, Counter[str]]:
    vocabulary, left_out = Vocabulary(), Counter[str]()
    parts = list(opened(path, kind).columns(vocabulary, left_out))
    return concatenate(parts) if parts else None, vocabulary, left_out


def trades(path: Path) -> tuple[TradeColumns, Vocabulary, Counter[str]]:
    columns, vocabulary, left_out = read(path)
    assert isinstance(columns, TradeColumns)
    return columns, vocabulary, left_out


def raw(columns: TickColumns) -> list[bytes | None]:
    return [None] * len(columns) if columns.value is None else columns.value.tolist()


def test_trades_are_taken_and_everything_else_is_counted(tmp_path: Path) -> None:
    aggregate = SPOT.replace(b"trade", b"aggTrade")
    lines = [DEPTH, SPOT, SPOT_TICKER, SNAPSHOT, FUTURES, FUTURES_TICKER, DEPTH, aggregate]
    columns, vocabulary, left_out = trades(make(tmp_path, lines))
    assert columns.price.tolist() == [61837.63, 61800.3]
    assert columns.size.tolist() == [0.02, 0.006]
    assert columns.event_time.tolist() == [T * 1_000_000] * 2
    assert columns.sequence.tolist() == [7, 8]
    assert columns.trade_id is not None
    assert columns.trade_id.tolist() == ["7", "8"]
    assert [vocabulary.origins.values[number] for number in columns.origin] == [
        Origin("BINANCE", (), "binance"),
        Origin("BINANCE-USDM", (), "binance"),
    ]
    assert vocabulary.symbols.values == ["BTCUSDT"]
    assert columns.value is None
    assert left_out == {
        "depthUpdate": 2, "bookTicker": 2, "frame without an event": 1, "aggTrade": 1,
    }  # fmt: skip


def test_quotes_are_the_tickers_that_have_a_time(tmp_path: Path) -> None:
    only_sent = FUTURES_TICKER.replace(b'"T":1723161255342,', b"")
    lines = [FUTURES_TICKER, SPOT_TICKER, only_sent, SPOT, DEPTH]
    columns, vocabulary, left_out = read(make(tmp_path, lines), "quotes")
    assert isinstance(columns, QuoteColumns)
    assert columns.bid.tolist() == [61800.2] * 2
    assert columns.ask.tolist() == [61800.3] * 2
    assert columns.bid_size.tolist() == [2.507] * 2
    assert columns.ask_size.tolist() == [2.51] * 2
    assert columns.event_time.tolist() == [T * 1_000_000, (T + 8) * 1_000_000]
    assert columns.sequence.tolist() == [9, 9]
    assert vocabulary.origins.values == [Origin("BINANCE-USDM", (), "binance")]
    assert left_out == {"bookTicker without time": 1, "trade": 1, "depthUpdate": 1}


def variants() -> list[bytes]:
    """The same trade in other writings of the same JSON."""
    frame: dict[str, Any] = json.loads(SPOT)
    data = frame["data"]
    backwards = dict(reversed(data.items()))
    return [
        SPOT,
        json.dumps(frame).encode(),
        json.dumps({"data": data, "stream": "btcusdt@trade"}).encode(),
        json.dumps(data, separators=(",", ":")).encode(),
        json.dumps(backwards, separators=(",", ":")).encode(),
        json.dumps({"stream": "btcusdt@trade", "data": backwards}, separators=(",", ":")).encode(),
        SPOT + b"\r",
    ]


@pytest.mark.parametrize("frame", variants())
@pytest.mark.parametrize("local", [LOCAL, b""])
def test_a_trade_is_found_however_it_is_written(tmp_path: Path, frame: bytes, local: bytes) -> None:
    columns, _, left_out = trades(make(tmp_path, [SPOT, frame], local))
    assert columns.price.tolist() == [61837.63] * 2
    assert columns.sequence.tolist() == [7, 7]
    assert raw(columns) == [None, None]
    assert not left_out


def test_a_stamp_in_microseconds_is_told_by_its_size(tmp_path: Path) -> None:
    fine = SPOT.replace(b'"T":1723161255342', b'"T":1723161255342987')
    columns, _, _ = trades(make(tmp_path, [fine]))
    assert columns.event_time.tolist() == [T * 1_000_000 + 987_000]


@pytest.mark.parametrize(
    "bad",
    [
        SPOT[:-1],
        SPOT[:60],
        b"not JSON",
        b'"text',
        SPOT.replace(b'"p":"61837.63000000",', b""),
        SPOT.replace(b"61837.63000000", b"abc"),
        SPOT.replace(b"61837.63000000", b"nan"),
        SPOT.replace(b"61837.63000000", b"1_0"),
        SPOT.replace(b"61837.63000000", b"-1"),
        SPOT.replace(b"61837.63000000", b"0.00"),
        SPOT.replace(b'"61837.63000000"', b"61837.63"),
        SPOT.replace(b'"t":7', b'"t":-7'),
        SPOT.replace(b'"t":7', b'"t":"7"'),
        SPOT.replace(b'"T":1723161255342', b'"T":null'),
        SPOT.replace(b'"s":"BTCUSDT"', b'"s":"BTC USDT"'),
        SPOT.replace(b"0.02000000", b"999999999999999"),
        DEPTH[:-2],
    ],
)
def test_a_line_that_is_no_trade_is_sent_as_it_is(tmp_path: Path, bad: bytes) -> None:
    """At the place of the line before it, and every other line is read."""
    columns, vocabulary, left_out = trades(make(tmp_path, [SPOT, bad, FUTURES]))
    assert raw(columns) == [None, LOCAL + bad, None]
    assert columns.event_time.tolist() == [T * 1_000_000] * 3
    assert columns.sequence.tolist() == [7, 7, 8]
    assert not left_out
    values = TickEncoder(vocabulary, 4).encode(columns)
    assert values[1] == LOCAL + bad
    assert trade_decoder.decode(values[2]).price == 61800.3


def test_trades_beside_the_order_book_are_left_out_and_counted(tmp_path: Path) -> None:
    """The insurance fund's prints are sound, but no trades of the market: klines lack them, too."""
    others = [FUTURES.replace(b'"MARKET"', text) for text in (b'"INSURANCE_FUND"', b'"NA"')]
    columns, _, left_out = trades(make(tmp_path, [SPOT, *others, FUTURES]))
    assert raw(columns) == [None, None]
    assert left_out == {"trade, X INSURANCE_FUND": 1, "trade, X NA": 1}


def test_unreadable_lines_at_the_begin_go_to_the_file_s_symbol(tmp_path: Path) -> None:
    broken = SPOT.replace(b"61837.63000000", b"x")
    columns, vocabulary, _ = trades(make(tmp_path, [broken, SPOT]))
    assert raw(columns) == [LOCAL + broken, None]
    assert columns.event_time.tolist() == [0, T * 1_000_000]
    assert vocabulary.symbols.values == ["BTCUSDT"]


def test_blank_lines_and_a_line_longer_than_a_block(tmp_path: Path) -> None:
    levels = b",".join([b'["61837.63000000","3.78826000"]'] * 60_000)
    snapshot = b'{"lastUpdateId":5,"bids":[' + levels + b'],"asks":[]}'
    columns, _, left_out = trades(make(tmp_path, [SPOT, b"", snapshot, FUTURES]))
    assert len(columns) == 2
    assert left_out == {"blank line": 1, "frame without an event": 1}


def test_a_recording_may_begin_with_an_answer_and_a_snapshot(tmp_path: Path) -> None:
    lines = [b'{"result":null,"id":1}', SNAPSHOT, SPOT_TICKER, SPOT]
    columns, _, left_out = trades(make(tmp_path, lines))
    assert len(columns) == 1
    assert left_out == {"frame without an event": 2, "bookTicker": 1}


def test_files_that_are_none_are_told(tmp_path: Path) -> None:
    path = tmp_path / "frames.gz"
    for text in (b"", b"a,b\n1,2\n", b'{"symbol":"A"}\n', b"1723161254087896568 x\n"):
        path.write_bytes(gzip.compress(text))
        assert isinstance(open_binance(path), str)
    with pytest.raises(FeedError, match=r"cannot be replayed: it begins neither as TAQ nor"):
        open_source([path])


def test_a_truncated_file_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    path = make(tmp_path, [SPOT, DEPTH, SPOT_TICKER] * 3_000)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FeedError, match="not a whole gzip file"):
        open_source([path]).verify()


def test_a_file_without_line_ends_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path, [SPOT + b" " * 6_000_000])
    with pytest.raises(FeedError, match="no line end within"):
        read(path)


good = st.sampled_from([SPOT, FUTURES, DEPTH, SPOT_TICKER, FUTURES_TICKER, SNAPSHOT, b"", b"{}"])
cut = st.tuples(good, st.integers(0, 200)).map(lambda drawn: drawn[0][: drawn[1]])
garbage = st.binary(max_size=40).map(lambda text: text.replace(b"\n", b""))


@settings(deadline=None)
@given(
    lines=st.lists(st.one_of(good, cut, garbage), max_size=30),
    kind=st.sampled_from(["trades", "quotes"]),
)
def test_every_line_is_a_record_or_counted_or_sent_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], kind: Kind
) -> None:
    lines = [SPOT, *lines, SPOT]
    path = make(tmp_path_factory.mktemp("frames"), lines)
    columns, vocabulary, left_out = read(path, kind)
    assert (0 if columns is None else len(columns)) + left_out.total() == len(lines)
    if columns is None:
        return
    whole = SPOT if kind == "trades" else FUTURES_TICKER
    decoder = trade_decoder if kind == "trades" else quote_decoder
    assert len(columns) >= sum(line == whole for line in lines)
    values = TickEncoder(vocabulary, 4).encode(columns)
    for value, as_it_is in zip(values, raw(columns), strict=True):
        if as_it_is is None:
            decoder.decode(value)
        else:
            assert value == as_it_is
            assert value.removeprefix(LOCAL) in lines


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "venue", "lines", "count", "others"),
    [
        ("spot", "BINANCE", 41_249, 9_757,
         {"bookTicker": 28_040, "depthUpdate": 3_451, "frame without an event": 1}),
        ("usdm", "BINANCE-USDM", 93_954, 21_313,
         {"bookTicker": 66_089, "depthUpdate": 6_551, "frame without an event": 1}),
    ],
)  # fmt: skip
def test_recorded_trades_are_those_of_an_independent_search(
    realdata: Path, name: str, venue: str, lines: int, count: int, others: dict[str, int]
) -> None:
    path = realdata / f"binance_raw/{name}_btcusdt_20240808.gz"
    with gzip.open(path, "rb") as stream:
        frames = stream.readlines()
    found = [
        json.loads(line.split(b" ", 1)[1])["data"] for line in frames if b'"e":"trade"' in line
    ]
    assert (len(frames), len(found)) == (lines, count)
    source = open_source([path])
    assert source.verify() == count
    assert source.left_out == others
    assert count + sum(others.values()) == lines
    encoder = TickEncoder(source.vocabulary, 4)
    values = [value for chunk in source.chunks() for value in encoder.encode(chunk)]
    for event, value in zip(found, values, strict=True):
        trade = trade_decoder.decode(value)
        assert (trade.price, trade.size) == (float(event["p"]), float(event["q"]))
        assert trade.event_time == event["T"] * 1_000_000
        assert (trade.trade_id, trade.sequence) == (str(event["t"]), event["t"])
        assert (trade.symbol, trade.venue, trade.source) == ("BTCUSDT", venue, "binance")


@pytest.mark.realdata
def test_recorded_tickers_of_futures_are_quotes_and_those_of_spot_have_no_time(
    realdata: Path,
) -> None:
    source = open_source([realdata / "binance_raw"], "quotes")
    assert source.verify() == 66_089
    assert source.left_out == {
        "bookTicker without time": 28_040, "depthUpdate": 10_002, "frame without an event": 2,
        "trade": 31_070,
    }  # fmt: skip
    encoder = TickEncoder(source.vocabulary, 4)
    quotes = [
        quote_decoder.decode(value) for chunk in source.chunks() for value in encoder.encode(chunk)
    ]
    assert len(quotes) == 66_089
    assert {(quote.symbol, quote.venue) for quote in quotes} == {("BTCUSDT", "BINANCE-USDM")}
    assert all(quote.bid < quote.ask for quote in quotes)
