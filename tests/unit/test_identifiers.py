"""What is remembered of trade ids, against a dictionary of everything that ever came."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables import identifiers
from tables.filters import LEAST, Filter, Hashed
from tables.held_ids import HeldIds
from tables.identifiers import MINUTE, Identifiers, PackedTexts

HORIZON = 2 * MINUTE
#: A span has two minutes then.
LONG = 33 * MINUTE

#: Numbers about the border of a block, with and without zeros that lead, the largest, and texts.
NAMES = (
    *("S\0V\0" + number for number in ("0", "00", "7", "07", "007", "15", "16", "17", "31", "32")),
    *("S\0\0" + number for number in ("7", "999999999999999999", "1000000000000000000", "x7")),
    *("7", "07", "a", "S7", "S\0V\0", "S\0V\0" + "0" * 64, "S\0V\0\u0667"),
)

#: Ids that come together, in which minute, and how far the watermark moves before.
STEPS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(NAMES), min_size=1, max_size=5),
        st.integers(-3, 0),
        st.integers(0, 2 * MINUTE),
        st.booleans(),
        st.booleans(),
    ),
    max_size=40,
)


class Naive:
    """Each id with the last minute in which it counted."""

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self.minutes: dict[str, int] = {}

    def seen(self, identity: str, watermark: int) -> bool:
        minute = self.minutes.get(identity)
        return minute is not None and (minute + 1) * MINUTE + self.horizon > watermark


@contextmanager
def using(compiled: bool) -> Iterator[None]:
    """Take the compiled store, or the other one."""
    if compiled and identifiers.CompiledStore is None:
        pytest.skip("needs a C compiler")
    with patch.object(
        identifiers, "CompiledStore", identifiers.CompiledStore if compiled else None
    ):
        yield


def take(
    ours: Identifiers, names: Sequence[str], minutes: Sequence[int], marks: list[int]
) -> list[int]:
    """Judge names; places of the duplicates."""
    keep = np.ones(len(names), dtype=np.bool_)
    column = np.broadcast_to(np.array(minutes, dtype=np.int64), len(names)).copy()
    count = ours.take(PackedTexts.of(names), column, np.array(marks, dtype=np.int64), keep)
    repeated: list[int] = np.flatnonzero(~keep).tolist()
    assert count == len(repeated)
    return repeated


@pytest.mark.parametrize("compiled", [True, False])
@given(STEPS, st.sampled_from([HORIZON, LONG]))
def test_ids_are_remembered_for_the_horizon_however_they_come(
    compiled: bool, steps: list[tuple[list[str], int, int, bool, bool]], horizon: int
) -> None:
    with using(compiled):
        ours, naive, watermark = Identifiers(horizon), Naive(horizon), 10 * MINUTE
    for names, back, ahead, together, forget in steps:
        ahead *= horizon // HORIZON
        marks, minutes, repeated = [], [], []
        for place, name in enumerate(names):
            if place == 0 or not together:
                watermark += ahead
            marks.append(watermark)
            minutes.append(marks[0] // MINUTE + back if together else watermark // MINUTE + back)
            if naive.seen(name, watermark):
                repeated.append(place)
            else:
                naive.minutes[name] = minutes[-1]
        assert take(ours, names, minutes, marks) == repeated
        for name in NAMES:
            assert ours.seen(name, watermark) == naive.seen(name, watermark)
        if forget:
            ours.forget(watermark)


#: Of all lengths that a head can say, in several scripts; numbers of all lengths.
TEXTS = st.one_of(
    st.text(min_size=1, max_size=40),
    st.text("0123456789\0", min_size=1, max_size=24),
    st.builds(
        lambda prefix, number: f"{prefix}\0{number}",
        st.sampled_from(["S\0", "S\0V", "é\0V", "éa\0", "SYMBOL\0VENUE", ""]),
        st.one_of(st.integers(0, 300), st.integers(0, 10**19)),
    ),
    st.sampled_from("az").map(lambda letter: letter * 300),
    st.integers(0, 30).map(lambda number: "é" * number + "x"),
)


@given(st.lists(st.lists(TEXTS, max_size=30), max_size=12), st.booleans())
def test_both_stores_write_the_same_rows_and_go_on_from_those_of_the_other(
    batches: list[list[str]], swap: bool
) -> None:
    with using(True):
        fast = Identifiers(HORIZON)
    with using(False):
        slow = Identifiers(HORIZON)
    rows: list[tuple[int, bytes]] = []
    for number, names in enumerate(batches):
        minute = 10 + number // 3
        marks = [minute * MINUTE] * len(names)
        assert take(fast, names, [minute], marks) == take(slow, names, [minute], marks)
        if number % 2:
            (ours, _), (theirs, _) = fast.take_changes(), slow.take_changes()
            assert ours == theirs
            rows += [(own, row) for own, chunks in ours for row in chunks]
    if swap:
        with using(True):
            fast = Identifiers(HORIZON)
        with using(False):
            slow = Identifiers(HORIZON)
        for place, (minute, row) in enumerate(rows):
            fast.restore(minute, b"%d" % place, row)
            slow.restore(minute, b"%d" % place, row)
    every = sorted({name for names in batches for name in names})
    for watermark in (10 * MINUTE, 13 * MINUTE, 14 * MINUTE, 16 * MINUTE):
        for store in (fast, slow):
            store.forget(watermark)
        for name in every:
            assert fast.seen(name, watermark) == slow.seen(name, watermark)


def test_many_ids_come_and_go_and_take_memory_only_while_they_are_remembered() -> None:
    with using(True):
        ours = Identifiers(2 * MINUTE)
    count = 5_000
    for minute in range(40):
        names = [f"S\0V\0{minute}-{number}" for number in range(count)]
        watermark = minute * MINUTE
        again = [f"S\0V\0{minute - 1}-{number}" for number in range(0, count, 7)]
        both = names + (again if minute else [])
        repeated = take(ours, both, [minute], [watermark] * len(both))
        assert repeated == list(range(count, len(both)))
        for _ in range(20):
            ours.forget(watermark)
        assert len(ours) <= 4 * count
        assert ours.seen(names[17], watermark)
        if minute > 4:
            assert not ours.seen(f"S\0V\0{minute - 4}-1", watermark)


#: A group: shared, length, prefix, count, first (doubled), steps.
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    "row",
    [
        *(
            b"",
            b"\x81",
            b"\x92\xa1a",
            b"\x91\xa5ab",
            b"\x91\xd9",
            b"\xdc\x00",
            b"\x91\x01",
            b"\x90x",
        ),
        *(b"\xc1\0", b"\xc1\0\2\0", b"\xc1\0\0\1", b"\xc1\0\0\2\0", b"\xc1\0\0\1\x80"),
        *(b"\xc1\0\0\0\0", b"\xc1\1\0\1\0", b"\xc1\0\1S\1\0", b"\xc1\0\2\xff\0\1\0"),
        *(b"\xc1\0\1\x31\1\0", b"\xc1\0\0\1\1", b"\xc1\0\0\1" + b"\xff" * 9 + b"\1"),
        *(b"\xc1\0\0\1" + b"\xff" * 8 + b"\x7f", b"\xc1\0\0\2\0" + b"\xff" * 8 + b"\x7f"),
        b"\xc1\0\xff\xff\3" + b"0" * 65_535 + b"\1\0",
    ],
)
def test_a_row_that_is_none_is_refused(compiled: bool, row: bytes) -> None:
    with using(compiled):
        ours = Identifiers(HORIZON)
    with pytest.raises(ValueError, match="row of identities"):
        ours.restore(1, b"key", row)


def test_hashes_that_are_equal_are_not_ids_that_are() -> None:
    held = HeldIds()
    texts = [f"{number}" for number in range(500)]
    for begin in range(0, 500, 10):
        value = np.uint64(begin % 3)
        held.extend(begin // 100, texts[begin : begin + 10], np.full(10, value))
        assert held.minute_of(texts[begin + 5], value) == begin // 100
        assert held.minute_of("other", value) is None
    for place, text in enumerate(texts):
        assert held.minute_of(text, np.uint64(place // 10 * 10 % 3)) == place // 100
    assert held.minute_of("17", np.uint64(7)) is None
    held.extend(3, ["17", "480"], np.array([1, 0], dtype=np.uint64))
    assert (held.minute_of("17", np.uint64(1)), held.minute_of("480", np.uint64(0))) == (3, 4)
    assert (len(held), held.last) == (502, 4)


@pytest.mark.parametrize("compiled", [True, False])
def test_what_is_stored_is_remembered_by_the_next_owner(compiled: bool) -> None:
    with using(compiled):
        ours, restored = Identifiers(HORIZON), Identifiers(HORIZON)
    assert take(ours, ["a", "b", "c"], [1, 1, 2], [2 * MINUTE] * 3) == []
    fresh, deleted = ours.take_changes()
    assert deleted == []
    number = 0
    for minute, rows in fresh:
        for row in rows:
            ours.stored(minute, b"%d" % number)
            restored.restore(minute, b"%d" % number, row)
            number += 1
    assert len(restored) == len(ours) == 3
    for each in (ours, restored):
        assert [each.seen(name, 2 * MINUTE) for name in "abcd"] == [True, True, True, False]
        assert take(each, ["d", "a"], [2], [2 * MINUTE] * 2) == [1]
        # The compiled store is swept a part with each call.
        for _ in range(20):
            each.forget(4 * MINUTE)
        assert [each.seen(name, 4 * MINUTE) for name in "abcd"] == [False, False, True, True]
        assert len(each) == 2
        assert each.take_changes()[1] == [b"0"]


@given(st.integers(0, 2**32), st.integers(1, 5))
def test_a_filter_never_denies_what_it_holds_and_seldom_confirms_what_it_does_not(
    seed: int, rounds: int
) -> None:
    chance, filter_, held = random.Random(seed), Filter(), list[str]()
    for mark in range(rounds):
        texts = [f"{seed} {mark} {number}" for number in range(chance.randrange(1, LEAST))]
        filter_.add(Hashed(texts), mark, len(held))
        held += texts
    assert filter_.maybe(Hashed(held)) == list(range(len(held)))
    others = [f"other {number}" for number in range(10_000)]
    assert len(filter_.maybe(Hashed(others))) < 20
    assert filter_.maybe(Hashed([])) == []


def test_a_filter_forgets_blocks_and_stays_small() -> None:
    filter_, chance = Filter(), random.Random(1)
    sizes = []
    for mark in range(60):
        texts = [f"{mark} {number}" for number in range(chance.randrange(9_000, 11_000))]
        for begin in range(0, len(texts), 1_000):
            filter_.add(Hashed(texts[begin : begin + 1_000]), mark, 50_000)
        filter_.forget(mark - 5)
        sizes.append(filter_.nbytes)
    # One or two blocks of 6 bytes a text, each for twice as many as are held.
    assert max(sizes[20:]) <= 2 * 6 * 100_000
    assert len(filter_.maybe(Hashed([f"3 {number}" for number in range(9_000)]))) < 20
    filter_.forget(60)
    assert filter_.nbytes == 0
    assert filter_.maybe(Hashed(["59 1"])) == []
