"""What a report shows of one symbol's day beyond the quality summary: collected record by record.

Bounded: a bucket for each second with a record, `MOST_EVENTS` events and `MOST_MARKS` outliers, the
`MOST_GAPS` longest gaps, `MOST_NAMES` names of a kind.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from typing import Final

from app.contracts.wire import QuoteRecord, TradeRecord
from tables.markets import Day, Market
from tables.quality import OUTLIER, QualityEvent, QualitySummary

SECOND: Final = 1_000_000_000
MOST_EVENTS: Final = 1_000
MOST_MARKS: Final = 500
MOST_GAPS: Final = 20
MOST_NAMES: Final = 200
OTHERS: Final = "(others)"
#: Upper ends, included, of the buckets of intervals, ns: 1, 2, 5 from 1 us to 5 h; one more.
INTERVAL_BOUNDS: Final[tuple[int, ...]] = (
    0,
    *(digit * 10**power for power in range(3, 13) for digit in (1, 2, 5)),
    10_000_000_000_000,
    20_000_000_000_000,
)


@dataclass(slots=True)
class Second:
    """The records of one second: prices (mids of quotes), and size (spreads of quotes) summed."""

    low: float
    high: float
    last: float
    amount: float
    records: int


@dataclass(slots=True)
class DayProfile:
    """One symbol's day."""

    symbol: str
    day: Day
    market: Market
    quotes: bool
    first_price: float | None = None
    notional: float = 0.0
    volume: float = 0.0
    seconds: dict[int, Second] = field(default_factory=dict)
    intervals: list[int] = field(default_factory=lambda: [0] * (len(INTERVAL_BOUNDS) + 1))
    #: (open ns, begin, end), the longest, as a heap.
    gaps: list[tuple[int, int, int]] = field(default_factory=list)
    conditions: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    venues: Counter[str] = field(default_factory=Counter)
    marks: list[tuple[int, float]] = field(default_factory=list)
    events: list[QualityEvent] = field(default_factory=list)
    event_counts: Counter[str] = field(default_factory=Counter)
    flagged: int = 0
    summary: QualitySummary | None = None
    _last: int = -1

    def take(self, record: TradeRecord | QuoteRecord, flags: int, judged: bool) -> None:
        """Take a record of the day, with what the checks have said of it.

        `judged`: its price is one of the market at its moment.
        """
        time = record.event_time
        if flags:
            self.flagged += 1
        _count(self.sources, record.source or "(none)")
        _count(self.venues, record.venue or "(none)")
        if isinstance(record, TradeRecord):
            price, amount = record.price, record.size
            self.volume += amount
            self.notional += price * amount
            for name in record.conditions or ("(none)",):
                _count(self.conditions, name)
        else:
            price, amount = (record.bid + record.ask) / 2, record.ask - record.bid
        self._take_time(time)
        if flags & OUTLIER and len(self.marks) < MOST_MARKS:
            self.marks.append((time, price))
        if flags or not judged:
            # The axes of the plots are those of the clean data; outliers are marks.
            return
        if self.first_price is None:
            self.first_price = price
        bucket = self.seconds.get(time // SECOND)
        if bucket is None:
            self.seconds[time // SECOND] = Second(price, price, price, amount, 1)
            return
        bucket.low = min(bucket.low, price)
        bucket.high = max(bucket.high, price)
        bucket.last = price
        bucket.amount += amount
        bucket.records += 1

    def take_event(self, event: QualityEvent) -> None:
        """Take a finding."""
        self.event_counts[event.kind] += 1
        if len(self.events) < MOST_EVENTS or event.severity == "critical":
            self.events.append(event)
        if len(self.events) > 2 * MOST_EVENTS:
            self.events = self.worst(MOST_EVENTS)

    def worst(self, count: int) -> list[QualityEvent]:
        """Return the worst findings: by severity, by how far beyond the limit, by offset."""
        return sorted(self.events, key=_badness)[:count]

    def _take_time(self, time: int) -> None:
        last = self._last
        if last < 0:
            self._last = time
            return
        length = time - last
        if length < 0:
            return
        self._last = time
        if length >= SECOND // 2:
            length = self.market.open_between(last, time)
            if not length:
                return
            gap = (length, last, time)
            if len(self.gaps) < MOST_GAPS:
                heappush(self.gaps, gap)
            else:
                heappushpop(self.gaps, gap)
        self.intervals[bisect_left(INTERVAL_BOUNDS, length)] += 1


_RANK: Final = {"critical": 0, "warning": 1, "info": 2}


def _badness(event: QualityEvent) -> tuple[int, float, int]:
    ratio = 0.0
    if event.value is not None and event.limit:
        ratio = abs(event.value / event.limit)
        ratio = max(ratio, 1 / ratio) if ratio else 1e300
    return _RANK[event.severity], -ratio, event.offset


def _count(counter: Counter[str], name: str) -> None:
    counter[name if name in counter or len(counter) < MOST_NAMES else OTHERS] += 1
