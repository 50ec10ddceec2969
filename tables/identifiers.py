"""Trade ids of a partition: remembered for the correction horizon, forgotten by the watermark.

An id first seen with event time T belongs to minute floor(T / 60 s) and is remembered while the
end of that minute plus the horizon lies ahead of the watermark. Whether it still is is judged per
record, so when memory is really released (`forget`) changes nothing.

A filter says which ids may be held (`tables/filters.py`); those are looked for one by one
(`tables/held_ids.py`). One set of all ids was a little faster (250 against 275 ns an id), took more
and leapt: a set's table is a power of two, so that of a partition went back and forth between 33
and 67 MB.

Memory: about 125 bytes an id (a joined string, its hash, and of the filter), for the horizon and a
minute; with the set it was 150 to 200.
They are not hashed to less: two ids with one hash would lose a trade.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import compress

import numpy as np
import numpy.typing as npt

from tables.filters import Filter, Hashed
from tables.held_ids import Hashes, HeldIds

MINUTE = 60_000_000_000
#: Parts of a horizon that are released one after the other.
SPANS = 16
#: Joins symbol, venue and id; the contract keeps it out of them.
SEPARATOR = "\0"


def join_identity(symbol: str, venue: str | None, identifier: str) -> str:
    """The identity of a trade within its partition."""
    return f"{symbol}{SEPARATOR}{venue or ''}{SEPARATOR}{identifier}"


class Identifiers:
    """The remembered identities. `horizon` in ns, at least grace + correction horizon."""

    def __init__(self, horizon: int) -> None:
        self._horizon = horizon
        #: Minutes that are held, and released, together: however long the horizon, some 17 spans.
        self._span = max(1, horizon // MINUTE // SPANS)
        self._filter = Filter()
        self._count = 0
        #: By the span of their first event time.
        self._spans: dict[int, HeldIds] = {}
        self._fresh: dict[int, list[str]] = {}
        self._chunks: dict[int, list[bytes]] = {}
        self._forgotten_chunks: list[bytes] = []

    def __len__(self) -> int:
        return self._count

    def take(
        self,
        identities: Sequence[str],
        minutes: Sequence[int],
        watermarks: Sequence[int] | npt.NDArray[np.int64],
    ) -> list[int]:
        """Judge identities one after the other: remember the new ones.

        Args:
            minutes: of each, or one for all.
            watermarks: of each, ascending, in ns.

        Returns:
            The places of those that are remembered already, ascending: the duplicates.
        """
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
        watermarks: Sequence[int] | npt.NDArray[np.int64],
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
        for minute in {*self._fresh, *self._chunks}:
            if not self._remembers(minute, watermark):
                self._fresh.pop(minute, None)
                self._forgotten_chunks.extend(self._chunks.pop(minute, ()))
        gone = [
            span for span, held in self._spans.items() if not self._remembers(held.last, watermark)
        ]
        for span in gone:
            held = self._spans.pop(span)
            self._count -= len(held)
            self._filter.forget(held.last)

    def take_changes(self) -> tuple[list[tuple[int, list[str]]], list[bytes]]:
        """What to store since the last call: new (minute, identities), and rows to delete."""
        fresh, self._fresh = list(self._fresh.items()), {}
        deleted, self._forgotten_chunks = self._forgotten_chunks, []
        return fresh, deleted

    def stored(self, minute: int, key: bytes) -> None:
        """Note the row that holds a chunk of a minute, to delete it once forgotten."""
        self._chunks.setdefault(minute, []).append(key)

    def restore(self, minute: int, key: bytes, identities: Sequence[str]) -> None:
        """Take in a stored chunk; an identity may be in those of two minutes."""
        texts = Hashed(identities)
        self._filter.add(texts, minute, self._count)
        self._hold(minute, identities, texts.hashes)
        self._count += len(identities)
        self.stored(minute, key)


def _repeated(identities: Sequence[str]) -> list[int]:
    """Places of all identities that come more than once."""
    counts = Counter(identities)
    return [place for place, each in enumerate(identities) if counts[each] > 1]
