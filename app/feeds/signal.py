"""A signal planted in the simulated market: how much of the next return can be foretold is known.

Time falls into spans of the horizon, aligned to the epoch. In half of them, by a coin for each
symbol and span, trades are three times as large: heavy spans. The log mid price moves over span
k + 1 by

    r[k + 1] = sqrt(share) * d[k] + sqrt(1 - share) * DEVIATION * e[k + 1]
    d[k] = r[k] after a light span, -r[k] after a heavy one

with e standard normal: a move on light trading goes on, one on heavy trading turns back (as
Campbell, Grossman and Wang, Quarterly Journal of Economics 108, 1993, found of stocks, there far
weaker). d is known from the return and the volume of the span before, which bars of that length
show, and explains just `share` of the variance: the R2, and the skill against zero, of a perfect
forecast. Returns are normal, all of the same variance. Since the coin knows nothing of them they
are uncorrelated, so neither the last value nor AR(1) sees any of it. With a share of 0 the log
price is a martingale: there is nothing to be found.

Bars lose some of it, the more the fewer trades they have: their closes are the last trades, before
the span's end, at bid or ask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

SECOND: Final = 1_000_000_000
#: Standard deviation of the log mid price's return over a horizon: 10 basis points.
DEVIATION: Final = 1e-3
#: Trades of a heavy span are so many times as large.
HEAVY: Final = 3
#: Prices to begin with, and half a spread in ticks. The bid-ask bounce of cheap symbols with wide
#: spreads is larger than a return, and itself foretells the next one.
LOWEST_PRICE: Final = 100.0
HALF_SPREAD: Final = 1
#: The log price stays so near to where it began: a factor of 10, which takes months to reach.
FARTHEST: Final = math.log(10)


@dataclass(frozen=True, slots=True)
class Signal:
    """What is planted.

    Attributes:
        share: of the variance of a return over the horizon that can be foretold, 0 to 1.
        horizon: ns; whole seconds.
    """

    share: float
    horizon: int = 60 * SECOND

    def __post_init__(self) -> None:
        """Refuse what cannot be planted.

        Raises:
            ValueError: a value is out of its bounds.
        """
        if not 0 <= self.share <= 1:
            raise ValueError(f"signal of {self.share}; expected a share of 0 to 1")
        if self.horizon < SECOND or self.horizon % SECOND:
            raise ValueError(f"signal horizon of {self.horizon} ns; expected whole seconds")


class SignalPath:
    """The log mid prices of all symbols, block after block.

    Attributes:
        log: of the mid price, shape (symbols,).
        heavy: which symbols trade in a heavy span.

    Args:
        signal: what is planted.
        log: log prices to begin with.
        block: ns of event time that `advance` moves them by.
        seed: of the moves and coins.
    """

    def __init__(self, signal: Signal, log: npt.NDArray[np.float64], block: int, seed: int) -> None:
        self.log = log.copy()
        self.heavy = np.zeros(len(log), dtype=np.bool_)
        self._signal = signal
        self._random = np.random.default_rng((seed, 11))
        self._anchor = log
        part = block / signal.horizon
        self._noise = DEVIATION * math.sqrt((1 - signal.share) * part)
        self._drift = math.sqrt(signal.share) * part
        self._foretold = np.zeros(len(log))
        self._span: int | None = None
        self._before = self.log

    def advance(self, begin: int) -> None:
        """Move on by a block; one that lies across the border of two spans is of the first."""
        span = begin // self._signal.horizon
        if span != self._span:
            self._turn(span)
        steps = self._noise * self._random.standard_normal(len(self.log))
        self.log = self.log + steps + self._drift * self._foretold
        np.clip(self.log, self._anchor - FARTHEST, self._anchor + FARTHEST, out=self.log)

    def _turn(self, span: int) -> None:
        """Begin a span; at first, and where time was left out, d is drawn."""
        if self._span is not None and span == self._span + 1:
            moved = self.log - self._before
            self._foretold = np.where(self.heavy, -moved, moved)
        else:
            self._foretold = DEVIATION * self._random.standard_normal(len(self.log))
        self.heavy = self._random.random(len(self.log)) < 0.5
        self._span, self._before = span, self.log
