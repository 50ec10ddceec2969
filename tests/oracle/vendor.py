"""Our exported bars against the vendor's own second and minute bars of the same days.

    python -m tests.oracle.vendor bars.parquet ../shared/data/equity --symbols SPY,IBM [--list -]

The vendor's files are zips of `ms since midnight New York, open, high, low, close, volume` with
prices x 10^4. Exit code 1 where a requirement of `LIMITS` is missed.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq

NEW_YORK = ZoneInfo("America/New_York")
FOLDERS = {"1s": "second", "1m": "minute"}
#: At least so many percent of the vendor's bars equal; at most so many that the vendor lacks.
LIMITS = {"1s": (99.95, 0.05), "1m": (99.6, 0.4)}

#: (symbol, start in ns)
Key = tuple[str, int]
#: Open, high, low, close, volume.
Values = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Difference:
    """One bar that is not the same on both sides; None where a side lacks it."""

    symbol: str
    interval: str
    start: int
    vendor: Values | None
    ours: Values | None

    def __str__(self) -> str:
        local = datetime.fromtimestamp(self.start // 1_000_000_000, tz=NEW_YORK)
        return (
            f"{self.symbol} {self.interval} {local:%Y-%m-%d %H:%M:%S} "
            f"vendor {_text(self.vendor)} ours {_text(self.ours)}"
        )


def _text(values: Values | None) -> str:
    return "none" if values is None else "/".join(f"{value:g}" for value in values)


@dataclass(frozen=True)
class IntervalComparison:
    """All bars of one interval, of both sides, over the vendor's days."""

    interval: str
    vendor: int
    ours: int
    equal: int
    we_lack: int
    vendor_lacks: int
    differences: list[Difference] = field(repr=False)

    @property
    def equal_percent(self) -> float:
        """Share of the vendor's bars that ours equal in all of O, H, L, C, V."""
        return 100 * self.equal / self.vendor if self.vendor else 0.0

    @property
    def vendor_lacks_percent(self) -> float:
        """Bars of ours that the vendor lacks, in percent of the vendor's."""
        return 100 * self.vendor_lacks / self.vendor if self.vendor else 100.0

    @property
    def passes(self) -> bool:
        """Whether the required percentages are reached."""
        least_equal, most_lacking = LIMITS[self.interval]
        return self.equal_percent >= least_equal and self.vendor_lacks_percent <= most_lacking

    def __str__(self) -> str:
        return (
            f"{self.interval}: vendor {self.vendor}, ours {self.ours}, "
            f"equal {self.equal} ({self.equal_percent:.3f} %), we lack {self.we_lack}, "
            f"vendor lacks {self.vendor_lacks} ({self.vendor_lacks_percent:.3f} %): "
            f"{'passes' if self.passes else 'FAILS'}"
        )


def midnight_ns(day: date) -> int:
    """Midnight in New York, in ns since the epoch."""
    local = datetime(day.year, day.month, day.day, tzinfo=NEW_YORK)
    return int(local.timestamp()) * 1_000_000_000


def file_lines(path: Path) -> Iterable[list[str]]:
    """The rows of the one CSV file in a vendor's zip."""
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        for line in archive.read(name).decode("ascii").splitlines():
            yield line.split(",")


def file_date(path: Path) -> date:
    """The day that a vendor's file name begins with."""
    return datetime.strptime(path.name[:8], "%Y%m%d").date()


def trade_files(folder: Path, kind: str, symbol: str) -> list[Path]:
    """The vendor's files of one kind (`tick`, `second`, `minute`) of a symbol, by date."""
    return sorted((folder / kind / symbol.lower()).glob("*_trade.zip"))


def vendor_bars(folder: Path, interval: str, symbols: Iterable[str]) -> dict[Key, Values]:
    """The vendor's bars of one interval; every key once."""
    bars: dict[Key, Values] = {}
    for symbol in symbols:
        for path in trade_files(folder, FOLDERS[interval], symbol):
            midnight = midnight_ns(file_date(path))
            for row in file_lines(path):
                prices = [int(price) / 10_000 for price in row[1:5]]
                key = (symbol, midnight + int(row[0]) * 1_000_000)
                assert key not in bars, f"{path}: two bars at {row[0]}"
                bars[key] = (prices[0], prices[1], prices[2], prices[3], float(row[5]))
    return bars


def exported_bars(path: Path, interval: str, symbols: Iterable[str]) -> dict[Key, Values]:
    """Our exported bars of one interval, from a Parquet file.

    Raises:
        ValueError: a bar is there twice.
    """
    columns = ["symbol", "interval", "start_ns", "open", "high", "low", "close", "volume"]
    wanted = set(symbols)
    bars: dict[Key, Values] = {}
    rows: dict[str, list[Any]] = pq.read_table(path, columns=columns).to_pydict()
    for symbol, label, start, *values in zip(*(rows[name] for name in columns), strict=True):
        if label != interval or symbol not in wanted:
            continue
        if (symbol, start) in bars:
            raise ValueError(f"{path}: {symbol} {interval} {start} is there twice")
        bars[symbol, start] = (values[0], values[1], values[2], values[3], values[4])
    return bars


def compare(
    interval: str, vendor: dict[Key, Values], ours: dict[Key, Values]
) -> IntervalComparison:
    """Bar by bar, exactly."""
    differences = [
        Difference(symbol, interval, start, vendor.get((symbol, start)), ours.get((symbol, start)))
        for symbol, start in sorted(vendor.keys() | ours.keys())
        if vendor.get((symbol, start)) != ours.get((symbol, start))
    ]
    return IntervalComparison(
        interval=interval,
        vendor=len(vendor),
        ours=len(ours),
        equal=sum(ours.get(key) == values for key, values in vendor.items()),
        we_lack=len(vendor.keys() - ours.keys()),
        vendor_lacks=len(ours.keys() - vendor.keys()),
        differences=differences,
    )


def compare_export(
    export: Path, folder: Path, symbols: Iterable[str] = ("SPY", "IBM")
) -> list[IntervalComparison]:
    """Second and minute bars of an export against the vendor's below `folder`."""
    symbols = tuple(symbols)
    return [
        compare(
            interval,
            vendor_bars(folder, interval, symbols),
            exported_bars(export, interval, symbols),
        )
        for interval in FOLDERS
    ]


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0 where every requirement holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.vendor", description=__doc__)
    parser.add_argument("export", type=Path)
    parser.add_argument("folder", type=Path, help="the vendor's equity folder")
    parser.add_argument("--symbols", default="SPY,IBM")
    parser.add_argument("--list", help="file for every difference; - for the terminal")
    chosen = parser.parse_args(arguments)
    comparisons = compare_export(chosen.export, chosen.folder, chosen.symbols.split(","))
    lines = [str(each) for comparison in comparisons for each in comparison.differences]
    for comparison in comparisons:
        print(comparison)
    if chosen.list == "-":
        print(*lines, sep="\n")
    elif chosen.list:
        Path(chosen.list).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return 0 if all(comparison.passes for comparison in comparisons) else 1


if __name__ == "__main__":
    sys.exit(main())
