"""Lines in batches that say what part of the log they cover, and what becomes of rejected ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Final

from app.sinks.line_bodies import Int64Array, Lines

#: InfluxDB loses half of its rate below 1,000 (design/servers.md).
BATCH_LINES: Final = 5_000


@dataclass(frozen=True, slots=True)
class LineBatch:
    """Lines to be written in one request, in log order; there may be none.

    Attributes:
        offsets: of the record that each line came from; never falling.
        next: once these and all earlier lines are written, the log before it need not be read
            again. A record whose lines go on in the next batch lies behind it.
    """

    lines: Sequence[str]
    offsets: Sequence[int]
    next: int

    @property
    def times(self) -> Int64Array:
        """Shape (lines,): the times of the points, in ns; see `Lines.times`."""
        return Lines.of(self.lines).times

    def chosen(self, rows: Sequence[int]) -> LineBatch:
        """Return the lines of some rows, in their order; of the same `next`."""
        offsets = [self.offsets[row] for row in rows]
        return LineBatch(Lines.of(self.lines).chosen(rows), offsets, self.next)

    def body(self, rows: range | None = None) -> bytes:
        """Return what a request carries: the lines, or those of `rows`, and their ends."""
        lines = Lines.of(self.lines)
        return lines.body if rows is None else lines[rows.start : rows.stop].body

    def culprits(self, rows: Sequence[int]) -> list[tuple[int, str]]:
        """Return offset and line of each of `rows`: what a dead letter says."""
        return [(self.offsets[row], self.lines[row]) for row in rows]


@dataclass(slots=True)
class LineBatcher:
    """Cuts the lines of one partition into batches; holds less than one batch of them.

    Attributes:
        next: position behind the last record that was put in.
    """

    next: int
    size: int = BATCH_LINES
    _pieces: deque[Lines] = field(default_factory=deque)
    _offsets: list[int] = field(default_factory=list)

    def put(self, lines: Sequence[str], offsets: Sequence[int], following: int) -> None:
        """Put in the lines of the records before `following`, which go on where the last ended.

        Raises:
            ValueError: positions that go back, or not one offset a line.
        """
        last = self._offsets[-1] if self._offsets else self.next
        if len(lines) != len(offsets) or following < self.next:
            raise ValueError(f"lines of records before {following} after {self.next}")
        if offsets and not last <= offsets[0] <= offsets[-1] < following:
            raise ValueError(f"lines of {offsets[0]} to {offsets[-1]} between {last}, {following}")
        if lines:
            self._pieces.append(Lines.of(lines))
        self._offsets += offsets
        self.next = following

    def full(self) -> list[LineBatch]:
        """Let the batches go that are full."""
        batches: list[LineBatch] = []
        begin, end = 0, self.size
        while end <= len(self._offsets):
            following = self._offsets[end] if end < len(self._offsets) else self.next
            batches.append(LineBatch(self._cut(self.size), self._offsets[begin:end], following))
            begin, end = end, end + self.size
        del self._offsets[:begin]
        return batches

    def rest(self) -> LineBatch:
        """Let the lines go that fill no batch; without any, the position alone.

        Take what is `full` before.
        """
        batch = LineBatch(self._cut(len(self._offsets)), self._offsets, self.next)
        self._offsets = []
        return batch

    def _cut(self, count: int) -> Lines:
        """Take so many lines; their bytes are copied once, where they come of several pieces."""
        parts: list[Lines] = []
        while count:
            piece = self._pieces.popleft()
            if len(piece) > count:
                self._pieces.appendleft(piece[count:])
                piece = piece[:count]
            parts.append(piece)
            count -= len(piece)
        return Lines.joined(parts)


def bisect(size: int) -> Generator[range, bool, list[int]]:
    """Find the culprits of a rejected batch of `size` lines, and get all others written.

    Yields the rows to write next and is sent whether they were taken; returns the rows of the
    culprits. Rows are asked for from left to right, so that lines are written in the order of the
    log, and never again once they were taken. k culprits among n lines take at most
    2 k ceil(log2 n) requests (2, where there turns out to be none).

    A line is a culprit only if it was rejected alone: a batch that was refused as a whole, for its
    size or for the moment, has none.
    """
    if size == 1:
        return [0]
    found: list[int] = []
    asked = _halves(range(size))
    while asked:
        rows = asked.pop()
        if (yield rows):
            continue
        if len(rows) == 1:
            found.append(rows.start)
        else:
            asked += _halves(rows)
    return found


def _halves(rows: range) -> list[range]:
    """The right half and the left one, which is taken from the end first."""
    middle = rows.start + (len(rows) + 1) // 2
    return [half for half in (range(middle, rows.stop), range(rows.start, middle)) if half]
