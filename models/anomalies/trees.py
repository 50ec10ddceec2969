"""Half-space trees: how thinly populated is the part of space that an item falls into.

Tan, Ting and Liu, "Fast Anomaly Detection for Streaming Data", IJCAI 2011. The scores are those of
`river.anomaly.HalfSpaceTrees` of the same parameters and seed, bit for bit (a test holds them
equal); river's own cannot be kept as plain values, and walks objects. The trees follow from the
parameters, so the state is the masses of the leaves alone, and all learners of the same parameters
share the trees.

They work where anomalies are spread out, and do not where anomalies come packed together: pair them
with a robust z. Features must lie between 0 and 1 (`unit`).
"""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from models.anomalies.packing import pack, unpack
from tables.learning import Learner, State

#: No split closer to an edge than this share of the side, as in river.
_PADDING = 0.15


def unit(z: float) -> float:
    """Return a robust z as a feature between 0 and 1: 0 is 0.5, 4 is 0.75, 12 is 0.875."""
    return 0.5 + 0.5 * (z / (4.0 + abs(z)))


@lru_cache(maxsize=64)
def plant(
    count: int, height: int, dimensions: int, seed: int
) -> tuple[tuple[tuple[int, ...], tuple[float, ...]], ...]:
    """Return trees as (feature, threshold) of their inner nodes; node i's children: 2i+1, 2i+2."""
    chance = random.Random(seed)

    def grow(node: int, depth: int, limits: list[tuple[float, float]]) -> None:
        if depth == height:
            return
        weights = [high - low for low, high in limits]
        on = chance.choices(range(dimensions), weights=weights)[0]
        low, high = limits[on]
        margin = _PADDING * (high - low)
        at = chance.uniform(low + margin, high - margin)
        features[node], thresholds[node] = on, at
        limits[on] = (low, at)
        grow(2 * node + 1, depth + 1, limits)
        limits[on] = (at, high)
        grow(2 * node + 2, depth + 1, limits)
        limits[on] = (low, high)

    trees = []
    for _ in range(count):
        features, thresholds = [0] * (2**height - 1), [0.0] * (2**height - 1)
        grow(0, 0, [(0.0, 1.0)] * dimensions)
        trees.append((tuple(features), tuple(thresholds)))
    return tuple(trees)


class HalfSpaceTrees(Learner[Sequence[float], float]):
    """The score of each item, from 0 to 1, by the masses of the last full window before it.

    Args:
        dimensions: features of an item, each between 0 and 1.
        trees, height, window, seed: as in river; a window is at most 65,535 items.
    """

    __slots__ = (
        "_counter", "_full", "_height", "_mass", "_most", "_new", "_size", "_trees", "_value",
        "dimensions", "window",
    )  # fmt: skip

    def __init__(
        self, dimensions: int, trees: int = 10, height: int = 8, window: int = 250, seed: int = 0
    ) -> None:
        if not 1 <= window <= 65_535:
            raise ValueError(f"window is {window}: expected 1 to 65535 items")
        self.dimensions = dimensions
        self.window = window
        self._height = height
        self._trees = plant(trees, height, dimensions, seed)
        self._size = 2 ** (height + 1) - 1
        self._most = trees * window * self._size
        self._mass = array("H", bytes(2 * trees * self._size))
        self._new = array("H", bytes(2 * trees * self._size))
        self._counter = 0
        self._full = False
        self._value: float | None = None

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return parameter sets for the discovered checks."""
        return [
            {"dimensions": 2, "trees": 8, "height": 4, "window": 50, "seed": 7},
            {"dimensions": 2, "trees": 3, "height": 2, "window": 20},
        ]

    @classmethod
    def sample(cls, seed: int, count: int) -> list[tuple[float, ...]]:
        """Return items for the discovered checks."""
        chance = random.Random(seed)
        return [(unit(chance.gauss(0, 1)), unit(chance.gauss(0, 3))) for _ in range(count)]

    @classmethod
    def hostile(cls, seed: int, count: int) -> list[tuple[float, ...]]:
        """Return items to fear for the discovered checks: edges, and beyond them."""
        chance = random.Random(seed)
        return [tuple(chance.choices((0.0, 1.0, 0.5, -1e300, 1e300), k=2)) for _ in range(count)]

    @property
    def value(self) -> float | None:
        """The score of the last item; None during the first window."""
        return self._value

    @property
    def started(self) -> bool:
        """Whether the next item will have a score."""
        return self._full

    def score(self, item: Sequence[float]) -> float:
        """Return an item's score by what was learned: 0 for a crowd, towards 1 for the void."""
        share: float = self._sum(item) / self._most
        return 1.0 - share

    def surprise(self, item: Sequence[float]) -> float:
        """Return -ln of the share of the largest mass that an item meets: 0 is the least odd."""
        return math.log(self._most / max(1, self._sum(item)))

    def _sum(self, item: Sequence[float]) -> int:
        limit = 0.1 * self.window
        mass, size, inner = self._mass, self._size, len(self._trees[0][0])
        total = base = 0
        for features, thresholds in self._trees:
            node, weight = 0, 1
            while True:
                found = mass[base + node]
                total += found * weight
                if node >= inner or found < limit:
                    break
                node += node + (1 if item[features[node]] < thresholds[node] else 2)
                weight += weight
            base += size
        return total

    def learn(self, item: Sequence[float]) -> None:
        """Take an item in, without judging it."""
        new, size, height = self._new, self._size, self._height
        base = 0
        for features, thresholds in self._trees:
            node = 0
            new[base] += 1
            for _ in range(height):
                node += node + (1 if item[features[node]] < thresholds[node] else 2)
                new[base + node] += 1
            base += size
        self._counter += 1
        if self._counter == self.window:
            self._mass, self._new = new, array("H", bytes(2 * len(new)))
            self._counter = 0
            self._full = True

    def update(self, item: Sequence[float]) -> None:
        """Judge an item by those before it, then learn it."""
        self._value = self.score(item) if self._full else None
        self.learn(item)

    def _content(self) -> State:
        return [
            self._counter, int(self._full), self._value,
            self._leaves(self._mass), self._leaves(self._new),
        ]  # fmt: skip

    def _restore(self, content: State) -> None:
        self._counter, full, self._value, mass, new = content
        self._full = bool(full)
        self._mass, self._new = self._from_leaves(mass), self._from_leaves(new)

    def _leaves(self, masses: array[int]) -> str:
        inner = len(self._trees[0][0])
        leaves = array("H")
        for base in range(0, len(masses), self._size):
            leaves.extend(masses[base + inner : base + self._size])
        return pack(leaves)

    def _from_leaves(self, text: str) -> array[int]:
        inner = len(self._trees[0][0])
        width = inner + 1
        leaves = unpack("H", text, width * len(self._trees))
        masses = array("H", bytes(2 * len(self._mass)))
        for tree in range(len(self._trees)):
            base = tree * self._size
            masses[base + inner : base + self._size] = leaves[tree * width : (tree + 1) * width]
            for node in reversed(range(inner)):
                masses[base + node] = masses[base + 2 * node + 1] + masses[base + 2 * node + 2]
        return masses
