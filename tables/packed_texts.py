"""Texts of many rows as bytes, one behind the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]


@dataclass(slots=True)
class PackedTexts:
    """Texts of rows as UTF-8, one behind the other; a row whose length is 0 has none.

    Shapes: `begin` and `length` have an entry a row, `data` all bytes.
    """

    data: Bytes
    begin: Int64Array
    length: npt.NDArray[np.int32]

    @classmethod
    def empty(cls, count: int) -> PackedTexts:
        """Rows without texts."""
        return cls(
            np.zeros(0, dtype=np.uint8),
            np.zeros(count, dtype=np.int64),
            np.zeros(count, dtype=np.int32),
        )

    @classmethod
    def of(cls, texts: Sequence[str | None]) -> PackedTexts:
        """These texts, a row each."""
        packed = cls.empty(len(texts))
        packed.put(range(len(texts)), texts)
        return packed

    def put(self, rows: Sequence[int], texts: Sequence[str | None]) -> None:
        """Give rows texts."""
        parts, at = [], len(self.data)
        for row, text in zip(rows, texts, strict=True):
            part = b"" if text is None else text.encode()
            self.begin[row], self.length[row] = at, len(part)
            parts.append(part)
            at += len(part)
        self.data = np.concatenate((self.data, np.frombuffer(b"".join(parts), dtype=np.uint8)))

    def take(self, chosen: npt.NDArray[Any]) -> PackedTexts:
        """Some of the rows, by mask or by index."""
        return PackedTexts(self.data, self.begin[chosen], self.length[chosen])

    def texts(self) -> list[str | None]:
        """A text, or None, for each row."""
        found: list[str | None] = [None] * len(self.length)
        rows = np.flatnonzero(self.length)
        for row, text in zip(
            rows.tolist(), texts_of(self.data, self.begin[rows], self.length[rows]), strict=True
        ):
            found[row] = text
        return found


def texts_of(data: Bytes, begin: Int64Array, length: npt.NDArray[np.int32]) -> list[str]:
    """The texts at these places."""
    whole = data.tobytes()
    return [
        whole[first : first + size].decode()
        for first, size in zip(begin.tolist(), length.tolist(), strict=True)
    ]
