"""Bars of one partition to the partitions of the pairs that they are legs of."""

from __future__ import annotations

from typing import Any, NamedTuple

from app.contracts.wire import BarRecord
from tables.crossing.pairs import Pair, PairsConfiguration
from tables.crossing.records import InputRecord, LegRecord, ProgressRecord
from tables.partitioning import partition_of

STATE_VERSION = 1


class Routed(NamedTuple):
    """A record for a partition of the pairs' input topic."""

    partition: int
    key: bytes | None
    record: InputRecord


class Router:
    """Writes a leg for each pair that a bar belongs to, and marks of progress.

    A mark goes out when a bar of an interval ends later than any before, whichever symbol's it is,
    to the partitions with a pair that has that interval and a leg in this partition. So a leg that
    does not trade holds nothing back as long as a neighbour does.

    Args:
        partition: of the bars.
    """

    def __init__(self, configuration: PairsConfiguration, partition: int) -> None:
        self._partition = partition
        self._legs: dict[tuple[str, str], list[tuple[int, Pair]]] = {}
        targets: dict[str, set[int]] = {}
        for pair in configuration.pairs:
            target = pair.partition(configuration.partitions)
            for symbol in pair.legs:
                if partition_of(symbol.encode(), configuration.source_partitions) == partition:
                    self._legs.setdefault((symbol, pair.label), []).append((target, pair))
                    targets.setdefault(pair.label, set()).add(target)
        self._targets = {label: sorted(found) for label, found in targets.items()}
        self._lengths = {pair.label: pair.interval for pair in configuration.pairs}
        #: By interval: the latest end (ns) of a bar.
        self._progress: dict[str, int] = {}

    def take(self, bar: BarRecord, position: int) -> list[Routed]:
        """Take the next bar of the partition; `position` is its offset."""
        label = bar.interval
        targets = self._targets.get(label)
        if targets is None:
            return []
        routed: list[Routed] = []
        end = bar.start + self._lengths[label]
        if end > self._progress.get(label, -1):
            self._progress[label] = end
            mark = ProgressRecord(self._partition, label, end)
            routed += [Routed(target, None, mark) for target in targets]
        close = None if bar.filled else bar.close
        for target, pair in self._legs.get((bar.symbol, label), ()):
            leg = LegRecord(
                pair.name, bar.symbol, label, bar.start, close, bar.revision,
                self._partition, position,
            )  # fmt: skip
            routed.append(Routed(target, pair.name.encode(), leg))
        return routed

    def state(self) -> list[Any]:
        """Plain values, the version first."""
        return [STATE_VERSION, dict(sorted(self._progress.items()))]

    def restore(self, state: list[Any]) -> None:
        """Go on from a state.

        Raises:
            ValueError: it is of another version.
        """
        if state[0] != STATE_VERSION:
            raise ValueError(f"a router of version {state[0]}, this code reads {STATE_VERSION}")
        self._progress = dict(state[1])
