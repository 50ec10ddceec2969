"""The semantics of quote bars, followed literally, one record at a time.

It imports nothing of the engine and is built to be read: sums are `fractions.Fraction`, windows are
never forgotten. What app/README.md says of trades holds but for this: a quote has no identity and
no conditions; a quote with a side of zero, or with its bid above its ask, is ignored; every other
one counts for every interval.

Readings of the page that it had to choose are marked with *Reading* below.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from tests.oracle.parsing import Control, DeadRecordError, Quote, read_quote
from tests.oracle.reference import MAX_SOURCES, MILLISECOND, Dead, Late, Settings
from tests.oracle.rules import GRID, partition_of
from tests.oracle.window import interval_label

SIDES = ("bid", "ask", "mid")


@dataclass(frozen=True, slots=True)
class QuotePublication:
    """One published quote bar; fields and their order as in the contract `QuoteBar`."""

    symbol: str
    interval: str
    start: int
    bid_open: float
    bid_high: float
    bid_low: float
    bid_close: float
    ask_open: float
    ask_high: float
    ask_low: float
    ask_close: float
    mid_open: float
    mid_high: float
    mid_low: float
    mid_close: float
    bid_size: float
    ask_size: float
    spread: float
    quotes: int
    revision: int
    is_final: bool
    sources: tuple[str, ...]

    @property
    def identity(self) -> tuple[str, str, int, int]:
        """Symbol, interval, start, revision: once in the output."""
        return self.symbol, self.interval, self.start, self.revision


def price_of(quote: Quote, side: str) -> float:
    """A quote's bid, ask, or the middle of both."""
    prices = {"bid": quote.bid, "ask": quote.ask, "mid": (quote.bid + quote.ask) * 0.5}
    return prices[side]


def mean_spread(quotes: list[Quote]) -> float:
    """The exact mean of the spreads, each a double put on the grid, rounded once."""
    # `round` of a fraction goes to the nearest integer, half to even.
    units = sum(round(Fraction(quote.ask - quote.bid) * GRID) for quote in quotes)
    return float(Fraction(units, GRID) / len(quotes))


class QuoteWindow:
    """One window of one symbol and interval: the quotes that were merged into it."""

    def __init__(self, symbol: str, length: int, start: int) -> None:
        self.symbol = symbol
        self.length = length
        self.start = start
        self.is_open = False
        self.is_closed = False
        #: How often the bar was published; the next revision's number.
        self.published = 0
        self.quotes: list[Quote] = []

    @property
    def end(self) -> int:
        """The first ns after the window."""
        return self.start + self.length

    def publish(self) -> QuotePublication:
        """The bar as its next revision, of all quotes there are; there must be one."""
        ordered = sorted(self.quotes, key=lambda quote: quote.order)
        prices = {}
        for side in SIDES:
            series = [price_of(quote, side) for quote in ordered]
            prices[f"{side}_open"] = series[0]
            prices[f"{side}_high"] = max(series)
            prices[f"{side}_low"] = min(series)
            prices[f"{side}_close"] = series[-1]
        bar = QuotePublication(
            symbol=self.symbol,
            interval=interval_label(self.length),
            start=self.start,
            **prices,
            bid_size=ordered[-1].bid_size,
            ask_size=ordered[-1].ask_size,
            spread=mean_spread(ordered),
            quotes=len(ordered),
            revision=self.published,
            is_final=True,
            sources=tuple(sorted({each.source for each in ordered if each.source is not None})),
        )
        self.published += 1
        return bar


class QuotesReference:
    """One partition of quotes. Feed records in log order, then read the lists.

    Attributes:
        bars: every publication, in order.
        late, dead: in log order.
        outcomes: records by outcome; they add up to the records fed.
        ignored: the ignored ones by reason.
    """

    def __init__(self, partition: int, partitions: int, settings: Settings) -> None:
        self.partition = partition
        self.partitions = partitions
        self.settings = settings
        self.bars: list[QuotePublication] = []
        self.late: list[Late] = []
        self.dead: list[Dead] = []
        self.outcomes: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()
        self.historical = False
        self.maximum: int | None = None
        self._symbols: set[str] = set()
        self._sources: set[str] = set()
        self._windows: dict[tuple[str, int, int], QuoteWindow] = {}
        #: Open windows by (end, length, symbol).
        self._open: list[tuple[int, int, str]] = []

    @property
    def watermark(self) -> int | None:
        """Maximum minus grace; None stands for minus infinity."""
        return None if self.maximum is None else self.maximum - self.settings.grace

    def feed_all(self, records: Iterable[tuple[int, int, bytes | None]]) -> None:
        """Feed (offset, append time in ms, value) in log order."""
        for offset, append_time_ms, value in records:
            self.feed(offset, append_time_ms, value)

    def feed(self, offset: int, append_time_ms: int, value: bytes | None) -> str:
        """Take the next record of the log and give its outcome."""
        append_time = append_time_ms * MILLISECOND
        try:
            if value is None:
                raise DeadRecordError("null")
            record = self._parse(offset, append_time, value)
        except DeadRecordError as fault:
            self.dead.append(Dead(offset, fault.reason, value))
            outcome = "dead"
        else:
            if isinstance(record, Control):
                outcome = self._control(record, append_time)
            else:
                outcome = self._quote(record, offset, append_time, value)
        self.outcomes[outcome] += 1
        return outcome

    # 1. Parse ---------------------------------------------------------------------------------

    def _parse(self, offset: int, append_time: int, value: bytes) -> Quote | Control:
        settings = self.settings
        if not value:
            raise DeadRecordError("empty")
        if 2 * len(value) > settings.max_message_bytes:
            raise DeadRecordError("too_large")
        record = read_quote(offset, value)
        # Reading: the bounds of event time hold for clock records as for quotes.
        if record.event_time is not None:
            if record.event_time < settings.earliest_event_time:
                raise DeadRecordError("event_time_too_early")
            if record.event_time > append_time + settings.max_ahead:
                raise DeadRecordError("event_time_too_late")
        if isinstance(record, Control):
            return record
        if partition_of(record.symbol.encode(), self.partitions) != self.partition:
            raise DeadRecordError("wrong_partition")
        if record.symbol not in self._symbols and len(self._symbols) >= settings.max_symbols:
            raise DeadRecordError("too_many_symbols")
        new_source = record.source is not None and record.source not in self._sources
        if new_source and len(self._sources) >= MAX_SOURCES:
            raise DeadRecordError("too_many_sources")
        # Reading: every record that is not dead, a late or ignored one too, counts its symbol and
        # source.
        self._symbols.add(record.symbol)
        if record.source is not None:
            self._sources.add(record.source)
        return record

    # 2. Control -------------------------------------------------------------------------------

    def _control(self, control: Control, append_time: int) -> str:
        if control.kind == "clock":
            assert control.event_time is not None
            self._advance(control.event_time, append_time)
            self._close_ended()
        elif control.kind == "historical":
            self.historical = True
        else:
            while self._open:
                self._close_first()
            self.historical = False
        return "control"

    # 3. Judge ---------------------------------------------------------------------------------

    def _quote(self, quote: Quote, offset: int, append_time: int, value: bytes) -> str:
        watermark, horizon = self.watermark, self.settings.correction_horizon
        if watermark is not None and quote.event_time < watermark - horizon:
            self.late.append(Late(offset, quote.symbol, value))
            return "late"
        reason = self._reason_to_ignore(quote)
        if reason is not None:
            self.ignored[reason] += 1
            outcome = "ignored"
        else:
            closed = [self._apply(quote, length) for length in sorted(self.settings.intervals)]
            outcome = "revised" if any(closed) else "applied"
        self._advance(quote.event_time, append_time)
        self._close_ended()
        return outcome

    def _reason_to_ignore(self, quote: Quote) -> str | None:
        if quote.bid == 0 or quote.ask == 0:
            return "zero"
        # An equal bid and ask is a locked market, which is a real one.
        return "crossed" if quote.bid > quote.ask else None

    # 4. Windows -------------------------------------------------------------------------------

    def _apply(self, quote: Quote, length: int) -> bool:
        """Apply a quote to one interval; whether its window was closed before it."""
        key = (quote.symbol, length, quote.event_time // length * length)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = QuoteWindow(*key)
        if self.watermark is not None and window.end <= self.watermark:
            window.is_closed = True
        window.quotes.append(quote)
        if window.is_closed:
            self.bars.append(window.publish())
        elif not window.is_open:
            window.is_open = True
            heapq.heappush(self._open, (window.end, length, quote.symbol))
        return window.is_closed

    # 5. After, 6. Close -----------------------------------------------------------------------

    def _advance(self, event_time: int, append_time: int) -> None:
        moment = min(event_time, append_time + self.settings.clock_ahead)
        self.maximum = moment if self.maximum is None else max(self.maximum, moment)

    def _close_ended(self) -> None:
        watermark = self.watermark
        assert watermark is not None
        while self._open and self._open[0][0] <= watermark:
            self._close_first()

    def _close_first(self) -> None:
        end, length, symbol = heapq.heappop(self._open)
        window = self._windows[symbol, length, end - length]
        window.is_open = False
        window.is_closed = True
        self.bars.append(window.publish())
