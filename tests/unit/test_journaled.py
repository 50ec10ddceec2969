"""Rows of what came: an entry read back is the one that was stored, whenever and however often."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tables.derived import ENTRY_PREFIX, DerivedConfiguration, load
from tables.journaled import JOURNAL_PREFIX, JournaledPartition

CONFIGURATION = DerivedConfiguration(1, "hash", 1_000, max_entries=2)


class Texts(JournaledPartition[list[Any]]):
    """Of each key all that came; a value is a key and a number."""

    LENGTH = 3

    def decode(self, key: bytes, row: bytes | None) -> list[Any]:
        return [] if row is None else list(msgspec.msgpack.decode(row))

    def encode(self, key: bytes, entry: list[Any]) -> bytes:
        return msgspec.msgpack.encode(entry)

    def replay(self, key: bytes, entry: list[Any], item: list[Any]) -> None:
        entry.append(item)

    def take_record(self, value: bytes, offset: int, append_time: int) -> str:
        key = value[:1]
        entry = self.entry(key)
        entry.append([offset, value.decode()])
        self.note(key, (offset, value.decode()))
        self.put("texts", key, msgspec.json.encode(entry))
        return "applied"


class Store(dict[bytes, bytes]):
    """Rows, as a checkpoint leaves them."""

    def write(self, rows: list[tuple[bytes, bytes | None]]) -> None:
        for key, row in rows:
            if row is None:
                self.pop(key, None)
            else:
                self[key] = row


def feed(partition: Texts, values: list[bytes], offset: int) -> None:
    for number, value in enumerate(values, offset):
        partition.counts[partition.take_record(value, number, 0)] += 1
        partition.next = number + 1


#: Batches, and whether the owner changes after each checkpoint.
BATCHES = st.lists(
    st.tuples(st.lists(st.sampled_from([b"a", b"b", b"c", b"dd"]), max_size=6), st.booleans()),
    max_size=25,
)


@given(BATCHES)
def test_checkpoints_evictions_and_new_owners_change_nothing(
    batches: list[tuple[list[bytes], bool]],
) -> None:
    store, found, offset = Store(), list[bytes](), 0
    partition = load(Texts(CONFIGURATION, 0, store.get), "id", store.get, ())
    partition.begin(0)
    alone = Texts(CONFIGURATION, 0, None)
    alone.begin(0)
    for values, moved in batches:
        feed(partition, values, offset)
        feed(alone, values, offset)
        offset += len(values)
        taken = partition.take("id")
        found += [each.value or b"" for each in taken.outputs.get("texts", [])]
        store.write(taken.rows)
        partition.stored()
        if moved:
            partition = load(Texts(CONFIGURATION, 0, store.get), "id", store.get, ())
    assert found == [each.value for each in alone.take("id").outputs.get("texts", [])]
    for key in (b"a", b"b", b"c", b"d"):
        assert partition.entry(key) == alone.entry(key)


def test_a_row_is_small_and_now_and_then_whole() -> None:
    store = Store()
    partition = Texts(CONFIGURATION, 0, store.get)
    partition.begin(0)
    rows = []
    for number in range(9):
        feed(partition, [b"a"], number)
        taken = [(key, row) for key, row in partition.take("id").rows if key[1:] == b"a"]
        store.write(taken)
        partition.stored()
        rows.append([(key[:1], None if row is None else len(row) > 30) for key, row in taken])
    journal, whole = JOURNAL_PREFIX, ENTRY_PREFIX
    assert [len(each) for each in rows] == [1, 1, 1, 2, 1, 1, 1, 2, 1]
    assert [key for key, _ in rows[2]] == [journal]
    assert rows[3] == [(whole, False), (journal, None)]
    assert rows[7] == [(whole, True), (journal, None)]
    assert set(store) == {whole + b"a", journal + b"a"}
