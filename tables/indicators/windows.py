"""Parts of indicators that remember the last values: what is asked of them is computed afresh.

A part takes one number a bar (`push`), or None where there is none yet, which leaves it as it is.
It answers None until it has seen enough. The last `push`, also of None, can be undone once.

Nothing is carried from sum to sum, so nothing drifts: a window that has forgotten a value shows no
trace of it. Sums run from the oldest value to the newest: the error of a mean of n values is below
n x 2^-53 of the largest.
"""

from __future__ import annotations

import logging
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable
from operator import mul
from typing import Final

from tables.learning import State

#: What was overwritten: nothing at all (no push, or one of None).
NOTHING: Final = False

#: Quotients beyond it count as undefined; sums of what is below it are always finite.
GREATEST_RATIO = 1e250

#: Deviations below this share of the mean may be no more than rounding.
_ROUNDING = 1e-12


if sys.version_info >= (3, 12):

    def total_of(values: Iterable[float]) -> float:
        """Return their sum, one added to the other: `sum` of Python 3.12 carries what is lost."""
        total = 0.0
        for each in values:
            total += each
        return total

else:
    total_of = sum


class Part(ABC):
    """A piece of an indicator's state whose last change can be undone."""

    __slots__ = ()

    @abstractmethod
    def undo(self) -> None:
        """Take back the last push."""

    @abstractmethod
    def content(self) -> State:
        """Return plain values that `restore` takes, with what `undo` needs."""

    @abstractmethod
    def restore(self, content: State) -> None:
        """Take in what `content` returned."""


class Window(Part):
    """The last `length` values, oldest first."""

    __slots__ = ("_dropped", "_length", "_values")

    def __init__(self, length: int) -> None:
        if length < 1:
            raise ValueError(f"length {length}: expected 1 or more")
        self._length = length
        self._values: list[float] = []
        self._dropped: float | None = NOTHING

    def take(self, value: float | None) -> list[float] | None:
        """Take a value; return the window once it is full. Not to be changed by the caller."""
        if value is None:
            self._dropped = NOTHING
            return None
        values = self._values
        values.append(value)
        if len(values) > self._length:
            self._dropped = values.pop(0)
            return values
        self._dropped = None
        return values if len(values) == self._length else None

    def undo(self) -> None:
        """Take back the last value."""
        dropped = self._dropped
        if dropped is not NOTHING:
            self._values.pop()
            if dropped is not None:
                self._values.insert(0, dropped)
            self._dropped = NOTHING

    def content(self) -> State:
        """Return what was dropped last, then the values."""
        return [self._dropped, *self._values]

    def restore(self, content: State) -> None:
        """Take in what `content` returned."""
        if not 1 <= len(content) <= self._length + 1:
            raise ValueError(f"{len(content) - 1} values in a window of {self._length}")
        self._dropped = content[0]
        self._values = list(content[1:])


class Sum(Window):
    """Their sum."""

    __slots__ = ()

    def push(self, value: float | None) -> float | None:
        """Take a value; return the sum of the last `length`."""
        values = self.take(value)
        return None if values is None else total_of(values)


class Mean(Window):
    """Their arithmetic mean."""

    __slots__ = ()

    def push(self, value: float | None) -> float | None:
        """Take a value; return the mean of the last `length`."""
        values = self.take(value)
        return None if values is None else total_of(values) / self._length


class WeightedMean(Window):
    """Their mean with the weights 1 (oldest) to `length` (newest)."""

    __slots__ = ("_total", "_weights")

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self._weights = [float(each) for each in range(1, length + 1)]
        self._total = length * (length + 1) / 2

    def push(self, value: float | None) -> float | None:
        """Take a value; return the weighted mean of the last `length`."""
        values = self.take(value)
        return None if values is None else total_of(map(mul, self._weights, values)) / self._total


class Highest(Window):
    """The greatest of them."""

    __slots__ = ()

    def push(self, value: float | None) -> float | None:
        """Take a value; return the greatest of the last `length`."""
        values = self.take(value)
        return None if values is None else max(values)


class Lowest(Window):
    """The least of them."""

    __slots__ = ()

    def push(self, value: float | None) -> float | None:
        """Take a value; return the least of the last `length`."""
        values = self.take(value)
        return None if values is None else min(values)


class Earlier(Window):
    """The value of `lag` pushes ago."""

    __slots__ = ()

    def __init__(self, lag: int = 1) -> None:
        super().__init__(lag + 1)

    def push(self, value: float | None) -> float | None:
        """Take a value; return the one `lag` pushes before it."""
        values = self.take(value)
        return None if values is None else values[0]


def pure_mean_and_deviation(values: list[float], count: int) -> tuple[float, float]:
    """Return the mean, and the root of the sum of squared deviations from it.

    In two passes. Equal values deviate by exactly 0.
    """
    mean = total_of(values) / count
    deviation = math.sqrt(total_of([(each - mean) * (each - mean) for each in values]))
    if deviation <= _ROUNDING * abs(mean) and min(values) == max(values):
        return values[0], 0.0
    return mean, deviation


try:
    from tables.indicators._kernel import mean_and_deviation as _compiled
except ImportError as error:
    logging.getLogger(__name__).debug("no compiled deviations: %s", error)
    mean_and_deviation = pure_mean_and_deviation
else:
    mean_and_deviation = _compiled


def mean_absolute_deviation(values: list[float], count: int) -> tuple[float, float]:
    """Return the mean, and the mean distance from it. Equal values deviate by exactly 0."""
    mean = total_of(values) / count
    distance = total_of([abs(each - mean) for each in values]) / count
    if distance <= _ROUNDING * abs(mean) and min(values) == max(values):
        return values[0], 0.0
    return mean, distance


def ratio(above: float | None, below: float | None) -> float | None:
    """Return above / below, or None where there is none, or none below `GREATEST_RATIO`."""
    if not below or above is None:
        return None
    result = above / below
    return result if -GREATEST_RATIO < result < GREATEST_RATIO else None
