"""All pairs of one partition of the pairs' input: legs and marks in, pairs out."""

from __future__ import annotations

from typing import Any

from tables.crossing.joining import Joined
from tables.crossing.pairs import PairsConfiguration
from tables.crossing.records import InputRecord, LegRecord, PairRecord, ProgressRecord
from tables.partitioning import partition_of

STATE_VERSION = 1
OUTCOMES = ("taken", "revised", "repeated", "left_out", "given_up", "unknown", "progress")
#: Key of the row that holds the marks; no pair has this name.
PROGRESS_KEY = "progress"


class PairsBook:
    """State of one partition of the pairs' input topic.

    Of the source partitions those count that hold a leg; they are known from the pairs' symbols, so
    a partition that never speaks holds back its own pairs alone, whose bars it would have to bring.
    """

    def __init__(self, configuration: PairsConfiguration, partition: int) -> None:
        self.counts = dict.fromkeys(OUTCOMES, 0)
        self._pairs: dict[str, Joined] = {}
        self._sources: dict[str, tuple[int, int]] = {}
        #: By (source partition, interval): ends (ns) that bars have reached.
        self._progress: dict[tuple[int, str], int] = {}
        #: Pairs by each leg's (source partition, interval).
        self._of: dict[tuple[int, str], list[str]] = {}
        self._changed: set[str] = set()
        for pair in configuration.pairs:
            if pair.partition(configuration.partitions) != partition:
                continue
            first, second = (
                partition_of(symbol.encode(), configuration.source_partitions)
                for symbol in pair.legs
            )
            self._pairs[pair.name] = Joined(pair, configuration)
            self._sources[pair.name] = (first, second)
            for source in sorted({first, second}):
                self._of.setdefault((source, pair.label), []).append(pair.name)

    def take(self, record: InputRecord) -> list[PairRecord]:
        """Take the next record of the partition; the pairs that it completes or revises."""
        if isinstance(record, ProgressRecord):
            return self._take_progress(record)
        return self._take_leg(record)

    def _take_progress(self, record: ProgressRecord) -> list[PairRecord]:
        place = (record.partition, record.interval)
        self.counts["progress"] += 1
        if place not in self._of or record.watermark <= self._progress.get(place, -1):
            return []
        self._progress[place] = record.watermark
        self._changed.add(PROGRESS_KEY)
        for name in self._of[place]:
            self._skip(name)
        return []

    def _take_leg(self, record: LegRecord) -> list[PairRecord]:
        joined = self._pairs.get(record.pair)
        if (
            joined is None
            or record.symbol not in joined.pair.legs
            or record.interval != joined.pair.label
        ):
            self.counts["unknown"] += 1
            return []
        side = joined.pair.legs.index(record.symbol)
        source = self._sources[record.pair][side]
        outcome, published = joined.take(
            side, record, self._progress.get((source, record.interval), -1)
        )
        self.counts[outcome] += 1
        self._changed.add(record.pair)
        self._skip(record.pair)
        return published

    def _skip(self, name: str) -> None:
        joined = self._pairs[name]
        first, second = (
            self._progress.get((source, joined.pair.label), -1) for source in self._sources[name]
        )
        waiting = sum(len(leg.waiting) for leg in joined.legs)
        self.counts["given_up"] += joined.skip((first, second))
        if sum(len(leg.waiting) for leg in joined.legs) != waiting:
            self._changed.add(name)

    def take_changes(self) -> list[tuple[str, list[Any]]]:
        """Rows changed since the last call, by key: a pair's name, or `PROGRESS_KEY`."""
        changed, self._changed = sorted(self._changed), set()
        return [
            (
                key,
                [
                    STATE_VERSION,
                    self._marks() if key == PROGRESS_KEY else self._pairs[key].to_row(),
                ],
            )
            for key in changed
        ]

    def _marks(self) -> list[list[Any]]:
        return [
            [partition, interval, watermark]
            for (partition, interval), watermark in sorted(self._progress.items())
        ]

    def restore(self, key: str, row: list[Any]) -> None:
        """Take in a row.

        Raises:
            ValueError: it is of another version, or of a pair that is not of this partition.
        """
        version, content = row
        if version != STATE_VERSION:
            raise ValueError(f"{key}: a row of version {version}, this code reads {STATE_VERSION}")
        if key == PROGRESS_KEY:
            self._progress = {
                (partition, interval): watermark for partition, interval, watermark in content
            }
        elif key in self._pairs:
            self._pairs[key].restore(content)
        else:
            raise ValueError(f"{key} is no pair of this partition")
