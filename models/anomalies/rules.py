"""Fixed rules over bars, as traders know them; each says its name where it holds.

| rule | holds where |
|---|---|
| `price` | the price is more than 5 % from its moving mean |
| `volume` | the size is more than 3 times its moving mean |
| `overbought`, `oversold` | Wilder's RSI is at least 70, at most 30 |
| `latency` | the item came more than 100 ms after its event time |

The means are exponential, of the items before; RSI is of all up to the item (Wilder, 1978, begun
with the plain mean of the first changes, as `tables.indicators.rsi`). All limits are parameters.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from models.anomalies.robust import bounded
from tables.learning import Learner, State


class RuleItem(NamedTuple):
    """A price, a size (None: has none), and how late it came, ns (None: not known)."""

    price: float
    size: float | None = None
    latency: int | None = None


class RuleLimits(NamedTuple):
    """Where each rule begins to hold; None switches one off."""

    price_share: float | None = 0.05
    size_times: float | None = 3.0
    overbought: float | None = 70.0
    oversold: float | None = 30.0
    #: ns
    latency: int | None = 100_000_000


class Rules(Learner[RuleItem, tuple[str, ...]]):
    """Which rules hold for the last item; none before `span` items were learned.

    Args:
        span: items that the moving means are about.
        length: of RSI; at most `span`.
        limits: where each rule begins to hold (`RuleLimits`); those left out are the defaults.
    """

    __slots__ = (
        "_before", "_count", "_gain", "_loss", "_price", "_size", "_sized", "_value",
        "length", "limits", "span",
    )  # fmt: skip

    def __init__(
        self, span: int = 20, length: int = 14, limits: RuleLimits | tuple[Any, ...] = ()
    ) -> None:
        if not 1 <= length <= span:
            raise ValueError(f"length of RSI is {length}: expected 1 to the span, {span}")
        self.span = span
        self.length = length
        self.limits = RuleLimits(*limits)
        self._count = self._sized = 0
        self._price = self._size = self._before = self._gain = self._loss = 0.0
        self._value: tuple[str, ...] | None = None

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return parameter sets for the discovered checks."""
        return [{}, {"span": 50, "length": 7, "limits": (0.01, None, 80.0, 20.0, None)}]

    @classmethod
    def sample(cls, seed: int, count: int) -> list[RuleItem]:
        """Return items for the discovered checks."""
        chance, price, items = random.Random(seed), 100.0, []
        for _ in range(count):
            price *= 1.0 + chance.gauss(0.0, 0.01)
            items.append(
                RuleItem(price, chance.lognormvariate(5, 1), chance.randrange(200_000_000))
            )
        return items

    @classmethod
    def hostile(cls, seed: int, count: int) -> list[RuleItem]:
        """Return items to fear for the discovered checks."""
        chance = random.Random(seed)
        prices = (0.0, 1e300, -1e300, 5e-324, 1.0)
        return [
            RuleItem(chance.choice(prices), chance.choice((None, 0.0, 1e300))) for _ in range(count)
        ]

    @property
    def value(self) -> tuple[str, ...] | None:
        """Names of the rules that hold for the last item; None for the first `span`."""
        return self._value

    @property
    def started(self) -> bool:
        """Whether the next item will be judged."""
        return self._count >= self.span

    def judge(self, item: RuleItem) -> tuple[str, ...]:
        """Return the names of the rules that hold for an item; needs `started`."""
        limits, found = self.limits, []
        price = bounded(item.price)
        share = limits.price_share
        if share is not None and abs(price - self._price) > share * abs(self._price):
            found.append("price")
        times = limits.size_times
        sized = item.size is not None and self._sized >= self.span
        if times is not None and sized and bounded(item.size or 0.0) > times * self._size:
            found.append("volume")
        gain, loss = self._averages(price)
        if gain + loss > 0.0:
            strength = 100.0 * (gain / (gain + loss))
            if limits.overbought is not None and strength >= limits.overbought:
                found.append("overbought")
            if limits.oversold is not None and strength <= limits.oversold:
                found.append("oversold")
        late = limits.latency
        if late is not None and item.latency is not None and item.latency > late:
            found.append("latency")
        return tuple(found)

    def _averages(self, price: float) -> tuple[float, float]:
        weight = 1.0 / min(self._count, self.length)
        change = price - self._before
        up, down = (change, 0.0) if change > 0.0 else (0.0, -change)
        return self._gain + weight * (up - self._gain), self._loss + weight * (down - self._loss)

    def learn(self, item: RuleItem) -> None:
        """Take an item in, without judging it."""
        price = bounded(item.price)
        if self._count:
            self._gain, self._loss = self._averages(price)
        self._before = price
        self._count += 1
        # 2 / (span + 1) in the end, a plain mean to begin with.
        least = 2.0 / (self.span + 1)
        self._price += max(least, 1.0 / self._count) * (price - self._price)
        if item.size is not None:
            self._sized += 1
            self._size += max(least, 1.0 / self._sized) * (bounded(item.size) - self._size)

    def update(self, item: RuleItem) -> None:
        """Judge an item by those before it, then learn it."""
        self._value = self.judge(item) if self._count >= self.span else None
        self.learn(item)

    def _content(self) -> State:
        value = None if self._value is None else list(self._value)
        return [
            self._count, self._sized, self._price, self._size,
            self._before, self._gain, self._loss, value,
        ]  # fmt: skip

    def _restore(self, content: State) -> None:
        (
            self._count, self._sized, self._price, self._size,
            self._before, self._gain, self._loss, value,
        ) = content  # fmt: skip
        self._value = None if value is None else tuple(value)
