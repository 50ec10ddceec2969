"""TAQ CSV: letters and corrections by the tapes' tables, faults with file and line, real counts."""

import csv
import gzip
import re
from collections import Counter
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from app.contracts.records import Correction
from app.contracts.wire import control_decoder, quote_decoder, trade_decoder
from app.feeds.columns import Origin, QuoteColumns, TickColumns, Vocabulary, concatenate
from app.feeds.encode import TickEncoder
from app.feeds.errors import FeedError
from app.feeds.source import open_source
from app.feeds.taq import TaqFile, open_taq
from app.feeds.taq_codes import conditions_of
from tables import policies

HEADER = "DT,EX,SYMBOL,COND,SIZE,PRICE,CORR\n"
ROWS = (
    "2018-01-02 10:01:21.479000092,P,XXX,FTI,2,157.8,0\n"
    "2018-01-02 10:01:21.479000092,D,BRK.B, @,130,158.05,00\n"
    "2018-01-02 12:11:54,N,XXX,,1e+05,158,0\n"
)
T0 = 1_514_887_281_479_000_092


def make(folder: Path, text: str, name: str = "trades.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def read(path: Path) -> tuple[TickColumns, Vocabulary]:
    file = open_taq(path)
    assert isinstance(file, TaqFile)
    vocabulary, left_out = Vocabulary(), Counter[str]()
    columns = concatenate(list(file.columns(vocabulary, left_out)))
    assert not left_out
    return columns, vocabulary


@pytest.mark.parametrize("name", ["trades.csv", "trades.csv.gz"])
def test_rows_become_trades(tmp_path: Path, name: str) -> None:
    columns, vocabulary = read(make(tmp_path, HEADER + ROWS, name))
    assert not isinstance(columns, QuoteColumns)
    assert [vocabulary.symbols.values[number] for number in columns.symbol] == [
        "XXX",
        "BRK.B",
        "XXX",
    ]
    assert columns.event_time.tolist() == [T0, T0, 1_514_895_114_000_000_000]
    assert columns.price.tolist() == [157.8, 158.05, 158.0]
    assert columns.size.tolist() == [2.0, 130.0, 100_000.0]
    assert columns.sequence.tolist() == [0, 1, 2]
    assert [vocabulary.origins.values[number] for number in columns.origin] == [
        Origin("P", ("extended_hours", "iso", "odd_lot"), "taq"),
        Origin("D", ("regular",), "taq"),
        Origin("N", (), "taq"),
    ]
    assert columns.value is None


def test_columns_come_in_any_order_and_further_ones_are_not_read(tmp_path: Path) -> None:
    text = "CORR,G127,PRICE,SIZE,COND,SYMBOL,EX,DT\n0,abc,1.5,7,F,A,P,2018-01-02 10:01:21\n"
    columns, vocabulary = read(make(tmp_path, text))
    assert not isinstance(columns, QuoteColumns)
    assert (columns.price[0], columns.size[0]) == (1.5, 7.0)
    assert vocabulary.origins.values == [Origin("P", ("iso",), "taq")]


def test_rows_become_quotes_with_sizes_as_they_are(tmp_path: Path) -> None:
    text = (
        "DT,EX,BID,BIDSIZ,OFR,OFRSIZ,SYMBOL\n"
        "2018-01-02 09:04:13.125000000,P,156.57,1,158.85,3,XXX\n"
        "2018-01-02 09:04:13.125000001,T,0,0,0,0,XXX\n"
    )
    columns, vocabulary = read(make(tmp_path, text, "quotes.csv.gz"))
    assert isinstance(columns, QuoteColumns)
    assert columns.bid.tolist() == [156.57, 0.0]
    assert columns.ask.tolist() == [158.85, 0.0]
    assert columns.bid_size.tolist() == [1.0, 0.0]
    assert columns.ask_size.tolist() == [3.0, 0.0]
    assert np.diff(columns.event_time).tolist() == [1]
    assert vocabulary.origins.values == [Origin("P", (), "taq"), Origin("T", (), "taq")]


@pytest.mark.parametrize(
    ("letters", "tape_c", "expected"),
    [
        ("", False, ()),
        (" @", False, ("regular",)),
        ("4 B", False, ("average_price", "derivatively_priced")),
        ("B", True, ("bunched",)),
        ("E", False, ()),
        ("E", True, ("placeholder",)),
        ("R UB", False, ("average_price", "extended_hours_out_of_sequence", "seller")),
        ("FF", False, ("iso",)),
    ],
)
def test_letters_become_conditions(letters: str, tape_c: bool, expected: tuple[str, ...]) -> None:
    assert conditions_of(letters, tape_c) == expected


def test_letters_are_those_of_the_policies_comments() -> None:
    """`"iso": _ALL,  # F` in the matrix of `sip`: the same letter here."""
    text = Path(policies.__file__).read_text()
    matrix = text[text.index("SIP_MATRIX") : text.index("_SIP_FORBIDS")]
    letters = re.findall(r'"(\w+)": [\w |]+,  # (.)(?:$|,| \(CTS: (.)\))', matrix, re.MULTILINE)
    assert len(letters) == 32
    for name, utdf, cts in letters:
        assert conditions_of(utdf, True) == (name,)
        assert conditions_of(cts or utdf, False) in ((name,), ("average_price",), ())


def test_a_stock_that_nasdaq_trades_as_q_is_of_tape_c(tmp_path: Path) -> None:
    text = (
        "2018-01-02 10:01:21,D,AAPL,B,1,1,0\n"
        "2018-01-02 10:01:21,D,IBM,B,1,1,0\n"
        "2018-01-02 10:01:22,Q,AAPL,,1,1,0\n"
        "2018-01-02 10:01:22,T,IBM,,1,1,0\n"
    )
    columns, vocabulary = read(make(tmp_path, HEADER + text))
    origins = [vocabulary.origins.values[number].conditions for number in columns.origin]
    assert origins == [("bunched",), ("average_price",), (), ()]


def corrections_of(folder: Path, rows: list[tuple[int, str, float, int]]) -> list[Correction]:
    """The control records of rows (second, exchange, price, CORR), of size 100 each."""
    text = "".join(
        f"2018-01-02 10:00:{second:02},{venue},A,,100,{price},{correction}\n"
        for second, venue, price, correction in rows
    )
    columns, _ = read(make(folder, HEADER + text))
    assert columns.value is not None
    return [Correction.model_validate_json(value) for value in columns.value if value is not None]


def second(number: int) -> int:
    return 1_514_887_200_000_000_000 + number * 1_000_000_000


def test_a_cancel_names_the_trade_that_it_takes_back(tmp_path: Path) -> None:
    rows = [
        (0, "P", 1.5, 0),
        (1, "N", 1.5, 8),
        (2, "P", 1.5, 8),
        (3, "P", 2.5, 7),
        (9, "P", 1.5, 10),
    ]
    (cancel,) = corrections_of(tmp_path, rows)
    assert cancel.action == "cancel"
    assert (cancel.symbol, cancel.venue, cancel.event_time) == ("A", "P", second(9))
    assert (cancel.original_event_time, cancel.original_sequence) == (second(2), 2)
    assert (cancel.original_price, cancel.original_size) == (1.5, 100.0)
    assert (cancel.new_price, cancel.new_size, cancel.source) == (None, None, "taq")


def test_no_trade_is_taken_back_twice(tmp_path: Path) -> None:
    rows = [
        (1, "P", 1.5, 8),
        (2, "P", 1.5, 7),
        (3, "P", 1.5, 10),
        (4, "P", 1.5, 11),
        (5, "P", 1.5, 10),
    ]
    named = [each.original_sequence for each in corrections_of(tmp_path, rows)]
    assert named == [0, 1, None]


def test_a_cancel_without_its_trade_is_sent_without_its_stamp(tmp_path: Path) -> None:
    (cancel,) = corrections_of(tmp_path, [(1, "P", 1.5, 0), (2, "P", 1.5, 10), (3, "P", 1.5, 8)])
    assert (cancel.original_event_time, cancel.original_sequence) == (None, None)
    assert (cancel.original_price, cancel.original_size) == (1.5, 100.0)


def test_a_correction_has_the_old_and_the_new_price(tmp_path: Path) -> None:
    rows = [
        (1, "P", 1.5, 1),
        (2, "P", 1.6, 1),
        (3, "P", 1.6, 12),
        (4, "P", 9.0, 12),
        (5, "P", 9.0, 12),
    ]
    first, other, unknown = corrections_of(tmp_path, rows)
    assert {first.action, other.action, unknown.action} == {"correct"}
    assert (first.original_sequence, first.original_price, first.new_price) == (1, 1.6, 1.6)
    assert (other.original_sequence, other.original_price, other.new_price) == (0, 1.5, 9.0)
    assert (unknown.original_sequence, unknown.original_price) == (None, None)
    assert (unknown.new_price, unknown.new_size) == (9.0, 100.0)


def test_a_correction_finds_its_trade_blocks_before(tmp_path: Path) -> None:
    good = "2018-01-02 10:00:01,P,A,,100,1.5,0\n"
    text = good.replace(",0\n", ",8\n") + good * 60_000 + good.replace(",0\n", ",10\n")
    columns, _ = read(make(tmp_path, HEADER + text))
    assert columns.value is not None
    assert columns.sequence.tolist() == list(range(60_002))
    correction = control_decoder.decode(columns.value[-1])
    assert correction.original_sequence == 0


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("2018-01-02 10:01:21,P,XXX,F,2,157.8", "6 columns; expected 7"),
        ("", "0 columns"),
        ("02/01/2018 10:01:21,P,XXX,F,2,157.8,0", "DT '02/01/2018 10:01:21': expected YYYY"),
        ("2018-01-02 10:01:21.1234567891,P,XXX,F,2,157.8,0", "DT '2018"),
        ("1969-01-02 10:01:21,P,XXX,F,2,157.8,0", "from 1970 on"),
        ("2018-01-02 10:01:21,P,X X,F,2,157.8,0", "SYMBOL 'X X'"),
        ("2018-01-02 10:01:21,,XXX,F,2,157.8,0", "EX ''"),
        ("2018-01-02 10:01:21,PP,XXX,F,2,157.8,0", "EX 'PP'"),
        ("2018-01-02 10:01:21,P,XXX,F,,157.8,0", "SIZE '': expected a number from 0"),
        ("2018-01-02 10:01:21,P,XXX,F,-2,157.8,0", "SIZE '-2'"),
        ("2018-01-02 10:01:21,P,XXX,F,2,abc,0", "PRICE 'abc'"),
        ("2018-01-02 10:01:21,P,XXX,F,2,nan,0", "PRICE 'nan'"),
        ("2018-01-02 10:01:21,P,XXX,F,1e12,1e12,0", "PRICE x SIZE is more than"),
        ("2018-01-02 10:01:21,P,XXX,F,2,157.8,5", "CORR '5': expected one of 0, 1, 7, 8, 10"),
        ("2018-01-02 10:01:21,P,XXX,F,2,157.8,", "CORR ''"),
        ("2018-01-02 10:01:21,P,XXX,F3,2,157.8,0", "COND 'F3': unknown letter '3'"),
    ],
)
def test_a_broken_row_is_named_by_file_and_line(tmp_path: Path, row: str, fault: str) -> None:
    path = make(tmp_path, HEADER + ROWS + row + "\n" + ROWS, "trades.csv.gz")
    with pytest.raises(FeedError) as caught:
        read(path)
    assert (caught.value.file, caught.value.line) == (path, 5)
    assert fault in caught.value.message


def test_a_broken_row_far_into_a_file_has_its_line(tmp_path: Path) -> None:
    path = make(tmp_path, HEADER + ROWS * 20_000 + "2018,P\n")
    with pytest.raises(FeedError, match=r":60002: 2 columns"):
        read(path)


def test_a_truncated_or_damaged_gzip_file_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path, HEADER + ROWS * 2_000, "trades.csv.gz")
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    with pytest.raises(FeedError, match="not a whole gzip file"):
        read(path)
    damaged = bytearray(whole)
    damaged[-6] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(FeedError, match="not a whole gzip file"):
        read(path)
    path.write_bytes(b"plain text")
    with pytest.raises(FeedError, match="not a whole gzip file"):
        open_taq(path)


def test_other_headers_are_another_kind(tmp_path: Path) -> None:
    assert isinstance(open_taq(make(tmp_path, "symbol,price,size,event_time\n")), str)
    assert isinstance(open_taq(make(tmp_path, HEADER.replace("COND", "DT"))), str)
    assert isinstance(open_taq(make(tmp_path, "")), str)


def expected_nanoseconds(text: str) -> int:
    """Of `2018-01-02 10:01:21.479000092`, without the reader's libraries."""
    seconds, _, part = text.partition(".")
    moment = datetime.fromisoformat(f"{seconds}+00:00")
    return int(moment.timestamp()) * 1_000_000_000 + int(part.ljust(9, "0") or 0)


def values_of(path: Path, kind: str) -> tuple[list[bytes], dict[str, int]]:
    """What a replay would send."""
    source = open_source([path], "quotes" if kind == "quotes" else "trades")
    source.verify()
    encoder = TickEncoder(source.vocabulary, 4)
    return [value for chunk in source.chunks() for value in encoder.encode(chunk)], source.left_out


@pytest.mark.realdata
def test_every_recorded_trade_is_sent_and_one_cancel_among_them(realdata: Path) -> None:
    path = realdata / "taq/xxx_trades_20180102_03.csv.gz"
    with gzip.open(path, "rt", newline="") as stream:
        rows = list(csv.DictReader(stream))
    values, left_out = values_of(path, "trades")
    assert len(values) == len(rows) == 77_263
    assert left_out == {}
    letters = dict(zip("FTIBUN47VZRMCQO6P", (
        "iso", "extended_hours", "odd_lot", "average_price", "extended_hours_out_of_sequence",
        "next_day", "derivatively_priced", "qualified_contingent", "contingent",
        "sold_out_of_sequence", "seller", "market_center_official_close", "cash_sale",
        "market_center_official_open", "opening_print", "closing_print", "prior_reference_price",
    ), strict=True))  # fmt: skip
    cancels = []
    for place, (row, value) in enumerate(zip(rows, values, strict=True)):
        if row["CORR"] in ("10", "11", "12"):
            cancels.append(control_decoder.decode(value))
            continue
        trade = trade_decoder.decode(value)
        assert (trade.symbol, trade.venue, trade.sequence) == ("XXX", row["EX"], place)
        assert (trade.price, trade.size) == (float(row["PRICE"]), float(row["SIZE"]))
        assert trade.event_time == expected_nanoseconds(row["DT"])
        assert set(trade.conditions) == {letters[each] for each in row["COND"] if each != " "}
    (cancel,) = cancels
    original = rows[cancel.original_sequence]
    assert (cancel.action, cancel.venue, original["CORR"]) == ("cancel", "D", "8")
    assert cancel.original_event_time == expected_nanoseconds("2018-01-03 13:51:06.055000067")
    assert cancel.event_time == expected_nanoseconds("2018-01-03 22:55:19.250000000")
    assert (cancel.original_size, cancel.original_price) == (127_300.0, 157.04)


@pytest.mark.realdata
def test_every_recorded_quote_is_sent(realdata: Path) -> None:
    path = realdata / "taq/xxx_quotes_20180102_03.csv.gz"
    with gzip.open(path, "rt", newline="") as stream:
        rows = list(csv.DictReader(stream))
    values, left_out = values_of(path, "quotes")
    assert len(values) == len(rows) == 131_401
    assert left_out == {}
    for row, value in zip(rows, values, strict=True):
        quote = quote_decoder.decode(value)
        assert (quote.bid, quote.ask) == (float(row["BID"]), float(row["OFR"]))
        assert (quote.bid_size, quote.ask_size) == (float(row["BIDSIZ"]), float(row["OFRSIZ"]))
        assert quote.event_time == expected_nanoseconds(row["DT"])
        assert quote.venue == row["EX"]
