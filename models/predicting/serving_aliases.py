"""What the aliases name in one partition, by its log; and the versions, loaded."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.contracts.predictions import AliasRecord
from app.contracts.wire import encoder
from models.predicting.serving_models import Catalog, Serving

ALIAS_PREFIX = b"a"
#: Versions that an alias named before, whose hashes are remembered: labels of theirs may be open.
MOST_BEFORE = 50

#: Slot, version, and the SHA-256 of its manifest.
Place = tuple[int, int, str]

_decode = msgspec.msgpack.Decoder(list).decode
_encode = msgspec.msgpack.Encoder().encode


class Named:
    """What an alias names, and what it named before: hashes by version, the latest last."""

    __slots__ = ("before", "generation", "version")

    def __init__(self, generation: int, version: int | None, before: dict[int, str]) -> None:
        self.generation = generation
        self.version = version
        self.before = before


class Aliases:
    """The slots of a partition.

    Args:
        catalog: where versions are loaded from.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.slots = catalog.wants.slots
        self._named: dict[int, Named] = {}
        self._moved: set[int] = set()
        #: What predicts in each slot, and of which refresh that is.
        self._serving: dict[int, Serving | None] = {}
        self._asked = -1

    # --- moves -----------------------------------------------------------------------------

    def is_news(self, move: AliasRecord) -> bool:
        """Whether a move says something new of one of the slots."""
        slot = (move.model, move.alias)
        if slot not in self.slots:
            return False
        held = self._named.get(self.slots.index(slot))
        return held is None or move.generation > held.generation

    def take(self, move: AliasRecord) -> None:
        """Let an alias name what a move says."""
        slot = self.slots.index((move.model, move.alias))
        held = self._named.get(slot)
        before = {} if held is None else held.before
        if move.version is not None and move.sha256 is not None:
            # Last, if it was there.
            before.pop(move.version, None)
            before[move.version] = move.sha256
            while len(before) > MOST_BEFORE:
                del before[next(iter(before))]
        self._named[slot] = Named(move.generation, move.version, before)
        self._moved.add(slot)
        self._serving.pop(slot, None)

    def announcements(self) -> Sequence[bytes]:
        """Moves that the registry knows and this partition's log lacks."""
        wanted = self._catalog.wanted()
        moves = [wanted[slot] for slot in self.slots if slot in wanted]
        return [encoder.encode(move) for move in moves if self.is_news(move)]

    # --- versions --------------------------------------------------------------------------

    def generation(self, slot: int) -> int:
        """Of the last move; 0 before any."""
        held = self._named.get(slot)
        return 0 if held is None else held.generation

    def place(self, slot: int, version: int) -> Place | None:
        """A version that the slot names or named; None where it is long ago."""
        held = self._named.get(slot)
        sha256 = None if held is None else held.before.get(version)
        return None if sha256 is None else (slot, version, sha256)

    def places(self) -> list[Place]:
        """What the aliases name now."""
        return [
            (slot, named.version, named.before[named.version])
            for slot, named in sorted(self._named.items())
            if named.version is not None
        ]

    def serves(self, slot: int) -> Serving | None:
        """What predicts in a slot; loaded when it is first asked for."""
        if self._asked != self._catalog.refreshed:
            # Versions that could not be loaded are tried again.
            self._asked = self._catalog.refreshed
            gone = [number for number, held in self._serving.items() if held is None]
            for number in gone:
                del self._serving[number]
        if slot not in self._serving:
            named = self._named.get(slot)
            found = None
            if named is not None and named.version is not None:
                sha256 = named.before[named.version]
                found = self._catalog.get(self.slots[slot][0], named.version, sha256)
            self._serving[slot] = found
        return self._serving[slot]

    def find(self, place: Place) -> Serving | None:
        """A version that the log named, now or before."""
        slot, version, sha256 = place
        held = self._serving.get(slot)
        if held is not None and held.sha256 == sha256:
            return held
        return self._catalog.get(self.slots[slot][0], version, sha256)

    # --- rows ------------------------------------------------------------------------------

    def _key(self, slot: int) -> bytes:
        return ALIAS_PREFIX + "\0".join(self.slots[slot]).encode()

    def changed_rows(self) -> list[tuple[bytes, bytes | None]]:
        """Rows of the aliases that have moved since the last call."""
        moved, self._moved = sorted(self._moved), set()
        found = [(slot, self._named[slot]) for slot in moved]
        return [
            (self._key(slot), _encode([held.generation, held.version, [*held.before.items()]]))
            for slot, held in found
        ]

    def restore_row(self, key: bytes, row: bytes) -> None:
        """Take in what an alias names.

        Raises:
            ValueError: of no slot.
        """
        keys = {self._key(slot): slot for slot in range(len(self.slots))}
        if key not in keys:
            raise ValueError(f"unknown row {key!r}")
        generation, version, before = _decode(row)
        self._named[keys[key]] = Named(generation, version, {one: sha for one, sha in before})
