"""What features are made of: readings of a bar, and small pure terms over them.

A term says which nodes it reads (`parts`: its fields that are nodes) and how many of their last
values (`reach`; 1: only this bar's). Values are floats, NaN where there is nothing. Whatever comes
out beyond `LIMIT` counts as nothing: float32 holds the rest. Quotients are taken only of what is
above 0 (prices, volumes, deviations); else there is nothing.

Terms count bars, not time: the bar before the first of a session is the last of the one before.

A term of one's own is a frozen dataclass with a `bind`, or a `Computed` of a plain function.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Final

from tables.indicators.windows import mean_and_deviation

#: To be raised when a term here computes otherwise: the hashes of all sets change with it.
TERMS_VERSION = 1
LIMIT: Final = 1e30
NAN: Final = math.nan

#: Values of this bar, and windows of the last ones, oldest first; both by the places bound.
Step = Callable[[list[float], list[list[float]]], float]


@dataclass(frozen=True)
class Node:
    """Something that has a number each bar."""

    @cached_property
    def parts(self) -> tuple[Node, ...]:
        """What it reads, in the order of its fields."""
        found: list[Node] = []
        for field in fields(self):
            value = getattr(self, field.name)
            found += [
                each
                for each in (value if isinstance(value, tuple) else (value,))
                if isinstance(each, Node)
            ]
        return tuple(found)

    @property
    def reach(self) -> int:
        """How many values of each part it reads, this bar's among them."""
        return 1


@dataclass(frozen=True)
class Reading(Node):
    """An output of an indicator, as `indicators.default` writes it: `MACD(12,26,9).signal`."""

    name: str


@dataclass(frozen=True)
class TimeOfDay(Node):
    """Share of the UTC day at the bar's start, 0 to 1."""


@dataclass(frozen=True)
class SessionElapsed(Node):
    """Share of the session at the bar's start: below 0 before the open, above 1 after the close.

    Nothing on days without a session. Around the clock it is `TimeOfDay`.
    """


@dataclass(frozen=True)
class Term(Node, ABC):
    """A number made of others."""

    @abstractmethod
    def bind(self, *places: int) -> Step:
        """Return what computes it.

        Args:
            places: of each part, in the first argument of the step where `reach` is 1, else in the
                second, whose windows are at least `reach` long.
        """


@dataclass(frozen=True)
class Ratio(Term):
    """above / below - 1."""

    above: Node
    below: Node

    def bind(self, *places: int) -> Step:
        above, below = places

        def step(now: list[float], past: list[list[float]]) -> float:
            divisor = now[below]
            return now[above] / divisor - 1 if divisor > 0 else NAN

        return step


@dataclass(frozen=True)
class Share(Term):
    """part / whole."""

    part: Node
    whole: Node

    def bind(self, *places: int) -> Step:
        part, whole = places

        def step(now: list[float], past: list[list[float]]) -> float:
            divisor = now[whole]
            return now[part] / divisor if divisor > 0 else NAN

        return step


@dataclass(frozen=True)
class Scaled(Term):
    """of x factor + shift."""

    of: Node
    factor: float = 1.0
    shift: float = 0.0

    def bind(self, *places: int) -> Step:
        (of,) = places
        factor, shift = self.factor, self.shift

        def step(now: list[float], past: list[list[float]]) -> float:
            return now[of] * factor + shift

        return step


@dataclass(frozen=True)
class Product(Term):
    """first x second: an interaction."""

    first: Node
    second: Node

    def bind(self, *places: int) -> Step:
        first, second = places

        def step(now: list[float], past: list[list[float]]) -> float:
            return now[first] * now[second]

        return step


@dataclass(frozen=True)
class Sine(Term):
    """sin(2 pi of): of a share of a day."""

    of: Node

    def bind(self, *places: int) -> Step:
        (of,) = places

        def step(now: list[float], past: list[list[float]]) -> float:
            return math.sin(math.tau * now[of])

        return step


@dataclass(frozen=True)
class Cosine(Term):
    """cos(2 pi of): of a share of a day."""

    of: Node

    def bind(self, *places: int) -> Step:
        (of,) = places

        def step(now: list[float], past: list[list[float]]) -> float:
            return math.cos(math.tau * now[of])

        return step


@dataclass(frozen=True)
class _Windowed(Term):
    of: Node
    #: Positive.
    bars: int

    def __post_init__(self) -> None:
        if self.bars < 1:
            raise ValueError(f"{type(self).__name__}: bars is {self.bars}; expected 1 or more")


@dataclass(frozen=True)
class _Lagged(_Windowed):
    @property
    def reach(self) -> int:
        return self.bars + 1


@dataclass(frozen=True)
class Change(_Lagged):
    """of / of `bars` bars ago - 1: a return, where it is a price."""

    def bind(self, *places: int) -> Step:
        (of,) = places
        earlier = -1 - self.bars

        def step(now: list[float], past: list[list[float]]) -> float:
            window = past[of]
            divisor = window[earlier]
            return window[-1] / divisor - 1 if divisor > 0 else NAN

        return step


@dataclass(frozen=True)
class Difference(_Lagged):
    """of - of `bars` bars ago."""

    def bind(self, *places: int) -> Step:
        (of,) = places
        earlier = -1 - self.bars

        def step(now: list[float], past: list[list[float]]) -> float:
            window = past[of]
            return window[-1] - window[earlier]

        return step


@dataclass(frozen=True)
class _Rolling(_Windowed):
    @property
    def reach(self) -> int:
        return self.bars


@dataclass(frozen=True)
class Mean(_Rolling):
    """Mean of the last `bars`, this one among them."""

    def bind(self, *places: int) -> Step:
        (of,) = places
        bars, oldest = self.bars, -self.bars

        def step(now: list[float], past: list[list[float]]) -> float:
            return sum(past[of][oldest:]) / bars

        return step if bars > 1 else _itself(of)


@dataclass(frozen=True)
class Deviation(_Rolling):
    """Standard deviation (population) of the last `bars`, this one among them."""

    def __post_init__(self) -> None:
        if self.bars < 2:
            raise ValueError(f"Deviation: bars is {self.bars}; expected 2 or more")

    def bind(self, *places: int) -> Step:
        (of,) = places
        bars, oldest, root = self.bars, -self.bars, math.sqrt(self.bars)

        def step(now: list[float], past: list[list[float]]) -> float:
            return mean_and_deviation(past[of][oldest:], bars)[1] / root

        return step


@dataclass(frozen=True)
class Computed(Term):
    """What a plain function returns for the last `bars` values of each of `of`, oldest first.

    The function takes one list a node and returns a float, NaN where there is nothing; it depends
    on these lists alone, and is not asked where a value lacks. Its source is part of the hash; what
    it calls is not.
    """

    function: Callable[..., float]
    of: tuple[Node, ...]
    bars: int = 1

    def __post_init__(self) -> None:
        if self.bars < 1 or not self.of:
            raise ValueError("Computed: expected nodes, and 1 bar or more")

    @property
    def reach(self) -> int:
        return self.bars

    def bind(self, *places: int) -> Step:
        function, oldest, alone = self.function, -self.bars, self.bars == 1

        def step(now: list[float], past: list[list[float]]) -> float:
            if alone:
                lists = [[now[place]] for place in places]
            else:
                lists = [past[place][oldest:] for place in places]
            # All that lacks is the one object NAN, so `in` finds it.
            return NAN if any([NAN in each for each in lists]) else function(*lists)

        return step


def _itself(place: int) -> Step:
    return lambda now, past: now[place]
