"""Where the middle is and how wide: median and median absolute deviation, in three numbers.

Robust z = 0.6745 (x - median) / MAD (Iglewicz and Hoaglin, "How to Detect and Handle Outliers",
1993). Median and MAD are followed by stochastic approximation (Robbins and Monro, 1951; of
quantiles, Tierney, 1983), with the step that is best for a normal distribution; the first items are
kept, to begin with their exact median and MAD. Where most items are alike (MAD = 0) the mean
absolute deviation bounds the scale from below.
"""

from __future__ import annotations

import random
import statistics
from typing import Any

from tables.learning import Learner, State

#: MAD of a normal distribution with standard deviation 1.
MAD_OF_NORMAL = 0.6745
#: 1 / (2 density at the median) and 1 / (2 density of |x| at the MAD), in MADs, for a normal one.
MEDIAN_STEP = 1.86
MAD_STEP = 1.17
#: The scale is at least this share of sqrt(pi / 2) x mean absolute deviation, the latter being the
#: standard deviation of a normal distribution.
FLOOR_SHARE = 0.1
FLOOR = FLOOR_SHARE * 1.2533
#: No item is further from the middle than this many standard deviations.
MOST_Z = 1e6


#: Beyond this a number is taken for this: what is computed from it stays finite.
_MOST = 1e100


def bounded(number: float) -> float:
    """Return a finite number, at most 1e100 in magnitude."""
    return max(-_MOST, min(_MOST, number))


def hostile_numbers(seed: int, count: int) -> list[float]:
    """Return finite numbers to fear, for the discovered checks."""
    chance = random.Random(seed)
    kinds = (0.0, 0.0, 0.0, 1.0, -1.0, 1e300, -1.7e308, 1.7e308, 5e-324, 1e-9)
    constant = [7.0] * min(count, 80)
    return (constant + [chance.choice(kinds) for _ in range(count)])[:count]


class RobustScale(Learner[float, float]):
    """The robust z of each item, by the median and MAD of the items before it.

    Works for one stable bulk with outliers, up to half of the items. Does not for several bulks:
    then the middle is that of the largest.

    Args:
        memory: items after which old ones have faded.
        start: items kept to begin with; no value before.
    """

    __slots__ = ("_count", "_first", "_value", "deviation", "mad", "median", "memory", "start")

    def __init__(self, memory: int = 5_000, start: int = 32) -> None:
        self.memory = memory
        self.start = start
        self.median = 0.0
        self.mad = 0.0
        self.deviation = 0.0
        self._count = 0
        self._first: list[float] = []
        self._value: float | None = None

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return parameter sets for the discovered checks."""
        return [{}, {"memory": 200, "start": 8}]

    @classmethod
    def sample(cls, seed: int, count: int) -> list[float]:
        """Return items for the discovered checks."""
        chance = random.Random(seed)
        return [
            chance.gauss(3.0, 2.0) * (100.0 if chance.random() < 0.01 else 1.0)
            for _ in range(count)
        ]

    @classmethod
    def hostile(cls, seed: int, count: int) -> list[float]:
        """Return items to fear for the discovered checks."""
        return hostile_numbers(seed, count)

    @property
    def value(self) -> float | None:
        """The robust z of the last item; None for the first `start`."""
        return self._value

    @property
    def started(self) -> bool:
        """Whether the next item will have a z."""
        return self._count >= self.start

    @property
    def scale(self) -> float:
        """What one standard deviation is taken to be; above 0."""
        return max(
            self.mad / MAD_OF_NORMAL, FLOOR * self.deviation, 1e-12 * abs(self.median), 1e-300
        )

    def z(self, item: float) -> float:
        """Return the robust z of an item by what was learned; needs `started`."""
        found = (bounded(item) - self.median) / self.scale
        return max(-MOST_Z, min(MOST_Z, found))

    def learn(self, item: float) -> None:
        """Take an item in, without judging it."""
        item = bounded(item)
        self._count += 1
        count = self._count
        if count <= self.start:
            self._first.append(item)
            if count == self.start:
                self._begin()
            return
        weight = 1.0 / count if count < self.memory else 1.0 / self.memory
        scale = self.scale
        away = item - self.median
        distance = abs(away)
        # An outlier counts as one, not as a million.
        counted = min(distance, 10.0 * (scale + self.deviation))
        self.deviation += (counted - self.deviation) * weight
        step = MEDIAN_STEP * MAD_OF_NORMAL * scale * weight
        if distance <= step:
            self.median = item
        else:
            self.median += step if away > 0 else -step
        mad_step = MAD_STEP * MAD_OF_NORMAL * scale * weight
        if distance > self.mad:
            self.mad = min(distance, self.mad + mad_step)
        else:
            self.mad = max(distance, self.mad - mad_step)

    def update(self, item: float) -> None:
        """Judge an item by those before it, then learn it."""
        self._value = self.z(item) if self._count >= self.start else None
        self.learn(item)

    def _begin(self) -> None:
        self.median = statistics.median(self._first)
        away = [abs(each - self.median) for each in self._first]
        self.mad = statistics.median(away)
        # As later: an outlier counts as one. Where MAD is 0 there is no telling.
        most = 10.0 * self.mad / MAD_OF_NORMAL or max(away)
        self.deviation = sum(min(each, most) for each in away) / len(away)
        self._first = []

    def _content(self) -> State:
        return [
            self._count, self.median, self.mad, self.deviation, self._value, *self._first,
        ]  # fmt: skip

    def _restore(self, content: State) -> None:
        self._count, self.median, self.mad, self.deviation, self._value = content[:5]
        self._first = list(content[5:])
        if len(self._first) != (self._count if self._count < self.start else 0):
            raise ValueError(f"{len(self._first)} first items of {self._count}")
