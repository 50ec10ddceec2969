"""Lines as they go over the wire: bytes, and where each of them ends; no string a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]


class Lines(Sequence[str]):
    """Lines, each of which is text when it is asked for; slices share the bytes.

    Attributes:
        ends: shape (lines,): where each ends in the bytes, behind its line end.
    """

    __slots__ = ("_data", "_times", "ends")

    def __init__(
        self, data: bytes | memoryview, ends: Int64Array, times: Int64Array | None = None
    ) -> None:
        """Take lines that end with a line feed each; `times` are found out where they lack."""
        self._data, self.ends, self._times = data, ends, times

    @classmethod
    def of(cls, lines: Sequence[str]) -> Lines:
        """Return lines that are texts; what is such a sequence already is returned itself."""
        if isinstance(lines, Lines):
            return lines
        encoded = [line.encode() for line in lines]
        sizes = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
        return cls(b"\n".join([*encoded, b""]), np.cumsum(sizes + 1))

    @classmethod
    def joined(cls, parts: Sequence[Lines]) -> Lines:
        """Return the lines of all parts, one behind the other."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return cls(b"", np.zeros(0, dtype=np.int64))
        starts = np.cumsum([0, *(len(part._data) for part in parts)])
        times = [part._times for part in parts if part._times is not None]
        return cls(
            b"".join([part._data for part in parts]),
            np.concatenate([part.ends + start for part, start in zip(parts, starts, strict=False)]),
            np.concatenate(times) if len(times) == len(parts) else None,
        )

    @property
    def body(self) -> bytes:
        """What a request carries: all lines and their ends."""
        return self._data if isinstance(self._data, bytes) else bytes(self._data)

    @property
    def times(self) -> Int64Array:
        """Shape (lines,): the times of the points, in ns.

        Raises:
            ValueError: one of the lines has none.
        """
        if self._times is None:
            found = [int(line[line.rindex(" ") + 1 :]) for line in self]
            self._times = np.array(found, dtype=np.int64)
        return self._times

    def chosen(self, rows: Sequence[int] | Int64Array) -> Lines:
        """Return the lines of some rows, in their order."""
        places = np.asarray(rows, dtype=np.int64)
        if not len(places):
            return Lines.joined([])
        # Neighbours are taken in one piece.
        cuts = np.flatnonzero(np.diff(places) != 1) + 1
        return Lines.joined(
            [self[int(run[0]) : int(run[-1]) + 1] for run in np.split(places, cuts)]
        )

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> Lines: ...
    def __getitem__(self, row: int | slice) -> str | Lines:
        if isinstance(row, slice):
            first, last, step = row.indices(len(self))
            if step != 1:
                return self.chosen(range(first, last, step))
            return self._part(first, max(first, last))
        place = range(len(self))[row]
        return self._part(place, place + 1).body[:-1].decode()

    def _part(self, first: int, last: int) -> Lines:
        if last - first == len(self):
            return self
        begin = int(self.ends[first - 1]) if first else 0
        end = int(self.ends[last - 1]) if last else 0
        return Lines(
            memoryview(self._data)[begin:end],
            self.ends[first:last] - begin,
            None if self._times is None else self._times[first:last],
        )

    def __iter__(self) -> Iterator[str]:
        # A line feed is in none of them.
        return iter(self.body.decode().split("\n")[:-1])

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Lines):
            return self.body == other.body
        if isinstance(other, Sequence) and not isinstance(other, str):
            return list(self) == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Lines.of({list(self)!r})"


def merged(
    lines: Lines, places: Int64Array, others: Lines, other_places: Int64Array
) -> tuple[Lines, Int64Array]:
    """Return both in the order of their places, which rise and are not the same, and the places."""
    if not len(lines) or not len(others):
        return (lines, places) if len(lines) else (others, other_places)
    before = np.searchsorted(places, other_places)
    sizes, other_sizes = np.diff(lines.ends, prepend=0), np.diff(others.ends, prepend=0)
    cuts = np.concatenate([[0], lines.ends])[before]
    data, other_data = memoryview(lines.body), memoryview(others.body)
    parts: list[memoryview] = []
    done = other_done = 0
    for cut, end in zip(cuts.tolist(), others.ends.tolist(), strict=True):
        parts += (data[done:cut], other_data[other_done:end])
        done, other_done = cut, end
    parts.append(data[done:])
    return (
        Lines(
            b"".join(parts),
            np.cumsum(np.insert(sizes, before, other_sizes)),
            np.insert(lines.times, before, others.times),
        ),
        np.insert(places, before, other_places),
    )
