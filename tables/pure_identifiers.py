"""Trade ids that are remembered, where there is no compiled store.

A filter says which ids may be held (`tables/filters.py`); those are looked for one by one
(`tables/held_ids.py`). An id takes about 125 bytes: a text, its hash, and of the filter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import compress

import numpy as np
import numpy.typing as npt

from tables.filters import Filter, Hashed
from tables.held_ids import Hashes, HeldIds
from tables.id_rows import decode, encode
from tables.packed_texts import Bytes, Int64Array, texts_of

MINUTE = 60_000_000_000
#: Parts of a horizon that are released one after the other.
SPANS = 16


class PureStore:
    """Identities with the minute of their first event time, over a horizon in ns."""

    def __init__(self, horizon: int) -> None:
        self._horizon = horizon
        #: Minutes that are held, and released, together: however long the horizon, some 17 spans.
        self._span = max(1, horizon // MINUTE // SPANS)
        self._filter = Filter()
        self._count = 0
        #: By the span of their first event time.
        self._spans: dict[int, HeldIds] = {}
        self._fresh: dict[int, list[str]] = {}

    def __len__(self) -> int:
        return self._count

    def take(
        self,
        data: Bytes,
        begin: Int64Array,
        length: npt.NDArray[np.int32],
        minute: Int64Array,
        watermark: Int64Array,
        keep: Bytes,
    ) -> int:
        """Judge the texts of the rows that are kept, in their order; how many are duplicates.

        Those are no longer kept. A row whose length is 0 has no text, and stays as it is.
        """
        rows = np.flatnonzero((keep != 0) & (length > 0))
        if not len(rows):
            return 0
        identities = texts_of(data, begin[rows], length[rows])
        minutes, watermarks = minute[rows], watermark[rows]
        same = bool((minutes == minutes[0]).all())
        # Of one minute it is told once.
        told = minutes[:1] if same else minutes
        found = self._take(identities, told.tolist(), watermarks)
        keep[rows[found]] = 0
        return len(found)

    def _take(
        self,
        identities: Sequence[str],
        minutes: Sequence[int],
        watermarks: Sequence[int] | Int64Array,
    ) -> list[int]:
        """Places of those that are remembered already, ascending; the others are from now on."""
        texts = Hashed(identities)
        suspects = self._filter.maybe(texts)
        if not texts.distinct:
            suspects = sorted({*suspects, *_repeated(identities)})
        repeated = self._repeated(identities, texts, minutes, watermarks, suspects)
        if repeated:
            keep = np.ones(len(texts), dtype=np.bool_)
            keep[repeated] = False
            texts = texts.chosen(keep)
            identities = list(compress(identities, keep.tolist()))
            if len(minutes) > 1:
                minutes = list(compress(minutes, keep.tolist()))
        self._remember(identities, texts, minutes)
        return repeated

    def _repeated(
        self,
        identities: Sequence[str],
        texts: Hashed,
        minutes: Sequence[int],
        watermarks: Sequence[int] | Int64Array,
        suspects: Sequence[int],
    ) -> list[int]:
        """Those of the suspects, in order, that are remembered when it is their turn."""
        found = []
        #: Of this batch, with the last minute of each.
        fresh: dict[str, int] = {}
        for place in suspects:
            identity, watermark = identities[place], watermarks[place]
            before = fresh.get(identity)
            if (before is not None and self._remembers(before, watermark)) or self._held(
                identity, texts.hashes[place], watermark
            ):
                found.append(place)
            else:
                fresh[identity] = minutes[place if len(minutes) > 1 else 0]
        return found

    def _remember(self, identities: Sequence[str], texts: Hashed, minutes: Sequence[int]) -> None:
        if not identities:
            return
        self._filter.add(texts, max(minutes), self._count)
        self._count += len(identities)
        if len(minutes) == 1:
            self._note(minutes[0], identities, texts.hashes)
            return
        column = np.array(minutes)
        for minute in dict.fromkeys(minutes):
            chosen = column == minute
            part = list(compress(identities, chosen.tolist()))
            self._note(minute, part, texts.hashes[chosen])

    def _note(self, minute: int, identities: Sequence[str], hashes: Hashes) -> None:
        self._hold(minute, identities, hashes)
        self._fresh.setdefault(minute, []).extend(identities)

    def _hold(self, minute: int, identities: Sequence[str], hashes: Hashes) -> None:
        span = minute // self._span
        held = self._spans.get(span)
        if held is None:
            held = self._spans[span] = HeldIds()
        held.extend(minute, identities, hashes)

    def seen(self, identity: str, watermark: int) -> bool:
        """Whether the identity is remembered at this watermark."""
        return self._held(identity, Hashed([identity]).hashes[0], watermark)

    def _held(self, identity: str, value: np.uint64, watermark: int) -> bool:
        minutes = (held.minute_of(identity, value) for held in self._spans.values())
        return any(minute is not None and self._remembers(minute, watermark) for minute in minutes)

    def _remembers(self, minute: int, watermark: int) -> bool:
        return (minute + 1) * MINUTE + self._horizon > watermark

    def forget(self, watermark: int) -> None:
        """Release the minutes that no record can match any more."""
        for minute in list(self._fresh):
            if not self._remembers(minute, watermark):
                del self._fresh[minute]
        gone = [
            span for span, held in self._spans.items() if not self._remembers(held.last, watermark)
        ]
        for span in gone:
            held = self._spans.pop(span)
            self._count -= len(held)
            self._filter.forget(held.last)

    def take_fresh(self, a_row: int) -> list[tuple[int, list[bytes]]]:
        """Rows of what came since the last call, by minute (tables/id_rows.py).

        Args:
            a_row: texts of a row, at most.
        """
        fresh, self._fresh = self._fresh, {}
        return [(minute, encode(texts, a_row)) for minute, texts in sorted(fresh.items())]

    def restore(self, minute: int, row: bytes) -> None:
        """Take in a row of a checkpoint; a text may be in those of two minutes.

        Raises:
            ValueError: it is no row of identities.
        """
        identities = decode(row)
        texts = Hashed(identities)
        self._filter.add(texts, minute, self._count)
        self._hold(minute, identities, texts.hashes)
        self._count += len(identities)


def _repeated(identities: Sequence[str]) -> list[int]:
    """Places of all identities that come more than once."""
    counts = Counter(identities)
    return [place for place, each in enumerate(identities) if counts[each] > 1]
