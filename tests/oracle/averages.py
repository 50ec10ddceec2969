"""What the indicators `SMA(3),EMA(3)` of a stream of bars are, revisions and all; nothing of ours.

Of each (symbol, interval) the bars that count are kept: a newer one is added, the last one once
more replaces it (or takes it away, where a correction left it without trades), an older one counts
for nothing and makes what follows inexact for a while. Averages are computed anew from all of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.oracle.compare import Found
from tests.oracle.log import LogRecord
from tests.oracle.window import Publication

LENGTH = 3


@dataclass(frozen=True)
class Averages:
    """The averages after a bar; None where there are fewer than `LENGTH`."""

    symbol: str
    interval: str
    start: int
    revision: int
    #: Whether an older bar has ever been revised before this one: `exact` may be false.
    disturbed: bool
    simple: float | None
    exponential: float | None

    @property
    def identity(self) -> tuple[str, str, int, int]:
        """As of the bar."""
        return self.symbol, self.interval, self.start, self.revision

    @property
    def body(self) -> str:
        """What must be equal to the last bit."""
        return f"SMA(3) {self.simple!r}, EMA(3) {self.exponential!r}"


@dataclass
class _History:
    closes: list[float] = field(default_factory=list)
    start: int | None = None
    revision: int = 0
    #: Whether the last bar is among the closes.
    counts: bool = False
    disturbed: bool = False


def found_averages(record: LogRecord) -> Found:
    """A record of the indicators' topic; its body is a text where it is none of these."""
    raw = (record.key, record.value)
    try:
        there = json.loads(record.value or b"")
        if there["symbol"].encode() != record.key or not isinstance(there["exact"], bool):
            raise ValueError
        simple, exponential = (
            None if there["values"][name] is None else float(there["values"][name])
            for name in ("SMA(3)", "EMA(3)")
        )
        identity = there["symbol"], there["interval"], there["start"], there["revision"]
        return Found(identity, f"SMA(3) {simple!r}, EMA(3) {exponential!r}", raw)
    except (ValueError, TypeError, AttributeError, KeyError):
        return Found(("no averages", record.offset), repr(raw), raw)


def averages_of(bars: Iterable[Publication]) -> Iterator[Averages]:
    """Yield what is published of each bar, in their order."""
    histories: dict[tuple[str, str], _History] = {}
    for bar in bars:
        history = histories.setdefault((bar.symbol, bar.interval), _History())
        empty = bar.filled and bar.trades == 0
        if history.start is not None and bar.start < history.start:
            history.disturbed = True
            continue
        if bar.start == history.start:
            if bar.revision <= history.revision:
                continue
            if history.counts:
                history.closes.pop()
        history.start, history.revision, history.counts = bar.start, bar.revision, not empty
        if not empty:
            history.closes.append(bar.close)
        known = not empty and len(history.closes) >= LENGTH
        yield Averages(
            bar.symbol,
            bar.interval,
            bar.start,
            bar.revision,
            history.disturbed,
            # In the order of the bars: to the last bit a mean depends on it.
            sum(history.closes[-LENGTH:]) / LENGTH if known else None,
            _exponential(history.closes) if known else None,
        )


def _exponential(closes: list[float]) -> float:
    average = math.fsum(closes[:LENGTH]) / LENGTH
    for close in closes[LENGTH:]:
        average += 2 / (LENGTH + 1) * (close - average)
    return average
