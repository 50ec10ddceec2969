"""Rolling mean, deviation, median and quartiles over the last values, from one window."""

from __future__ import annotations

import math
import random
from bisect import bisect_left, insort
from collections import deque
from typing import Any, ClassVar, NamedTuple

from tables.learning import Learner, State


class WindowStatistics(NamedTuple):
    """Of the values in the window, all in their unit; `deviation` is the population's.

    `spread` is the interquartile range / 1.349: the standard deviation, if they were normal. It is
    as robust as needed here (a quarter of the values may be wrong) and, unlike the median absolute
    deviation, costs nothing beside a sorted window.
    """

    mean: float
    median: float
    deviation: float
    spread: float


class RollingStatistics(Learner[float, WindowStatistics]):
    """Statistics of the last `window` values; ready after `warm_up` of them.

    Sums are of differences to an anchor and made anew each time the window has turned over, so
    rounding errors do not grow: with M the greatest of the last 2 `window` values, the mean is good
    to 1e-12 M and the deviation to 1e-7 M at worst. An update costs O(log n) comparisons
    and moving n pointers.
    """

    VERSION: ClassVar[int] = 1

    def __init__(self, window: int = 61, warm_up: int = 31) -> None:
        """Take the number of values kept, and of those needed.

        Raises:
            ValueError: `warm_up` is not from 2 to `window`.
        """
        if not 2 <= warm_up <= window:
            raise ValueError(f"warm_up = {warm_up}; expected 2 to window = {window}")
        self.window, self.warm_up = window, warm_up
        self.clear()

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return parameter sets for the discovered checks."""
        return [{}, {"window": 8, "warm_up": 2}, {"window": 50, "warm_up": 50}]

    @classmethod
    def sample(cls, seed: int, count: int) -> list[float]:
        """Return prices of a random walk in ticks of 0.01, some far off, for the checks."""
        chance = random.Random(seed)
        price, found = 100.0, []
        for _ in range(count):
            price = round(max(1.0, price + chance.choice((-0.01, 0.0, 0.01))), 2)
            found.append(round(price * 1.1, 2) if chance.random() < 0.01 else price)
        return found

    def clear(self) -> None:
        """Forget everything."""
        self._values: deque[float] = deque()
        self._sorted: list[float] = []
        self._anchor = 0.0
        self._sum = 0.0
        self._squares = 0.0
        self._until_rebase = self.window

    def update(self, item: float) -> None:
        """Take the next value; it must be finite."""
        values, ordered = self._values, self._sorted
        if not values:
            self._anchor = item
        elif len(values) == self.window:
            old = values.popleft()
            del ordered[bisect_left(ordered, old)]
            apart = old - self._anchor
            self._sum -= apart
            self._squares -= apart * apart
        values.append(item)
        insort(ordered, item)
        apart = item - self._anchor
        self._sum += apart
        self._squares += apart * apart
        self._until_rebase -= 1
        if not self._until_rebase:
            self._rebase()

    @property
    def ready(self) -> bool:
        """Whether there are `warm_up` values."""
        return len(self._values) >= self.warm_up

    @property
    def value(self) -> WindowStatistics | None:
        """The statistics; None until there are `warm_up` values."""
        centre = self.centre()
        return None if centre is None else WindowStatistics(*centre, *self.scale())

    def centre(self) -> tuple[float, float] | None:
        """Return mean and median; None until there are `warm_up` values."""
        ordered = self._sorted
        count = len(ordered)
        if count < self.warm_up:
            return None
        middle = count >> 1
        median = ordered[middle] if count & 1 else (ordered[middle - 1] + ordered[middle]) / 2
        return self._anchor + self._sum / count, median

    def scale(self) -> tuple[float, float]:
        """Return deviation and spread; there is at least one value."""
        ordered = self._sorted
        count = len(ordered)
        shift = self._sum / count
        variance = self._squares / count - shift * shift
        quarter = count >> 2
        spread = (ordered[count - 1 - quarter] - ordered[quarter]) / 1.349
        return math.sqrt(variance) if variance > 0.0 else 0.0, spread

    def _rebase(self) -> None:
        self._anchor = self._sorted[len(self._sorted) >> 1]
        apart = [value - self._anchor for value in self._values]
        self._sum = math.fsum(apart)
        self._squares = math.fsum(each * each for each in apart)
        self._until_rebase = self.window

    def _content(self) -> State:
        sums = [self._anchor, self._sum, self._squares, self._until_rebase]
        return [self.window, list(self._values), *sums]

    def _restore(self, content: list[Any]) -> None:
        window, values, self._anchor, self._sum, self._squares, self._until_rebase = content
        if window != self.window or len(values) > self.window:
            raise ValueError(f"a window of {window} values; expected {self.window}")
        self._values = deque(values)
        self._sorted = sorted(values)
