"""Plain CSV and Parquet of quotes, and how a table tells trades from quotes."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.contracts.wire import quote_decoder
from app.feeds.columns import Origin, QuoteColumns, Vocabulary, concatenate
from app.feeds.encode import TickEncoder
from app.feeds.errors import FeedError
from app.feeds.tabular import CsvFile, ParquetFile, open_csv, open_parquet

T0 = 1_381_152_600_000_000_000
HEADER = "symbol,bid,ask,event_time,bid_size,ask_size,sequence,venue,source\n"
ROWS = f"IBM,180.01,181.8,{T0},300,100,7,P,mine\nES,-0.5,1e3,{T0 + 1},,0.25,,,\n"


def csv(folder: Path, text: str) -> Path:
    path = folder / "quotes.csv"
    path.write_text(text)
    return path


def read(path: Path) -> tuple[QuoteColumns, Vocabulary]:
    file = open_parquet(path) if path.suffix == ".parquet" else open_csv(path)
    assert isinstance(file, CsvFile | ParquetFile)
    assert file.kind == "quotes"
    vocabulary, left_out = Vocabulary(), Counter()
    columns = concatenate(list(file.columns(vocabulary, left_out)))
    assert isinstance(columns, QuoteColumns)
    assert not left_out
    return columns, vocabulary


def check(columns: QuoteColumns, vocabulary: Vocabulary) -> None:
    """What ROWS are."""
    assert [vocabulary.symbols.values[number] for number in columns.symbol] == ["IBM", "ES"]
    assert (columns.bid.tolist(), columns.ask.tolist()) == ([180.01, -0.5], [181.8, 1000.0])
    assert (columns.bid_size.tolist(), columns.ask_size.tolist()) == ([300.0, 0.0], [100.0, 0.25])
    assert columns.event_time.tolist() == [T0, T0 + 1]
    assert columns.sequence.tolist() == [7, 1]
    assert [vocabulary.origins.values[number] for number in columns.origin] == [
        Origin("P", (), "mine"),
        Origin(None, (), None),
    ]


def test_csv_rows_become_quotes(tmp_path: Path) -> None:
    columns, vocabulary = read(csv(tmp_path, HEADER + ROWS))
    check(columns, vocabulary)
    first = TickEncoder(vocabulary, 1).encode(columns)[0]
    assert quote_decoder.decode(first).bid_size == 300.0


def test_four_columns_are_enough_in_any_order(tmp_path: Path) -> None:
    columns, _ = read(csv(tmp_path, f"ask,event_time,symbol,bid\n1.3,{T0},EURUSD,1.2\n"))
    assert (columns.bid.tolist(), columns.ask.tolist()) == ([1.2], [1.3])
    assert columns.bid_size.tolist() == columns.ask_size.tolist() == [0.0]


@pytest.mark.parametrize("whole", [False, True])
def test_parquet_rows_become_quotes(tmp_path: Path, whole: bool) -> None:
    path = tmp_path / "quotes.parquet"
    table = pa.table(
        {
            "symbol": pa.array(["IBM", "ES"]).dictionary_encode(),
            "bid": pa.array([180.01, -0.5]),
            "ask": pa.array([181.8, 1000.0]),
            "event_time": pa.array([T0, T0 + 1]).cast(pa.timestamp("ns", "UTC")),
            "bid_size": pa.array([300, None], pa.int32() if whole else pa.float64()),
            "ask_size": [100.0, 0.25],
            "sequence": pa.array([7, None], pa.int32()),
            "venue": pa.array(["P", None]),
            "source": pa.array(["mine", None]),
        }
    )
    pq.write_table(table, path)
    check(*read(path))


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (f"IBM,1,2,{T0}", "4 columns; expected 9"),
        (f"IBM,,2,{T0},,,,,", "bid is missing"),
        (f"IBM,1,,{T0},,,,,", "ask is missing"),
        (f"IBM,1,nan,{T0},,,,,", "ask 'nan': expected a number"),
        (f"IBM,2e12,1,{T0},,,,,", "bid '2e12': expected a number"),
        (f"IBM,1,2,{T0},-1,,,,", "bid_size '-1': expected a number from 0"),
        (f"IBM,1,2,{T0},1,x,,,", "ask_size 'x': could not convert"),
        ("IBM,1,2,-5,,,,,", "event_time '-5'"),
        (f"I BM,1,2,{T0},,,,,", "outside the alphabet"),
        (f"IBM,1,2,{T0},,,-1,,", "sequence '-1'"),
        (f"IBM,1,2,{T0},,,,{'v' * 65},", "venue"),
    ],
)
def test_a_broken_quote_is_named_by_file_and_line(tmp_path: Path, row: str, fault: str) -> None:
    path = csv(tmp_path, HEADER + ROWS + row + "\n" + ROWS)
    with pytest.raises(FeedError) as caught:
        read(path)
    assert (caught.value.file, caught.value.line) == (path, 4)
    assert fault in caught.value.message


def test_a_broken_parquet_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "quotes.parquet"
    pq.write_table(
        pa.table(
            {
                "symbol": ["A", "A"],
                "bid": [1.0, 1e13],
                "ask": [1.0, 1.0],
                "event_time": [T0, T0],
            }
        ),
        path,
    )
    with pytest.raises(FeedError, match=r"quotes\.parquet:2: a price or size is out of its"):
        read(path)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (
            "symbol,price,size,bid,ask,event_time",
            "columns of trades and of quotes (price, bid, ask); expected one kind",
        ),
        ("symbol,price,bid,event_time", "columns of trades and of quotes (price, bid); expected"),
        ("symbol,bid,event_time", "no column ask"),
        ("symbol,ask", "no column bid, event_time"),
        ("symbol,event_time", "no column price, size"),
    ],
)
def test_the_header_tells_the_kind(tmp_path: Path, header: str, reason: str) -> None:
    opened = open_csv(csv(tmp_path, header + "\n"))
    assert isinstance(opened, str)
    assert opened.startswith(reason)


@pytest.mark.parametrize("extra", ["trade_id", "conditions", "size", "bid"])
def test_columns_of_trades_are_refused_beside_quotes(tmp_path: Path, extra: str) -> None:
    path = csv(tmp_path, f"symbol,bid,ask,event_time,{extra}\n")
    with pytest.raises(FeedError, match="expected each once of symbol, bid, ask, event_time, bid_"):
        open_csv(path)
