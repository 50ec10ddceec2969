"""Our exported bars against the vendor's: quote bars of forex and equity, trade bars of futures.

    python -m tests.oracle.vendor_quotes quotes.parquet ../shared/data/forex --symbols EURUSD
    python -m tests.oracle.vendor_quotes quotes.parquet ../shared/data/equity --symbols IBM --list -
    python -m tests.oracle.vendor_quotes bars.parquet ../shared/data/future --symbols GC-201312

The market is the folder's name. The vendor's files are zips a day: quote bars are `ms since
midnight, bid open, high, low, close, size, ask open, high, low, close, size`, trade bars `ms, open,
high, low, close, volume` with one file a contract in the zip. Equity has New York time and prices
x 10^4, the others UTC and decimal prices. Exit code 1 where a requirement of `LIMITS` is missed.

The vendor's equity quote bars open at the close of the bar before them, not at their first quote,
and that price counts for high and low. Ours do not, by contract; so for equity a second comparison
does the same to our bars, within each day, and shows what else differs.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.oracle.vendor import FOLDERS, NEW_YORK, Key, file_date, midnight_ns

SECOND = 1_000_000_000
_PRICES = ("open", "high", "low", "close")
QUOTE_FIELDS = tuple(f"{side}_{price}" for side in ("bid", "ask") for price in _PRICES)
TRADE_FIELDS = (*_PRICES, "volume")
MARKETS = ("forex", "equity", "future")
#: (symbol, interval) -> how many bars the vendor has, and at least so many percent equal.
LIMITS = {
    ("EURUSD", "1s"): (12_396, 100.0),
    ("EURUSD", "1m"): (1_350, 100.0),
    ("GC-201312", "1m"): (1_377, 99.5),
}

Values = tuple[float, ...]
Bars = dict[Key, Values]


@dataclass(frozen=True)
class Comparison:
    """All bars of one symbol and interval, of both sides.

    Attributes:
        fields: names of a bar's values.
        rule: what was done to our bars before, if anything.
    """

    symbol: str
    interval: str
    fields: tuple[str, ...]
    vendor: Bars = field(repr=False)
    ours: Bars = field(repr=False)
    rule: str = ""

    @property
    def equal(self) -> int:
        """The vendor's bars that ours equal in all fields."""
        return sum(self.ours.get(key) == values for key, values in self.vendor.items())

    @property
    def equal_percent(self) -> float:
        """The same, in percent of the vendor's."""
        return 100 * self.equal / len(self.vendor) if self.vendor else 0.0

    @property
    def by_field(self) -> dict[str, float]:
        """The vendor's bars that ours equal in a field, in percent."""
        both = [(values, self.ours.get(key)) for key, values in self.vendor.items()]
        return {
            name: 100
            * sum(ours is not None and ours[place] == values[place] for values, ours in both)
            / max(1, len(both))
            for place, name in enumerate(self.fields)
        }

    @property
    def lacking(self) -> list[Key]:
        """Bars of the vendor that we lack."""
        return sorted(self.vendor.keys() - self.ours.keys())

    @property
    def extra(self) -> list[Key]:
        """Bars of ours that the vendor lacks."""
        return sorted(self.ours.keys() - self.vendor.keys())

    @property
    def passes(self) -> bool:
        """Whether the requirement is reached, where there is one."""
        count, least = LIMITS.get((self.symbol, self.interval), (len(self.vendor), 0.0))
        return len(self.vendor) == count and self.equal_percent >= least

    def differences(self) -> Iterator[str]:
        """A line for each bar that is not the same on both sides."""
        for key in sorted(self.vendor.keys() | self.ours.keys()):
            theirs, mine = self.vendor.get(key), self.ours.get(key)
            if theirs != mine:
                moment = datetime.fromtimestamp(key[1] // SECOND, tz=UTC)
                yield (
                    f"{key[0]} {self.interval} {moment:%Y-%m-%d %H:%M:%S} UTC{self.rule} "
                    f"vendor {_text(theirs)} ours {_text(mine)}"
                )

    def __str__(self) -> str:
        shares = ", ".join(f"{name} {share:.2f}" for name, share in self.by_field.items())
        limited = (self.symbol, self.interval) in LIMITS
        verdict = ("passes" if self.passes else "FAILS") if limited else "no limit"
        return (
            f"{self.symbol} {self.interval}{self.rule}: vendor {len(self.vendor)}, "
            f"ours {len(self.ours)}, equal in all {len(self.fields)} fields {self.equal} "
            f"({self.equal_percent:.3f} %), we lack {len(self.lacking)}, "
            f"vendor lacks {len(self.extra)}: {verdict} [% by field: {shares}]"
        )


def _text(values: Values | None) -> str:
    return "none" if values is None else "/".join(f"{value:.10g}" for value in values)


def _midnight(market: str, day: date) -> int:
    if market == "equity":
        return midnight_ns(day)
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * SECOND


def _rows(path: Path, contract: str | None) -> Iterator[list[str]]:
    """The rows of the only file of a zip, or of a contract's."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if contract is not None:
            names = [name for name in names if name.endswith(f"_{contract}.csv")]
        (name,) = names
        for line in archive.read(name).decode("ascii").splitlines():
            yield line.split(",")


def vendor_bars(folder: Path, interval: str, symbol: str) -> Bars:
    """The vendor's bars of a symbol and interval; none where it has no such folder."""
    market = folder.name
    name, _, contract = symbol.partition("-")
    place = folder / FOLDERS[interval] / name.lower()
    scale = 10_000.0 if market == "equity" else 1.0
    bars: Bars = {}
    pattern = "*_trade.zip" if market == "future" else "*_quote.zip"
    for path in sorted(place.glob(pattern)):
        midnight = _midnight(market, file_date(path))
        for row in _rows(path, contract or None):
            key = (symbol, midnight + int(row[0]) * 1_000_000)
            assert key not in bars, f"{path}: two bars at {row[0]}"
            if market == "future":
                bars[key] = tuple(float(text) for text in row[1:6])
            else:
                bars[key] = tuple(float(text) / scale for text in row[1:5] + row[6:10])
    return bars


def exported_bars(path: Path, interval: str, symbol: str, fields: tuple[str, ...]) -> Bars:
    """Our exported bars of a symbol and interval, from a Parquet file.

    Raises:
        ValueError: a bar is there twice.
    """
    columns = ["symbol", "interval", "start_ns", *fields]
    rows: dict[str, list[Any]] = pq.read_table(
        path,
        columns=columns,
        filters=[("symbol", "=", symbol), ("interval", "=", interval)],
    ).to_pydict()
    bars: Bars = {}
    for start, *values in zip(*(rows[name] for name in columns[2:]), strict=True):
        if (symbol, start) in bars:
            raise ValueError(f"{path}: {symbol} {interval} {start} is there twice")
        bars[symbol, start] = tuple(values)
    return bars


def opened_at_the_close_before(bars: Bars) -> Bars:
    """Quote bars of a symbol as the vendor's rule opens them, each New York day by itself."""
    changed: Bars = {}
    closes: dict[date, tuple[float, float]] = {}
    for key in sorted(bars):
        values = list(bars[key])
        day = datetime.fromtimestamp(key[1] // SECOND, tz=NEW_YORK).date()
        if day in closes:
            for side, close in zip((0, 4), closes[day], strict=True):
                values[side] = close
                values[side + 1] = max(values[side + 1], close)
                values[side + 2] = min(values[side + 2], close)
        closes[day] = values[3], values[7]
        changed[key] = tuple(values)
    return changed


def compare_export(export: Path, folder: Path, symbols: Iterable[str]) -> list[Comparison]:
    """Each symbol's bars of each interval that the vendor has below `folder`."""
    market = folder.name
    if market not in MARKETS:
        raise ValueError(f"{folder}: expected a folder named {', '.join(MARKETS)}")
    fields = TRADE_FIELDS if market == "future" else QUOTE_FIELDS
    comparisons = []
    for symbol in symbols:
        for interval in FOLDERS:
            vendor = vendor_bars(folder, interval, symbol)
            if not vendor:
                continue
            ours = exported_bars(export, interval, symbol, fields)
            comparisons.append(Comparison(symbol, interval, fields, vendor, ours))
            if market == "equity":
                opened = opened_at_the_close_before(ours)
                rule = ", opened at the close before"
                comparisons.append(Comparison(symbol, interval, fields, vendor, opened, rule))
    return comparisons


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0 where every requirement holds."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.oracle.vendor_quotes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("export", type=Path)
    parser.add_argument("folder", type=Path, help="the vendor's folder: forex, equity or future")
    parser.add_argument("--symbols", required=True, help="EURUSD, or IBM,SPY, or GC-201312")
    parser.add_argument("--list", help="file for every difference; - for the terminal")
    chosen = parser.parse_args(arguments)
    symbols = chosen.symbols.split(",")
    comparisons = compare_export(chosen.export, chosen.folder.resolve(), symbols)
    lines = [line for comparison in comparisons for line in comparison.differences()]
    for comparison in comparisons:
        print(comparison)
    if missing := set(symbols) - {each.symbol for each in comparisons}:
        print(f"the vendor has no bars of {', '.join(sorted(missing))} below {chosen.folder}")
    if chosen.list == "-":
        print(*lines, sep="\n")
    elif chosen.list:
        Path(chosen.list).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return 0 if not missing and all(each.passes for each in comparisons) else 1


if __name__ == "__main__":
    sys.exit(main())
