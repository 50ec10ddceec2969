"""Real ticks as bars of one second, and seeded faults in the ticks."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.contracts.conditions import BIT
from app.feeds.columns import Vocabulary
from app.feeds.lean import open_lean
from models.anomalies.bars import Observation
from tables.policies import EXTREMES, LAST, VOLUME, policy_of

SECOND = 1_000_000_000
#: The regular session of a US stock in October, ns of the UTC day.
OPEN, CLOSE = 13 * 3_600 * SECOND + 1_800 * SECOND, 20 * 3_600 * SECOND

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Trades:
    """The trades of a day in order: time in ns, price, size, and what each may set."""

    time: Ints
    price: Floats
    size: Floats
    flags: Ints

    def rows(self, begin: int, end: int) -> slice:
        """Return the rows of `[begin, end)`, ns."""
        first, last = np.searchsorted(self.time, [begin, end])
        return slice(int(first), int(last))


def read_day(path: Path) -> Trades:
    """Read a day of Lean's trades, with the flags of the consolidated tape's policy."""
    opened = open_lean(path)
    if isinstance(opened, str):
        raise ValueError(f"{path.name}: {opened}")
    vocabulary = Vocabulary()
    parts = list(opened[0].columns(vocabulary, Counter()))
    policy = policy_of("sip")
    flags = [
        policy.flags(sum(BIT[each] for each in origin.conditions), 0)
        for origin in vocabulary.origins.values
    ]
    return Trades(
        np.concatenate([part.event_time for part in parts]),
        np.concatenate([part.price for part in parts]),
        np.concatenate([part.size for part in parts]),
        np.array(flags)[np.concatenate([part.origin for part in parts])],
    )


def bars_of(trades: Trades) -> list[Observation]:
    """Return the bars of one second, as the scorer takes them."""
    priced = (trades.flags & (EXTREMES | LAST)) == EXTREMES | LAST
    second = trades.time // SECOND
    starts, first = np.unique(second[priced], return_index=True)
    price = trades.price[priced]
    last = np.append(first[1:], len(price)) - 1
    high, low = np.maximum.reduceat(price, first), np.minimum.reduceat(price, first)
    counted = (trades.flags & VOLUME) != 0
    place = np.searchsorted(starts, second[counted]).clip(0, len(starts) - 1)
    held = starts[place] == second[counted]
    volume = np.bincount(place[held], weights=trades.size[counted][held], minlength=len(starts))
    number = np.bincount(place[held], minlength=len(starts))
    columns = zip(starts, price[first], high, low, price[last], volume, number, strict=True)
    return [
        Observation(
            int(start) * SECOND, 0, float(o), float(h), float(lowest), float(c),
            math.log1p(float(v)), int(n), float(v),
        )
        for start, o, h, lowest, c, v, n in columns
    ]  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """What was put in, and the bars (starts, ns, both included) in which it can be seen."""

    kind: str
    first: int
    last: int


Maker = Callable[[Trades, int, random.Random], tuple[Trades, Fault]]


def _seen(kind: str, begin: int, end: int) -> Fault:
    """Seen from the second of its begin to the second after its end."""
    return Fault(kind, begin // SECOND * SECOND, end // SECOND * SECOND + SECOND)


def fat_finger(trades: Trades, begin: int, chance: random.Random) -> tuple[Trades, Fault]:
    """One trade at a price that is 0.5 % to 10 % wrong."""
    priced = np.flatnonzero((trades.flags & (EXTREMES | LAST)) == EXTREMES | LAST)
    row = priced[np.searchsorted(trades.time[priced], begin)]
    price = trades.price.copy()
    share = math.exp(chance.uniform(math.log(0.005), math.log(0.1)))
    price[row] *= 1.0 + chance.choice((-1, 1)) * share
    time = int(trades.time[row])
    return replace(trades, price=price), _seen("fat finger", time, time)


def spike(trades: Trades, begin: int, chance: random.Random) -> tuple[Trades, Fault]:
    """All prices of 2 to 5 seconds are 0.2 % to 1 % away."""
    end = begin + chance.randrange(2, 6) * SECOND
    price = trades.price.copy()
    price[trades.rows(begin, end)] *= 1.0 + chance.choice((-1, 1)) * chance.uniform(0.002, 0.01)
    return replace(trades, price=price), _seen("spike", begin, end)


def silence(trades: Trades, begin: int, chance: random.Random) -> tuple[Trades, Fault]:
    """No trades for 30 seconds to 5 minutes; seen with the first bar after it."""
    rows = trades.rows(begin, begin + chance.randrange(30, 301) * SECOND)
    keep = np.ones(len(trades.time), dtype=bool)
    keep[rows] = False
    after = int(trades.time[min(rows.stop, len(trades.time) - 1)])
    left = Trades(trades.time[keep], trades.price[keep], trades.size[keep], trades.flags[keep])
    return left, _seen("silence", after, after)


def stuck(trades: Trades, begin: int, chance: random.Random) -> tuple[Trades, Fault]:
    """All prices of 30 seconds to 5 minutes are the one before."""
    end = begin + chance.randrange(30, 301) * SECOND
    rows = trades.rows(begin, end)
    price = trades.price.copy()
    price[rows] = price[max(0, rows.start - 1)]
    return replace(trades, price=price), _seen("stuck price", begin, end)


def burst(trades: Trades, begin: int, chance: random.Random) -> tuple[Trades, Fault]:
    """All sizes of 5 to 10 seconds are 10 to 50 times as large."""
    end = begin + chance.randrange(5, 11) * SECOND
    size = trades.size.copy()
    size[trades.rows(begin, end)] *= chance.uniform(10.0, 50.0)
    return replace(trades, size=size), _seen("volume burst", begin, end)


FAULTS: dict[str, Maker] = {
    "fat finger": fat_finger,
    "spike": spike,
    "silence": silence,
    "stuck price": stuck,
    "volume burst": burst,
}


def with_faults(trades: Trades, seed: int) -> tuple[Trades, list[Fault]]:
    """Return the day with one fault of each kind, at least 20 min apart, in the regular session."""
    chance = random.Random(seed)
    midnight = int(trades.time[0]) // (86_400 * SECOND) * 86_400 * SECOND
    share = (CLOSE - OPEN) // len(FAULTS)
    kinds = list(FAULTS)
    chance.shuffle(kinds)
    found = []
    for slot, kind in enumerate(kinds):
        offset = chance.randrange(600 * SECOND, share - 600 * SECOND)
        trades, fault = FAULTS[kind](trades, midnight + OPEN + slot * share + offset, chance)
        found.append(fault)
    return trades, found
