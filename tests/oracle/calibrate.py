"""The vendor's ticks straight through the reference, without Kafka, against the vendor's bars.

    python -m tests.oracle.calibrate ../shared/data/equity [--symbols SPY,IBM] [--list FILE]

Shows whether the rule `algoseek` as written in app/README.md reaches what is required, so that
a shortfall of a whole run is the engine's and not the rule's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.oracle.reference import Reference, Settings
from tests.oracle.rules import MINUTE, SECOND
from tests.oracle.vendor import (
    FOLDERS,
    IntervalComparison,
    Key,
    Values,
    compare,
    file_date,
    file_lines,
    midnight_ns,
    trade_files,
    vendor_bars,
)

#: The vendor's bits that the rule knows; every other bit means nothing to it.
BITS = {
    0x20: "iso",
    0x40: "opening_print",
    0x80: "closing_print",
    0x100: "reopening_print",
    0x200: "derivatively_priced",
    0x2000: "extended_hours",
    0x40000: "stock_option",
    0x100000: "average_price",
    0x1000000: "market_center_official_close",
    0x4000000: "market_center_official_open",
}
FAR_FUTURE_MS = 4_000_000_000_000


def conditions_of(flags: int, suspicious: bool) -> list[str]:
    """Our names of a vendor's condition bits."""
    names = [name for bit, name in BITS.items() if flags & bit]
    return [*names, "suspicious"] if suspicious else names


def tick_values(path: Path, symbol: str) -> Iterator[bytes]:
    """The records of one tick file in its order; `sequence` is the place in the file."""
    midnight = midnight_ns(file_date(path))
    for place, row in enumerate(file_lines(path)):
        record = {
            "symbol": symbol,
            "price": int(row[1]) / 10_000,
            "size": int(row[2]),
            "event_time": midnight + int(row[0]) * 1_000_000,
            "sequence": place,
            "conditions": conditions_of(int(row[4], 16), row[5] == "1"),
        }
        yield json.dumps(record).encode()


def run(folder: Path, symbol: str) -> Reference:
    """All days of a symbol through one reference, flushed at the end."""
    reference = Reference(0, 1, Settings(intervals=(SECOND, MINUTE), policy="algoseek"))
    offset = 0
    for path in trade_files(folder, "tick", symbol):
        for value in tick_values(path, symbol):
            reference.feed(offset, FAR_FUTURE_MS, value)
            offset += 1
    reference.feed(offset, FAR_FUTURE_MS, b'{"type": "flush"}')
    return reference


def final_bars(reference: Reference, interval: str) -> dict[Key, Values]:
    """The highest revision of every bar of an interval."""
    return {
        (bar.symbol, bar.start): (bar.open, bar.high, bar.low, bar.close, bar.volume)
        for bar in reference.bars
        if bar.interval == interval
    }


def calibrate(folder: Path, symbols: list[str]) -> list[IntervalComparison]:
    """Second and minute bars of the reference against the vendor's, symbols together."""
    references = [run(folder, symbol) for symbol in symbols]
    return [
        compare(
            interval,
            vendor_bars(folder, interval, symbols),
            {key: bar for each in references for key, bar in final_bars(each, interval).items()},
        )
        for interval in FOLDERS
    ]


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0 where every requirement holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.calibrate", description=__doc__)
    parser.add_argument("folder", type=Path, help="the vendor's equity folder")
    parser.add_argument("--symbols", default="SPY,IBM")
    parser.add_argument("--list", type=Path, help="file for every difference")
    chosen = parser.parse_args(arguments)
    comparisons = calibrate(chosen.folder, chosen.symbols.split(","))
    for comparison in comparisons:
        print(comparison)
    if chosen.list is not None:
        lines = [str(each) for comparison in comparisons for each in comparison.differences]
        chosen.list.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return 0 if all(comparison.passes for comparison in comparisons) else 1


if __name__ == "__main__":
    sys.exit(main())
