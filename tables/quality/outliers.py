"""Prices far from what was learned before them: fat fingers.

Two tests, each by the window before the price:

- from the rolling mean by more than `mean_factor` standard deviations and the floor (after
  Brownlees and Gallo, "Financial econometric analysis at ultra-high frequency", 2006, section
  3.1, whose granularity is the floor here; theirs looks at both sides, ours at the past alone);
- from the rolling median by more than `median_factor` robust deviations and the floor (after rule
  Q4/T4 of Barndorff-Nielsen, Hansen, Lunde and Shephard, "Realised kernels in practice", 2009).

A price that fails either is an outlier. It works on prices with some memory; it does not work on a
symbol with fewer prices a day than the warm-up, and knows nothing of news: a jump beyond the limits
is told, and accepted as a new level after `run` prices.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, NamedTuple

from tables.learning import Learner, State
from tables.quality.statistics import RollingStatistics

MEAN: Final = 1
MEDIAN: Final = 2


class Verdict(NamedTuple):
    """What was found about the last price.

    `tests` has the bits `MEAN` and `MEDIAN` of the tests that it failed; then `limit` is the
    nearest price that passes both, else None; `restarted`: it ended a run, and a new level is
    learned.
    """

    tests: int
    limit: float | None
    median: float
    restarted: bool


class OutlierDetector(Learner[float, Verdict]):
    """Judges a price, then learns it.

    An outlier is learned at the nearest price that would have passed (winsorised), so it moves the
    window by no more than any other price could. After `run` outliers in a row on one side, the
    window is forgotten and the new level learned from its first price on.
    """

    VERSION: ClassVar[int] = 1

    def __init__(
        self,
        window: int = 61,
        warm_up: int = 31,
        mean_factor: float = 6.0,
        median_factor: float = 10.0,
        floor: float = 0.002,
        least: float = 0.0,
        run: int = 20,
    ) -> None:
        """Take the parameters; `floor` is a share of the price, `least` a difference of prices.

        Raises:
            ValueError: see `RollingStatistics`.
        """
        self.statistics = RollingStatistics(window, warm_up)
        self.mean_factor, self.median_factor = mean_factor, median_factor
        self.floor, self.least, self.run = floor, least, run
        self._verdict: Verdict | None = None
        #: Outliers in a row: above the limits positive, below them negative.
        self._in_a_row = 0

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return parameter sets for the discovered checks."""
        return [{}, {"window": 11, "warm_up": 5, "floor": 0.0001, "least": 0.02, "run": 3}]

    @classmethod
    def sample(cls, seed: int, count: int) -> list[float]:
        """Return prices of a random walk, some far off, for the checks."""
        return RollingStatistics.sample(seed, count)

    def clear(self) -> None:
        """Forget everything, as after a split."""
        self.statistics.clear()
        self._verdict, self._in_a_row = None, 0

    def update(self, item: float) -> None:
        """Judge a price by those before it, then learn it."""
        statistics = self.statistics
        centre = statistics.centre()
        if centre is None:
            self._verdict = None
            statistics.update(item)
            return
        mean, median = centre
        floor = max(self.floor * abs(median), self.least)
        # Nearly all prices: within the floor of both, whatever the deviations are.
        if abs(item - mean) <= floor and abs(item - median) <= floor:
            self._in_a_row = 0
            self._verdict = Verdict(0, None, median, False)
            statistics.update(item)
            return
        self._judge(item, mean, median, floor)

    def _judge(self, item: float, mean: float, median: float, floor: float) -> None:
        deviation, spread = self.statistics.scale()
        by_mean = self.mean_factor * deviation + floor
        by_median = self.median_factor * spread + floor
        tests = MEAN if abs(item - mean) > by_mean else 0
        if abs(item - median) > by_median:
            tests |= MEDIAN
        limit, restarted, learned = None, False, item
        if tests:
            side = 1 if item > median else -1
            low = max(mean - by_mean, median - by_median)
            high = min(mean + by_mean, median + by_median)
            # The tests may leave no price between them: then the median is what is learned.
            limit = median if low > high else (high if side > 0 else low)
            learned = limit
            self._in_a_row = self._in_a_row + side if self._in_a_row * side > 0 else side
            if abs(self._in_a_row) >= self.run:
                restarted, learned = True, item
                self.statistics.clear()
                self._in_a_row = 0
        else:
            self._in_a_row = 0
        self.statistics.update(learned)
        self._verdict = Verdict(tests, limit, median, restarted)

    @property
    def value(self) -> Verdict | None:
        """The verdict on the last price; None in warm-up."""
        return self._verdict

    def _content(self) -> State:
        verdict = None if self._verdict is None else list(self._verdict)
        return [self.statistics.state(), self._in_a_row, verdict]

    def _restore(self, content: list[Any]) -> None:
        state, self._in_a_row, verdict = content
        own = self.statistics
        self.statistics = RollingStatistics.from_state(state, own.window, own.warm_up)
        self._verdict = None if verdict is None else Verdict(*verdict)
