"""The comparison with the vendor's quote and futures bars: made-up days, and recorded EURUSD."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.oracle.quotes_reference import QuotesReference
from tests.oracle.reference import Settings
from tests.oracle.rules import MINUTE, SECOND
from tests.oracle.vendor_quotes import (
    LIMITS,
    QUOTE_FIELDS,
    TRADE_FIELDS,
    Bars,
    Comparison,
    Values,
    compare_export,
    main,
    opened_at_the_close_before,
    vendor_bars,
)

#: 2014-05-05 and 2013-10-08 00:00 UTC; 2013-10-07 00:00 in New York.
MAY, OCTOBER, NEW_YORK = (seconds * SECOND for seconds in (1399248000, 1381190400, 1381118400))
FAR_MS = 4_000_000_000_000
BID, ASK = (1.0, 1.4, 0.9, 1.2), (1.1, 1.5, 1.0, 1.3)


def zipped(path: Path, **members: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(f"{name}.csv", text)


def exported(
    path: Path, symbol: str, fields: tuple[str, ...], bars: Sequence[tuple[str, int, Values]]
) -> Path:
    """An export of (interval, start in ns, values)."""
    columns: dict[str, list[object]] = {
        "symbol": [symbol] * len(bars),
        "interval": [interval for interval, _, _ in bars],
        "start_ns": [start for _, start, _ in bars],
    }
    for place, name in enumerate(fields):
        columns[name] = [values[place] for _, _, values in bars]
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def forex(tmp_path: Path) -> Path:
    """Two second bars of a day in UTC."""
    line = ",".join(map(str, (*BID, 0, *ASK, 0)))
    zipped(
        tmp_path / "forex" / "second" / "abcdef" / "20140505_quote.zip",
        bars=f"1000,{line}\n2000,{line}\n",
    )
    return tmp_path / "forex"


def test_equal_quote_bars_are_equal_in_all_eight_fields(forex: Path, tmp_path: Path) -> None:
    rows = [("1s", MAY + second * SECOND, (*BID, *ASK)) for second in (1, 2)]
    path = exported(tmp_path / "q.parquet", "ABCDEF", QUOTE_FIELDS, rows)
    (seconds,) = compare_export(path, forex, ["ABCDEF"])
    assert (seconds.equal, seconds.lacking, seconds.extra) == (2, [], [])
    assert set(seconds.by_field.values()) == {100.0}
    assert list(seconds.differences()) == []
    assert main([str(path), str(forex), "--symbols", "ABCDEF"]) == 0


@pytest.mark.parametrize("place", range(8))
def test_one_other_field_is_a_difference(forex: Path, tmp_path: Path, place: int) -> None:
    values = [*BID, *ASK]
    values[place] += 1e-9
    rows = [("1s", MAY + SECOND, tuple(values)), ("1s", MAY + 3 * SECOND, (*BID, *ASK))]
    path = exported(tmp_path / "q.parquet", "ABCDEF", QUOTE_FIELDS, rows)
    (seconds,) = compare_export(path, forex, ["ABCDEF"])
    assert seconds.equal == 0
    assert seconds.by_field == {
        name: 0.0 if number == place else 50.0 for number, name in enumerate(QUOTE_FIELDS)
    }
    assert len(seconds.lacking) == len(seconds.extra) == 1
    lines = list(seconds.differences())
    assert len(lines) == 3
    assert lines[1] == (
        "ABCDEF 1s 2014-05-05 00:00:02 UTC vendor 1/1.4/0.9/1.2/1.1/1.5/1/1.3 ours none"
    )


def test_futures_are_trade_bars_of_one_contract(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zipped(
        tmp_path / "future" / "minute" / "gc" / "20131008_trade.zip",
        **{
            "20131008_gc_minute_trade_201311": "0,9,9,9,9,9\n",
            "20131008_gc_minute_trade_201312": "60000,1326.5,1327,1326,1326.5,7\n",
        },
    )
    rows = [("1m", OCTOBER + MINUTE, (1326.5, 1327.0, 1326.0, 1326.5, 7.0))]
    path = exported(tmp_path / "b.parquet", "GC-201312", TRADE_FIELDS, rows)
    folder = tmp_path / "future"
    (minutes,) = compare_export(path, folder, ["GC-201312"])
    assert minutes.equal_percent == 100.0
    # The recorded day has 1,377 bars: one alone does not meet the requirement.
    assert main([str(path), str(folder), "--symbols", "GC-201312"]) == 1
    assert "equal in all 5 fields 1 (100.000 %)" in capsys.readouterr().out


def test_a_requirement_is_about_the_share_and_the_count() -> None:
    bars: Bars = {("EURUSD", number): (1.0,) * 8 for number in range(1_350)}
    full = Comparison("EURUSD", "1m", QUOTE_FIELDS, bars, bars)
    assert full.passes
    lacking = dict(list(bars.items())[1:])
    assert not Comparison("EURUSD", "1m", QUOTE_FIELDS, bars, lacking).passes
    assert not Comparison("EURUSD", "1m", QUOTE_FIELDS, lacking, bars).passes
    assert Comparison("IBM", "1m", QUOTE_FIELDS, bars, {}).passes


def test_equity_is_compared_as_it_is_and_opened_at_the_close_before(tmp_path: Path) -> None:
    scaled = [round(price * 10_000) for price in (*BID, 200, *ASK, 300)]
    second = [12000, 14000, 9000, 12000, 200, 13000, 15000, 10000, 13000, 300]
    zipped(
        tmp_path / "equity" / "second" / "ibm" / "20131007_quote.zip",
        bars="\n".join(
            ",".join(map(str, row)) for row in ((0, *scaled[:4], 200, *scaled[5:]), (1000, *second))
        ),
    )
    rows = [("1s", NEW_YORK + second * SECOND, (*BID, *ASK)) for second in (0, 1)]
    path = exported(tmp_path / "q.parquet", "IBM", QUOTE_FIELDS, rows)
    plain, opened = compare_export(path, tmp_path / "equity", ["IBM"])
    assert (plain.equal, opened.equal) == (1, 2)
    assert plain.by_field["bid_open"] == plain.by_field["ask_open"] == 50.0
    assert plain.by_field["bid_close"] == 100.0


def test_a_day_does_not_open_at_the_close_of_the_day_before() -> None:
    flat = (1.0,) * 8
    other = (2.0,) * 8
    times = [NEW_YORK, NEW_YORK + SECOND, NEW_YORK + 86_400 * SECOND]
    bars: Bars = dict(zip([("IBM", time) for time in times], (flat, other, flat), strict=True))
    opened = opened_at_the_close_before(bars)
    assert list(opened.values()) == [flat, (1.0, 2.0, 1.0, 2.0) * 2, flat]


def test_another_folder_and_an_unknown_symbol_are_told(
    forex: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = exported(tmp_path / "q.parquet", "ABCDEF", QUOTE_FIELDS, [])
    with pytest.raises(ValueError, match="expected a folder named"):
        compare_export(path, tmp_path, ["ABCDEF"])
    assert main([str(path), str(forex), "--symbols", "NONE"]) == 1
    assert "the vendor has no bars of NONE" in capsys.readouterr().out


@pytest.mark.realdata
def test_the_reference_rebuilds_every_vendors_bar_of_eurusd(realdata: Path) -> None:
    reference = QuotesReference(0, 1, Settings(intervals=(SECOND, MINUTE)))
    (path,) = (realdata / "forex" / "tick" / "eurusd").glob("*_quote.zip")
    with zipfile.ZipFile(path) as archive:
        lines = archive.read(archive.namelist()[0]).decode("ascii").splitlines()
    for offset, line in enumerate(lines):
        milliseconds, bid, ask = line.split(",")
        record = {
            "symbol": "EURUSD",
            "bid": float(bid),
            "ask": float(ask),
            "event_time": MAY + int(milliseconds) * 1_000_000,
            "sequence": offset,
        }
        reference.feed(offset, FAR_MS, json.dumps(record).encode())
    reference.feed(len(lines), FAR_MS, b'{"type": "flush"}')
    assert reference.outcomes == {"applied": len(lines), "control": 1}
    for interval in ("1s", "1m"):
        ours = {
            (bar.symbol, bar.start): tuple(getattr(bar, name) for name in QUOTE_FIELDS)
            for bar in reference.bars
            if bar.interval == interval
        }
        vendor = vendor_bars(realdata / "forex", interval, "EURUSD")
        assert len(vendor) == LIMITS["EURUSD", interval][0]
        assert ours == vendor
