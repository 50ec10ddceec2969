"""Which symbols are set against each other: `SPY/IBM@1m`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.contracts.records import SYMBOL_PATTERN
from app.durations import format_duration, parse_duration
from tables.partitioning import partition_of

_SYMBOL = re.compile(SYMBOL_PATTERN.removesuffix("$") + r"\Z")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two symbols at one interval (ns); `name` is the key of its records."""

    name: str
    first: str
    second: str
    interval: int

    @classmethod
    def parse(cls, name: str) -> Pair:
        """Read `FIRST/SECOND@INTERVAL`, or `FIRST//SECOND@INTERVAL` where a symbol has a slash.

        Raises:
            ValueError: it is not of that form, or both symbols are the same.
        """
        legs, _, interval = name.rpartition("@")
        parts = legs.split("//") if "//" in legs else legs.split("/")
        if len(parts) != 2 or not all(_SYMBOL.match(part) for part in parts):
            raise ValueError(
                f"{name!r} is no pair: expected two symbols and an interval, such as SPY/IBM@1m, "
                "or BTC/USD//ETH/USD@1m where symbols have a slash"
            )
        first, second = parts
        if first == second:
            raise ValueError(f"{name!r}: expected two different symbols")
        length = parse_duration(interval)
        if length <= 0:
            raise ValueError(f"{name!r}: expected an interval above 0")
        return cls(name, first, second, length)

    @property
    def legs(self) -> tuple[str, str]:
        """Both symbols."""
        return self.first, self.second

    @property
    def label(self) -> str:
        """The interval as bars have it."""
        return format_duration(self.interval)

    def partition(self, partitions: int) -> int:
        """Where its records go, of so many partitions."""
        return partition_of(self.name.encode(), partitions)


@dataclass(frozen=True, slots=True)
class PairsConfiguration:
    """Fixed for the life of a deployment.

    Attributes:
        pairs: each once.
        partitions: of the pairs' input topic.
        source_partitions: of the bars.
        window: aligned returns, and spreads before this one, that statistics are made of.
        hedge: how many of the second symbol stand against one of the first in the spread.
        max_waiting: bars of a leg that wait for the other leg's; then the oldest is given up.

    Raises:
        ValueError: a pair is named twice, or a number is too small.
    """

    pairs: tuple[Pair, ...]
    partitions: int
    source_partitions: int
    window: int = 60
    hedge: float = 1.0
    max_waiting: int = 10_000

    def __post_init__(self) -> None:
        if len({pair.name for pair in self.pairs}) != len(self.pairs):
            raise ValueError("a pair is named twice")
        if min(self.partitions, self.source_partitions, self.max_waiting) < 1 or self.window < 2:
            raise ValueError(
                f"partitions {self.partitions}, source_partitions {self.source_partitions}, "
                f"max_waiting {self.max_waiting}, window {self.window}: "
                "expected at least 1, 1, 1 and 2"
            )
