"""Plain CSV and Parquet: columns in any order, times in both forms, faults with file and line."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.contracts.wire import trade_decoder
from app.feeds.columns import Origin, TradeColumns, Vocabulary, concatenate
from app.feeds.encode import TickEncoder
from app.feeds.errors import FeedError
from app.feeds.tabular import CsvFile, ParquetFile, open_csv, open_parquet

T0 = 1_381_152_600_000_000_000
HEADER = "symbol,price,size,event_time,trade_id,sequence,venue,conditions,source\n"
ROWS = (
    f"SPY,167.41,100,{T0},t1,7,P,iso;odd_lot,mine\n"
    f"BTC/USD,-0.5,0,{T0 + 1},,,,,\n"
    f'SPY,1e3,0.25,{T0 + 2},"a,b",9,Q,,mine\n'
)


def csv(folder: Path, text: str) -> Path:
    path = folder / "trades.csv"
    path.write_text(text, newline="")
    return path


def read(path: Path) -> tuple[TradeColumns, Vocabulary]:
    file = open_parquet(path) if path.suffix == ".parquet" else open_csv(path)
    assert isinstance(file, CsvFile | ParquetFile)
    vocabulary = Vocabulary()
    return concatenate(list(file.columns(vocabulary, Counter()))), vocabulary


def check(columns: TradeColumns, vocabulary: Vocabulary) -> None:
    """What ROWS are."""
    assert [vocabulary.symbols.values[number] for number in columns.symbol] == [
        "SPY",
        "BTC/USD",
        "SPY",
    ]
    assert columns.price.tolist() == [167.41, -0.5, 1000.0]
    assert columns.size.tolist() == [100.0, 0.0, 0.25]
    assert columns.event_time.tolist() == [T0, T0 + 1, T0 + 2]
    assert columns.sequence.tolist() == [7, 1, 9]
    assert columns.trade_id is not None
    assert columns.trade_id.tolist() == ["t1", None, "a,b"]
    assert [vocabulary.origins.values[number] for number in columns.origin] == [
        Origin("P", ("iso", "odd_lot"), "mine"),
        Origin(None, (), None),
        Origin("Q", (), "mine"),
    ]


def test_csv_rows_become_trades(tmp_path: Path) -> None:
    check(*read(csv(tmp_path, HEADER + ROWS)))


def test_csv_may_have_carriage_returns_and_a_byte_order_mark(tmp_path: Path) -> None:
    check(*read(csv(tmp_path, "\ufeff" + (HEADER + ROWS).replace("\n", "\r\n"))))


def test_columns_come_in_any_order_and_only_four_are_needed(tmp_path: Path) -> None:
    columns, vocabulary = read(csv(tmp_path, f"event_time,size,symbol,price\n{T0},2,ES,5000.25"))
    assert columns.price.tolist() == [5000.25]
    assert columns.sequence.tolist() == [0]
    assert columns.trade_id is None
    assert vocabulary.origins.values == [Origin(None, (), None)]


@pytest.mark.parametrize(
    "times",
    [
        ("2013-10-07T13:30:00Z", "2013-10-07T13:30:00.000000001Z"),
        ("2013-10-07T09:30:00-04:00", "2013-10-07 15:30:00.000000001+02:00"),
        (str(T0), "2013-10-07T13:30:00.000000001Z"),
        (str(T0), str(T0 + 1)),
    ],
)
def test_times_are_nanoseconds_or_iso_text(tmp_path: Path, times: tuple[str, str]) -> None:
    text = "symbol,price,size,event_time\n" + "".join(f"A,1,1,{time}\n" for time in times)
    columns, _ = read(csv(tmp_path, text))
    assert columns.event_time.tolist() == [T0, T0 + 1]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (f"SPY,1,1,{T0}", "4 columns; expected 9"),
        (f"SPY,1,1,{T0},,,,,,", "10 columns"),
        ("", "0 columns"),
        (f",1,1,{T0},,,,,", "symbol is missing"),
        (f"SPY,,1,{T0},,,,,", "price is missing"),
        (f"S PY,1,1,{T0},,,,,", "symbol 'S PY': outside the alphabet"),
        (f"{'S' * 33},1,1,{T0},,,,,", "outside the alphabet"),
        (f"SPY,abc,1,{T0},,,,,", "price 'abc': could not convert"),
        (f"SPY,nan,1,{T0},,,,,", "price 'nan': expected a number"),
        (f"SPY,inf,1,{T0},,,,,", "price 'inf': expected a number"),
        (f"SPY,1_0,1,{T0},,,,,", "price '1_0': expected a number"),
        (f"SPY,2e12,1,{T0},,,,,", "price '2e12': expected a number"),
        (f"SPY,1,-1,{T0},,,,,", "size '-1': expected a number from 0"),
        (f"SPY,1e12,1e12,{T0},,,,,", "price x size is more than"),
        ("SPY,1,1,yesterday,,,,,", "event_time 'yesterday': expected ns"),
        ("SPY,1,1,2013-10-07T13:30:00,,,,,", "expected ns since the epoch, or ISO 8601 with its"),
        ("SPY,1,1,-5,,,,,", "event_time '-5'"),
        ("SPY,1,1,9223372036854775808,,,,,", "expected a whole number from 0 to"),
        (f"SPY,1,1,{T0},,-1,,,", "sequence '-1'"),
        (f"SPY,1,1,{T0},,1.5,,,", "sequence '1.5'"),
        (f"SPY,1,1,{T0},{'x' * 65},,,,", "trade_id"),
        (f"SPY,1,1,{T0},,,{'x' * 65},,", "venue"),
        (f"SPY,1,1,{T0},,,,full_moon,", "unknown condition 'full_moon'"),
        (f"SPY,1,1,{T0},,,,{';'.join(['iso'] * 9)},", "9 conditions; expected at most 8"),
        (f'SPY,1,1,{T0},"open,,,,', "unexpected end of data"),
    ],
)
def test_a_broken_csv_row_is_named_by_file_and_line(tmp_path: Path, row: str, fault: str) -> None:
    path = csv(tmp_path, HEADER + ROWS + row + "\n" + ROWS)
    with pytest.raises(FeedError) as caught:
        read(path)
    assert (caught.value.file, caught.value.line) == (path, 5)
    assert fault in caught.value.message


def test_a_broken_row_far_into_a_csv_has_its_line(tmp_path: Path) -> None:
    path = csv(tmp_path, HEADER + ROWS * 20_000 + "SPY,1\n")
    with pytest.raises(FeedError, match=r":60002: 2 columns"):
        read(path)


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "trades.csv"
    path.write_bytes(f"symbol,price,size,event_time,venue\nA,1,1,{T0},\xff\n".encode("latin-1"))
    with pytest.raises(FeedError, match=r":2: not UTF-8"):
        read(path)


def test_a_file_without_line_ends_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="no line end"):
        read(csv(tmp_path, HEADER + "x" * 3_000_000))


def test_other_headers_are_another_kind_and_unknown_columns_a_fault(tmp_path: Path) -> None:
    assert open_csv(csv(tmp_path, "date,close\n1,2\n")) == (
        "no column symbol, price, size, event_time"
    )
    with pytest.raises(FeedError, match=r"trades\.csv:1: columns .*colour"):
        open_csv(csv(tmp_path, "symbol,price,size,event_time,colour\n"))
    with pytest.raises(FeedError, match="expected each once"):
        open_csv(csv(tmp_path, "symbol,price,size,event_time,price\n"))


def table(**changes: object) -> dict[str, object]:
    columns: dict[str, object] = {
        "symbol": ["SPY", "BTC/USD", "SPY"],
        "price": [167.41, -0.5, 1000.0],
        "size": [100.0, 0.0, 0.25],
        "event_time": pa.array([T0, T0 + 1, T0 + 2]),
        "trade_id": ["t1", None, "a,b"],
        "sequence": pa.array([7, None, 9], pa.int64()),
        "venue": ["P", None, "Q"],
        "conditions": ["iso;odd_lot", None, ""],
        "source": ["mine", None, "mine"],
    }
    return {**columns, **changes}


def parquet(folder: Path, columns: dict[str, object]) -> Path:
    path = folder / "trades.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def test_parquet_rows_become_trades(tmp_path: Path) -> None:
    check(*read(parquet(tmp_path, table())))


def test_parquet_takes_dictionaries_timestamps_and_small_integers(tmp_path: Path) -> None:
    moments = pa.array([T0, T0 + 1, T0 + 2]).cast(pa.timestamp("ns", "America/New_York"))
    symbols = pa.array(["SPY", "BTC/USD", "SPY"]).dictionary_encode()
    sequences = pa.array([7, None, 9], pa.uint16())
    check(*read(parquet(tmp_path, table(event_time=moments, symbol=symbols, sequence=sequences))))
    texts = ["2013-10-07T13:30:00Z"] * 3
    columns, _ = read(parquet(tmp_path, table(event_time=texts, price=pa.array([1, 2, 3]))))
    assert columns.event_time.tolist() == [T0] * 3
    assert columns.price.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("changes", "line", "fault"),
    [
        ({"symbol": ["SPY", None, "SPY"]}, 2, "symbol is missing"),
        ({"symbol": ["SPY", "SPY", "é"]}, 3, "outside the alphabet"),
        ({"price": [1.0, 2.0, float("nan")]}, 3, "out of its bounds"),
        ({"size": [1.0, -2.0, 1.0]}, 2, "out of its bounds"),
        ({"conditions": ["iso", "full_moon", None]}, 2, "unknown condition"),
        ({"event_time": ["x", "y", "z"]}, 1, "Failed to parse"),
        ({"event_time": pa.array([T0] * 3).cast(pa.timestamp("ns"))}, None, "without a time zone"),
        ({"price": ["1", "2", "3"]}, None, "column price is string; expected double"),
        ({"venue": [1.5, 2.5, 3.5]}, None, "column venue is double"),
    ],
)
def test_a_broken_parquet_row_is_named(
    tmp_path: Path, changes: dict[str, object], line: int | None, fault: str
) -> None:
    path = parquet(tmp_path, table(**changes))
    with pytest.raises(FeedError) as caught:
        read(path)
    assert (caught.value.file, caught.value.line) == (path, line)
    assert fault in caught.value.message


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path, table())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FeedError, match="not a whole Parquet file"):
        open_parquet(path)


def test_what_is_read_is_what_is_sent(tmp_path: Path) -> None:
    """From a CSV through the encoder to what the engine decodes."""
    columns, vocabulary = read(csv(tmp_path, HEADER + ROWS))
    values = TickEncoder(vocabulary, 4).encode(columns)
    trades = [trade_decoder.decode(value) for value in values]
    assert [(t.symbol, t.price, t.size, t.event_time) for t in trades] == [
        ("SPY", 167.41, 100.0, T0),
        ("BTC/USD", -0.5, 0.0, T0 + 1),
        ("SPY", 1000.0, 0.25, T0 + 2),
    ]
    assert [t.trade_id for t in trades] == ["t1", None, "a,b"]
    assert [t.sequence for t in trades] == [7, 1, 9]
    assert [t.conditions for t in trades] == [("iso", "odd_lot"), (), ()]
    assert [t.venue for t in trades] == ["P", None, "Q"]
    assert [t.source for t in trades] == ["mine", None, "mine"]
