"""Records wait here until the watermark has passed them, and leave in the order of event time.

So the order in which they came does not matter, as long as none comes later than the grace.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush

from models.features.aggregates import Entry


class Reordering:
    """A bounded heap of entries by (event time, sequence with none first, offset).

    `released` is the event time (ns) before which all has left: what comes with an earlier one is
    late. Where more than `limit` wait, the oldest leaves before its time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._heap: list[Entry] = []
        self.released = -(1 << 62)

    def __len__(self) -> int:
        return len(self._heap)

    def is_overfull(self) -> bool:
        """Whether more wait than may."""
        return len(self._heap) > self._limit

    def push(self, entry: Entry) -> None:
        """Let an entry wait, whose time is not before `released`."""
        heappush(self._heap, entry)

    def before(self, time: int) -> Iterator[Entry]:
        """Release what is before `time` (ns), in its order."""
        heap = self._heap
        while heap and heap[0][0] < time:
            yield heappop(heap)
        self.released = max(self.released, time)

    def oldest(self) -> Entry:
        """Release the oldest, and count its time as released."""
        entry = heappop(self._heap)
        self.released = max(self.released, entry[0] + 1)
        return entry

    def all(self) -> Iterator[Entry]:
        """Release everything."""
        while self._heap:
            yield self.oldest()

    def by_symbol(self) -> dict[str, list[Entry]]:
        """What waits, by symbol, each symbol's in its order."""
        found: dict[str, list[Entry]] = {}
        for entry in sorted(self._heap):
            found.setdefault(entry[3], []).append(entry)
        return found

    def restore(self, entries: list[Entry]) -> None:
        """Take in a symbol's entries."""
        for entry in entries:
            heappush(self._heap, entry)
