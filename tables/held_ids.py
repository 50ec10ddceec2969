"""Trade ids of some minutes: appended fast, looked for exactly, no set of them.

A set costs 35 bytes an id and leaps in size, since its table is a power of two. Here an id costs
its text, a place in a list, and its hash; the hashes are sorted when an id is looked for, in runs
that are merged as they grow (a log-structured merge). A hash that is found is no answer: the texts
are compared.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
_Run = tuple[Hashes, npt.NDArray[np.int64]]


class HeldIds:
    """Texts with their minutes, in the order in which they came, and their hashes."""

    __slots__ = ("_begins", "_minutes", "_parts", "_runs", "_sorted", "_texts", "last")

    def __init__(self) -> None:
        self._texts: list[str] = []
        #: Where texts of another minute begin, and of which.
        self._begins: list[int] = []
        self._minutes: list[int] = []
        #: Hashes of the texts behind the first `_sorted`.
        self._parts: list[Hashes] = []
        self._sorted = 0
        #: Sorted hashes, and the place of the text of each; runs get shorter and shorter.
        self._runs: list[_Run] = []
        #: The greatest minute.
        self.last = 0

    def __len__(self) -> int:
        return len(self._texts)

    def extend(self, minute: int, texts: Sequence[str], hashes: Hashes) -> None:
        """Append texts of a minute."""
        if not self._minutes or self._minutes[-1] != minute:
            self._begins.append(len(self._texts))
            self._minutes.append(minute)
            self.last = max(self.last, minute)
        self._texts += texts
        self._parts.append(hashes)

    def minute_of(self, text: str, value: np.uint64) -> int | None:
        """The greatest minute with which a text with this hash was appended, if it was."""
        if self._parts:
            self._sort()
        elif len(self._runs) > 1:
            # Nothing has come since it was last looked at.
            while len(self._runs) > 1:
                self._merge()
        found = None
        for hashes, order in self._runs:
            first = int(hashes.searchsorted(value))
            while first < len(hashes) and hashes[first] == value:
                place = int(order[first])
                if self._texts[place] == text:
                    minute = self._minutes[bisect_right(self._begins, place) - 1]
                    found = minute if found is None else max(found, minute)
                first += 1
        return found

    def _sort(self) -> None:
        hashes = np.concatenate(self._parts)
        order = hashes.argsort()
        self._runs.append((hashes[order], order + self._sorted))
        self._sorted, self._parts = len(self._texts), []
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            self._merge()

    def _merge(self) -> None:
        """Make one of the last two runs."""
        (one, ones), (two, twos) = self._runs[-2:]
        hashes = np.concatenate((one, two))
        # Of two sorted runs this is a merge.
        order = hashes.argsort(kind="stable")
        self._runs[-2:] = [(hashes[order], np.concatenate((ones, twos))[order])]
