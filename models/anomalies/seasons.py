"""What is normal at this time: of the day, of the week, or at any, whichever has predicted best.

Each candidate predicts an item by the running median of its bucket (an hour of the day, an hour of
the week, or all). Which of them judges the next item is decided by their mean absolute errors so
far, each prediction having been made before the item was known (Dawid's prequential principle,
1984): so a season is used where the data show one, and not where they do not.

Hours are those of the timestamps as they are given: a change of the clocks moves a season of local
time by an hour, until it is learned anew.
"""

from __future__ import annotations

import math
import random
from typing import Any

from models.anomalies.parts import resumed
from models.anomalies.robust import (
    FLOOR,
    MAD_OF_NORMAL,
    MAD_STEP,
    MEDIAN_STEP,
    MOST_Z,
    RobustScale,
    bounded,
    hostile_numbers,
)
from tables.learning import Learner, State

HOUR = 3_600_000_000_000
DAY = 24 * HOUR
WEEK = 7 * DAY
#: (period, cycles before it may judge, cycles after which old ones have faded).
PERIODS = ((DAY, 3, 10), (WEEK, 2, 10))


#: Items that a season's first scale, that of all items, counts for.
_PRIOR = 50


class Season:
    """One period's buckets, and how its predictions have done."""

    __slots__ = ("counts", "deviation", "judged", "mad", "medians", "period")

    def __init__(self, period: int) -> None:
        self.period = period
        self.counts = [0] * (period // HOUR)
        self.medians = [0.0] * (period // HOUR)
        self.mad = 0.0
        self.deviation = 0.0
        self.judged = 0

    def bucket(self, time: int) -> int:
        return time % self.period // HOUR

    @property
    def scale(self) -> float:
        return max(self.mad / MAD_OF_NORMAL, FLOOR * self.deviation, 1e-300)


class SeasonalScale(Learner[tuple[int, float], float]):
    """The robust z of each item by what is normal at its time. Items: (time in ns, value).

    Args:
        interval: time between two items, ns.
        memory: items after which old ones have faded, of the candidate without a season and of the
            comparison.
    """

    __slots__ = ("_all", "_begun", "_best", "_error", "_seasons", "_value", "interval", "memory")

    def __init__(self, interval: int, memory: int = 5_000) -> None:
        self.interval = interval
        self.memory = memory
        self._all = RobustScale(memory)
        self._seasons = [Season(period) for period, _, _ in PERIODS]
        self._begun: int | None = None
        self._value: float | None = None

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return parameter sets for the discovered checks."""
        return [{"interval": HOUR}, {"interval": HOUR // 2, "memory": 500}]

    @classmethod
    def sample(cls, seed: int, count: int) -> list[tuple[int, float]]:
        """Return items for the discovered checks."""
        chance = random.Random(seed)
        return [
            (k * HOUR, 10.0 * math.sin(k % 24 / 24 * math.tau) + chance.gauss(0.0, 1.0))
            for k in range(count)
        ]

    @classmethod
    def hostile(cls, seed: int, count: int) -> list[tuple[int, float]]:
        """Return items to fear for the discovered checks: clocks that jump, numbers without end."""
        chance = random.Random(seed)
        return [(chance.randrange(100 * DAY), each) for each in hostile_numbers(seed, count)]

    @property
    def value(self) -> float | None:
        """The robust z of the last item; None until there is a scale."""
        return self._value

    @property
    def started(self) -> bool:
        """Whether the next item will have a z."""
        return self._all.started

    def judge(self, time: int, item: float) -> float:
        """Return the z of an item by the best candidate so far; needs `started`."""
        item = bounded(item)
        best, least = None, self._all.deviation
        for season, (period, cycles, _) in zip(self._seasons, PERIODS, strict=True):
            old_enough = self._begun is not None and time - self._begun >= cycles * period
            if old_enough and season.deviation < least and season.counts[season.bucket(time)]:
                best, least = season, season.deviation
        if best is None:
            return self._all.z(item)
        found = (item - best.medians[best.bucket(time)]) / best.scale
        return max(-MOST_Z, min(MOST_Z, found))

    def learn(self, time: int, item: float) -> None:
        """Take an item in, without judging it."""
        item = bounded(item)
        if self._all.started:
            if self._begun is None:
                self._begun = time
                for season in self._seasons:
                    season.mad, season.deviation = self._all.mad, self._all.deviation
            for season, (_, _, cycles) in zip(self._seasons, PERIODS, strict=True):
                self._learn(season, time, item, cycles)
        self._all.learn(item)

    def _learn(self, season: Season, time: int, item: float, cycles: int) -> None:
        bucket = season.bucket(time)
        count = season.counts[bucket]
        if count == 0:
            season.counts[bucket] = 1
            season.medians[bucket] = item
            return
        away = item - season.medians[bucket]
        distance = abs(away)
        scale = season.scale
        season.judged += 1
        weight = 1.0 / min(season.judged + _PRIOR, self.memory)
        season.deviation += (
            min(distance, 10.0 * (scale + season.deviation)) - season.deviation
        ) * weight
        mad_step = MAD_STEP * MAD_OF_NORMAL * scale * weight
        season.mad += mad_step if distance > season.mad else -min(mad_step, season.mad)
        # Of this hour: as many items as the cycles that count hold in it.
        most = max(2, cycles * HOUR // self.interval)
        count = min(count + 1, most)
        season.counts[bucket] = count
        step = MEDIAN_STEP * MAD_OF_NORMAL * scale / count
        season.medians[bucket] += max(-step, min(step, away))

    def update(self, item: tuple[int, float]) -> None:
        """Judge an item by those before it, then learn it."""
        time, value = item
        self._value = self.judge(time, value) if self._all.started else None
        self.learn(time, value)

    def _content(self) -> State:
        seasons = [
            [each.judged, each.mad, each.deviation, list(each.counts), list(each.medians)]
            for each in self._seasons
        ]
        return [self._begun, self._value, self._all.state(), seasons]

    def _restore(self, content: State) -> None:
        self._begun, self._value, everything, seasons = content
        self._all = resumed(self._all, everything)
        for season, (judged, mad, deviation, counts, medians) in zip(
            self._seasons, seasons, strict=True
        ):
            if len(counts) != len(season.counts) or len(medians) != len(season.medians):
                raise ValueError(f"{len(counts)} buckets of {len(season.counts)}")
            season.judged, season.mad, season.deviation = judged, mad, deviation
            season.counts, season.medians = list(counts), list(medians)
