"""The comparison with the vendor's bars: a made-up day, and the rule on IBM's recorded ticks."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.oracle.calibrate import calibrate
from tests.oracle.vendor import compare_export, main

#: 2013-10-07 00:00 in New York.
MIDNIGHT = 1_381_118_400_000_000_000
MS = 1_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A vendor's folder with four second bars and one minute bar."""
    rows = {
        "second": "".join(f"{second}000,10000,20000,5000,15000,7\n" for second in range(4)),
        "minute": "0,10000,20000,5000,15000,28\n",
    }
    for kind, text in rows.items():
        place = tmp_path / "equity" / kind / "spy"
        place.mkdir(parents=True)
        with zipfile.ZipFile(place / "20131007_trade.zip", "w") as archive:
            archive.writestr("bars.csv", text)
    return tmp_path / "equity"


def export(path: Path, bars: list[tuple[str, int, float]]) -> Path:
    """A Parquet file of (interval, ms after midnight, volume)."""
    count = len(bars)
    columns = {
        "symbol": ["SPY"] * count,
        "interval": [bar[0] for bar in bars],
        "start_ns": [MIDNIGHT + bar[1] * MS for bar in bars],
        "open": [1.0] * count,
        "high": [2.0] * count,
        "low": [0.5] * count,
        "close": [1.5] * count,
        "volume": [bar[2] for bar in bars],
    }
    pq.write_table(pa.table(columns), path)
    return path


def test_equal_bars_pass(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bars = [("1m", 0, 28.0), *(("1s", second * 1000, 7.0) for second in range(4))]
    path = export(tmp_path / "bars.parquet", bars)
    assert main([str(path), str(folder), "--symbols", "SPY"]) == 0
    assert "equal 4 (100.000 %)" in capsys.readouterr().out


def test_every_difference_is_counted_and_listed(folder: Path, tmp_path: Path) -> None:
    bars = [("1m", 0, 28.0), ("1s", 0, 7.0), ("1s", 1000, 8.0), ("1s", 9000, 7.0)]
    path = export(tmp_path / "bars.parquet", bars)
    seconds, minutes = compare_export(path, folder, ["SPY"])
    assert (seconds.equal, seconds.we_lack, seconds.vendor_lacks) == (1, 2, 1)
    assert len(seconds.differences) == 4
    assert not seconds.passes
    assert minutes.passes
    listing = tmp_path / "differences"
    assert main([str(path), str(folder), "--symbols", "SPY", "--list", str(listing)]) == 1
    assert listing.read_text().splitlines()[0] == (
        "SPY 1s 2013-10-07 00:00:01 vendor 1/2/0.5/1.5/7 ours 1/2/0.5/1.5/8"
    )


@pytest.mark.realdata
def test_the_rule_of_the_page_rebuilds_the_vendors_ibm_bars(realdata: Path) -> None:
    seconds, minutes = calibrate(realdata / "equity", ["IBM"])
    assert seconds.passes, str(seconds)
    assert minutes.passes, str(minutes)
