"""Several files as one stream in (event time, sequence, order of the files) order.

Each file keeps a block; what lies before every block's end can be given out. Files are opened
when the stream has reached their first record, so a year of daily files needs a day's memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from app.feeds.columns import TickColumns, Vocabulary, concatenate
from app.feeds.files import Facts, FeedFile

#: Rows given out at once of a file that had to be sorted as a whole.
BLOCK_ROWS = 32_768


class _Cursor:
    """One file's stream and its block that is not yet given out."""

    def __init__(self, rank: int, blocks: Iterator[TickColumns]) -> None:
        self.rank = rank
        self._blocks = blocks
        self.block: TickColumns | None = next(blocks, None)
        self.ended = False

    @property
    def last(self) -> int:
        """Event time of the last record at hand, ns."""
        assert self.block is not None
        return int(self.block.event_time[-1])

    def extend(self) -> None:
        """Add the file's next block to the one at hand, or note the end."""
        following = next(self._blocks, None)
        if following is None:
            self.ended = True
        elif self.block is None:
            self.block = following
        else:
            self.block = concatenate([self.block, following])

    def before(self, bound: int | None) -> TickColumns | None:
        """Take out the records before `bound` ns, all of them where it is None."""
        block = self.block
        if block is None:
            return None
        count = len(block)
        if bound is not None:
            count = int(np.searchsorted(block.event_time, bound, side="left"))
        if count == 0:
            return None
        self.block = block.take(slice(count, None)) if count < len(block) else None
        return block.take(slice(0, count))


def merged(
    files: Sequence[FeedFile], facts: Sequence[Facts], vocabulary: Vocabulary
) -> Iterator[TickColumns]:
    """The records of all files in order.

    Raises:
        FeedError: a file is broken (or was changed since `facts` were taken).
    """
    waiting = [rank for rank in range(len(files)) if facts[rank].rows]
    waiting.sort(key=lambda rank: (facts[rank].first, rank))
    active: list[_Cursor] = []
    while active or waiting:
        bound = min((cursor.last for cursor in active if not cursor.ended), default=None)
        while waiting and (not active or bound is None or facts[waiting[0]].first <= bound):
            rank = waiting.pop(0)
            active.append(_Cursor(rank, _in_order(files[rank], facts[rank], vocabulary)))
            active.sort(key=lambda cursor: cursor.rank)
            bound = min((cursor.last for cursor in active if not cursor.ended), default=None)
        parts = [(cursor.rank, cursor.before(bound)) for cursor in active]
        found = [(rank, part) for rank, part in parts if part is not None]
        if found:
            yield _interleaved(found)
        for cursor in active:
            if not cursor.ended and (cursor.block is None or cursor.last == bound):
                cursor.extend()
        active = [cursor for cursor in active if cursor.block is not None]


def _interleaved(parts: list[tuple[int, TickColumns]]) -> TickColumns:
    """Parts that are each in order, as one in order."""
    whole = concatenate([part for _, part in parts])
    if len(parts) == 1:
        return whole
    ranks = np.repeat([rank for rank, _ in parts], [len(part) for _, part in parts])
    return whole.take(np.lexsort((ranks, whole.sequence, whole.event_time)))


def _in_order(file: FeedFile, facts: Facts, vocabulary: Vocabulary) -> Iterator[TickColumns]:
    """A file's records in (event time, sequence) order, sorted whole where they are not."""
    counted: Counter[str] = Counter()  # again, after `facts`: nobody asks for it
    if facts.ordered:
        yield from file.columns(vocabulary, counted)
        return
    whole = concatenate(list(file.columns(vocabulary, counted)))
    order = np.lexsort((whole.sequence, whole.event_time))
    for start in range(0, len(whole), BLOCK_ROWS):
        yield whole.take(order[start : start + BLOCK_ROWS])
