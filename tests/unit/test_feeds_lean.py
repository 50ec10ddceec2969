"""Lean's equity trade ticks: times, prices, conditions, and faults with file and line."""

import zipfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from app.contracts.conditions import BIT
from app.feeds.columns import Origin, TradeColumns, Vocabulary, concatenate
from app.feeds.errors import FeedError
from app.feeds.files import facts_of
from app.feeds.lean import open_lean
from app.feeds.lean_flags import FLAGS, conditions_of

ROWS = "34200000,1674100,100,P,1,0\n34200000,1674150,250,Q,20000020,0\n57600123,1670001,7,D,80,1\n"


def make(
    folder: Path, text: str, day: str = "20131007", member: str | None = None, symbol: str = "spy"
) -> Path:
    path = folder / "equity" / "tick" / symbol / f"{day}_trade.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member or f"{day}_{symbol}_Trade_Tick.csv", text)
    return path


def read(path: Path) -> tuple[TradeColumns, Vocabulary]:
    (file,) = open_lean(path)
    vocabulary = Vocabulary()
    return concatenate(list(file.columns(vocabulary, Counter()))), vocabulary


def nanoseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1_000


def test_rows_become_trades(tmp_path: Path) -> None:
    columns, vocabulary = read(make(tmp_path, ROWS))
    assert vocabulary.symbols.values == ["SPY"]
    assert columns.price.tolist() == [167.41, 167.415, 167.0001]
    assert columns.size.tolist() == [100.0, 250.0, 7.0]
    assert columns.sequence.tolist() == [0, 1, 2]
    assert columns.event_time.tolist() == [
        nanoseconds("2013-10-07T09:30:00-04:00"),
        nanoseconds("2013-10-07T09:30:00-04:00"),
        nanoseconds("2013-10-07T16:00:00.123-04:00"),
    ]
    assert [vocabulary.origins.values[number] for number in columns.origin] == [
        Origin("P", ("regular",), "lean"),
        Origin("Q", ("iso", "trade_through_exempt"), "lean"),
        Origin("D", ("closing_print", "suspicious"), "lean"),
    ]


@pytest.mark.parametrize(
    ("day", "milliseconds", "expected"),
    [
        ("20131101", 34_200_000, "2013-11-01T13:30:00+00:00"),
        ("20131104", 34_200_000, "2013-11-04T14:30:00+00:00"),
        ("20140307", 34_200_000, "2014-03-07T14:30:00+00:00"),
        ("20140310", 34_200_000, "2014-03-10T13:30:00+00:00"),
        ("20131103", 0, "2013-11-03T04:00:00+00:00"),
        ("20131103", 34_200_000, "2013-11-03T14:30:00+00:00"),
        ("20140309", 3_600_000, "2014-03-09T06:00:00+00:00"),
        ("20140309", 14_400_000, "2014-03-09T08:00:00+00:00"),
        ("20131007", 86_399_999, "2013-10-08T03:59:59.999+00:00"),
    ],
)
def test_times_follow_new_yorks_clock(
    tmp_path: Path, day: str, milliseconds: int, expected: str
) -> None:
    columns, _ = read(make(tmp_path, f"{milliseconds},10000,1,P,1,0", day))
    found = datetime.fromtimestamp(int(columns.event_time[0]) / 1e9, UTC)
    assert columns.event_time.tolist() == [nanoseconds(expected)], found


def test_every_named_flag_is_of_the_vocabulary() -> None:
    assert len(FLAGS) == 32
    for bit, name in enumerate(FLAGS):
        assert conditions_of(f"{1 << bit:x}", "0") == (() if name is None else (name,))
        assert name is None or name in BIT


@pytest.mark.parametrize(
    ("flags", "suspicious", "expected"),
    [
        ("0", "0", ()),
        ("0", "1", ("suspicious",)),
        ("20002020", "0", ("extended_hours", "iso", "trade_through_exempt")),
        ("4800", "0", ("sold_last", "sold_out_of_sequence")),
        ("102000", "0", ("average_price", "extended_hours")),
        ("2400", "0", ("extended_hours",)),
        ("80000000", "0", ("odd_lot",)),
        ("4000000", "0", ("market_center_official_open",)),
        ("1000000", "0", ("market_center_official_close",)),
    ],
)
def test_flags_become_names(flags: str, suspicious: str, expected: tuple[str, ...]) -> None:
    assert conditions_of(flags, suspicious) == expected


def test_blocks_of_a_long_file_go_on_counting(tmp_path: Path) -> None:
    count = 120_000
    text = "".join(
        f"{34_200_000 + number // 50},{10_000 + number},1,P,1,0\n" for number in range(count)
    )
    columns, _ = read(make(tmp_path, text))
    assert len(columns) == count
    assert np.array_equal(columns.sequence, np.arange(count))
    assert columns.price[-1] == (10_000 + count - 1) / 10_000


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("34200000,1674100,100,P,1", "5 columns; expected 6"),
        ("34200000,1674100,100,P,1,0,9", "7 columns; expected 6"),
        ("", "1 columns; expected 6"),
        ("34200000,16x4100,100,P,1,0", "price '16x4100': expected a whole number"),
        ("34200000,1674100,,P,1,0", "size '': expected a whole number"),
        ("34200000,-1,100,P,1,0", "price '-1': expected a whole number"),
        ("34200000,167.41,100,P,1,0", "price '167.41': expected a whole number"),
        ("86400000,1674100,100,P,1,0", "milliseconds 86400000: expected less"),
        ("99999999999999999999,1,1,P,1,0", "milliseconds '9999"),
        ("34200000,1674100,100,,1,0", "exchange ''"),
        ("34200000,1674100,100,PX,1,0", "exchange 'PX'"),
        ("34200000,1674100,100,P,xyz,0", "condition flags 'xyz': expected 1 to 8 hex digits"),
        ("34200000,1674100,100,P,1,2", "suspicious '2': expected 0 or 1"),
        ("34200000,1674100,100,P,3ff,0", "more than 8 conditions"),
        ("34200000,10000000000,999999999999,P,1,0", "is more than 1e+14"),
        ('34200000,1674100,100,"P",1,0', "exchange"),
    ],
)
def test_a_broken_row_is_named_by_file_and_line(tmp_path: Path, row: str, fault: str) -> None:
    path = make(tmp_path, ROWS + row + "\n" + ROWS)
    with pytest.raises(FeedError) as caught:
        read(path)
    assert caught.value.file == path
    assert caught.value.line == 4
    assert fault in caught.value.message
    assert str(caught.value).startswith(f"{path}:4: ")


def test_a_broken_row_far_into_a_file_has_its_line(tmp_path: Path) -> None:
    good = "34200000,1674100,100,P,1,0\n"
    path = make(tmp_path, good * 90_000 + "34200000,1674100\n" + good * 10)
    with pytest.raises(FeedError, match=r":90001: 2 columns"):
        read(path)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_zip_is_refused(tmp_path: Path, keep: float) -> None:
    path = make(tmp_path, ROWS * 1_000)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(FeedError, match="not a whole zip") as caught:
        open_lean(path)
    assert caught.value.line is None


def test_a_damaged_zip_is_found_out_by_its_checksum(tmp_path: Path) -> None:
    path = make(tmp_path, ROWS * 1_000)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(FeedError):
        read(path)


@pytest.mark.parametrize(
    ("name", "member", "reason"),
    [
        ("equity/minute/spy/20131007_trade.zip", "20131007_spy_minute_trade.csv", "minute bars"),
        ("equity/second/spy/20131007_quote.zip", "20131007_spy_second_quote.csv", "second bars"),
        ("future/minute/gc/20131008_trade.zip", "20131008_gc_minute_trade_201312.csv", "minute"),
        (
            "future/tick/gc/20131008_openinterest.zip",
            "20131008_gc_tick_openinterest_201312.csv",
            "open interest, neither trades nor quotes",
        ),
        ("future/tick/gc/20131008_trade.zip", "20131008_gc_Trade_Tick.csv", "not Lean future"),
        ("equity/tick/gc/20131008_trade.zip", "20131008_gc_tick_trade_201312.csv", "not Lean eq"),
        ("option/tick/aapl/20131008_trade.zip", "20131008_aapl_Trade_Tick.csv", "option ticks"),
        ("forex/tick/eurusd/20140505_trade.zip", "20140505_eurusd_tick_trade.csv", "no trades of"),
        ("equity/tick/x/20131008_trade.zip", "20131008_no good_Trade_Tick.csv", "alphabet"),
        ("anything.zip", "readme.txt", r"not Lean ticks (inside: readme.txt)"),
    ],
)
def test_files_of_another_kind_are_told(
    tmp_path: Path, name: str, member: str, reason: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, ROWS)
    opened = open_lean(path)
    assert isinstance(opened, str)
    assert reason in opened


def test_a_name_without_a_date_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path, ROWS, day="20131399")
    with pytest.raises(FeedError, match="is not a date"):
        open_lean(path)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "rows", "first"),
    [
        ("spy/20131007", 250_601, "2013-10-07T04:00:00.464-04:00"),
        ("spy/20131008", 451_545, "2013-10-08T04:00:17.034-04:00"),
        ("spy/20131009", 439_677, "2013-10-09T04:00:00.924-04:00"),
        ("ibm/20131007", 24_293, "2013-10-07T04:00:30.270-04:00"),
        ("ibm/20131008", 33_381, "2013-10-08T08:47:49.457-04:00"),
        ("ibm/20131009", 27_042, "2013-10-09T09:12:36.320-04:00"),
    ],
)
def test_recorded_days_are_read_whole(realdata: Path, name: str, rows: int, first: str) -> None:
    (file,) = open_lean(realdata / f"equity/tick/{name}_trade.zip")
    facts = facts_of(file, Vocabulary())
    assert (facts.rows, facts.ordered) == (rows, True)
    assert facts.first == nanoseconds(first)
