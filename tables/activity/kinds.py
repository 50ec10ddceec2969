"""Which bars are made of a symbol's activity: `tick:1000`, `volume:50000`, `dollar_imbalance:500`.

Source of the kinds: M. Lopez de Prado, Advances in Financial Machine Learning (2018), chapter 2.3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from tables.sums import GRID, to_units

Measure = Literal["tick", "volume", "dollar"]
Rule = Literal["threshold", "imbalance", "run"]

_LABEL = re.compile(
    r"(?P<measure>tick|volume|dollar)(_(?P<rule>imbalance|run))?:(?P<size>\d{1,15}(\.\d{1,9})?)"
)
#: Trades of an imbalance or run bar lie within its size divided and multiplied by this.
LENGTH_BOUND = 10
#: Bars over which the expectations of imbalance and run bars are averaged: alpha = 2 / (span + 1).
SPAN = 20


@dataclass(frozen=True, slots=True)
class ActivityKind:
    """One type of bar.

    Attributes:
        label: as it stands in the bars' `interval`.
        measure: what a trade counts as: 1, its size, or |price x size|.
        rule: `threshold`: the bar closes when the measure's sum has reached the size; `imbalance`,
            `run`: when the signed sum is beyond what is expected.
        size: of `tick` and of imbalance and run bars a number of trades (of these the expected
            length of the first bar); else the threshold in grid units (tables/sums.py).
    """

    label: str
    measure: Measure
    rule: Rule
    size: int

    @classmethod
    def parse(cls, label: str) -> ActivityKind:
        """Read a label.

        Raises:
            ValueError: it names no kind, or its size is zero or not a whole number of trades.
        """
        match = _LABEL.fullmatch(label)
        if match is None:
            raise ValueError(
                f"{label!r} is no bar type: expected tick, volume or dollar, then _imbalance, _run "
                "or nothing, a colon and a size, such as volume:50000"
            )
        measure, rule = match["measure"], match["rule"] or "threshold"
        number = Decimal(match["size"])
        if measure == "tick" or rule != "threshold":
            size = int(number)
            if size != number or size == 0:
                raise ValueError(f"{label!r}: expected a whole number of trades, at least 1")
        else:
            size = to_units(float(number))
            if size == 0:
                raise ValueError(f"{label!r}: expected more than 2^-41")
        return cls(label, measure, rule, size)  # type: ignore[arg-type]

    @property
    def signed(self) -> bool:
        """Whether trades count by the sign that the tick rule gives them."""
        return self.rule != "threshold"

    def amount(self, size: int, notional: int) -> int:
        """What a trade counts as, in grid units, from its size and notional in the same."""
        if self.measure == "tick":
            return GRID
        return size if self.measure == "volume" else abs(notional)


def parse_kinds(labels: tuple[str, ...]) -> tuple[ActivityKind, ...]:
    """Read labels; their order is that of bars that one trade closes.

    Raises:
        ValueError: a label is none, or is named twice.
    """
    if len(set(labels)) != len(labels):
        raise ValueError("a bar type is named twice")
    return tuple(ActivityKind.parse(label) for label in labels)
