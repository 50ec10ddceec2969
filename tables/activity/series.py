"""One symbol's bars of one type: when they close, and what is kept between two trades.

A trade that reaches the threshold belongs wholly to the bar that it closes. What it has too much
is forgotten, or with `carry` counts towards the next bar (modulo the size: one trade closes one
bar of a type at most). Trades are not split, since the parts would be trades that nobody made.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from tables.activity.kinds import LENGTH_BOUND, SPAN, ActivityKind
from tables.activity.opened import ActivityBarRecord, Opened, opened_by
from tables.activity.trades import Running, Segment
from tables.sums import GRID, GRID_BITS, Int64Array

#: What leaves: the index of the trade that closed a bar, and the bar.
Closed = tuple[int, ActivityBarRecord]


class Series(ABC):
    """The open bar of a symbol and type, how many were closed before, and the rule's own state."""

    __slots__ = ("_kind", "_symbol", "number", "opened")

    def __init__(self, kind: ActivityKind, symbol: str) -> None:
        self._kind = kind
        self._symbol = symbol
        self.number = 0
        self.opened: Opened | None = None

    def take_one(
        self, price: float, time: int, size: int, notional: int, sign: int
    ) -> ActivityBarRecord | None:
        """Take the next trade (sums in grid units); the bar that it closes, if any."""
        if self.opened is None:
            self.opened = opened_by(price, time, size, notional)
        else:
            self.opened.add(price, time, size, notional)
        if not self._counts(self._kind.amount(size, notional), sign):
            return None
        return self._close()

    def take_many(
        self, segment: Segment, begin: int, end: int, signs: list[int] | None
    ) -> list[Closed]:
        """Take the trades [begin, end) of a segment; `signs` where the kind is signed."""
        volumes = segment.volume.values(begin, end)
        notionals = segment.notional.values(begin, end)
        prices, times = segment.price[begin:end].tolist(), segment.time[begin:end].tolist()
        closed = []
        for index, price in enumerate(prices):
            sign = signs[index] if signs is not None else 0
            bar = self.take_one(price, times[index], volumes[index], notionals[index], sign)
            if bar is not None:
                closed.append((begin + index, bar))
        return closed

    def _close(self) -> ActivityBarRecord:
        if self.opened is None:
            raise ValueError("no bar is open")
        record = self.opened.record(self._symbol, self._kind.label, self.number)
        self.number += 1
        self.opened = None
        return record

    @abstractmethod
    def _counts(self, amount: int, sign: int) -> bool:
        """Count a trade's amount; whether the bar closes with it."""

    def to_row(self) -> list[Any]:
        """Plain values: label, number, open bar, then the rule's own."""
        opened = None if self.opened is None else self.opened.to_row()
        return [self._kind.label, self.number, opened, *self._own_row()]

    def restore(self, row: list[Any]) -> None:
        """Take in what `to_row` wrote, of the same kind."""
        _, self.number, opened, *own = row
        self.opened = None if opened is None else Opened.from_row(opened)
        self._restore_own(own)

    @abstractmethod
    def _own_row(self) -> list[Any]: ...

    @abstractmethod
    def _restore_own(self, row: list[Any]) -> None: ...


class ThresholdSeries(Series):
    """Closes when trades, volume or notional since the last close have reached the size."""

    __slots__ = ("_carry", "_held", "_threshold")

    def __init__(self, kind: ActivityKind, symbol: str, carry: bool) -> None:
        super().__init__(kind, symbol)
        self._carry = carry
        self._threshold = kind.size * GRID if kind.measure == "tick" else kind.size
        #: What the open bar's trades count, and what was carried into it, in grid units.
        self._held = 0

    def _counts(self, amount: int, sign: int) -> bool:
        self._held += amount
        if self._held < self._threshold:
            return False
        self._held = self._held % self._threshold if self._carry else 0
        return True

    def take_many(
        self, segment: Segment, begin: int, end: int, signs: list[int] | None
    ) -> list[Closed]:
        """Take the trades [begin, end): a step for each close, not for each trade."""
        ends = self._ends(segment, begin, end)
        starts = np.array([begin, *ends], dtype=np.int64)
        if starts[-1] == end:
            starts = starts[:-1]
        pieces = _pieces(segment, starts, end)
        closed: list[Closed] = []
        for index, piece in enumerate(pieces):
            if self.opened is None:
                self.opened = piece
            else:
                self.opened.extend(piece)
            if index < len(ends):
                closed.append((ends[index] - 1, self._close()))
        return closed

    def _ends(self, segment: Segment, begin: int, end: int) -> list[int]:
        """Indexes after the trades that close a bar, in [begin + 1, end]."""
        if self._kind.measure == "tick":
            size, held = self._kind.size, self._held >> GRID_BITS
            ends = list(range(begin + size - held, end + 1, size))
            self._held = ((held + end - begin) % size) << GRID_BITS
            return ends
        sums = segment.volume if self._kind.measure == "volume" else segment.absolute
        return self._reached(sums, begin, end)

    def _reached(self, sums: Running, begin: int, end: int) -> list[int]:
        ends: list[int] = []
        while True:
            target = sums.until(begin) + self._threshold - self._held
            found = sums.first_reaching(begin, end, target)
            if found is None:
                self._held += sums.until(end) - sums.until(begin)
                return ends
            begin = found + 1
            ends.append(begin)
            excess = sums.until(begin) - target
            self._held = excess % self._threshold if self._carry else 0

    def _own_row(self) -> list[Any]:
        return [f"{self._held:x}"]

    def _restore_own(self, row: list[Any]) -> None:
        self._held = int(row[0], 16)


def _pieces(segment: Segment, starts: Int64Array, end: int) -> list[Opened]:
    """Aggregates of the runs that begin at `starts`, the last of which ends before `end`."""
    first = int(starts[0])
    price = segment.price[first:end]
    highs = np.maximum.reduceat(price, starts - first).tolist()
    lows = np.minimum.reduceat(price, starts - first).tolist()
    bounds = [*starts.tolist(), end]
    lasts = [bound - 1 for bound in bounds[1:]]
    opens, closes = segment.price[starts].tolist(), segment.price[lasts].tolist()
    begun, ended = segment.time[starts].tolist(), segment.time[lasts].tolist()
    volumes = [segment.volume.until(bound) for bound in bounds]
    notionals = [segment.notional.until(bound) for bound in bounds]
    return [
        Opened(
            bounds[index + 1] - bounds[index],
            volumes[index + 1] - volumes[index],
            notionals[index + 1] - notionals[index],
            highs[index], lows[index], opens[index], closes[index], begun[index], ended[index],
        )
        for index in range(len(starts))
    ]  # fmt: skip


class _ExpectingSeries(Series):
    """What imbalance and run bars share: expectations, which each closed bar moves.

    All in integers of the grid, so a close never hangs on a rounding. Expectations are exponential
    averages over bars with alpha = 2 / (SPAN + 1), rounded down; the first bar closes at the size
    and sets them. A bar has at least size / LENGTH_BOUND and at most size x LENGTH_BOUND trades,
    and so has the expected length: left to itself the rule of the book either runs away, since a
    longer bar makes the next one longer, or collapses to a trade a bar.
    """

    __slots__ = ("_buys", "_length", "_longest", "_of_buys", "_of_sells", "_sells", "_shortest",
                 "_trades")  # fmt: skip

    def __init__(self, kind: ActivityKind, symbol: str) -> None:
        super().__init__(kind, symbol)
        self._shortest = max(1, kind.size // LENGTH_BOUND)
        self._longest = kind.size * LENGTH_BOUND
        #: Of the open bar: its trades, and the amounts of those that the tick rule signs.
        self._trades = self._buys = self._sells = 0
        #: Expected: trades of a bar, and per trade the amount bought and sold. Grid units.
        self._length: int | None = None
        self._of_buys = self._of_sells = 0

    def _counts(self, amount: int, sign: int) -> bool:
        self._trades += 1
        if sign > 0:
            self._buys += amount
        elif sign < 0:
            self._sells += amount
        if not self._closes():
            return False
        self._learn()
        self._trades = self._buys = self._sells = 0
        return True

    def _closes(self) -> bool:
        if self._length is None:
            return self._trades >= self._kind.size
        if self._trades < self._shortest:
            return False
        if self._trades >= self._longest:
            return True
        reached, expected = self._reached(), self._expected()
        return reached << GRID_BITS >= self._length * expected

    @abstractmethod
    def _reached(self) -> int:
        """What the open bar counts, in grid units."""

    @abstractmethod
    def _expected(self) -> int:
        """What is expected of it per trade, in grid units."""

    def _learn(self) -> None:
        buys, sells = self._buys // self._trades, self._sells // self._trades
        length = self._trades << GRID_BITS
        if self._length is None:
            self._length, self._of_buys, self._of_sells = length, buys, sells
            return
        self._length += 2 * (length - self._length) // (SPAN + 1)
        self._of_buys += 2 * (buys - self._of_buys) // (SPAN + 1)
        self._of_sells += 2 * (sells - self._of_sells) // (SPAN + 1)

    def _own_row(self) -> list[Any]:
        length = None if self._length is None else f"{self._length:x}"
        sums = (self._buys, self._sells, self._of_buys, self._of_sells)
        return [self._trades, length, *(f"{value:x}" for value in sums)]

    def _restore_own(self, row: list[Any]) -> None:
        self._trades = row[0]
        self._length = None if row[1] is None else int(row[1], 16)
        self._buys, self._sells, self._of_buys, self._of_sells = (
            int(value, 16) for value in row[2:]
        )


class ImbalanceSeries(_ExpectingSeries):
    """Closes when |bought - sold| >= E[trades] x |E[bought] - E[sold]|, expectations per trade.

    Source: Lopez de Prado 2018, 2.3.2.1 and 2.3.2.2 (tick, volume and dollar imbalance bars).
    """

    __slots__ = ()

    def _reached(self) -> int:
        return abs(self._buys - self._sells)

    def _expected(self) -> int:
        return abs(self._of_buys - self._of_sells)


class RunSeries(_ExpectingSeries):
    """Closes when max(bought, sold) >= E[trades] x max(E[bought], E[sold]).

    Source: Lopez de Prado 2018, 2.3.2.3 and 2.3.2.4. E[bought] per trade is the book's
    P[b = 1] x E[v | b = 1].
    """

    __slots__ = ()

    def _reached(self) -> int:
        return max(self._buys, self._sells)

    def _expected(self) -> int:
        return max(self._of_buys, self._of_sells)


def series_of(kind: ActivityKind, symbol: str, carry: bool) -> Series:
    """A symbol's bars of a kind, before its first trade."""
    if kind.rule == "imbalance":
        return ImbalanceSeries(kind, symbol)
    if kind.rule == "run":
        return RunSeries(kind, symbol)
    return ThresholdSeries(kind, symbol, carry)
