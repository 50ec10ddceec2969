"""Trade ids of a partition: remembered for the correction horizon, forgotten by the watermark.

An id first seen with event time T belongs to minute floor(T / 60 s) and is remembered while the
end of that minute plus the horizon lies ahead of the watermark. Whether it still is is judged per
record, so when memory is really released (`forget`) changes nothing.

Memory: about 130 bytes an id (a joined string and a set's entry), for the horizon and a minute.
They are not hashed to less: two ids with one hash would lose a trade.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MINUTE = 60_000_000_000
#: Joins symbol, venue and id; the contract keeps it out of them.
SEPARATOR = "\0"


def join_identity(symbol: str, venue: str | None, identifier: str) -> str:
    """The identity of a trade within its partition."""
    return f"{symbol}{SEPARATOR}{venue or ''}{SEPARATOR}{identifier}"


class Identifiers:
    """The remembered identities. `horizon` in ns, at least grace + correction horizon."""

    def __init__(self, horizon: int) -> None:
        self._horizon = horizon
        self._known: set[str] = set()
        #: Minute to lists of what was first seen in it.
        self._minutes: dict[int, list[list[str]]] = {}
        #: The same as a set for each minute, as far as it was looked into; and how far that is.
        self._indexes: dict[int, tuple[set[str], int]] = {}
        #: Of a minute the list that takes one at a time; it is in `_minutes`, not in `_indexes`.
        self._singles: dict[int, list[str]] = {}
        #: Identities registered anew while still held, with their last minute.
        self._again: dict[str, int] = {}
        self._fresh: dict[int, list[str]] = {}
        self._chunks: dict[int, list[bytes]] = {}
        self._forgotten_chunks: list[bytes] = []

    def __len__(self) -> int:
        return len(self._known)

    def add_if_all_new(self, identities: list[str], minutes: Sequence[int]) -> bool:
        """Remember the identities if no two are equal and none is held: the usual case.

        Args:
            minutes: minute of each, or one for all.
        """
        fresh = set(identities)
        if len(fresh) != len(identities) or not self._known.isdisjoint(fresh):
            return False
        # From set to set, nothing is hashed again.
        self._known |= fresh
        if len(minutes) == 1:
            self._note(minutes[0], identities)
            return True
        by_minute: dict[int, list[str]] = {}
        for identity, minute in zip(identities, minutes, strict=True):
            by_minute.setdefault(minute, []).append(identity)
        for minute, part in by_minute.items():
            self._note(minute, part)
        return True

    def _note(self, minute: int, identities: list[str]) -> None:
        self._minutes.setdefault(minute, []).append(identities)
        self._fresh.setdefault(minute, []).extend(identities)

    def seen(self, identity: str, watermark: int) -> bool:
        """Whether the identity is remembered at this watermark."""
        if identity not in self._known:
            return False
        return any(
            identity in self._index(minute)
            for minute in self._minutes
            if self._remembers(minute, watermark)
        )

    def _index(self, minute: int) -> set[str]:
        """The minute's identities as a set; made when a duplicate is first looked for."""
        index, done = self._indexes.get(minute, (set(), 0))
        parts = self._minutes[minute]
        if done < len(parts):
            self._singles.pop(minute, None)
            for part in parts[done:]:
                index.update(part)
            self._indexes[minute] = (index, len(parts))
        return index

    def _remembers(self, minute: int, watermark: int) -> bool:
        return (minute + 1) * MINUTE + self._horizon > watermark

    def add(self, identity: str, time: int) -> None:
        """Remember one identity that is not remembered now (it may still be held)."""
        minute = time // MINUTE
        if identity in self._known:
            self._again[identity] = minute
        else:
            self._known.add(identity)
        single = self._singles.get(minute)
        if single is None:
            # A list for each would be nearly as much as what is in it.
            single = self._singles[minute] = []
            self._minutes.setdefault(minute, []).append(single)
        single.append(identity)
        self._fresh.setdefault(minute, []).append(identity)

    def forget(self, watermark: int) -> None:
        """Release the minutes that no record can match any more."""
        gone = [minute for minute in self._minutes if not self._remembers(minute, watermark)]
        for minute in gone:
            for part in self._minutes.pop(minute):
                self._known.difference_update(part)
            self._indexes.pop(minute, None)
            self._singles.pop(minute, None)
            self._fresh.pop(minute, None)
            self._forgotten_chunks.extend(self._chunks.pop(minute, ()))
        if gone and self._again:
            self._again = {
                identity: minute
                for identity, minute in self._again.items()
                if minute in self._minutes
            }
            self._known.update(self._again)

    def take_changes(self) -> tuple[list[tuple[int, list[str]]], list[bytes]]:
        """What to store since the last call: new (minute, identities), and rows to delete."""
        fresh, self._fresh = list(self._fresh.items()), {}
        deleted, self._forgotten_chunks = self._forgotten_chunks, []
        return fresh, deleted

    def stored(self, minute: int, key: bytes) -> None:
        """Note the row that holds a chunk of a minute, to delete it once forgotten."""
        self._chunks.setdefault(minute, []).append(key)

    def restore(self, minute: int, key: bytes, identities: Iterable[str]) -> None:
        """Take in a stored chunk; an identity may be in those of two minutes."""
        held = list(identities)
        for identity in self._known.intersection(held):
            self._again[identity] = max(minute, self._again.get(identity, minute))
        self._minutes.setdefault(minute, []).append(held)
        self._known.update(held)
        self.stored(minute, key)
