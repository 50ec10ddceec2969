"""Large entries that change a little each time: now and then a whole row, and a row for what came.

Data that flows: what an entry takes is noted (`note`) -> a checkpoint stores each item that is new
as a row of the entry's journal or, once there are `LENGTH`, the entry itself, which begins another
generation of the journal -> a new owner reads the row of the entry and lets it take the items of
that generation again (`replay`).

Invariants: the entry of its row, with the journal taken, is the entry that was stored, bit for bit;
all rows are of one log of checkpoints. Only what was taken by the entry is noted, in that order. An
item is of the row's generation or means nothing: nothing is ever deleted.

| key of a row | value |
|---|---|
| `e` and the entry's key | 0xC1 (no msgpack begins so), generation (8 bytes), the entry |
| `j`, the entry's key, 0 and a number (1 byte) | generation (8 bytes), an item |

Rows of version 1 (the entry alone) and 2 (one row with all items, under `j` and the key) are read,
and written anew with the next item.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec

from tables.derived import ENTRY_PREFIX, DerivedConfiguration, Entry, KeyedPartition
from tables.windows import Reader

JOURNAL_PREFIX = b"j"
_WHOLE = b"\xc1"
_GENERATION = 8
#: What the keys of items end with, by their number.
_ENDS = [b"\0%c" % number for number in range(256)]

_encode_item = msgspec.msgpack.Encoder().encode
_decode_item = msgspec.msgpack.Decoder(list[Any]).decode
_decode_items = msgspec.msgpack.Decoder(list[list[Any]]).decode


class Journal:
    """What of an entry's items is stored, and what is not.

    Attributes:
        generation: of the entry's row; 0 where there is none.
        mark: the generation, as rows begin with it.
        count: items since that row.
        fresh: the newest of them, encoded: those that no checkpoint has taken.
        old: the row before version 3 that has to go, if there is one.
    """

    __slots__ = ("count", "fresh", "generation", "mark", "old")

    def __init__(self, generation: int, count: int, old: bytes | None = None) -> None:
        self.count, self.old = count, old
        self.fresh: list[bytes] = []
        self.begin(generation)

    def begin(self, generation: int) -> None:
        """Belong to another row of the entry."""
        self.generation, self.mark = generation, generation.to_bytes(_GENERATION)

    def add(self, item: tuple[Any, ...]) -> None:
        """Remember what the entry has just taken, as plain values."""
        self.fresh.append(_encode_item(item))
        self.count += 1


class JournaledPartition(KeyedPartition[Entry]):
    """A `KeyedPartition` whose entries are stored as a row and what came since."""

    ROW_VERSION = 3
    #: Items of a journal, at most; below 256.
    LENGTH: ClassVar[int] = 16

    def __init__(
        self, configuration: DerivedConfiguration, partition: int, read: Reader | None = None
    ) -> None:
        super().__init__(configuration, partition, read)
        self._journals: dict[bytes, Journal] = {}

    @abstractmethod
    def replay(self, key: bytes, entry: Entry, item: list[Any]) -> None:
        """Let an entry take again what was noted."""

    def note(self, key: bytes, item: tuple[Any, ...]) -> None:
        """Remember what an entry has just taken, as plain values."""
        self._journals[key].add(item)

    def load_entry(self, key: bytes) -> Entry:
        """Make an entry of its row and its journal."""
        row = self._stored_row(ENTRY_PREFIX + key)
        if row is None or row[:1] != _WHOLE:
            entry, journal = self._load_old(key, row)
            if row is not None or journal.old is not None:
                self._journals[key] = journal
                return entry
            generation = 0
        else:
            begin = 1 + _GENERATION
            generation = int.from_bytes(row[1:begin])
            entry = self.decode(key, row[begin:])
        mark, count = generation.to_bytes(_GENERATION), 0
        while count < self.LENGTH:
            item = self._stored_row(_item_key(key, count))
            if item is None or item[:_GENERATION] != mark:
                break
            self.replay(key, entry, _decode_item(item[_GENERATION:]))
            count += 1
        self._journals[key] = Journal(generation, count)
        return entry

    def _load_old(self, key: bytes, row: bytes | None) -> tuple[Entry, Journal]:
        """An entry of rows before version 3, and a journal that makes the next row a whole one."""
        entry = self.decode(key, row)
        old = JOURNAL_PREFIX + key
        items = self._stored_row(old)
        for item in [] if items is None else _decode_items(items):
            self.replay(key, entry, item)
        return entry, Journal(0, self.LENGTH, None if items is None else old)

    def changed_rows(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Rows of the entries that have changed since the last call."""
        changed, self._changed = sorted(self._changed), {}
        rows: list[tuple[bytes, bytes | None]] = []
        for key in changed:
            journal = self._journals[key]
            if len(journal.fresh) == 1 and journal.count <= self.LENGTH:
                # Nearly always; what `rows_of` gives then.
                (item,), journal.fresh = journal.fresh, []
                rows.append((_item_key(key, journal.count - 1), journal.mark + item))
            else:
                rows += self.rows_of(key)
        return rows

    def rows_of(self, key: bytes) -> list[tuple[bytes, bytes | None]]:
        """The items that are new, or the entry itself once they are too many."""
        journal = self._journals[key]
        fresh, journal.fresh = journal.fresh, []
        if journal.count <= self.LENGTH:
            mark, first = journal.mark, journal.count - len(fresh)
            return [
                (_item_key(key, first + number), mark + item) for number, item in enumerate(fresh)
            ]
        journal.begin(journal.generation + 1)
        journal.count = 0
        whole = self.encode(key, self._entries[key])
        rows: list[tuple[bytes, bytes | None]] = [
            (ENTRY_PREFIX + key, _WHOLE + journal.mark + whole)
        ]
        if journal.old is not None:
            rows.append((journal.old, None))
            journal.old = None
        return rows

    def stored(self) -> None:
        """What was last taken can be read from the store."""
        super().stored()
        if len(self._journals) > len(self._entries):
            self._journals = {key: self._journals[key] for key in self._entries}


def _item_key(key: bytes, number: int) -> bytes:
    return JOURNAL_PREFIX + key + _ENDS[number]
