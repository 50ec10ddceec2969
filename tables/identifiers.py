"""Trade ids of a partition: remembered for the correction horizon, forgotten by the watermark.

An id first seen with event time T belongs to minute floor(T / 60 s) and is remembered while the
end of that minute plus the horizon lies ahead of the watermark. Whether it still is is judged per
record, so when memory is really released (`forget`) changes nothing.

Memory: about 150 bytes an id (a joined string, two set entries), for horizon + 1 minute.
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
        self._minutes: dict[int, set[str]] = {}
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
        if len(minutes) == 1:
            self._add(fresh, identities, minutes[0])
            return True
        by_minute: dict[int, list[str]] = {}
        for identity, minute in zip(identities, minutes, strict=True):
            by_minute.setdefault(minute, []).append(identity)
        for minute, part in by_minute.items():
            self._add(set(part), part, minute)
        return True

    def _add(self, fresh: set[str], identities: list[str], minute: int) -> None:
        # From set to set, hashes are not looked up again.
        self._known |= fresh
        held = self._minutes.get(minute)
        if held is None:
            self._minutes[minute] = fresh
        else:
            held |= fresh
        self._fresh.setdefault(minute, []).extend(identities)

    def seen(self, identity: str, watermark: int) -> bool:
        """Whether the identity is remembered at this watermark."""
        if identity not in self._known:
            return False
        for minute, identities in self._minutes.items():
            if identity in identities and self._remembers(minute, watermark):
                return True
        return False

    def _remembers(self, minute: int, watermark: int) -> bool:
        return (minute + 1) * MINUTE + self._horizon > watermark

    def add(self, identity: str, time: int) -> None:
        """Remember one identity that is not remembered now (it may still be held)."""
        self._add({identity}, [identity], time // MINUTE)

    def forget(self, watermark: int) -> None:
        """Release the minutes that no record can match any more."""
        for minute in [m for m in self._minutes if not self._remembers(m, watermark)]:
            gone = self._minutes.pop(minute)
            kept = (gone & held for held in self._minutes.values())
            self._known -= gone
            for again in kept:
                self._known |= again
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
        """Take in a stored chunk."""
        held = self._minutes.setdefault(minute, set())
        held.update(identities)
        self._known.update(held)
        self.stored(minute, key)
