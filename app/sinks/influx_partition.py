"""What one sink holds of one partition: records, the lines made of them, how far they are written.

A record's bytes stay until its lines are written, so that a culprit can be buried as it was; its
lines are made late, a few batches ahead of the requests, so that they never take much memory.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from app.contracts.batch import RecordBatch
from app.sinks.driver import Culprit, Place
from app.sinks.influx_routes import Bucket
from app.sinks.line_batches import LineBatch, LineBatcher
from app.sinks.points import PIECE, Encoded, PointEncoder

#: Bytes of a record in memory beside its own.
OVERHEAD = 64
#: Of splitmix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators").
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_WORD = 2**64


def sampled(batch: RecordBatch, one_of: int) -> RecordBatch:
    """Return one record of so many, by a hash of partition and offset: a replay has the same."""
    # Unsigned, and so modulo 2^64.
    mixed = batch.offsets.astype(np.uint64) * np.uint64(_GOLDEN)
    mixed += np.uint64((batch.partition + 1) * _GOLDEN * _GOLDEN % _WORD)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    mixed ^= mixed >> np.uint64(31)
    rows = np.flatnonzero(mixed % np.uint64(one_of) == 0)
    return RecordBatch(
        batch.topic,
        batch.partition,
        batch.base,
        batch.next,
        [batch.values[row] for row in rows.tolist()],
        batch.offsets[rows],
        batch.append_times[rows],
    )


@dataclass(slots=True)
class Written:
    """What became of one batch of lines."""

    rows: int = 0
    #: Of the rows, those that are in the history.
    old: int = 0
    #: Offset and reason, a line each.
    culprits: list[tuple[int, str]] = field(default_factory=list)


class InfluxPartition:
    """The records of one partition that are not written yet.

    Args:
        bucket: of its points, as long as they are not old.
        size: lines a request.
        sample: one record of so many is written.

    Attributes:
        ready: lines to be written, in log order.
        dropped: another writer has the partition.
        position: before it all is written; None while nothing is known.
        records, held_bytes: that are not written.
    """

    def __init__(
        self, place: Place, bucket: Bucket, encoder: PointEncoder, size: int, sample: int
    ) -> None:
        self.place, self.bucket = place, bucket
        self.ready: deque[LineBatch] = deque()
        self.dropped = False
        self.position: int | None = None
        self.records = self.held_bytes = 0
        self._encoder, self._size, self._sample = encoder, size, sample
        self._held: deque[tuple[RecordBatch, int]] = deque()
        self._pending: deque[RecordBatch] = deque()
        self._batcher: LineBatcher | None = None
        #: Whether the batcher has lines or a position that no batch of lines has.
        self._left = False
        self._told: int | None = None
        self._rows = 0
        #: By offset: a record may have several lines, also in two batches.
        self._culprits: dict[int, Culprit] = {}
        self._passed: Counter[str] = Counter()

    @property
    def waits(self) -> bool:
        """Whether anything is held, were it only a position."""
        return bool(self._held)

    @property
    def end(self) -> int:
        """Position behind the last record that is held."""
        return self._held[-1][0].next

    def reached(self, end: int) -> bool:
        """Whether all before a position is written."""
        return self.position is not None and self.position >= end

    def add(self, batch: RecordBatch) -> None:
        """Take the next records."""
        size = sum(map(len, filter(None, batch.values))) + OVERHEAD * len(batch)
        self._held.append((batch, size))
        self._pending.extend(batch.pieces(PIECE))
        self.records += len(batch)
        self.held_bytes += size

    def drop(self) -> None:
        """Forget everything: another writer has the partition."""
        self.dropped = True
        self.ready.clear()
        self._held.clear()
        self._pending.clear()
        self._culprits.clear()
        self.records = self.held_bytes = 0
        self._left = False

    @property
    def piece(self) -> RecordBatch | None:
        """The next records of which to make lines."""
        return self._pending[0] if self._pending else None

    def encode(self, piece: RecordBatch) -> tuple[Encoded, int]:
        """Make lines, and count what the sample leaves out; in a thread, changing nothing here."""
        chosen = piece if self._sample == 1 else sampled(piece, self._sample)
        return self._encoder.take(chosen), len(piece) - len(chosen)

    def encoded(self, piece: RecordBatch, made: Encoded, left_out: int) -> None:
        """Take the lines of a piece, unless it was dropped meanwhile."""
        if self.piece is not piece:
            return
        self._pending.popleft()
        if self._batcher is None:
            self._batcher = LineBatcher(piece.base, self._size)
        self._batcher.put(made.lines, made.offsets, made.next)
        self.ready.extend(self._batcher.full())
        self._left = True
        self._passed.update(made.counts)
        del self._passed["written"]
        if left_out:
            self._passed["left_out"] += left_out

    def finish(self) -> None:
        """Let the lines go that fill no batch, where nothing more comes for now."""
        if self._left and self._batcher is not None:
            self.ready.append(self._batcher.rest())
            self._left = False

    def split(self, batch: LineBatch, size: int) -> None:
        """Cut the first of the batches that are ready into smaller ones, each with its position."""
        if not self.ready or self.ready[0] is not batch:
            return
        self.ready.popleft()
        ends = range(size, len(batch.lines) + size, size)
        parts = [
            LineBatch(
                batch.lines[end - size : end],
                batch.offsets[end - size : end],
                batch.offsets[end] if end < len(batch.offsets) else batch.next,
            )
            for end in ends
        ]
        self.ready.extendleft(reversed(parts))

    def written(self, batch: LineBatch, what: Written) -> None:
        """Note what became of the first of the batches that are ready."""
        if not self.ready or self.ready[0] is not batch:
            return
        self.ready.popleft()
        for offset, reason in what.culprits:
            if offset not in self._culprits:
                culprit = Culprit(self.place, offset, reason, self._value(offset))
                self._culprits[offset] = culprit
        self._rows += what.rows
        self.position = batch.next
        while self._held and self._held[0][0].next <= batch.next:
            first, size = self._held.popleft()
            self.records -= len(first)
            self.held_bytes -= size

    def tell(self) -> tuple[int | None, int, Sequence[Culprit], Counter[str]]:
        """Return position, rows, culprits and what had no lines, since the last time."""
        position = None if self.position == self._told else self.position
        # Not yet those of a record that the position does not cover.
        behind = sorted(each for each in self._culprits if each < (self.position or 0))
        culprits = [self._culprits.pop(offset) for offset in behind]
        told = position, self._rows, culprits, self._passed
        self._told, self._rows, self._passed = self.position, 0, Counter()
        return told

    def _value(self, offset: int) -> bytes | None:
        for batch, _ in self._held:
            if batch.base <= offset < batch.next:
                return batch.values[int(np.searchsorted(batch.offsets, offset))]
        raise LookupError(f"{self.place}: no record at {offset} is held")
