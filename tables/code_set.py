"""A set of small codes, which whole columns of them are put into."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import numpy.typing as npt

_LEAST = 64


class CodeSet:
    """Codes 0, 1, 2, ..., a byte each: counting beats hashing where a column has many of them."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: npt.NDArray[np.bool_] = np.zeros(_LEAST, dtype=np.bool_)

    def __iter__(self) -> Iterator[int]:
        """The codes, ascending."""
        return iter(np.flatnonzero(self._held).tolist())

    def __contains__(self, code: int) -> bool:
        return code < len(self._held) and bool(self._held[code])

    def __len__(self) -> int:
        return int(np.count_nonzero(self._held))

    def add(self, code: int) -> None:
        """Add a code."""
        if code >= len(self._held):
            self._grow(code)
        self._held[code] = True

    def update(self, codes: Collection[int]) -> None:
        """Add some codes."""
        self.add_all(np.fromiter(codes, dtype=np.int32, count=len(codes)))

    def marks(self, count: int) -> npt.NDArray[np.uint8]:
        """A byte for each of at least so many codes, to be set where one is to be added."""
        if count > len(self._held):
            self._grow(count - 1)
        return self._held.view(np.uint8)

    def add_all(self, codes: npt.NDArray[np.int32]) -> None:
        """Add a column of codes."""
        try:
            self._held[codes] = True
        except IndexError:
            self._grow(int(codes.max()))
            self._held[codes] = True

    def has_all(self, codes: npt.NDArray[np.int32]) -> bool:
        """Whether a column holds none but these codes."""
        try:
            return bool(self._held[codes].all())
        except IndexError:
            return False

    def clear(self) -> None:
        """Take all codes out."""
        self._held.fill(False)

    def _grow(self, code: int) -> None:
        held = np.zeros(2 * (code + 1), dtype=np.bool_)
        held[: len(self._held)] = self._held
        self._held = held
