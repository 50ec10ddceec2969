"""What our scorer is measured against, each behind the same threshold rule (`AlarmThreshold`).

Each gives a surprise, -ln(1 - its own score from 0 to 1): the natural scale of the rule's tail.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from models.anomalies.series import SeriesScorer, interval_of, memory_of, rate_of
from models.anomalies.tails import MOST_SURPRISE, AlarmThreshold

Item = tuple[int, float]
#: Values to the surprise of each.
Surprises = Callable[[Iterable[float]], Iterator[float]]


def chance(seed: int) -> Surprises:
    """A random score."""

    def surprises(values: Iterable[float]) -> Iterator[float]:
        source = random.Random(seed)
        for _ in values:
            yield source.expovariate(1.0)

    return surprises


def windowed_gaussian(size: int) -> Surprises:
    """The tail of a normal distribution fitted to the last `size` values.

    As the benchmark's detector of that name is described: 1 - Q(|value - mean| / deviation).
    """

    def surprises(values: Iterable[float]) -> Iterator[float]:
        held: deque[float] = deque()
        total = squares = origin = 0.0
        for value in values:
            if not held:
                origin = value
                yield 0.0
            else:
                mean = total / len(held)
                deviation = math.sqrt(max(0.0, squares / len(held) - mean * mean)) or 1e-6
                tail = 0.5 * math.erfc(abs(value - origin - mean) / deviation / math.sqrt(2.0))
                yield -math.log(tail) if tail > 1e-40 else MOST_SURPRISE
            held.append(value - origin)
            total += value - origin
            squares += (value - origin) ** 2
            if len(held) > size:
                gone = held.popleft()
                total -= gone
                squares -= gone * gone

    return surprises


def river_trees(seed: int, *, with_change: bool) -> Surprises:
    """River's half-space trees as its documentation uses them: scaled to [0, 1] as it goes."""

    def surprises(values: Iterable[float]) -> Iterator[float]:
        from river import anomaly, preprocessing

        scaler = preprocessing.MinMaxScaler()
        trees = anomaly.HalfSpaceTrees(seed=seed)
        before: float | None = None
        for value in values:
            features = {"value": value}
            if with_change:
                features["change"] = 0.0 if before is None else value - before
            before = value
            scaler.learn_one(features)
            scaled = scaler.transform_one(features)
            rest = 1.0 - trees.score_one(scaled)
            trees.learn_one(scaled)
            yield -math.log(rest) if rest > 1e-40 else MOST_SURPRISE

    return surprises


def alarms_of(surprises: Surprises, items: Sequence[Item], per_day: float) -> list[bool]:
    """Return which items are alarms, by our scorer's own threshold rule and parameters."""
    interval = interval_of([time for time, _ in items])
    threshold = AlarmThreshold(rate_of(per_day, interval), memory_of(interval), 120)
    alarms = []
    for surprise in surprises([value for _, value in items]):
        threshold.update(surprise)
        alarms.append(threshold.value is not None and threshold.value.is_alarm)
    return alarms


def our_alarms(items: Sequence[Item], per_day: float) -> list[bool]:
    """Return which items are alarms, by the scorer of `candlewick anomalies`."""
    scorer = SeriesScorer(interval_of([time for time, _ in items]), per_day)
    alarms = []
    for item in items:
        scorer.update(item)
        alarms.append(scorer.value is not None and scorer.value.is_anomaly)
    return alarms
