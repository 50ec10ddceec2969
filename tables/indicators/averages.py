"""Parts of indicators that remember all values, the older the fainter: exponential averages.

And totals, which forget nothing. What holds of every part is in `windows.py`.

A step is `average + alpha x (value - average)`, which a flat market leaves exactly where it is.
Totals carry what the addition of two numbers has lost (Knuth's two-sum), so that ten million of
them lose nothing either.
"""

from __future__ import annotations

from math import ceil, log
from typing import Literal

from tables.indicators.windows import NOTHING, Part
from tables.learning import State

#: `sma`: the first value is the mean of the first `length` (TA-Lib, StockCharts, TradingView).
#: `first`: the first value itself, shown from the `length`-th on (ta, and pandas without `adjust`).
Seed = Literal["sma", "first"]

#: A changed value counts as forgotten once its weight is below this.
FORGOTTEN = 1e-9


def two_sum(total: float, rest: float, value: float) -> tuple[float, float]:
    """Add a value to an unevaluated sum of two numbers.

    Source: D. E. Knuth, The Art of Computer Programming 2, 4.2.2, theorem B.
    """
    summed = total + value
    back = summed - total
    return summed, rest + ((total - (summed - back)) + (value - back))


def memory_of(alpha: float, *, levels: int = 1) -> int:
    """Return after how many steps a changed value has at most the weight `FORGOTTEN`.

    `levels` averages of averages: the weight of a value k steps ago is at most
    C(k + levels - 1, levels - 1) x (1 - alpha)^k.
    """
    if alpha >= 1:
        return levels
    steps = ceil(log(FORGOTTEN) / log(1 - alpha))
    for _ in range(levels - 1):
        steps = ceil((log(FORGOTTEN) - (levels - 1) * log(steps + levels)) / log(1 - alpha))
    return steps


class ExponentialMean(Part):
    """An average in which each value has the weight `alpha`, 2 / (length + 1) unless given.

    In its state: the average, how many values it has seen up to `length`, and in the seeding a sum
    of them.
    """

    __slots__ = ("_alpha", "_before", "_count", "_first", "_length", "_rest", "_total")

    def __init__(self, length: int, seed: str = "sma", alpha: float | None = None) -> None:
        if length < 1:
            raise ValueError(f"length {length}: expected 1 or more")
        self._length = length
        self._first = seed == "first"
        self._alpha = 2 / (length + 1) if alpha is None else alpha
        self._count = 0
        #: The average; in the seeding by a mean the sum so far.
        self._total = 0.0
        self._rest = 0.0
        self._before: float | list[float] | bool = NOTHING

    def push(self, value: float | None) -> float | None:
        """Take a value; return the average once it has seen `length`."""
        if value is None:
            self._before = NOTHING
            return None
        if self._count == self._length:
            before = self._before = self._total
            after = self._total = before + self._alpha * (value - before)
            return after
        return self._begin(value)

    def _begin(self, value: float) -> float | None:
        self._before = [self._count, self._total, self._rest]
        self._count += 1
        if self._first:
            step = 1.0 if self._count == 1 else self._alpha
            self._total += step * (value - self._total)
        else:
            self._total, self._rest = two_sum(self._total, self._rest, value)
            if self._count == self._length:
                self._total, self._rest = (self._total + self._rest) / self._length, 0.0
        return self._total if self._count == self._length else None

    def undo(self) -> None:
        """Take back the last value."""
        before = self._before
        if isinstance(before, list):
            self._count, self._total, self._rest = int(before[0]), before[1], before[2]
        elif before is not NOTHING:
            self._total = before
        self._before = NOTHING

    def content(self) -> State:
        """Return what was before, then the values."""
        before = self._before
        held = list(before) if isinstance(before, list) else before
        return [held, self._count, self._total, self._rest]

    def restore(self, content: State) -> None:
        """Take in what `content` returned."""
        self._before, self._count, self._total, self._rest = content
        if not 0 <= self._count <= self._length:
            raise ValueError(f"{self._count} values in an average of {self._length}")


class WilderMean(ExponentialMean):
    """Wilder's: each value has the weight 1 / length."""

    __slots__ = ()

    def __init__(self, length: int, seed: str = "sma") -> None:
        super().__init__(length, seed, 1 / length if length else None)


class Total(Part):
    """The sum of all values."""

    __slots__ = ("_before", "_rest", "_total")

    def __init__(self) -> None:
        self._total = 0.0
        self._rest = 0.0
        self._before: list[float] | bool = NOTHING

    def push(self, value: float | None) -> float:
        """Take a value; return the sum so far."""
        if value is None:
            self._before = NOTHING
        else:
            self._before = [self._total, self._rest]
            self._total, self._rest = two_sum(self._total, self._rest, value)
        return self._total + self._rest

    def undo(self) -> None:
        """Take back the last value."""
        if isinstance(self._before, list):
            self._total, self._rest = self._before
        self._before = NOTHING

    def content(self) -> State:
        """Return what was before, then the sum."""
        before = self._before
        return [list(before) if isinstance(before, list) else before, self._total, self._rest]

    def restore(self, content: State) -> None:
        """Take in what `content` returned."""
        self._before, self._total, self._rest = content


class Held(Part):
    """Whatever the indicator sets: a few plain values, kept with those before them."""

    __slots__ = ("_before", "_empty", "values")

    def __init__(self, *values: float | None) -> None:
        self._empty = values
        self.values: tuple[float | None, ...] = values
        self._before: tuple[float | None, ...] | None = None

    def set(self, *values: float | None) -> None:
        """Replace the values."""
        self._before = self.values
        self.values = values

    def undo(self) -> None:
        """Take back what was set last."""
        if self._before is not None:
            self.values = self._before
        self._before = None

    def content(self) -> State:
        """Return what was before, then the values."""
        return [None if self._before is None else list(self._before), *self.values]

    def restore(self, content: State) -> None:
        """Take in what `content` returned."""
        if len(content) != len(self._empty) + 1:
            raise ValueError(f"{len(content) - 1} values, expected {len(self._empty)}")
        self._before = None if content[0] is None else tuple(content[0])
        self.values = tuple(content[1:])
