"""What is remembered of trade ids, against a dictionary of everything that ever came."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tables.filters import LEAST, Filter, Hashed
from tables.held_ids import HeldIds
from tables.identifiers import MINUTE, Identifiers

HORIZON = 2 * MINUTE
#: A span has two minutes then.
LONG = 33 * MINUTE

#: Ids that come together, in which minute, and how far the watermark moves before.
STEPS = st.lists(
    st.tuples(
        st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=5),
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


@given(STEPS, st.sampled_from([HORIZON, LONG]))
def test_ids_are_remembered_for_the_horizon_however_they_come(
    steps: list[tuple[list[str], int, int, bool, bool]], horizon: int
) -> None:
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
        assert ours.take(names, minutes[:1] if together else minutes, marks) == repeated
        for name in "abcdefghij":
            assert ours.seen(name, watermark) == naive.seen(name, watermark)
        if forget:
            ours.forget(watermark)


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


def test_what_is_stored_is_remembered_by_the_next_owner() -> None:
    ours, restored = Identifiers(HORIZON), Identifiers(HORIZON)
    assert ours.take(["a", "b", "c"], [1, 1, 2], [2 * MINUTE] * 3) == []
    fresh, deleted = ours.take_changes()
    assert deleted == []
    for number, (minute, identities) in enumerate(fresh):
        ours.stored(minute, b"%d" % number)
        restored.restore(minute, b"%d" % number, identities)
    assert len(restored) == len(ours) == 3
    for each in (ours, restored):
        assert [each.seen(name, 2 * MINUTE) for name in "abcd"] == [True, True, True, False]
        assert each.take(["d", "a"], [2], [2 * MINUTE] * 2) == [1]
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
