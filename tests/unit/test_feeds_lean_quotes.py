"""Lean's quotes: rows of one side become quotes of both, wherever blocks end; forex ticks."""

import zipfile
from collections import Counter
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.feeds.columns import Origin, QuoteColumns, Vocabulary, concatenate
from app.feeds.errors import FeedError
from app.feeds.files import facts_of
from app.feeds.lean import open_lean
from app.feeds.lean_layouts import layout_of, midnights, parsed
from app.feeds.lean_quotes import IRREGULAR, NO_PRICE, ONE_SIDE, PAIRED, SUSPICIOUS, QuoteReader

#: 9:30 in New York on 7 October 2013.
OPEN = 1_381_152_600_000_000_000
MILLISECOND = 1_000_000
EQUITY = layout_of(("equity",), "quotes", 8)
MIDNIGHTS = np.full(24, OPEN - 34_200_000 * MILLISECOND, dtype=np.int64)

Quote = tuple[int, int, float, float, float, float, str | None]


def make(folder: Path, name: str, *members: tuple[str, str]) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, text in members:
            archive.writestr(member, text)
    return path


def equity(folder: Path, text: str) -> Path:
    return make(folder, "equity/tick/ibm/20131007_quote.zip", ("20131007_ibm_Quote_Tick.csv", text))


def read(path: Path) -> tuple[QuoteColumns, Vocabulary, Counter[str]]:
    (file,) = open_lean(path)
    assert file.kind == "quotes"
    vocabulary, left_out = Vocabulary(), Counter()
    return concatenate(list(file.columns(vocabulary, left_out))), vocabulary, left_out


def quotes(columns: QuoteColumns, vocabulary: Vocabulary) -> list[Quote]:
    """(ms after 9:30, sequence, bid, bid size, ask, ask size, venue) of each."""
    found = []
    for row in range(len(columns)):
        origin = vocabulary.origins.values[columns.origin[row]]
        assert origin == Origin(origin.venue, (), "lean")
        found.append(
            (
                int(columns.event_time[row] - OPEN) // MILLISECOND,
                int(columns.sequence[row]),
                float(columns.bid[row]),
                float(columns.bid_size[row]),
                float(columns.ask[row]),
                float(columns.ask_size[row]),
                origin.venue,
            )
        )
    return found


def test_one_sided_rows_become_quotes_of_both_sides(tmp_path: Path) -> None:
    rows = (
        "34200000,0,0,1836300,100,Q,1,0\n"  # no bid is known yet
        "34200001,1800100,300,0,0,P,1,0\n"
        "34200001,0,0,1818000,3000,P,1,0\n"  # of a pair with the bid: one quote, of one venue
        "34200005,1800200,200,0,0,K,1,0\n"  # a bid alone keeps the ask, of another venue
        "34200006,0,0,1817000,400,K,1,0\n"
        "34200007,0,0,1816000,500,N,1,0\n"
        "34200007,1800300,100,0,0,N,1,0\n"  # an ask and then a bid are two quotes
    )
    columns, vocabulary, left_out = read(equity(tmp_path, rows))
    assert vocabulary.symbols.values == ["IBM"]
    assert quotes(columns, vocabulary) == [
        (1, 2, 180.01, 300.0, 181.8, 3000.0, "P"),
        (5, 3, 180.02, 200.0, 181.8, 3000.0, None),
        (6, 4, 180.02, 200.0, 181.7, 400.0, "K"),
        (7, 5, 180.02, 200.0, 181.6, 500.0, None),
        (7, 6, 180.03, 100.0, 181.6, 500.0, "N"),
    ]
    assert left_out == {ONE_SIDE: 1, PAIRED: 1}


def test_rows_that_say_nothing_of_the_market_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = (
        "34200000,1800000,100,1801000,100,P,1,0\n"  # both sides in one row
        "34200001,1900000,100,0,0,P,1,1\n"  # suspicious
        "34200002,1700000,100,0,0,N,800,0\n"  # the opening quote of an exchange
        "34200003,0,0,1600000,100,N,8,0\n"  # its closing quote
        "34200004,0,0,0,0,N,1,0\n"  # no price at all
        "34200005,1800100,100,0,0,P,0,0\n"  # no flag: nothing against it
    )
    columns, vocabulary, left_out = read(equity(tmp_path, rows))
    assert [(quote[0], quote[2], quote[4]) for quote in quotes(columns, vocabulary)] == [
        (0, 180.0, 180.1),
        (5, 180.01, 180.1),
    ]
    assert left_out == {SUSPICIOUS: 1, IRREGULAR: 2, NO_PRICE: 1}


def test_a_bid_at_the_end_of_a_file_is_not_forgotten(tmp_path: Path) -> None:
    rows = "34200000,0,0,1801000,100,P,1,0\n34200000,1800000,100,0,0,P,1,0\n"
    columns, vocabulary, left_out = read(equity(tmp_path, rows))
    assert quotes(columns, vocabulary) == [(0, 1, 180.0, 100.0, 180.1, 100.0, "P")]
    assert left_out == {ONE_SIDE: 1}


def test_a_file_of_one_side_alone_has_no_quotes(tmp_path: Path) -> None:
    (file,) = open_lean(equity(tmp_path, "34200000,1801000,100,0,0,P,1,0\n" * 3))
    facts = facts_of(file, Vocabulary())
    assert (facts.rows, facts.left_out) == (0, {ONE_SIDE: 3})


row = st.tuples(
    st.integers(0, 2),  # ms since the row before
    st.sampled_from([0, 1, 2, 3]),  # neither side, bid, ask, both
    st.integers(1, 5),  # price
    st.sampled_from("PN"),
    st.sampled_from(["1", "1", "1", "800"]),
    st.sampled_from("0001"),
)


def text_of(rows: list[tuple[int, int, int, str, str, str]]) -> list[str]:
    lines, milliseconds = [], 34_200_000
    for step, sides, price, exchange, flags, suspicious in rows:
        milliseconds += step
        bid, ask = price * (sides & 1), (price + 5) * (sides >> 1)
        size = milliseconds % 7 + 1
        lines.append(
            f"{milliseconds},{bid},{size if bid else 0},{ask},{size if ask else 0},"
            f"{exchange},{flags},{suspicious}\n"
        )
    return lines


def expected_of(lines: list[str]) -> tuple[list[Quote], Counter[str]]:
    """The rule of `lean_quotes.py`, row by row."""
    left_out: Counter[str] = Counter()
    kept = []
    for place, line in enumerate(lines):
        milliseconds, bid, bid_size, ask, ask_size, exchange, flags, suspicious = line[:-1].split(
            ","
        )
        if suspicious == "1":
            left_out[SUSPICIOUS] += 1
        elif flags != "1":
            left_out[IRREGULAR] += 1
        elif bid == ask == "0":
            left_out[NO_PRICE] += 1
        else:
            numbers = (int(bid), int(bid_size), int(ask), int(ask_size))
            kept.append((int(milliseconds) - 34_200_000, place, *numbers, exchange))
    found: list[Quote] = []
    best_bid = best_ask = None
    for number, (time, place, bid, bid_size, ask, ask_size, exchange) in enumerate(kept):
        if bid:
            best_bid = (bid, bid_size, exchange)
        if ask:
            best_ask = (ask, ask_size, exchange)
        after = kept[number + 1] if number + 1 < len(kept) else None
        if after is not None and not ask and not after[2] and after[0] == time:
            left_out[PAIRED] += 1
        elif best_bid is None or best_ask is None:
            left_out[ONE_SIDE] += 1
        else:
            venue = best_bid[2] if best_bid[2] == best_ask[2] else None
            sides = (best_bid[0] / 1e4, best_bid[1], best_ask[0] / 1e4, best_ask[1])
            found.append((time, place, *sides, venue))
    return found, left_out


@given(st.lists(row, min_size=1, max_size=25), st.lists(st.integers(1, 25), max_size=8))
@settings(max_examples=400, deadline=None)
def test_quotes_follow_the_rule_wherever_blocks_end(
    rows: list[tuple[int, int, int, str, str, str]], cuts: list[int]
) -> None:
    lines = text_of(rows)
    assert EQUITY is not None
    vocabulary, left_out = Vocabulary(), Counter()
    reader = QuoteReader(EQUITY, vocabulary.symbols.number("IBM"), MIDNIGHTS, vocabulary, left_out)
    edges = [0, *sorted({cut for cut in cuts if cut < len(lines)}), len(lines)]
    parts = [
        reader.read(parsed("".join(lines[start:end]).encode(), EQUITY), start)
        for start, end in pairwise(edges)
    ]
    rest = reader.end()
    columns = concatenate([*parts, *([] if rest is None else [rest])])
    found, counted = expected_of(lines)
    assert quotes(columns, vocabulary) == found
    assert left_out == counted
    assert len(lines) == len(columns) + sum(left_out.values())


@pytest.mark.parametrize("block_bytes", [1, 40, 1_000, 1 << 20])
def test_a_file_gives_the_same_for_any_size_of_blocks(tmp_path: Path, block_bytes: int) -> None:
    generator = np.random.default_rng(5)
    rows = [
        (int(step), int(sides), int(price), "P", "1", "0")
        for step, sides, price in zip(
            generator.integers(0, 2, 500),
            generator.integers(1, 3, 500),
            generator.integers(1, 9, 500),
            strict=True,
        )
    ]
    lines = text_of(rows)
    (file,) = open_lean(equity(tmp_path, "".join(lines)))
    small = type(file)(
        file.path, file.member, file.symbol, file.day, file.layout, block_bytes=block_bytes
    )
    vocabulary = Vocabulary()
    parts = list(small.columns(vocabulary, Counter()))
    assert all(len(part) for part in parts)
    assert quotes(concatenate(parts), vocabulary) == expected_of(lines)[0]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("34200000,1800000,100,0,0,P,1", "7 columns; expected 8"),
        ("34200000,180.5,100,0,0,P,1,0", "bid '180.5': expected a whole number"),
        ("34200000,1800000,-1,0,0,P,1,0", "bid_size '-1': expected a whole number"),
        ("34200000,1800000,100,,0,P,1,0", "ask '': expected a whole number"),
        ("34200000,1800000,100,0,0,,1,0", "exchange ''"),
        ("34200000,1800000,100,0,0,P,x,0", "condition flags 'x'"),
        ("34200000,1800000,100,0,0,P,1,2", "suspicious '2'"),
        ("86400000,1800000,100,0,0,P,1,0", "milliseconds 86400000"),
        ("34200000,1800000,9000000000000,0,0,P,1,0", "bid_size 9000000000000 is out of its"),
    ],
)
def test_a_broken_quote_is_named_by_file_and_line(tmp_path: Path, line: str, fault: str) -> None:
    good = "34200000,1800000,100,0,0,P,1,0\n"
    path = equity(tmp_path, good * 3 + line + "\n" + good)
    with pytest.raises(FeedError) as caught:
        read(path)
    assert (caught.value.file, caught.value.line) == (path, 4)
    assert fault in caught.value.message


def forex(folder: Path, text: str) -> Path:
    return make(
        folder, "forex/tick/eurusd/20140505_quote.zip", ("20140505_eurusd_tick_quote.csv", text)
    )


def test_forex_ticks_have_both_sides_and_no_sizes(tmp_path: Path) -> None:
    path = forex(tmp_path, "0,1.38710,1.38726\n86399999,1.38709,1.38727\n")
    columns, vocabulary, left_out = read(path)
    assert vocabulary.symbols.values == ["EURUSD"]
    assert columns.event_time.tolist() == [
        1_399_248_000_000_000_000,
        1_399_334_399_999_000_000,
    ]
    assert columns.bid.tolist() == [1.3871, 1.38709]
    assert columns.ask.tolist() == [1.38726, 1.38727]
    assert columns.bid_size.tolist() == columns.ask_size.tolist() == [0.0, 0.0]
    assert columns.sequence.tolist() == [0, 1]
    assert vocabulary.origins.values == [Origin(None, (), "lean")]
    assert not left_out


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("1,1.38710", "2 columns; expected 3"),
        ("1,1.3x,1.4", "bid '1.3x': expected a number"),
        ("1,,1.4", "bid '': expected a number"),
        ("1,nan,1.4", "bid 'nan': expected a number"),
        ("1.5,1.3,1.4", "milliseconds '1.5': expected a whole number"),
        ("1,1e13,1.4", "bid 1e13 is out of its bounds"),
    ],
)
def test_a_broken_forex_row_is_named(tmp_path: Path, line: str, fault: str) -> None:
    path = forex(tmp_path, f"0,1.38710,1.38726\n{line}\n")
    with pytest.raises(FeedError) as caught:
        read(path)
    assert (caught.value.line, caught.value.message[: len(fault)]) == (2, fault)


def bars_of(
    columns: QuoteColumns, length: int, midnight: int
) -> tuple[list[int], list[npt.NDArray[np.float64]]]:
    """Starts in ms after midnight; then bid OHLC, bid size, ask OHLC, ask size of each."""
    windows = (columns.event_time - midnight) // (length * MILLISECOND)
    starts = np.flatnonzero(np.diff(windows, prepend=-1))
    ends = np.append(starts[1:], len(windows)) - 1
    fields: list[npt.NDArray[np.float64]] = []
    for price, size in ((columns.bid, columns.bid_size), (columns.ask, columns.ask_size)):
        high, low = np.maximum.reduceat(price, starts), np.minimum.reduceat(price, starts)
        fields += [price[starts], high, low, price[ends], size[ends]]
    return (windows[starts] * length).tolist(), fields


def vendor(path: Path) -> npt.NDArray[np.float64]:
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as stream:
        return np.loadtxt(stream, delimiter=",")


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "length", "bars"), [("second", 1_000, 12_396), ("minute", 60_000, 1_350)]
)
def test_the_vendors_forex_bars_come_out_of_the_ticks(
    realdata: Path, name: str, length: int, bars: int
) -> None:
    columns, _, left_out = read(realdata / "forex/tick/eurusd/20140505_quote.zip")
    assert (len(columns), dict(left_out)) == (25_177, {})
    expected = vendor(realdata / f"forex/{name}/eurusd/20140505_quote.zip")
    starts, fields = bars_of(columns, length, 1_399_248_000_000_000_000)
    assert len(starts) == bars
    assert np.array_equal(np.column_stack([starts, *fields]), expected)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("day", "rows", "count", "equal_seconds", "equal_minutes"),
    [
        (7, 109_067, 54_531, (11_673, 11_676), (553, 554)),
        (8, 125_750, 62_873, (12_801, 12_801), (594, 594)),
        (9, 135_492, 67_744, (12_640, 12_640), (579, 579)),
    ],
)
def test_the_vendors_equity_quote_bars_come_out_of_the_ticks(
    realdata: Path,
    day: int,
    rows: int,
    count: int,
    equal_seconds: tuple[int, int],
    equal_minutes: tuple[int, int],
) -> None:
    """The vendor's bars open at the close of the bar before."""
    columns, _, left_out = read(realdata / f"equity/tick/ibm/2013100{day}_quote.zip")
    assert (len(columns), len(columns) + sum(left_out.values())) == (count, rows)
    midnight = int(midnights_of(day))
    for name, length, equal in (
        ("second", 1_000, equal_seconds),
        ("minute", 60_000, equal_minutes),
    ):
        expected = vendor(realdata / f"equity/{name}/ibm/2013100{day}_quote.zip")
        expected[:, [1, 2, 3, 4, 6, 7, 8, 9]] /= 10_000
        starts, fields = bars_of(columns, length, midnight)
        for side in (0, 5):
            opening = np.concatenate([fields[side][:1], fields[side + 3][:-1]])
            fields[side] = opening
            fields[side + 1] = np.maximum(fields[side + 1], opening)
            fields[side + 2] = np.minimum(fields[side + 2], opening)
        found = np.column_stack([starts, *fields])
        assert np.array_equal(found[:, 0], expected[:, 0])
        assert (int((found == expected).all(axis=1).sum()), len(expected)) == equal


def midnights_of(day: int) -> np.int64:
    assert EQUITY is not None
    return midnights(date(2013, 10, day), EQUITY.zone)[0]
