"""A cancel that comes nine hours after its trade: by hand, and the real pair of the TAQ file."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.oracle.reference import Reference, Settings
from tests.oracle.rules import MINUTE, SECOND
from tests.oracle.test_corrections import at, cancel
from tests.oracle.test_reference import FAR_MS, Log

HOUR = 3600


def test_a_cancel_nine_hours_later() -> None:
    log = Log(intervals=(SECOND, MINUTE))
    log.trade(6, 157.03, 100, venue="D")
    log.trade(6.055, 157.04, 127_300, venue="D", sequence=1)
    log.trade(7, 157.05, 200, venue="D")
    log.trade(9 * HOUR, 157.04, 5, venue="D")
    log.reference.bars.clear()
    name = {"venue": "D", "original_event_time": at(6.055), "original_sequence": 1}
    assert cancel(log, **name, original_price=157.04, original_size=127_300) == "control"
    assert log.bars == [
        (6, 1, 157.03, 157.03, 157.03, 157.03, 100, 1),
        (0, 1, 157.03, 157.05, 157.03, 157.05, 300, 2),
    ]
    assert cancel(log, **name, original_price=157.04, original_size=127_300) == "dead"


@pytest.mark.realdata
def test_the_real_pair_leaves_127_300_shares_out(realdata: Path) -> None:
    """Rows with `CORR` 8 are trades, the one with 10 cancels it; the rest is summed by hand."""
    path = realdata / "taq" / "xxx_trades_20180102_03.csv.gz"
    reference = Reference(0, 1, Settings(intervals=(MINUTE,)))
    cancelled: dict[tuple[str, ...], tuple[int, int]] = {}
    minute: list[tuple[int, float, float]] = []
    begin = int(datetime(2018, 1, 3, 13, 51, tzinfo=UTC).timestamp()) * SECOND
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        for place, row in enumerate(csv.DictReader(lines)):
            moment, fraction = row["DT"].split(".")
            seconds = int(datetime.fromisoformat(f"{moment}+00:00").timestamp())
            time = seconds * SECOND + int(fraction)
            price, size = float(row["PRICE"]), float(row["SIZE"])
            key = (row["EX"], row["PRICE"], row["SIZE"])
            record: dict[str, Any] = {"symbol": row["SYMBOL"], "venue": row["EX"]}
            if row["CORR"] == "10":
                original, sequence = cancelled.pop(key)
                record |= {"type": "correction", "action": "cancel", "event_time": time}
                record |= {"original_event_time": original, "original_sequence": sequence}
                record |= {"original_price": price, "original_size": size}
            else:
                record |= {"price": price, "size": size, "event_time": time, "sequence": place}
                if row["CORR"] == "8":
                    cancelled[key] = time, place
                elif begin <= time < begin + MINUTE:
                    minute.append((time, price, size))
            reference.feed(place, FAR_MS, json.dumps(record).encode())
    assert cancelled == {}
    assert reference.outcomes["control"] == 1
    assert reference.dead == []
    before, after = (bar for bar in reference.bars if bar.start == begin)
    assert (before.revision, after.revision) == (0, 1)
    assert before.volume - after.volume == 127_300
    assert (before.trades, after.trades) == (len(minute) + 1, len(minute))
    prices = [price for _, price, _ in sorted(minute, key=lambda each: each[0])]
    assert (after.open, after.close) == (prices[0], prices[-1])
    assert (after.high, after.low) == (max(prices), min(prices))
    assert after.volume == sum(size for _, _, size in minute)
