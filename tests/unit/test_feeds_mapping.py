"""A user's own CSV and Parquet: names, units, zones, constants; faults in one line."""

import gzip
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.cli import candlewick
from app.cli.mapping import mapping_options
from app.feeds.columns import (
    Origin,
    QuoteColumns,
    TickColumns,
    TradeColumns,
    Vocabulary,
    concatenate,
)
from app.feeds.errors import FeedError
from app.feeds.files import FeedFile
from app.feeds.mapping import ColumnMapping, MappingError, mapping_of
from app.feeds.mapping_times import nanoseconds
from app.feeds.source import open_source
from app.feeds.tabular import CsvFile, open_csv

T0 = 1_381_152_600_000_000_000
NEW_YORK = ZoneInfo("America/New_York")
PLAIN = {"symbol": "ticker", "price": "last", "size": "qty", "event_time": "ts"}
TEXT = f"ts,colour,ticker,last,qty\n{T0},red,SPY,167.41,100\n{T0 + 1},,BTC/USD,-0.5,0\n"


def write(folder: Path, text: str, name: str = "own.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def read_file(file: FeedFile) -> tuple[TickColumns, Vocabulary]:
    vocabulary, left_out = Vocabulary(), Counter[str]()
    columns = concatenate(list(file.columns(vocabulary, left_out)))
    assert not left_out
    return columns, vocabulary


def read(path: Path, **options: Any) -> tuple[TickColumns, Vocabulary]:
    opened = mapping_of(None, {"columns": PLAIN, **options}).open(path)
    assert not isinstance(opened, str), opened
    return read_file(opened)


def trades(path: Path, **options: Any) -> tuple[TradeColumns, Vocabulary]:
    columns, vocabulary = read(path, **options)
    assert isinstance(columns, TradeColumns)
    return columns, vocabulary


def check(columns: TradeColumns, vocabulary: Vocabulary) -> None:
    """What TEXT is."""
    assert [vocabulary.symbols.values[number] for number in columns.symbol] == ["SPY", "BTC/USD"]
    assert columns.price.tolist() == [167.41, -0.5]
    assert columns.size.tolist() == [100.0, 0.0]
    assert columns.event_time.tolist() == [T0, T0 + 1]
    assert columns.sequence.tolist() == [0, 1]


@pytest.mark.parametrize("name", ["own.csv", "own.csv.gz", "own.txt"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_named_columns_are_read_and_others_are_not(
    tmp_path: Path, name: str, mark: str, ends: str
) -> None:
    path = write(tmp_path, mark + TEXT.replace("\n", ends), name)
    check(*trades(path))
    source = open_source([path], mapping=mapping_of(None, {"columns": PLAIN}))
    assert source.verify() == 2


def test_a_packed_csv_of_ours_needs_no_mapping(tmp_path: Path) -> None:
    text = TEXT.replace("colour", "venue").replace("ticker", "symbol").replace("last", "price")
    text = text.replace("qty", "size").replace("ts", "event_time")
    source = open_source([write(tmp_path, text, "own.csv.gz")])
    assert source.verify() == 2
    columns = concatenate(list(source.chunks()))
    assert isinstance(columns, TradeColumns)
    check(columns, source.vocabulary)
    for other in (text.replace("venue", "colour"), text.replace("price", "last")):
        with pytest.raises(FeedError, match="cannot be replayed: "):
            open_source([write(tmp_path, other, "own.csv.gz")])


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_without_a_header_columns_are_positions(tmp_path: Path, mark: str) -> None:
    path = write(tmp_path, mark + TEXT.split("\n", 1)[1])
    places = {"symbol": "3", "price": "4", "size": "5", "event_time": "1"}
    check(*trades(path, columns=places, header=False))


@pytest.mark.parametrize("delimiter", [";", "tab", "|"])
def test_fields_may_be_separated_otherwise_and_quoted(tmp_path: Path, delimiter: str) -> None:
    text = TEXT.replace("red", '"a,b"').replace("SPY", '" SPY "')
    rows = [line.split(",") for line in TEXT.splitlines()]
    rows[1][1], rows[1][2] = '"a;|\tb"', '" SPY "'
    character = "\t" if delimiter == "tab" else delimiter
    text = "\n".join(character.join(row) for row in rows)
    check(*trades(write(tmp_path, text, "own.tsv"), delimiter=delimiter))


def test_constants_and_a_price_scale(tmp_path: Path) -> None:
    path = write(tmp_path, f"t,p\n{T0},1674100\n{T0 + 1},-5000\n")
    columns, vocabulary = trades(
        path,
        columns={"price": "p", "event_time": "t"},
        constants={"symbol": "ES", "size": "2", "venue": "X", "conditions": "iso;odd_lot"},
        price_scale=10_000.0,
    )
    assert columns.price.tolist() == [167.41, -0.5]
    assert columns.size.tolist() == [2.0, 2.0]
    assert vocabulary.symbols.values == ["ES"]
    assert vocabulary.origins.values == [Origin("X", ("iso", "odd_lot"), None)]


def test_names_of_quotes_make_quotes(tmp_path: Path) -> None:
    path = write(tmp_path, f"t,b,a,bs\n{T0},1.5,1.6,\n{T0},1.5,1.7,3\n")
    chosen = {"bid": "b", "ask": "a", "event_time": "t", "bid_size": "bs"}
    columns, _ = read(path, columns=chosen, constants={"symbol": "EUR", "source": "me"})
    assert isinstance(columns, QuoteColumns)
    assert (columns.bid.tolist(), columns.ask.tolist()) == ([1.5, 1.5], [1.6, 1.7])
    assert (columns.bid_size.tolist(), columns.ask_size.tolist()) == ([0.0, 3.0], [0.0, 0.0])


@pytest.mark.parametrize(
    ("stamp", "options", "expected"),
    [
        ("1381152600", {"time_unit": "s"}, T0),
        ("1381152600.123456789", {"time_unit": "s"}, T0 + 123_456_789),
        ("1381152600.5", {"time_unit": "s"}, T0 + 500_000_000),
        ("1381152600123", {"time_unit": "ms"}, T0 + 123_000_000),
        ("1381152600123.25", {"time_unit": "ms"}, T0 + 123_250_000),
        ("1381152600123456", {"time_unit": "us"}, T0 + 123_456_000),
        (str(T0), {"time_unit": "ns"}, T0),
        (str(T0), {}, T0),
        ("2013-10-07T13:30:00Z", {}, T0),
        ("2013-10-07 09:30:00-04:00", {"time_unit": "iso", "time_zone": "Asia/Tokyo"}, T0),
        ("2013-10-07 09:30:00.000000001", {"time_zone": "America/New_York"}, T0 + 1),
        ("2013-10-07T13:30:00", {"time_unit": "iso", "time_zone": "UTC"}, T0),
        ("2013-10-07T19:00:00", {"time_zone": "Asia/Kolkata"}, T0),
    ],
)
def test_stamps_are_in_the_unit_and_zone_that_are_given(
    tmp_path: Path, stamp: str, options: dict[str, Any], expected: int
) -> None:
    path = write(tmp_path, f"ts,ticker,last,qty\n{stamp},A,1,1\n")
    assert trades(path, **options)[0].event_time.tolist() == [expected]


@pytest.mark.parametrize(
    ("row", "options", "fault"),
    [
        (f"{T0},A,1", {}, "3 columns; expected 4"),
        ("", {}, "0 columns; expected 4"),
        (f"{T0},A,abc,1", {}, "price (column last) 'abc': expected a number"),
        (f"{T0},A,,1", {}, "price (column last) is missing"),
        (f"{T0},A,nan,1", {}, "price or size is out of its bounds"),
        (f"{T0},A,1,-1", {}, "price or size is out of its bounds"),
        (f"{T0},A B,1,1", {}, "symbol 'A B' is outside the alphabet"),
        ("yesterday,A,1,1", {}, "event_time (column ts) 'yesterday': expected ISO 8601"),
        ("-5,A,1,1", {}, "event_time (column ts) '-5'"),
        ("2013-10-07T09:30:00,A,1,1", {}, "has no offset; expected one, or a time zone"),
        ("1.5,A,1,1", {"time_unit": "ns"}, "'1.5': expected a number in ns"),
        ("1.1234567,A,1,1", {"time_unit": "ms"}, "in ms with at most 6 decimal places"),
        ("99999999999999,A,1,1", {"time_unit": "s"}, "this is after the year 2262"),
        (f"{T0},A,1,1", {"time_unit": "iso"}, "expected ISO 8601"),
        ("2018-11-04T01:30:00,A,1,1", {"time_zone": "America/New_York"},
         "clocks in America/New_York have shown 2018-11-04 01:30:00 to 2018-11-04 01:45:00 twice"),
        ("2018-03-11T02:59:59.9,A,1,1", {"time_zone": "America/New_York"},
         "have shown 2018-03-11 02:45:00 to 2018-03-11 03:00:00 never"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", [0, 4, 30_001])
def test_a_broken_row_is_named_by_file_and_line(
    tmp_path: Path, row: str, options: dict[str, Any], fault: str, before: int
) -> None:
    unit = options.get("time_unit")
    good = "2018-06-01T12:00:00Z" if unit in (None, "iso") else "1"
    lines = f"{good},A,1,1\n" * before
    path = write(tmp_path, f"ts,ticker,last,qty\n{lines}{row}\n{good},A,1,1\nbroken too\n")
    with pytest.raises(FeedError) as caught:
        read(path, **options)
    assert (caught.value.file, caught.value.line) == (path, before + 2)
    assert fault in caught.value.message


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"columns": {**PLAIN, "price": "close"}},
         "no column 'close' (for price); expected one of: ts, colour, ticker, last, qty"),
        ({"delimiter": ";"}, "no column 'ticker' (for symbol); expected one of: ts,colour"),
        ({"columns": dict(zip(PLAIN, "3459", strict=True)), "header": False},
         "no column 9 (for event_time); its first line has 5"),
    ],
)  # fmt: skip
def test_a_column_that_a_file_has_not_is_told(
    tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    path = write(tmp_path, TEXT)
    mapping = mapping_of(None, {"columns": PLAIN, **options})
    opened = mapping.open(path)
    assert isinstance(opened, str)
    assert reason in opened
    with pytest.raises(FeedError, match="cannot be replayed: no column"):
        open_source([path], mapping=mapping)


def test_a_column_that_is_there_twice_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, TEXT.replace("colour", "last"))
    opened = mapping_of(None, {"columns": PLAIN}).open(path)
    assert isinstance(opened, str)
    assert "more than one column 'last' (for price)" in opened


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"columns": {**PLAIN, "prise": "x"}}, "unknown name 'prise'; expected of trades: symbol,"),
        ({"columns": {**PLAIN, "bid": "x"}}, "price beside bid or ask"),
        ({"columns": {"price": "x"}}, "no column for symbol, size, event_time; trades need it"),
        ({"columns": {"bid": "x"}}, "no column for symbol, ask, event_time; quotes need it"),
        ({"columns": PLAIN, "constants": {"symbol": "A"}}, "symbol is both a column and"),
        ({"columns": {"event_time": "t", "symbol": "s", "size": "q"}, "constants": {"price": "1"}},
         "price cannot be a constant; expected one of symbol, size"),
        ({"columns": PLAIN, "constants": {"venue": ""}}, "constant venue='' is not a valid venue"),
        ({"columns": PLAIN, "constants": {"conditions": "full_moon"}}, "unknown condition"),
        ({"columns": PLAIN, "delimiter": "::"}, "delimiter '::'; expected one character"),
        ({"columns": PLAIN, "header": False}, "column 'ticker' for symbol; expected its position"),
        ({"columns": PLAIN, "time_zone": "Mars"}, "unknown time zone 'Mars'; expected UTC"),
        ({"columns": PLAIN, "time_unit": "m"}, "time_unit: Input should be 's', 'ms', 'us'"),
        ({"columns": PLAIN, "price_scale": 0.0}, "price_scale: Input should be greater than 0"),
    ],
)  # fmt: skip
def test_a_mapping_that_cannot_be_is_one_line(options: dict[str, Any], fault: str) -> None:
    with pytest.raises(MappingError) as caught:
        mapping_of(None, options)
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_gives_the_mapping_and_options_win(tmp_path: Path) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(
        'time_unit = "ms"\nheader = false\nprice_scale = 100\n'
        '[columns]\nprice = 2\nevent_time = 1\nsymbol = 3\n[constants]\nsize = 1\nvenue = "X"\n'
    )
    plain = mapping_of(path, {})
    assert plain.columns == {"price": "2", "event_time": "1", "symbol": "3"}
    assert plain.constants == {"size": "1", "venue": "X"}
    options = {"columns": {"size": "4"}, "constants": {"symbol": "A"}, "time_unit": "s"}
    chosen = mapping_of(path, options)
    assert chosen.columns == {"price": "2", "event_time": "1", "size": "4"}
    assert chosen.constants == {"symbol": "A", "venue": "X"}
    assert (chosen.time_unit, chosen.price_scale, chosen.header) == ("s", 100.0, False)
    for text in ("colour = 1", "not TOML", '[columns]\nprice = "p"\n'):
        path.write_text(text)
        with pytest.raises(MappingError, match=r"mapping\.toml"):
            mapping_of(path, {})


def test_parquet_columns_are_of_many_types(tmp_path: Path) -> None:
    path = tmp_path / "own.parquet"
    columns = {
        "ticker": pa.array(["SPY", "BTC/USD"]).dictionary_encode(),
        "last": pa.array([167.41, -0.5]),
        "qty": pa.array([100, 0], pa.int16()),
        "other": pa.array([[1], [2]]),
    }
    local = np.array([T0, T0 + 1]) - 4 * 3_600 * 1_000_000_000
    stamps = {
        "whole": (pa.array([T0, T0 + 1]), {}),
        "zoned": (pa.array([T0, T0 + 1], pa.timestamp("ns", "America/New_York")), {}),
        "naive": (pa.array(local, pa.timestamp("ns")), {"time_zone": "America/New_York"}),
        "text": (pa.array(["2013-10-07T13:30:00Z", "2013-10-07T13:30:00.000000001Z"]), {}),
    }
    for column, options in stamps.values():
        pq.write_table(pa.table({**columns, "ts": column}), path, row_group_size=1)
        check(*trades(path, **options))
    naive = {**columns, "ts": stamps["naive"][0]}
    pq.write_table(pa.table(naive), path)
    with pytest.raises(FeedError, match=r"own\.parquet:1: event_time .* has no offset"):
        read(path)
    pq.write_table(pa.table({**naive, "ts": pa.array([1.5, 2.5])}), path)
    with pytest.raises(FeedError, match="is double; expected whole numbers"):
        read(path)
    opened = mapping_of(None, {"columns": {**PLAIN, "size": "volume"}}).open(path)
    assert opened == (
        "no column 'volume' (for size); expected one of: ticker, last, qty, other, ts"
    )


prices = st.floats(-1e6, 1e6, allow_nan=False)
rows_of_trades = st.lists(
    st.tuples(
        st.sampled_from(["A", "B/C", "D.E"]),
        prices,
        st.floats(0, 1e6, allow_nan=False),
        st.integers(0, 2**62),
        st.none() | st.integers(0, 2**62),
        st.none() | st.sampled_from(["x", "a b", "é"]),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(
    rows=rows_of_trades,
    order=st.permutations(range(7)),
    header=st.booleans(),
    delimiter=st.sampled_from(",;|"),
)
def test_a_mapped_file_reads_as_the_plain_one(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[Any, ...]],
    order: list[int],
    header: bool,
    delimiter: str,
) -> None:
    folder = tmp_path_factory.mktemp("mapped")
    names = ["symbol", "price", "size", "event_time", "sequence", "venue"]
    texts = [["" if value is None else str(value) for value in row] for row in rows]
    plain = [names, *texts]
    plain_path = write(folder, "\n".join(",".join(row) for row in plain), "plain.csv")
    mapped = [[*(f"their {name}" for name in names), "junk"], *([*row, "junk"] for row in texts)]
    shuffled = [[row[place] for place in order] for row in mapped]
    own_path = write(
        folder, "\n".join(delimiter.join(row) for row in (shuffled if header else shuffled[1:]))
    )
    columns = {
        name: f"their {name}" if header else str(order.index(place) + 1)
        for place, name in enumerate(names)
    }
    expected_file = open_csv(plain_path)
    assert isinstance(expected_file, CsvFile)
    expected, words = read_file(expected_file)
    got, own_words = read(own_path, columns=columns, header=header, delimiter=delimiter)
    assert isinstance(expected, TradeColumns)
    assert isinstance(got, TradeColumns)
    for name in ("symbol", "price", "size", "event_time", "sequence", "origin"):
        assert getattr(got, name).tolist() == getattr(expected, name).tolist()
    assert own_words.symbols.values == words.symbols.values
    assert own_words.origins.values == words.origins.values


@settings(deadline=None)
@given(
    moment=st.datetimes(datetime(1975, 1, 1), datetime(2037, 12, 31)),
    name=st.sampled_from(
        ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]
    ),
)
def test_local_stamps_are_those_of_the_zone(moment: datetime, name: str) -> None:
    """Against the standard library, where the wall clock shows a moment once."""
    zone = ZoneInfo(name)
    local = moment.replace(tzinfo=zone)
    assume(local.utcoffset() == local.replace(fold=1).utcoffset())
    quarter = local.replace(minute=local.minute // 15 * 15, second=0, microsecond=0)
    assume(quarter.utcoffset() == quarter.replace(fold=1).utcoffset())
    since = local.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    expected = since // timedelta(microseconds=1) * 1_000
    column = pa.array([moment.isoformat(timespec="microseconds")])
    assert nanoseconds(column, "iso", zone).tolist() == [expected]


@settings(deadline=None)
@given(stamp=st.integers(0, 2**62), unit=st.sampled_from([("s", 9), ("ms", 6), ("us", 3)]))
def test_digits_lose_nothing(stamp: int, unit: tuple[str, int]) -> None:
    name, places = unit
    whole, part = divmod(stamp, 10**places)
    text = f"{whole}.{part:0{places}}" if part else str(whole)
    assert nanoseconds(pa.array([text, text]), name, None).tolist() == [stamp, stamp]  # type: ignore[arg-type]


@click.command()
@click.option("--kind", type=click.Choice(["trades", "quotes"]), default="trades")
@mapping_options
def show(kind: str, mapping: ColumnMapping | None) -> None:
    """What the options give."""
    click.echo(f"{kind} {None if mapping is None else mapping.model_dump(exclude_defaults=True)}")


def test_options_give_a_mapping_and_the_kind_follows() -> None:
    columns = ["--column", "symbol=s", "--column", "event_time=t"]
    trade = ["--column", "price=p=q", "--constant", "size=1"]
    quote = ["--column", "bid=b", "--column", "ask=a"]
    invoke = CliRunner().invoke
    assert invoke(show, []).output == "trades None\n"
    assert invoke(show, ["--kind", "quotes"]).output == "quotes None\n"
    whole = invoke(show, [*columns, *trade, "--time-unit", "ms", "--delimiter", ";"])
    assert whole.output == (
        "trades {'columns': {'symbol': 's', 'event_time': 't', 'price': 'p=q'}, "
        "'constants': {'size': '1'}, 'time_unit': 'ms', 'delimiter': ';'}\n"
    )
    assert invoke(show, [*columns, *quote]).output.startswith("quotes {")
    other = invoke(show, [*columns, *quote, "--kind", "trades"])
    assert other.exit_code == 2
    assert "--kind trades, but the mapped columns are of quotes" in other.output
    for wrong in (["--column", "price"], ["--column", "=x"], ["--time-unit", "m"]):
        assert invoke(show, wrong).exit_code == 2
    twice = invoke(show, ["--column", "price=a", "--column", "price=b"])
    assert "--column price is given twice" in twice.output


@pytest.mark.parametrize("command", ["replay", "run"])
def test_commands_refuse_a_mapping_that_cannot_be(tmp_path: Path, command: str) -> None:
    path = write(tmp_path, TEXT)
    target = [str(path)] if command == "replay" else ["--replay", str(path)]
    ended = CliRunner().invoke(candlewick, [command, *target, "--column", "prise=last"])
    assert ended.exit_code == 2
    assert "unknown name 'prise'" in ended.output
