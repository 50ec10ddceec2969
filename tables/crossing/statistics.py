"""How two symbols move together: learners over the pair's joined closes.

Each keeps the bounded window that it looks at and computes its value afresh, with exact sums
(`math.fsum`), so nothing drifts, however long it runs.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from tables.learning import Revertible, State

#: Closes of the first and the second symbol at one start.
Closes = tuple[float, float]
#: Keeps spreads, and their squares, far from where doubles end.
MAX_HEDGE = 1e6


def _sample(seed: int, count: int) -> list[Closes]:
    """Closes of two symbols that share most of their moves."""
    rng = random.Random(seed)
    first, second = 100.0, 40.0
    closes = []
    for _ in range(count):
        common = rng.gauss(0, 0.001)
        first *= math.exp(common + rng.gauss(0, 0.0005))
        second *= math.exp(0.8 * common + rng.gauss(0, 0.0007))
        closes.append((first, second))
    return closes


def _hostile(seed: int, count: int) -> list[Closes]:
    """Closes at the bounds of the contract, at 0 and below, standing still, and all but 0."""
    rng = random.Random(seed)
    feared = (5e-324, 1e-300, 1e-9, 0.0, -0.0, 1.0, 1.0 + 2**-52, -1e12, 1e12)
    return [(rng.choice(feared), rng.choice(feared)) for _ in range(count)]


class Together(NamedTuple):
    """None where a symbol has not moved."""

    correlation: float | None
    beta: float | None


class Comovement(Revertible[Closes, Together]):
    """Pearson correlation of log returns, and the beta of the first symbol on the second.

    Returns are between one joined pair of closes and the next, whatever lies between: a start that
    one symbol has no bar of is left out for both, so no return of the other is set against a
    standstill (which would pull the correlation to 0, Epps 1979). A close that is not positive has
    no return. Ready after `window` returns.
    """

    def __init__(self, window: int = 60) -> None:
        if window < 2:
            raise ValueError(f"window {window}: expected 2 or more")
        self._window = window
        self._last: Closes | None = None
        self._returns: list[tuple[float, float]] = []

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return a short window and the usual one."""
        return [{"window": 2}, {"window": 5}, {"window": 60}]

    @classmethod
    def sample(cls, seed: int, count: int) -> Sequence[Closes]:
        """Return closes of two symbols that share most of their moves."""
        return _sample(seed, count)

    @classmethod
    def hostile(cls, seed: int, count: int) -> Sequence[Closes]:
        """Return closes to fear."""
        return _hostile(seed, count)

    def _learn(self, item: Closes) -> None:
        last, (first, second) = self._last, item
        if first <= 0 or second <= 0:
            self._last = None
            return
        self._last = (first, second)
        if last is not None:
            self._returns.append((_log_ratio(first, last[0]), _log_ratio(second, last[1])))
            del self._returns[: -self._window]

    @property
    def value(self) -> Together | None:
        """Correlation within [-1, 1] and beta."""
        count = len(self._returns)
        if count < self._window:
            return None
        mean_first = math.fsum(first for first, _ in self._returns) / count
        mean_second = math.fsum(second for _, second in self._returns) / count
        centred = [(one - mean_first, two - mean_second) for one, two in self._returns]
        of_first = math.fsum(one * one for one, _ in centred)
        of_second = math.fsum(two * two for _, two in centred)
        of_both = math.fsum(one * two for one, two in centred)
        # Roots apart: the product of two small sums may be 0.
        scale = math.sqrt(of_first) * math.sqrt(of_second)
        moved = not (_stands(self._returns, 0) or _stands(self._returns, 1))
        correlation = max(-1.0, min(1.0, of_both / scale)) if moved and scale > 0 else None
        beta = of_both / of_second if moved and of_second > 0 else None
        return Together(correlation, beta if beta is None or math.isfinite(beta) else None)

    def _content(self) -> State:
        last = None if self._last is None else list(self._last)
        return [last, [list(each) for each in self._returns]]

    def _restore(self, content: State) -> None:
        last, returns = content
        if len(returns) > self._window:
            raise ValueError(f"{len(returns)} returns in a window of {self._window}")
        self._last = None if last is None else (last[0], last[1])
        self._returns = [(first, second) for first, second in returns]


def _log_ratio(after: float, before: float) -> float:
    """The log return; of prices so far apart that their ratio is no number, too."""
    ratio = after / before
    return math.log(ratio) if 0 < ratio < math.inf else math.log(after) - math.log(before)


def _stands(returns: Sequence[tuple[float, float]], side: int) -> bool:
    """Whether all returns of a side are the same, so that their deviations are rounding alone."""
    return all(each[side] == returns[0][side] for each in returns)


class SpreadScore(Revertible[Closes, float]):
    """How far the spread, first - hedge x second, lies from what it was, in standard deviations.

    Mean and standard deviation (n - 1) are those of the `window` spreads *before* it, so a jump
    does not hide in its own average. None while there are fewer, and where they were all the same.
    """

    def __init__(self, window: int = 60, hedge: float = 1.0) -> None:
        if window < 2:
            raise ValueError(f"window {window}: expected 2 or more")
        if not abs(hedge) <= MAX_HEDGE:
            raise ValueError(f"hedge {hedge}: expected at most {MAX_HEDGE:g} in size")
        self._window = window
        self._hedge = hedge
        #: Spreads before the last, then the last.
        self._spreads: list[float] = []

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return a short window and the usual one."""
        return [{"window": 2}, {"window": 60, "hedge": 2.5}]

    @classmethod
    def sample(cls, seed: int, count: int) -> Sequence[Closes]:
        """Return closes of two symbols that share most of their moves."""
        return _sample(seed, count)

    @classmethod
    def hostile(cls, seed: int, count: int) -> Sequence[Closes]:
        """Return closes to fear."""
        return _hostile(seed, count)

    def _learn(self, item: Closes) -> None:
        self._spreads.append(item[0] - self._hedge * item[1])
        del self._spreads[: -self._window - 1]

    @property
    def spread(self) -> float | None:
        """The last spread."""
        return self._spreads[-1] if self._spreads else None

    @property
    def value(self) -> float | None:
        """The last spread's score."""
        if len(self._spreads) <= self._window:
            return None
        *before, last = self._spreads
        low, high = min(before), max(before)
        if low == high:
            return None
        mean = math.fsum(before) / self._window
        variance = math.fsum((each - mean) ** 2 for each in before) / (self._window - 1)
        score = (last - mean) / math.sqrt(variance) if variance > 0 else math.inf
        return score if math.isfinite(score) else None

    @property
    def ready(self) -> bool:
        """Whether there are `window` spreads before the last."""
        return len(self._spreads) > self._window

    def _content(self) -> State:
        return [list(self._spreads)]

    def _restore(self, content: State) -> None:
        (spreads,) = content
        if len(spreads) > self._window + 1:
            raise ValueError(f"{len(spreads)} spreads in a window of {self._window}")
        self._spreads = list(spreads)
