"""How rare is a score, by the scores before it: a tail that is learned, and the alarms it allows.

Peaks over threshold: above a high level, excesses follow a generalised Pareto distribution (Davison
and Smith, 1990; on streams: Siffer et al., "Anomaly Detection in Streams with Extreme Value
Theory", KDD 2017). Its shape and scale come from the mean and the mean square of the excesses
(Hosking and Wallis, 1987), the level is followed by stochastic approximation (Robbins and Monro,
1951): so the state is a few numbers however long the stream.

It works for a score that is large where something is odd. It does not where the score has no tail
(a few distinct values): there the estimate is coarse, and errs towards fewer alarms.
"""

from __future__ import annotations

import math
import random
from typing import Any, NamedTuple

from models.anomalies.parts import resumed
from models.anomalies.robust import hostile_numbers
from tables.learning import Learner, State

#: Nothing is rarer than this: what never happened before has no better estimate.
MOST_SURPRISE = 100.0
#: What an episode of alarms adds to the threshold's surprise: half of the rate.
_STEP = math.log(2.0)
#: A score beyond this is taken for this: its square stays finite.
_MOST_SCORE = 1e9
#: An excess more surprising than this (once in 1,100 excesses) is learned as one that is just so.
_CAPPED = 7.0
_LN10 = math.log(10.0)


def surprise_of(probability: float) -> float:
    """Return -ln(probability), at most `MOST_SURPRISE`."""
    return -math.log(probability) if probability > math.exp(-MOST_SURPRISE) else MOST_SURPRISE


class Tail(Learner[float, float]):
    """The surprise of each score: -ln P(a score at least as large), by the scores before it.

    Args:
        share: of the scores that lie in the tail.
        memory: items after which old ones have faded.
        start: items that are kept to begin with; no value before.
        least: the smallest mean excess, in the score's unit: where all scores are alike, a
            difference this small is not yet news.
    """

    __slots__ = (
        "_count", "_first", "_level", "_mean", "_most", "_scale", "_shape", "_square", "_value",
        "least", "memory", "share", "start",
    )  # fmt: skip

    def __init__(
        self, share: float = 0.05, memory: int = 5_000, start: int = 40, least: float = 0.02
    ) -> None:
        self.share = share
        self.memory = memory
        self.start = start
        self.least = least
        self._first: list[float] = []
        self._count = 0
        self._level = 0.0
        self._mean = least
        self._square = 2.0 * least * least
        self._shape = 0.0
        self._scale = least
        self._most = _CAPPED * least
        self._value: float | None = None

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return parameter sets for the discovered checks."""
        return [{}, {"share": 0.1, "memory": 500, "start": 20}]

    @classmethod
    def sample(cls, seed: int, count: int) -> list[float]:
        """Return items for the discovered checks."""
        chance = random.Random(seed)
        return [chance.expovariate(1.0) for _ in range(count)]

    @classmethod
    def hostile(cls, seed: int, count: int) -> list[float]:
        """Return items to fear for the discovered checks."""
        return [abs(each) for each in hostile_numbers(seed, count)]

    @property
    def value(self) -> float | None:
        """The surprise of the last score, nats; None until there is a tail."""
        return self._value

    @property
    def started(self) -> bool:
        """Whether the next score will have a surprise."""
        return self._count >= self.start

    def surprise(self, score: float) -> float:
        """Return a score's surprise by what was learned; needs `started`."""
        level = self._level
        if score > level:
            found = self._excess_surprise((score - level) / self._scale) - math.log(self.share)
            return found if found < MOST_SURPRISE else MOST_SURPRISE
        if score <= 0.0:
            return 0.0
        return -math.log(1.0 - (1.0 - self.share) * score / level)

    def _excess_surprise(self, excess: float) -> float:
        shape = self._shape
        return math.log1p(shape * excess) / shape if shape > 0.0 else excess

    def learn(self, score: float) -> None:
        """Take a score in, without judging it."""
        if score > _MOST_SCORE:
            score = _MOST_SCORE
        self._count += 1
        count = self._count
        if count <= self.start:
            self._first.append(score)
            if count == self.start:
                self._begin()
            return
        memory = self.memory
        weight = 1.0 / count if count < memory else 1.0 / memory
        excess = score - self._level
        if excess > 0.0:
            share_weight = weight / self.share
            self._level += self._scale * (1.0 - self.share) * share_weight
            excess = min(excess, self._most)
            self._learn_excess(excess, share_weight if share_weight < 0.5 else 0.5)
        else:
            # What is below zero has no meaning for a score.
            level = self._level - self._scale * weight
            self._level = level if level > 0.0 else 0.0

    def _learn_excess(self, excess: float, weight: float) -> None:
        mean = self._mean + (excess - self._mean) * weight
        square = self._square + (excess * excess - self._square) * weight
        self._mean = mean = mean if mean > self.least else self.least
        self._square = square
        self._fit()

    def _fit(self) -> None:
        mean = self._mean
        variance = self._square - mean * mean
        shape = 0.5 * (1.0 - mean * mean / variance) if variance > mean * mean else 0.0
        self._shape = shape
        self._scale = mean * (1.0 - shape)
        # An excess beyond this surprise is learned as one that large, so that one monster does not
        # make the tail.
        if shape > 0.0:
            self._most = self._scale * math.expm1(shape * _CAPPED) / shape
        else:
            self._most = self._scale * _CAPPED

    def update(self, item: float) -> None:
        """Judge a score (at least 0) by those before it, then learn it."""
        self._value = self.surprise(item) if self._count >= self.start else None
        self.learn(item)

    def _begin(self) -> None:
        ranked = sorted(self._first)
        above = max(1, round(self.share * self.start))
        self._level = max(0.0, ranked[-above - 1])
        excess = sum(each - self._level for each in ranked[-above:]) / above
        self._mean = max(self.least, excess)
        # Too few to know a shape by: an exponential tail has this mean square.
        self._square = 2.0 * self._mean * self._mean
        self._fit()
        self._first = []

    def _content(self) -> State:
        return [self._count, self._level, self._mean, self._square, self._value, *self._first]

    def _restore(self, content: State) -> None:
        self._count, self._level, self._mean, self._square, self._value = content[:5]
        self._first = list(content[5:])
        self._fit()
        if len(self._first) != (self._count if self._count < self.start else 0):
            raise ValueError(f"{len(self._first)} first scores of {self._count}")


class Verdict(NamedTuple):
    """What became of one surprise.

    `score` and `threshold` are on one scale from 0 to 1: a tenth of -log10 of the probability, so
    that 0.5 is once in 100,000 items (the scale of Numenta's log-likelihood).
    """

    score: float
    threshold: float
    is_alarm: bool


class AlarmThreshold(Learner[float, Verdict]):
    """Which scores are alarms, so that there are `rate` an item in the long run.

    The threshold lies where the learned tail says that one score in 1 / rate is above it. Each
    episode of alarms halves the rate that is aimed at, each item takes back `rate` of that, as in
    adaptive conformal inference (Gibbs and Candes, NeurIPS 2021): so the rate comes to what was
    asked for although the tail is not quite as fitted.

    An episode begins with an alarm and ends with ten scores in a row that are out of the tail.
    Within it only what is e times rarer than all before it is an alarm again: what lasts is told
    once, and what grows again.

    What the rate is asked for is false alarms, and the feedback counts all. Of false ones, where
    the tail is as fitted, the surprise exceeds the threshold by an excess that is exponential with
    mean 1; a fault knows no such bound. So an episode may count less the further out it begins,

        charge + (1 - charge) 2 exp(-excess),

    which for false alarms has the mean 1: they come at `rate` as before, and true ones do not use
    it up. Where the tail is heavier than fitted the mean is lower, but at least `charge`: there are
    at most rate / charge alarms an item.

    Args:
        rate: alarms an item, above 0 and below 0.05, such as 1 / 23,400 for one a day of 1 s bars.
        charge: what an episode counts however far out it is, above 0; 1: all count alike.
        memory: items after which old scores have faded.
        start: items before the first verdict.
    """

    __slots__ = ("_age", "_calm", "_episode", "_raised", "_tail", "_value", "charge", "rate")

    #: How far the feedback may move the threshold, in nats: factors of e of the rate.
    _LOWEST, _HIGHEST = -3.0, 10.0
    #: Scores out of the tail that end an episode: of usual ones, 19 in 20 are.
    _CALM = 10
    #: Scores after which an episode is learned from.
    _STAYS = 250

    def __init__(
        self, rate: float = 0.001, memory: int = 20_000, start: int = 100, charge: float = 1.0
    ) -> None:
        if not 0.0 < rate < 0.05 or not 0.0 < charge <= 1.0:
            raise ValueError(
                f"rate is {rate}, charge {charge}: expected above 0 and below 0.05 alarms an item, "
                "and above 0 to 1"
            )
        self.rate = rate
        self.charge = charge
        self._tail = Tail(0.05, memory, start, 0.05)
        self._raised = 0.0
        #: The greatest score of the episode that lasts; None outside of one.
        self._episode: float | None = None
        self._calm = self._age = 0
        self._value: Verdict | None = None

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return parameter sets for the discovered checks."""
        return [{}, {"rate": 0.01, "memory": 1_000, "start": 40, "charge": 0.25}]

    @classmethod
    def sample(cls, seed: int, count: int) -> list[float]:
        """Return items for the discovered checks."""
        return Tail.sample(seed, count)

    @classmethod
    def hostile(cls, seed: int, count: int) -> list[float]:
        """Return items to fear for the discovered checks."""
        return [abs(each) for each in hostile_numbers(seed, count)]

    @property
    def value(self) -> Verdict | None:
        """The verdict on the last score; None for the first `start`."""
        return self._value

    @property
    def started(self) -> bool:
        """Whether the next score will have a verdict."""
        return self._tail.started

    def judge(self, score: float) -> Verdict:
        """Return the verdict by what was learned; needs `started`."""
        surprise = self._tail.surprise(score)
        limit = self._limit()
        return Verdict(
            min(1.0, surprise / (10.0 * _LN10)), min(1.0, limit / (10.0 * _LN10)), surprise > limit
        )

    def _limit(self) -> float:
        limit = max(-math.log(self._tail.share), self._raised - math.log(self.rate))
        if self._episode is None:
            return limit
        return max(limit, self._tail.surprise(self._episode) + 1.0)

    def learn(self, score: float) -> None:
        """Take a score in, without judging it."""
        known = False
        if self._tail.started:
            surprise = self._tail.surprise(score)
            raised = self._raised - self.rate * _STEP
            odd = surprise >= -math.log(self._tail.share)
            if self._episode is not None:
                self._age += 1
                # An episode is learned once, by its first score: else it would teach, score by
                # score, that this is usual. Unless it stays: then it is.
                known = odd and self._age <= self._STAYS
            excess = surprise - self._limit()
            if excess > 0.0:
                if self._episode is None:
                    far = 2.0 * math.exp(-excess)
                    raised += _STEP * (self.charge + (1.0 - self.charge) * far)
                self._age = 0 if self._episode is None else self._age
                self._episode, self._calm = min(score, _MOST_SCORE), 0
            elif self._episode is not None:
                self._calm = 0 if odd else self._calm + 1
                if self._calm >= self._CALM:
                    self._episode = None
            self._raised = min(self._HIGHEST, max(self._LOWEST, raised))
        if not known:
            self._tail.learn(score)

    def update(self, item: float) -> None:
        """Judge a score (at least 0) by those before it, then learn it."""
        self._value = self.judge(item) if self._tail.started else None
        self.learn(item)

    def _content(self) -> State:
        value = None if self._value is None else list(self._value)
        return [
            self._raised, self._episode, self._calm, self._age, value, self._tail.state(),
        ]  # fmt: skip

    def _restore(self, content: State) -> None:
        self._raised, self._episode, self._calm, self._age, value, tail = content
        self._value = None if value is None else Verdict(*value)
        self._tail = resumed(self._tail, tail)
