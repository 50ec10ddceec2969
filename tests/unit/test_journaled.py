"""Rows of what came: an entry read back is the one that was stored, whenever and however often."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
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


def test_an_item_is_a_row_and_now_and_then_all_is_one() -> None:
    store = Store()
    partition = Texts(CONFIGURATION, 0, store.get)
    partition.begin(0)
    rows = []
    for number in range(9):
        feed(partition, [b"a"], number)
        taken = [(key, row) for key, row in partition.take("id").rows if key[1:2] == b"a"]
        store.write(taken)
        partition.stored()
        rows.append([key for key, _ in taken])
    items = [JOURNAL_PREFIX + b"a\0" + bytes([number]) for number in range(3)]
    whole = ENTRY_PREFIX + b"a"
    assert rows == [[items[0]], [items[1]], [items[2]], [whole]] * 2 + [[items[0]]]
    assert set(store) == {whole, *items}
    # What an earlier generation has left behind is not taken.
    assert len(load(Texts(CONFIGURATION, 0, store.get), "id", store.get, ()).entry(b"a")) == 9


def test_many_items_of_one_checkpoint_are_rows_of_their_own_or_one_whole_row() -> None:
    store = Store()
    partition = Texts(CONFIGURATION, 0, store.get)
    partition.begin(0)
    feed(partition, [b"a", b"a"], 0)
    assert len(partition.take("id").rows) == 3
    feed(partition, [b"a", b"a", b"a"], 2)
    taken = partition.take("id").rows
    assert [key for key, _ in taken] == [ENTRY_PREFIX + b"a", b"m"]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("items", [0, 1, 3])
def test_rows_of_older_versions_are_read_and_written_anew(whole: bool, items: int) -> None:
    if not whole and not items:
        pytest.skip("such an entry has no row at all")
    encode = msgspec.msgpack.encode
    taken = [[number, "a"] for number in range(2 * whole)]
    store = Store()
    if whole:
        store[ENTRY_PREFIX + b"a"] = encode(taken)
    came = [[10 + number, "a"] for number in range(items)]
    if items:
        store[JOURNAL_PREFIX + b"a"] = encode(came)
    partition = Texts(CONFIGURATION, 0, store.get)
    partition.begin(20)
    assert partition.entry(b"a") == [*taken, *came]
    feed(partition, [b"a"], 20)
    rows = partition.take("id").rows
    store.write(rows)
    assert (JOURNAL_PREFIX + b"a" in dict(rows)) == bool(items)
    assert JOURNAL_PREFIX + b"a" not in store
    again = Texts(CONFIGURATION, 0, store.get)
    again.begin(21)
    assert again.entry(b"a") == [*taken, *came, [20, "a"]]
