"""What a bar shows to the scorer: an observation, and the features of it.

| feature | what it is | odd where |
|---|---|---|
| `return` | change of the close since the bar before, a share of that | far out |
| `size` | ln(1 + volume); of quotes the spread, a share of the mid | large |
| `count` | ln(1 + trades), or quotes | large |
| `mean` | ln(volume / trades), the mean size of a trade; of quotes 0 | large bar after bar |
| `wick` | how far high or low lie outside of this close and the one before, a share | large |
| `gap` | intervals since the bar before | large |
| `stall` | 1 + the sum of ln(1 + trades) of the bars in a row that did not move | large |

Prices of quote bars are the mid's.

`mean` tells a wrong scale of the sizes from a busy second, which has more trades and not larger
ones: the means of bars a second apart are all but independent, their volumes are not.

A bar with more trades is less likely not to move: about as a power of their number. So the surprise
of a run of such bars, the sum of -ln P(does not move | trades), goes as the sum of ln(1 + trades):
a price that is stuck while many trade is told from one that rests while few do.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from app.contracts.wire import BarRecord, QuoteBarRecord
from models.anomalies.robust import bounded

FEATURES = ("return", "size", "count", "mean", "wick", "gap", "stall")
#: The first of them have a robust z, the others are so many times their mean (`hours.py`).
SIDED, LARGE = 4, 3
#: A return of more than this many times the price is taken for this.
_MOST_SHARE = 1e6


class Observation(NamedTuple):
    """A closed bar as the scorer takes it. `start` in ns; `size` as a feature; a raw `volume`."""

    start: int
    revision: int
    open: float
    high: float
    low: float
    close: float
    size: float
    trades: int
    volume: float | None = None
    #: From the event to where it is judged, ns, where that is known.
    latency: int | None = None


def share_of(change: float, price: float) -> float:
    """Return a change as a share of a price, which may be zero or below; bounded."""
    share = change / abs(price) if price else change
    return max(-_MOST_SHARE, min(_MOST_SHARE, share))


def observation_of(
    bar: BarRecord | QuoteBarRecord, latency: int | None = None
) -> Observation | None:
    """Return what a bar shows; None for one that is not final, filled forward, or withdrawn."""
    if not bar.is_final:
        return None
    if isinstance(bar, QuoteBarRecord):
        mid = bounded(bar.mid_close)
        return Observation(
            bar.start, bar.revision, bounded(bar.mid_open), bounded(bar.mid_high),
            bounded(bar.mid_low), mid, share_of(bounded(bar.spread), mid), bar.quotes,
            None, latency,
        )  # fmt: skip
    if bar.filled:
        return None
    volume = bounded(bar.volume)
    return Observation(
        bar.start, bar.revision, bounded(bar.open), bounded(bar.high), bounded(bar.low),
        bounded(bar.close), math.log1p(max(0.0, volume)), bar.trades, volume, latency,
    )  # fmt: skip


def mean_of(bar: Observation) -> float:
    """Return ln(volume / trades), the mean size of a trade; 0 where there is no volume."""
    if bar.volume is None or bar.volume <= 0.0:
        return 0.0
    return math.log(bar.volume / max(1, bar.trades))


def wick_of(bar: Observation, before: float) -> float:
    """Return how far high or low lie outside of the close before and this one, as a share of it."""
    above = bar.high - max(before, bar.close)
    below = min(before, bar.close) - bar.low
    return share_of(max(0.0, above, below), bar.close)
