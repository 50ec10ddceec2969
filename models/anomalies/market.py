"""The scorer of a symbol's bars of one size: trades or quotes, seven features, trees, rules.

Each feature (`bars.py`) is compared with its hour of the day (`hours.py`) and has a tail of its own
(`tails.py`). So has the mean size of the last bars (`burst`, an EWMA chart), and what half-space
trees make of four features together (`trees.py`).

The mean size of a trade alone is not odd in one bar: a block is one trade. What its tail takes is
its one-sided CUSUM (Page, "Continuous Inspection Schemes", Biometrika 1954), max(0, sum + z - 1.5):
the allowance is half of the shift to be found, three standard deviations, a control chart's limit.
Each z is bounded as in `control.EwmaChart`, then centred and scaled by mean and mean square of such
z: sizes are skewed, most trades of some symbols being one lot. So, while nothing has shifted, it is
a random walk that is driven back to 0, and such a walk's tail is exponential: what `tails.py`
extrapolates best. An excursion is one event: its highest point is learned once it has ended
(declustering, as Davison and Smith, 1990).

They stand for faults of different kinds, each of which is one alone (a wrong price, a burst, a
freeze): so the largest surprise is the bar's (Tippett's combination), and `tails.AlarmThreshold`
turns it into a score, a threshold, and an alarm. An alarm that is far out counts for a quarter in
its feedback, so that true anomalies do not use up what false ones are allowed.

**Revisions.** A bar is learned when the next one comes. So the newest bar, revised, is scored anew
by exactly what its first version was, and the last version is the one that is learned; this costs
nothing. A revision of an older bar is scored by what is known now, told as such (`learned` is
false), counted, and not learned.
"""

from __future__ import annotations

import math
import random
from typing import Any, NamedTuple

from models.anomalies.bars import FEATURES, LARGE, SIDED, Observation, mean_of, share_of, wick_of
from models.anomalies.control import PageHinkley
from models.anomalies.hours import HourlyScales
from models.anomalies.parts import resumed
from models.anomalies.rules import RuleItem, RuleLimits, Rules
from models.anomalies.tails import AlarmThreshold, Tail
from models.anomalies.trees import HalfSpaceTrees, unit
from tables.learning import Learner, State

HOUR = 3_600_000_000_000
DAY = 24 * HOUR
#: The features that the trees see together.
_TOGETHER = tuple(FEATURES.index(name) for name in ("return", "size", "count", "wick"))
#: What can be the reason of a score.
REASONS = (*FEATURES, "burst", "together")
#: The places among features and tails of what is learned as a run.
_MEAN, _STALL = FEATURES.index("mean"), FEATURES.index("stall")
#: Of the mean of sizes: about ten bars; and one bar is not a burst.
_BURST_WEIGHT, _BURST_BOUND = 2.0 / 11.0, 4.0
#: Of the CUSUM of mean trade sizes, in standard deviations; ten bars at the bound, and no more, so
#: that it forgets about as soon.
_SHIFT_ALLOWANCE, _SHIFT_BOUND = 1.5, 6.0
_SHIFT_MEMORY = 20_000
_SHIFT_MOST = 10.0 * (_SHIFT_BOUND - _SHIFT_ALLOWANCE)
#: What an alarm counts however far out it is.
_CHARGE = 0.25
_MEMORY_DAYS = 5
_MOST_RATE = 0.04
#: Of a day at first, until one was counted: the regular hours of a stock exchange.
_FIRST_DAY = 6.5 * HOUR


class MarketScore(NamedTuple):
    """What one version of a bar was found to be.

    `score` and `threshold` from 0 to 1 (`tails.Verdict`). `reason` names what was most surprising,
    one of `REASONS`. `rules` are the names of the rules that hold (`rules.py`), and `drift` where
    the size's level has moved. `features` are those of `bars.FEATURES`, as
    robust z or number of means. `learned` is
    false for a revision that came too late.
    """

    score: float
    threshold: float
    is_anomaly: bool
    reason: str
    rules: tuple[str, ...]
    features: tuple[float, ...]
    learned: bool


class _Seen(NamedTuple):
    """A bar that is scored and not yet learned, with what learning it needs.

    All of it follows from the bar and what was learned before it.
    """

    bar: Observation
    features: tuple[float, ...]
    z: list[float]
    run: float
    #: The mean of sizes, with it.
    burst: float
    #: How far its mean trade size is out, bounded and centred, and the CUSUM with it.
    away: float
    shift: float
    #: Four of the z as features of the trees.
    together: list[float]
    #: What the tails take: how far each feature is out, and the trees' surprise.
    magnitudes: list[float]
    surprises: list[float]


class MarketScorer(Learner[Observation, MarketScore]):
    """The anomaly score of each closed bar of one symbol and interval.

    Works for wrong prices, spikes, bursts, freezes, and what is odd for the hour. Does not for what
    needs several symbols, or more than one bar at a time but a stall and a gap; a freeze is seen
    with the bar that ends it (a feed that stays silent is the data quality agent's).

    Args:
        interval: of the bars, ns.
        false_alarms_per_day: how many are acceptable in the long run; above 0. How many bars make a
            day is counted on the UTC day before.
        session_gap: a silence longer than this, ns, is between sessions: no return, no gap.
        warm_up: bars learned before the first score, at least 150.
        limits: of the rules (`rules.RuleLimits`).
        trees, height, window, seed: of the half-space trees.

    Raises:
        ValueError: a parameter is out of its bounds.
    """

    #: 2: with the mean size of a trade; runs by trades.
    VERSION = 2

    __slots__ = (
        "_burst", "_center", "_day", "_drift", "_learned", "_peak", "_previous", "_rules", "_run",
        "_scales", "_seen", "_shift", "_square", "_tails", "_threshold", "_today", "_trees",
        "_value", "false_alarms_per_day", "interval", "late_revisions", "session_gap", "warm_up",
    )  # fmt: skip

    def __init__(
        self,
        interval: int,
        false_alarms_per_day: float = 1.0,
        session_gap: int = HOUR,
        warm_up: int = 300,
        limits: RuleLimits | tuple[Any, ...] = (),
        trees: int = 8,
        height: int = 4,
        window: int = 250,
        seed: int = 1,
    ) -> None:
        if interval < 1 or not false_alarms_per_day > 0 or warm_up < 150:
            raise ValueError(
                f"interval {interval} ns, {false_alarms_per_day} false alarms a day, warm-up "
                f"{warm_up}: expected above 0, above 0 and at least 150"
            )
        self.interval = interval
        self.false_alarms_per_day = false_alarms_per_day
        self.session_gap = session_gap
        self.warm_up = warm_up
        memory = max(200, min(20_000, _MEMORY_DAYS * HOUR // interval))
        days = max(1_000, min(100_000, _MEMORY_DAYS * DAY // interval))
        self._scales = HourlyScales(SIDED, LARGE, memory)
        self._tails = [Tail(memory=days) for _ in REASONS]
        self._trees = HalfSpaceTrees(len(_TOGETHER), trees, height, window, seed)
        rate = self._rate(int(_FIRST_DAY // interval))
        self._threshold = AlarmThreshold(rate, days, 100, _CHARGE)
        self._rules = Rules(limits=limits)
        self._drift = PageHinkley(least=100, delta=0.25, threshold=100.0)
        self._learned = 0
        #: (start, close) of the last bar that was learned.
        self._previous: tuple[int, float] | None = None
        #: ln(1 + trades) of the bars in a row, up to it, that did not move.
        self._run = 0.0
        self._burst = 0.0
        #: The CUSUM of mean trade sizes, and the highest point of its excursion.
        self._shift = self._peak = 0.0
        #: Mean and mean square of what it sums, before it is centred and scaled.
        self._center, self._square = 0.0, 1.0
        #: The UTC day, and its bars so far.
        self._day, self._today = -1, 0
        self._seen: _Seen | None = None
        self._value: MarketScore | None = None
        #: Revisions of bars that were learned already.
        self.late_revisions = 0

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return parameter sets for the discovered checks."""
        minutes = HOUR // 12
        return [{"interval": minutes}, {"interval": minutes, "warm_up": 150, "window": 60}]

    @classmethod
    def sample(cls, seed: int, count: int) -> list[Observation]:
        """Return items for the discovered checks: bars of 5 min, some of them revised."""
        chance, price, start = random.Random(seed), 100.0, 0
        found: list[Observation] = []
        while len(found) < count:
            start += HOUR // 12 * (1 if chance.random() < 0.98 else 3)
            opened, price = price, price * (1.0 + chance.gauss(0.0, 0.001))
            high = max(opened, price) * (1.0 + chance.expovariate(2_000.0))
            low = min(opened, price) * (1.0 - chance.expovariate(2_000.0))
            volume = chance.lognormvariate(8.0, 1.0)
            size, trades = math.log1p(volume), chance.randrange(1, 60)
            bar = Observation(start, 0, opened, high, low, price, size, trades, volume)
            found.append(bar)
            if chance.random() < 0.05:
                found.append(bar._replace(revision=1, close=opened))
        return found[:count]

    @classmethod
    def hostile(cls, seed: int, count: int) -> list[Observation]:
        """Return items to fear for the discovered checks."""
        chance = random.Random(seed)
        prices = (0.0, 1e100, -1e100, 5e-324, 1.0, 1.0)

        def price() -> float:
            return chance.choice(prices)

        return [
            Observation(
                chance.choice((number, 7, 0)) * HOUR, chance.randrange(3),
                price(), price(), price(), price(), price(),
                chance.choice((0, 2**53)), chance.choice((None, 0.0, 1e300)),
            )
            for number in range(count)
        ]  # fmt: skip

    @property
    def value(self) -> MarketScore | None:
        """The score of the last bar; None in the warm-up."""
        return self._value

    def update(self, item: Observation) -> None:
        """Score a bar, or another version of one; learn the bar before it, if it is a new one."""
        seen = self._seen
        if seen is not None and item.start > seen.bar.start:
            self._learn(seen)
        elif seen is not None and item.start < seen.bar.start:
            self.late_revisions += 1
            self._value = self._score(self._look(item, alone=True), learned=False)
            return
        elif seen is not None and item.revision < seen.bar.revision:
            # A reader that was restarted may see an old version again: the newer one holds.
            return
        self._seen = seen = self._look(item)
        self._value = self._score(seen, learned=True)

    def _look(self, bar: Observation, *, alone: bool = False) -> _Seen:
        previous = None if alone else self._previous
        change, apart, run, before = 0.0, 1.0, 0.0, bar.open
        if previous is not None and bar.start - previous[0] <= self.session_gap:
            before = previous[1]
            change = share_of(bar.close - before, before)
            apart = max(1.0, (bar.start - previous[0]) / self.interval)
            if bar.close == before and bar.high == bar.low:
                run = self._run + math.log1p(bar.trades)
        features = (
            change, bar.size, math.log1p(bar.trades), mean_of(bar),
            wick_of(bar, before), apart, 1.0 + run,
        )  # fmt: skip
        z = self._scales.z(bar.start, features)
        together = [unit(z[index]) for index in _TOGETHER]
        size = max(-_BURST_BOUND, min(_BURST_BOUND, z[1]))
        burst = self._burst + _BURST_WEIGHT * (size - self._burst)
        mean = max(-_SHIFT_BOUND, min(_SHIFT_BOUND, z[_MEAN]))
        away = mean - self._center
        shift = self._shift + away / math.sqrt(max(1.0, self._square)) - _SHIFT_ALLOWANCE
        shift = 0.0 if shift < 0.0 else min(_SHIFT_MOST, shift)
        # Of sizes and counts, and of what is counted in means, small is not odd.
        magnitudes = [abs(z[0]), *(each if each > 0.0 else 0.0 for each in (*z[1:], burst))]
        magnitudes[_MEAN] = shift
        if self._trees.started:
            magnitudes.append(self._trees.surprise(together))
        surprises = [
            tail.surprise(each) if tail.started else 0.0
            for tail, each in zip(self._tails, magnitudes, strict=False)
        ]
        return _Seen(bar, features, z, run, burst, away, shift, together, magnitudes, surprises)

    def _score(self, seen: _Seen, *, learned: bool) -> MarketScore | None:
        if self._learned < self.warm_up or not self._threshold.started:
            return None
        surprises = seen.surprises
        most = max(surprises)
        rules = self._rules.judge(self._rule_item(seen.bar)) if self._rules.started else ()
        if self._drift.value:
            rules = (*rules, "drift")
        verdict = self._threshold.judge(most)
        reason = REASONS[surprises.index(most)]
        return MarketScore(*verdict, reason, rules, tuple(seen.z), learned)

    def _learn(self, seen: _Seen) -> None:
        bar = seen.bar
        # A run is one event, and is learned when it has ended: else a price that is stuck would
        # teach, bar by bar, that this is how prices are.
        ended = 1.0 if seen.run else 1.0 + self._run
        stall = seen.magnitudes[_STALL] * ended / (1.0 + seen.run)
        if self._tails[_STALL].started and self._tails[_MEAN].started:
            others = (*seen.surprises[:_STALL], *seen.surprises[_STALL + 1 :])
            last = 0.0 if seen.run else self._tails[_STALL].surprise(stall)
            self._threshold.learn(max(last, *others))
        # The scales must know what is usual before their z can teach the tails.
        if self._learned >= 40:
            for index, magnitude in enumerate(seen.magnitudes):
                if index != _STALL and index != _MEAN:
                    self._tails[index].learn(magnitude)
            if not seen.run:
                self._tails[_STALL].learn(stall)
            weight = 1.0 / min(_SHIFT_MEMORY, self._learned - 39)
            self._center += weight * seen.away
            self._square += weight * (seen.away * seen.away - self._square)
            if not seen.shift:
                self._tails[_MEAN].learn(self._peak)
                self._peak = 0.0
            elif seen.shift > self._peak:
                self._peak = seen.shift
            self._trees.learn(seen.together)
            self._drift.update(max(-3.0, min(3.0, seen.z[1])))
        self._scales.learn(bar.start, (*seen.features[:_STALL], ended))
        self._rules.learn(self._rule_item(bar))
        self._previous = (bar.start, bar.close)
        self._run, self._burst, self._shift = seen.run, seen.burst, seen.shift
        self._learned += 1
        self._count_day(bar.start // DAY)

    def _count_day(self, day: int) -> None:
        if day != self._day:
            # A day of a few bars, as a first or a halted one, tells nothing of the next.
            if self._today >= 100:
                self._threshold.rate = self._rate(self._today)
            self._day, self._today = day, 0
        self._today += 1

    def _rate(self, bars_a_day: int) -> float:
        return min(_MOST_RATE, self.false_alarms_per_day / max(1, bars_a_day))

    @staticmethod
    def _rule_item(bar: Observation) -> RuleItem:
        return RuleItem(bar.close, bar.volume, bar.latency)

    def _content(self) -> State:
        value, seen = self._value, self._seen
        return [
            self._learned, self.late_revisions, self._run, self._burst, self._shift, self._peak,
            self._center, self._square,
            self._day, self._today,
            None if self._previous is None else list(self._previous),
            None if seen is None else list(seen.bar),
            None if value is None else [*value[:4], list(value[4]), list(value[5]), value.learned],
            self._threshold.rate,
            self._scales.content(),
            [each.state() for each in self._tails],
            self._trees.state(),
            self._threshold.state(),
            self._rules.state(),
            self._drift.state(),
        ]  # fmt: skip

    def _restore(self, content: State) -> None:
        (
            self._learned, self.late_revisions, self._run, self._burst, self._shift, self._peak,
            self._center, self._square,
            self._day, self._today,
            previous, seen, value, rate, scales, tails, trees, threshold, rules, drift,
        ) = content  # fmt: skip
        self._previous = None if previous is None else (previous[0], previous[1])
        self._value = None
        if value is not None:
            score, limit, is_anomaly, reason, names, features, learned = value
            self._value = MarketScore(
                score, limit, is_anomaly, reason, tuple(names), tuple(features), learned
            )
        self._scales.restore(scales)
        self._tails = [resumed(part, state) for part, state in zip(self._tails, tails, strict=True)]
        self._trees = resumed(self._trees, trees)
        self._threshold = resumed(self._threshold, threshold)
        self._threshold.rate = rate
        self._rules = resumed(self._rules, rules)
        self._drift = resumed(self._drift, drift)
        self._seen = None if seen is None else self._look(Observation(*seen))
