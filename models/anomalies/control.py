"""Small shifts that last: the EWMA control chart and the Page-Hinkley test.

Both take what is about 0 with standard deviation 1 while all is well, such as a robust z.
"""

from __future__ import annotations

import math
import random
from typing import Any

from models.anomalies.robust import bounded, hostile_numbers
from tables.learning import Learner, State


class EwmaChart(Learner[float, float]):
    """The exponentially weighted mean of the items, in its own standard deviations.

    Roberts, "Control Chart Tests Based on Geometric Moving Averages", Technometrics 1959. Beyond 3
    it is out of control, were the items independent and normal; on a series with memory of its own
    compare it with its past (`tails.Tail`).

    Args:
        span: items that the mean is about; its weight is 2 / (span + 1).
        bound: an item counts at most this many standard deviations, so that one outlier is none.
    """

    __slots__ = ("_mean", "_rest", "_value", "bound", "weight")

    def __init__(self, span: int = 10, bound: float = 6.0) -> None:
        self.weight = 2.0 / (span + 1)
        self.bound = bound
        self._mean = 0.0
        #: The share of the start that is left, squared: the deviation of a young mean is smaller.
        self._rest = 1.0
        self._value: float | None = None

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return parameter sets for the discovered checks."""
        return [{}, {"span": 3, "bound": 4.0}]

    @classmethod
    def sample(cls, seed: int, count: int) -> list[float]:
        """Return items for the discovered checks."""
        chance = random.Random(seed)
        return [chance.gauss(0.0, 1.0) for _ in range(count)]

    @classmethod
    def hostile(cls, seed: int, count: int) -> list[float]:
        """Return items to fear for the discovered checks."""
        return hostile_numbers(seed, count)

    @property
    def value(self) -> float | None:
        """The mean with the last item, in standard deviations of such a mean."""
        return self._value

    def update(self, item: float) -> None:
        """Take the next item."""
        weight = self.weight
        self._mean += weight * (max(-self.bound, min(self.bound, item)) - self._mean)
        self._rest *= (1.0 - weight) ** 2
        deviation = math.sqrt(weight / (2.0 - weight) * (1.0 - self._rest))
        self._value = self._mean / deviation

    def _content(self) -> State:
        return [self._mean, self._rest, self._value]

    def _restore(self, content: State) -> None:
        self._mean, self._rest, self._value = content


class PageHinkley(Learner[float, bool]):
    """Whether the mean of the items has drifted, in either direction; then it begins anew.

    Page, "Continuous Inspection Schemes", Biometrika 1954. Detects at the items where
    `river.drift.PageHinkley` of the same parameters does (a test holds them equal).

    Args:
        least: items before the first detection.
        delta: drift that is tolerated, in the items' unit.
        threshold: sum of deviations that is a drift.
        fading: weight of the sums' past, an item.
    """

    __slots__ = (
        "_count", "_down", "_down_most", "_mean", "_up", "_up_least", "_value",
        "delta", "fading", "least", "threshold",
    )  # fmt: skip

    def __init__(
        self,
        least: int = 30,
        delta: float = 0.005,
        threshold: float = 50.0,
        fading: float = 1 - 0.0001,
    ) -> None:
        self.least = least
        self.delta = delta
        self.threshold = threshold
        self.fading = fading
        self._value: bool | None = None
        self._begin()

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return parameter sets for the discovered checks."""
        return [{}, {"least": 10, "delta": 0.1, "threshold": 5.0}]

    @classmethod
    def sample(cls, seed: int, count: int) -> list[float]:
        """Return items for the discovered checks."""
        chance = random.Random(seed)
        return [chance.gauss(index // 300 % 3, 1.0) for index in range(count)]

    def _begin(self) -> None:
        self._count = 0
        self._mean = self._up = self._down = 0.0
        #: None: nothing yet. The greatest starts at -1, as in river.
        self._up_least: float | None = None
        self._down_most = -1.0

    @classmethod
    def hostile(cls, seed: int, count: int) -> list[float]:
        """Return items to fear for the discovered checks."""
        return hostile_numbers(seed, count)

    @property
    def value(self) -> bool | None:
        """Whether a drift was detected at the last item; None for the first `least` ever."""
        return self._value

    def update(self, item: float) -> None:
        """Take the next item."""
        item = bounded(item)
        if self._value:
            self._begin()
        self._count += 1
        self._mean += (item - self._mean) / self._count
        away = item - self._mean
        self._up = up = self.fading * self._up + away - self.delta
        self._down = down = self.fading * self._down + away + self.delta
        if self._up_least is None or up < self._up_least:
            self._up_least = up
        if down > self._down_most:
            self._down_most = down
        if self._count >= self.least:
            self._value = max(up - self._up_least, self._down_most - down) > self.threshold
        elif self._value is not None:
            self._value = False

    def _content(self) -> State:
        value = None if self._value is None else int(self._value)
        return [
            self._count, self._mean, self._up, self._down, self._up_least, self._down_most, value,
        ]  # fmt: skip

    def _restore(self, content: State) -> None:
        (
            self._count, self._mean, self._up, self._down, self._up_least, self._down_most, value,
        ) = content  # fmt: skip
        self._value = None if value is None else bool(value)
