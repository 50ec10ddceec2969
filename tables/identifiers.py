"""Trade ids of a partition: remembered for the correction horizon, forgotten by the watermark.

An id first seen with event time T belongs to minute floor(T / 60 s) and is remembered while the
end of that minute plus the horizon lies ahead of the watermark. Whether it still is is judged per
record, so when memory is really released (`forget`) changes nothing.

Memory: about 180 bytes an id (a joined string and a dictionary's entry), for the horizon and a
minute. They cannot be hashed to less: two ids with one hash would lose a trade.
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
        #: Identity to the minute it was first seen in.
        self._known: dict[str, int] = {}
        #: Minute to lists of what was first seen in it.
        self._minutes: dict[int, list[Sequence[str]]] = {}
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
        one = minutes[0]
        fresh = (
            dict.fromkeys(identities, one)
            if len(minutes) == 1
            else dict(zip(identities, minutes, strict=True))
        )
        if len(fresh) != len(identities) or not self._known.keys().isdisjoint(fresh):
            return False
        self._known.update(fresh)
        if len(minutes) == 1:
            self._note(one, identities)
            return True
        by_minute: dict[int, list[str]] = {}
        for identity, minute in fresh.items():
            by_minute.setdefault(minute, []).append(identity)
        for minute, part in by_minute.items():
            self._note(minute, part)
        return True

    def _note(self, minute: int, identities: list[str]) -> None:
        self._minutes.setdefault(minute, []).append(identities)
        self._fresh.setdefault(minute, []).extend(identities)

    def seen(self, identity: str, watermark: int) -> bool:
        """Whether the identity is remembered at this watermark."""
        minute = self._known.get(identity)
        return minute is not None and self._remembers(minute, watermark)

    def _remembers(self, minute: int, watermark: int) -> bool:
        return (minute + 1) * MINUTE + self._horizon > watermark

    def add(self, identity: str, time: int) -> None:
        """Remember one identity that is not remembered now (it may still be held)."""
        minute = time // MINUTE
        self._known[identity] = minute
        self._note(minute, [identity])

    def forget(self, watermark: int) -> None:
        """Release the minutes that no record can match any more."""
        known = self._known
        for minute in [m for m in self._minutes if not self._remembers(m, watermark)]:
            for identities in self._minutes.pop(minute):
                for identity in identities:
                    # Registered anew since, it belongs to a later minute.
                    if known.get(identity) == minute:
                        del known[identity]
            self._fresh.pop(minute, None)
            self._forgotten_chunks.extend(self._chunks.pop(minute, ()))

    def take_changes(self) -> tuple[list[tuple[int, list[str]]], list[bytes]]:
        """What to store since the last call: new (minute, identities), and rows to delete."""
        fresh, self._fresh = list(self._fresh.items()), {}
        deleted, self._forgotten_chunks = self._forgotten_chunks, []
        return fresh, deleted

    def stored(self, minute: int, key: bytes) -> None:
        """Note the row that holds a chunk of a minute, to delete it once forgotten."""
        self._chunks.setdefault(minute, []).append(key)

    def restore(self, minute: int, key: bytes, identities: Iterable[str]) -> None:
        """Take in a stored chunk; of an identity in two minutes the later one holds."""
        held = list(identities)
        self._minutes.setdefault(minute, []).append(held)
        known = self._known
        for identity in held:
            if known.get(identity, minute) <= minute:
                known[identity] = minute
        self.stored(minute, key)
