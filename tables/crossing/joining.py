"""One pair: two streams of bars, each in the order of its own partition, joined by start.

What of a leg counts is decided by that leg's own stream alone, so it does not matter how the two
streams interleave:

- a new bar counts if it is later than the leg's newest, and does not end before the progress of
  its partition; else it came too late, and is left out;
- a revision counts if it is of the leg's newest bar; a revision of an older one is left out;
- a bar without a trade holds its place, but is joined to nothing: no trade, no bar, no pair.

A start that one leg has no bar of is skipped: known once that leg has a later bar, or its
partition's progress is beyond.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from tables.crossing.pairs import Pair, PairsConfiguration
from tables.crossing.records import LegRecord, PairRecord
from tables.crossing.statistics import Comovement, SpreadScore, Together

#: Start, close, revision, and how many of the leg were left out until then.
Held = tuple[int, float | None, int, int]


class Leg:
    """One symbol's stream: its newest bar, and the bars that wait for the other symbol's."""

    __slots__ = ("left_out", "newest", "revision", "waiting")

    def __init__(self) -> None:
        self.newest: int | None = None
        self.revision = 0
        self.left_out = 0
        self.waiting: deque[Held] = deque()

    def to_row(self) -> list[Any]:
        """Plain values."""
        return [self.newest, self.revision, self.left_out, [list(each) for each in self.waiting]]

    def restore(self, row: list[Any]) -> None:
        """Take in what `to_row` wrote."""
        self.newest, self.revision, self.left_out, waiting = row
        self.waiting = deque((start, close, rev, left) for start, close, rev, left in waiting)


class Joined:
    """A pair's state: both legs, what was joined last, and what is learned."""

    def __init__(self, pair: Pair, configuration: PairsConfiguration) -> None:
        self.pair = pair
        self._configuration = configuration
        self.legs = (Leg(), Leg())
        self._last: tuple[Held, Held] | None = None
        #: Whether the learners have taken the last one, and whether it was published.
        self._learned = self._published = False
        self._comovement = Comovement(configuration.window)
        self._score = SpreadScore(configuration.window, configuration.hedge)

    def take(self, side: int, record: LegRecord, progress: int) -> tuple[str, list[PairRecord]]:
        """Take a leg's next bar or revision; what became of it, and what is published.

        Args:
            side: 0 for the first symbol, 1 for the second.
            progress: of the leg's partition, in ns.
        """
        leg = self.legs[side]
        newest = leg.newest
        if newest is None or record.start > newest:
            if record.start + self.pair.interval < progress:
                leg.left_out += 1
                return "left_out", []
            leg.newest, leg.revision = record.start, record.revision
            leg.waiting.append((record.start, record.close, record.revision, leg.left_out))
            return "taken", self._join()
        if record.start < newest:
            leg.left_out += 1
            return "left_out", []
        if record.revision <= leg.revision:
            return "repeated", []
        leg.revision = record.revision
        held = (record.start, record.close, record.revision, leg.left_out)
        if leg.waiting and leg.waiting[-1][0] == record.start:
            leg.waiting[-1] = held
        elif self._last is not None and self._last[side][0] == record.start:
            return "revised", self._redo(side, held)
        return "revised", []

    def _join(self) -> list[PairRecord]:
        first, second = (leg.waiting for leg in self.legs)
        published: list[PairRecord] = []
        while first and second:
            if first[0][0] < second[0][0]:
                first.popleft()
            elif second[0][0] < first[0][0]:
                second.popleft()
            else:
                self._last = (first.popleft(), second.popleft())
                self._learned = self._published = False
                published += self._publish()
        return published

    def _redo(self, side: int, held: Held) -> list[PairRecord]:
        if self._last is None:
            raise ValueError(f"{self.pair.name}: nothing was joined")
        if self._learned:
            self._comovement.revert()
            self._score.revert()
            self._learned = False
        first, second = self._last
        self._last = (held, second) if side == 0 else (first, held)
        return self._publish()

    def _publish(self) -> list[PairRecord]:
        """Learn the last one and publish it; void where a bar is gone that was published."""
        if self._last is None:
            return []
        first, second = self._last
        if first[1] is None or second[1] is None:
            return [self._record(first, second, void=True)] if self._published else []
        self._comovement.update((first[1], second[1]))
        self._score.update((first[1], second[1]))
        self._learned = self._published = True
        return [self._record(first, second, void=False)]

    def _record(self, first: Held, second: Held, *, void: bool) -> PairRecord:
        one, two = (None, None) if void else (first[1], second[1])
        together = (None if void else self._comovement.value) or Together(None, None)
        ratio = one / two if one is not None and two else None
        return PairRecord(
            pair=self.pair.name,
            first=self.pair.first,
            second=self.pair.second,
            interval=self.pair.label,
            start=first[0],
            first_close=one,
            second_close=two,
            spread=None if void else self._score.spread,
            ratio=ratio if ratio is not None and abs(ratio) != float("inf") else None,
            score=None if void else self._score.value,
            correlation=together.correlation,
            beta=together.beta,
            revision=first[2] + second[2],
            void=void,
            left_out=first[3] + second[3],
        )

    def skip(self, progresses: tuple[int, int]) -> int:
        """Drop bars whose partner will not come, or that are too many; how many were too many.

        Args:
            progresses: of both legs' partitions, in ns. Called after each record.
        """
        given_up = 0
        for leg, other, progress in zip(
            self.legs, reversed(self.legs), reversed(progresses), strict=True
        ):
            if other.waiting:
                continue
            while leg.waiting and (
                (other.newest is not None and other.newest >= leg.waiting[0][0])
                or progress > leg.waiting[0][0] + self.pair.interval
            ):
                leg.waiting.popleft()
            while len(leg.waiting) > self._configuration.max_waiting:
                leg.waiting.popleft()
                leg.left_out += 1
                given_up += 1
        return given_up

    def to_row(self) -> list[Any]:
        """Plain values."""
        last = None if self._last is None else [list(each) for each in self._last]
        return [
            [leg.to_row() for leg in self.legs], last, self._learned, self._published,
            self._comovement.state(), self._score.state(),
        ]  # fmt: skip

    def restore(self, row: list[Any]) -> None:
        """Take in what `to_row` wrote.

        Raises:
            StateVersionError: a learner's state is of another version or window.
        """
        legs, last, self._learned, self._published, comovement, score = row
        for leg, own in zip(self.legs, legs, strict=True):
            leg.restore(own)
        if last is not None:
            (one, two) = last
            self._last = ((one[0], one[1], one[2], one[3]), (two[0], two[1], two[2], two[3]))
        window, hedge = self._configuration.window, self._configuration.hedge
        self._comovement = Comovement.from_state(comovement, window)
        self._score = SpreadScore.from_state(score, window, hedge)
