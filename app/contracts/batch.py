"""A fetch of one partition as the engine sees it: values and positions, nothing per record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Consecutive records of one partition, in log order.

    `base` is the position before the first record and `next` the position after the last one
    *including* control and aborted batches, so a batch may be empty and still move on.

    The values may be made each time they are asked for (`PackedValues` of app/streaming).

    Shapes: `values`, `offsets` and `append_times` have one entry a record. `offsets` are
    int64; `append_times` are the broker's LogAppendTime in int64 nanoseconds.
    """

    topic: str
    partition: int
    base: int
    next: int
    values: Sequence[bytes | None]
    offsets: npt.NDArray[np.int64]
    append_times: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values)

    def listed(self) -> RecordBatch:
        """The batch with its values made, for who asks for each of them more than once."""
        if isinstance(self.values, list):
            return self
        return replace(self, values=list(self.values))

    def until(self, offset: int) -> RecordBatch:
        """The records before `offset`; the batch itself where all are."""
        if self.next <= offset:
            return self
        return self._part(slice(0, int(np.searchsorted(self.offsets, offset))), self.base, offset)

    def since(self, offset: int) -> RecordBatch:
        """The records from `offset` on, which becomes the base; the batch itself where all are."""
        if offset <= self.base:
            return self
        first = int(np.searchsorted(self.offsets, offset))
        return self._part(slice(first, None), offset, self.next)

    def pieces(self, size: int) -> Iterator[RecordBatch]:
        """Yield the batch in pieces of so many records, one behind the other."""
        base, rows = self.base, len(self.values)
        for begin in range(0, max(rows, 1), size):
            end = begin + size
            following = int(self.offsets[end]) if end < rows else self.next
            yield self._part(slice(begin, end), base, following)
            base = following

    def _part(self, rows: slice, base: int, following: int) -> RecordBatch:
        return RecordBatch(
            self.topic,
            self.partition,
            base,
            following,
            self.values[rows],
            self.offsets[rows],
            self.append_times[rows],
        )
