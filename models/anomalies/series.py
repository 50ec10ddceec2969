"""The scorer of one series of values: metrics, temperatures, counts; `candlewick anomalies`.

Each value is judged four ways, by what came before it:

- *level*: its robust z against what is normal at this time of the day or week (`seasons.py`);
- *change*: the robust z of its difference to the value before, in the same way;
- *shift*: the mean of the last ten levels (`control.EwmaChart`), for what is small and lasts;
- *day*: the mean of a day's levels, for what is smaller and lasts longer.

Each has a tail of its own (`tails.Tail`), by which its magnitude becomes a surprise: -ln of the
share of values that are as far out. They are four views of one number, so their evidence adds up
(Fisher's combination; that they depend on each other is no harm, as their sum is compared with its
own past): `tails.AlarmThreshold` turns the sum into a score, a threshold and an alarm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from models.anomalies.control import EwmaChart
from models.anomalies.parts import resumed
from models.anomalies.robust import bounded
from models.anomalies.seasons import DAY, HOUR, SeasonalScale
from models.anomalies.tails import AlarmThreshold, Tail
from tables.learning import Learner, State

#: One in 30 days: a series is watched for months, and each alarm should be worth a look.
FALSE_ALARMS_PER_DAY = 1 / 30
#: Of time: four weeks, so that each hour of the week has been seen four times; in items, bounded.
_MEMORY = 28 * DAY
_LEAST_MEMORY, _MOST_MEMORY = 1_000, 20_000
#: More alarms than this share of the items is no target but a nuisance.
_MOST_RATE = 0.04


class SeriesScore(NamedTuple):
    """What one value was found to be.

    `score` and `threshold` from 0 to 1 (`tails.Verdict`); `rule` names what was largest: level,
    change, shift or day.
    """

    score: float
    threshold: float
    is_anomaly: bool
    rule: str


RULES = ("level", "change", "shift", "day")


def rate_of(false_alarms_per_day: float, interval: int) -> float:
    """Return alarms an item for items every `interval` ns; at most one in 25."""
    return min(_MOST_RATE, false_alarms_per_day * interval / DAY)


def interval_of(times: Sequence[int]) -> int:
    """Return the median of the first hundred steps of time, ns: all of them within any warm-up.

    Raises:
        ValueError: there is no step, or the times do not rise.
    """
    steps = sorted(after - before for before, after in pairwise(times[:101]))
    if not steps or steps[len(steps) // 2] <= 0:
        raise ValueError("expected at least two values, in order of time")
    return steps[len(steps) // 2]


def memory_of(interval: int) -> int:
    """Return after how many items every `interval` ns old ones have faded: four weeks of them."""
    return max(_LEAST_MEMORY, min(_MOST_MEMORY, _MEMORY // interval))


class SeriesScorer(Learner[tuple[int, float], SeriesScore]):
    """The anomaly score of each value of a series. Items: (time in ns, value).

    Works for one number at about equal intervals, with or without a daily or weekly season, and
    for spikes, steps, and shifts that last. Does not for what is odd only as a pattern: a beat that
    is missed while all values stay usual.

    Args:
        interval: time between two values, ns.
        false_alarms_per_day: how many are acceptable in the long run, of a series without
            anomalies; above 0.
        warm_up: values before the first score; at least 150.

    Raises:
        ValueError: a parameter is out of its bounds, or a value is not finite.
    """

    __slots__ = (
        "_before", "_charts", "_count", "_scales", "_tails", "_threshold", "_value",
        "false_alarms_per_day", "interval", "warm_up",
    )  # fmt: skip

    def __init__(
        self,
        interval: int,
        false_alarms_per_day: float = FALSE_ALARMS_PER_DAY,
        warm_up: int = 200,
    ) -> None:
        if interval < 1 or not false_alarms_per_day > 0 or warm_up < 150:
            raise ValueError(
                f"interval {interval} ns, {false_alarms_per_day} false alarms a day, warm-up "
                f"{warm_up}: expected above 0, above 0 and at least 150"
            )
        self.interval = interval
        self.false_alarms_per_day = false_alarms_per_day
        self.warm_up = warm_up
        memory = memory_of(interval)
        self._scales = (SeasonalScale(interval, memory), SeasonalScale(interval, memory))
        self._charts = (EwmaChart(), EwmaChart(self._day_span))
        self._tails = [Tail(memory=memory) for _ in RULES]
        # 32 items until the scales have begun, 40 more until the tails have; the rest is for this.
        self._threshold = AlarmThreshold(
            rate_of(false_alarms_per_day, interval), memory, warm_up - 80
        )
        self._before: float | None = None
        self._count = 0
        self._value: SeriesScore | None = None

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return parameter sets for the discovered checks."""
        return [
            {"interval": HOUR},
            {"interval": HOUR // 12, "false_alarms_per_day": 1.0, "warm_up": 150},
        ]

    @classmethod
    def sample(cls, seed: int, count: int) -> list[tuple[int, float]]:
        """Return items for the discovered checks."""
        return SeasonalScale.sample(seed, count)

    @classmethod
    def hostile(cls, seed: int, count: int) -> list[tuple[int, float]]:
        """Return items to fear for the discovered checks."""
        return SeasonalScale.hostile(seed, count)

    @property
    def value(self) -> SeriesScore | None:
        """The score of the last value; None in the warm-up."""
        return self._value

    @property
    def _day_span(self) -> int:
        return max(2, DAY // self.interval)

    def update(self, item: tuple[int, float]) -> None:
        """Score the next value by those before it, then learn it."""
        time, value = item
        if not math.isfinite(value):
            raise ValueError(f"a value is {value}: expected a finite number")
        value = bounded(value)
        before, self._before = self._before, value
        self._count += 1
        self._value = None
        if before is None:
            return
        parts = (value, value - before)
        level, change = self._scales
        ready = level.started and change.started
        z = (
            [scale.judge(time, part) for scale, part in zip(self._scales, parts, strict=True)]
            if ready
            else []
        )
        level.learn(time, value)
        change.learn(time, value - before)
        if not ready:
            return
        for chart in self._charts:
            chart.update(z[0])
            z.append(chart.value or 0.0)
        self._judge([abs(each) for each in z])

    def _judge(self, magnitudes: list[float]) -> None:
        surprises = [
            tail.surprise(magnitude) if tail.started else 0.0
            for tail, magnitude in zip(self._tails, magnitudes, strict=True)
        ]
        started = self._tails[0].started
        for tail, magnitude in zip(self._tails, magnitudes, strict=True):
            tail.learn(magnitude)
        if not started:
            return
        together = sum(surprises)
        if self._threshold.started and self._count > self.warm_up:
            self._value = SeriesScore(
                *self._threshold.judge(together), RULES[surprises.index(max(surprises))]
            )
        self._threshold.learn(together)

    def _content(self) -> State:
        return [
            self._count,
            self._before,
            None if self._value is None else list(self._value),
            [each.state() for each in self._scales],
            [each.state() for each in self._charts],
            [each.state() for each in self._tails],
            self._threshold.state(),
        ]

    def _restore(self, content: State) -> None:
        self._count, self._before, value, scales, charts, tails, threshold = content
        self._value = None if value is None else SeriesScore(*value)
        level, change = scales
        self._scales = (resumed(self._scales[0], level), resumed(self._scales[1], change))
        ten, day = charts
        self._charts = (resumed(self._charts[0], ten), resumed(self._charts[1], day))
        self._tails = [resumed(part, state) for part, state in zip(self._tails, tails, strict=True)]
        self._threshold = resumed(self._threshold, threshold)
