"""Which texts may be held: a few bytes a text, never a wrong no, seldom a wrong yes.

A blocked Bloom filter (Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom Filters",
2007): a text is six bits of one 64-bit word, so a look costs one miss of the cache. Of Python's
own hash, which differs from process to process: no result may depend on it, so who gets a yes looks
for himself.

Texts cannot be taken out. They go into blocks, one after the other, each for twice as many as are
held when it is begun, and a block goes as a whole when all in it may be forgotten. So one or two
blocks are alive, and what they take grows with the number of texts, not in powers of two as a set
does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_Words = npt.NDArray[np.uint64]
#: Texts of a block, at least.
LEAST = 4_096
#: Words for each text; a wrong yes comes about once in 7,000 looks at a full block. Of 0.5, 0.75,
#: 1 and 1.5, and blocks for half, one or two times what is held, this pair is fast and small: 275
#: ns an id, all in, where one set of all ids took 250.
_WORDS = 0.75
_ONE, _SIX_BITS, _HALF = np.uint64(1), np.uint64(63), np.uint64(32)
_SHIFTS = tuple(np.uint64(6 * number) for number in range(1, 6))


class Hashed:
    """Texts with what a filter needs of them."""

    __slots__ = ("bits", "hashes", "high")

    def __init__(self, texts: Sequence[str]) -> None:
        hashes = np.fromiter(map(hash, texts), dtype=np.int64, count=len(texts)).view(np.uint64)
        self.hashes: _Words = hashes
        #: Upper halves of the hashes, and the six bits of each.
        self.high: _Words = hashes >> _HALF
        self.bits: _Words = _ONE << (hashes & _SIX_BITS)
        for shift in _SHIFTS:
            self.bits |= _ONE << ((hashes >> shift) & _SIX_BITS)

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def distinct(self) -> bool:
        """Whether no two hashes are equal, and so no two texts."""
        ordered = np.sort(self.hashes)
        return not bool((ordered[1:] == ordered[:-1]).any())

    def chosen(self, keep: npt.NDArray[np.bool_]) -> Hashed:
        """Some of them."""
        some = Hashed.__new__(Hashed)
        some.hashes, some.high, some.bits = self.hashes[keep], self.high[keep], self.bits[keep]
        return some


class _Block:
    """Texts that are forgotten together; `last` is the greatest mark among them."""

    __slots__ = ("capacity", "count", "last", "words")

    def __init__(self, capacity: int, mark: int) -> None:
        self.capacity = capacity
        self.count = 0
        self.last = mark
        self.words: _Words = np.zeros(int(capacity * _WORDS), dtype=np.uint64)


class Filter:
    """Texts with marks, added in any order, forgotten by their marks."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks."""
        return sum(block.words.nbytes for block in self._blocks)

    def maybe(self, texts: Hashed) -> list[int]:
        """Places of the texts that may be held."""
        found = np.zeros(len(texts), dtype=np.bool_)
        for block in self._blocks:
            found |= (block.words[_places(texts, block)] & texts.bits) == texts.bits
        places: list[int] = np.flatnonzero(found).tolist()
        return places

    def add(self, texts: Hashed, mark: int, held: int) -> None:
        """Add texts with a mark; `held` is how many the caller has now."""
        if len(texts):
            block = self._open(len(texts), mark, held)
            np.bitwise_or.at(block.words, _places(texts, block), texts.bits)

    def _open(self, count: int, mark: int, held: int) -> _Block:
        """The block that takes so many more."""
        block = self._blocks[-1] if self._blocks else None
        if block is None or block.count + count > block.capacity:
            block = _Block(max(LEAST, 2 * held, count), mark)
            self._blocks.append(block)
        block.count += count
        block.last = max(block.last, mark)
        return block

    def forget(self, mark: int) -> None:
        """Forget the texts of blocks whose marks are all at or below this one."""
        self._blocks = [block for block in self._blocks if block.last > mark]


def _places(texts: Hashed, block: _Block) -> npt.NDArray[np.intp]:
    return ((texts.high * np.uint64(len(block.words))) >> _HALF).astype(np.intp)
