"""Fetches of records, as the sink's loop hands them to a driver."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from app.contracts.batch import RecordBatch
from app.contracts.wire import BarRecord, TradeRecord, encoder
from app.sinks.driver import Culprit, Driver, Flushed, Place, SinkUnavailableError

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
#: A whole hour, as the clock of most tests.
NOW = 1_790_000_000 * SECOND // (60 * MINUTE) * (60 * MINUTE)


def bar(number: int, start: int | None = None, symbol: str = "SPY", **more: Any) -> bytes:
    """One bar a minute, with prices whose sums are exact."""
    fields: dict[str, Any] = {
        **{"symbol": symbol, "interval": "1m", "start": NOW - MINUTE if start is None else start},
        **{"open": 1.5, "high": 2.0, "low": 1.0, "close": 1.25, "volume": number / 8, "vwap": 1.5},
        **{"trades": number, "revision": 0, "is_final": True, "filled": False, "sources": ("a",)},
    }
    return encoder.encode(BarRecord(**(fields | more)))


def bars(count: int, end: int = NOW, symbol: str = "SPY") -> list[bytes]:
    """Bars of the minutes before a time."""
    return [bar(number, end - (count - number) * MINUTE, symbol) for number in range(count)]


def trade(number: int, event_time: int, symbol: str = "SPY") -> bytes:
    return encoder.encode(TradeRecord(symbol, 1.0 + number % 8 / 8, 2.0, event_time))


def fetch(
    values: Sequence[bytes | None], base: int = 0, partition: int = 0, appended: int = NOW
) -> RecordBatch:
    """A fetch of consecutive records."""
    offsets = np.arange(base, base + len(values), dtype=np.int64)
    times = np.full(len(values), appended, dtype=np.int64)
    return RecordBatch("topic", partition, base, base + len(values), values, offsets, times)


class Told:
    """What flushes of a driver have told, added up."""

    def __init__(self) -> None:
        self.positions: dict[Place, int] = {}
        self.culprits: list[Culprit] = []
        self.rows = 0
        self.passed: dict[str, int] = {}

    def add(self, flushed: Flushed) -> None:
        for place, position in flushed.positions.items():
            assert position > self.positions.get(place, -1), "a position goes back"
        self.positions |= flushed.positions
        self.culprits += flushed.culprits
        self.rows += flushed.rows
        for reason, count in flushed.passed.items():
            self.passed[reason] = self.passed.get(reason, 0) + count
        for culprit in flushed.culprits:
            assert culprit.offset < self.positions[culprit.place]


async def flush_all(
    driver: Driver,
    ends: Mapping[Place, int],
    now: int = NOW,
    failed: Callable[[], object] = lambda: None,
) -> Told:
    """Flush until all is written up to `ends`; one that is away is tried again.

    Args:
        failed: called after each failure.
    """
    told = Told()
    async with asyncio.timeout(50):
        while any(told.positions.get(place, -1) < end for place, end in ends.items()):
            try:
                told.add(await driver.flush(now))
            except SinkUnavailableError:
                failed()
                await asyncio.sleep(0.05)
    assert told.positions == ends
    return told


def text(value: bytes | None) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(value or b"")
    return found
