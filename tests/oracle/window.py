"""One window of one symbol and interval: what was merged into it and the bar it makes."""

from __future__ import annotations

from dataclasses import dataclass

from tests.oracle.corrections import Applied
from tests.oracle.parsing import Trade
from tests.oracle.rules import VOLUME_ONLY, Flags, off_grid, on_grid

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def interval_label(length: int) -> str:
    """The label of an interval of so many ns: the largest unit that divides it."""
    for seconds, unit in _UNITS:
        if length % (seconds * 1_000_000_000) == 0:
            return f"{length // (seconds * 1_000_000_000)}{unit}"
    return f"{length // 1_000_000}ms"


@dataclass(frozen=True, slots=True)
class Publication:
    """One published bar; fields and their order as in the contract `Bar`."""

    symbol: str
    interval: str
    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float | None
    trades: int
    revision: int
    is_final: bool
    filled: bool
    sources: tuple[str, ...]

    @property
    def identity(self) -> tuple[str, str, int, int]:
        """Symbol, interval, start, revision: once in the output."""
        return self.symbol, self.interval, self.start, self.revision


class Window:
    """Merges records one at a time; a bar exists once a record may set open and close."""

    def __init__(self, symbol: str, length: int, start: int) -> None:
        self.symbol = symbol
        self.length = length
        self.start = start
        self.is_open = False
        self.is_closed = False
        #: How often the bar was published; the next revision's number.
        self.published = 0
        #: Closing prints that belong to an earlier window (policy `algoseek`).
        self.amendments: list[tuple[Trade, Flags]] = []
        #: The records that were applied, in log order, each with its flags; for corrections.
        self.members: list[tuple[Applied, Flags]] = []
        #: The close published last.
        self.last_close: float | None = None
        self.clear()

    def clear(self) -> None:
        """Forget all that was merged."""
        #: What was merged while there is no bar: it may move to the bar before.
        self.without_price: list[Trade] = []
        self.first: tuple[tuple[int, int, int], float] | None = None
        self.last: tuple[tuple[int, int, int], float] | None = None
        self.high: float | None = None
        self.low: float | None = None
        self.priced_size = 0
        self.priced_value = 0
        self.volume = 0
        self.trades = 0
        self.sources: set[str] = set()

    @property
    def end(self) -> int:
        """The first ns after the window."""
        return self.start + self.length

    @property
    def has_bar(self) -> bool:
        """Whether a record has set open and close."""
        return self.last is not None

    def add(self, trade: Trade, flags: Flags) -> None:
        """Merge one record; one without a flag is a source and no more."""
        if trade.source is not None:
            self.sources.add(trade.source)
        if flags.last:
            mine = (trade.order, trade.price)
            self.first = mine if self.first is None else min(self.first, mine)
            self.last = mine if self.last is None else max(self.last, mine)
        if flags.extremes:
            self.high = trade.price if self.high is None else max(self.high, trade.price)
            self.low = trade.price if self.low is None else min(self.low, trade.price)
            self.priced_size += on_grid(trade.size)
            self.priced_value += on_grid(trade.price * trade.size)
        if flags.volume:
            self.volume += on_grid(trade.size)
            self.trades += 1
        if self.has_bar:
            self.without_price = []
        elif flags == VOLUME_ONLY:
            self.without_price.append(trade)

    def remake(self) -> None:
        """Make the window anew from its records as they are now."""
        self.clear()
        for member, flags in self.members:
            if not member.is_cancelled:
                self.add(member.trade, flags)

    def publish_without_bar(self) -> Publication:
        """The next revision of a bar that was published, and of which nothing is left."""
        assert self.last_close is not None
        bar = Publication(
            symbol=self.symbol,
            interval=interval_label(self.length),
            start=self.start,
            open=self.last_close,
            high=self.last_close,
            low=self.last_close,
            close=self.last_close,
            volume=0.0,
            vwap=None,
            trades=0,
            revision=self.published,
            is_final=True,
            filled=True,
            sources=(),
        )
        self.published += 1
        return bar

    def publish(self) -> Publication:
        """The bar as its next revision; there must be one."""
        assert self.first is not None
        assert self.last is not None
        opened, closed = self.first[1], self.last[1]
        bar = Publication(
            symbol=self.symbol,
            interval=interval_label(self.length),
            start=self.start,
            open=opened,
            high=max(opened, closed) if self.high is None else self.high,
            low=min(opened, closed) if self.low is None else self.low,
            close=closed,
            volume=off_grid(self.volume),
            vwap=self.priced_value / self.priced_size if self.priced_size else None,
            trades=self.trades,
            revision=self.published,
            is_final=True,
            filled=False,
            sources=tuple(sorted(self.sources)),
        )
        self.published += 1
        self.last_close = closed
        return bar
