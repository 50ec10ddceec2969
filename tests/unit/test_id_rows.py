"""Rows of trade ids, and ids that are numbers: in any order, of many prefixes, from older rows."""

from __future__ import annotations

import random
from itertools import count

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.id_rows import FULL_ROW, TOGETHER, decode, encode, split
from tables.identifiers import MINUTE, Identifiers
from tests.unit.test_identifiers import TEXTS, take, using

BOTH = pytest.mark.parametrize("compiled", [True, False])
HORIZON = 2 * MINUTE


def store(compiled: bool, horizon: int = HORIZON) -> Identifiers:
    with using(compiled):
        return Identifiers(horizon)


def rows_of(ours: Identifiers) -> list[tuple[int, list[bytes]]]:
    return ours.take_changes()[0]


@given(TEXTS)
def test_a_prefix_and_a_number_say_which_text_it_was(text: str) -> None:
    found = split(text)
    last = text.rpartition("\0")[2]
    if found is None:
        assert not (last.isascii() and last.isdigit()) or len(last.lstrip("0")) > 18
    else:
        prefix, number = found
        assert f"{prefix}{number}" == text
        assert number < 10**18
        assert prefix.rstrip("0").endswith("\0") or not prefix.rstrip("0")


@given(st.lists(TEXTS, max_size=60), st.integers(1, 5))
def test_rows_hold_what_was_written(texts: list[str], a_row: int) -> None:
    rows = encode(texts, a_row)
    assert sorted(text for row in rows for text in decode(row)) == sorted(texts)


def test_rows_of_numbers_are_cut_and_the_same_from_both_stores() -> None:
    chance = random.Random(3)
    # Steps of eight bytes; of the first prefix more than a group; of the last a group each.
    texts = [f"A\0\0{chance.randrange(10**18)}" for _ in range(20 * TOGETHER + 7)]
    texts += [f"B\0V\0{number}" for number in range(3 * TOGETHER)]
    texts += [f"C{number}\0\0{'0' * (number % 3)}{number}" for number in range(3 * TOGETHER)]
    chance.shuffle(texts)
    fast, slow = store(compiled=True), store(compiled=False)
    for each in (fast, slow):
        assert take(each, texts, [1], [MINUTE] * len(texts)) == []
    found = rows_of(fast)
    assert found == rows_of(slow)
    ((minute, rows),) = found
    assert minute == 1
    assert len(rows) == 3
    for row in rows[:-1]:
        assert FULL_ROW <= len(row) < FULL_ROW + 10 * TOGETHER
    assert sorted(text for row in rows for text in decode(row)) == sorted(texts)
    for compiled in (True, False):
        again = store(compiled)
        for number, row in enumerate(rows):
            again.restore(1, b"%d" % number, row)
        assert len(again) == len(texts)
        assert len(take(again, texts, [1], [MINUTE] * len(texts))) == len(texts)


def test_an_id_that_is_counted_takes_little_of_a_row() -> None:
    chance = random.Random(4)
    symbols = [f"SYM{number:05}\0XNAS\0" for number in range(500)]
    for own, most in ((True, 1.5), (False, 3.0)):
        counters = {symbol: count(52_983_525_000_000) for symbol in symbols}
        shared = count(52_983_525_000_000)
        chosen = chance.choices(symbols, k=20_000)
        texts = [f"{symbol}{next(counters[symbol] if own else shared)}" for symbol in chosen]
        bytes_an_id = sum(map(len, encode(texts, 2_000))) / len(texts)
        assert 1 < bytes_an_id < most
        assert sum(map(len, texts)) / len(texts) > 25


@BOTH
def test_rows_of_texts_alone_are_read_as_before_version_3(compiled: bool) -> None:
    ours = store(compiled)
    texts = ["S\0V\x007", "S\0V\x00007", "S\0V\0900", "S\0V\0T5"]
    ours.restore(1, b"key", msgspec.msgpack.encode(texts))
    asked = [*texts, "S\0V\x0007", "S\0V\x00070", "S\0V\0899", "S\0V\x005", "S\0\x007"]
    assert take(ours, asked, [1], [MINUTE] * len(asked)) == [0, 1, 2, 3]
    ((minute, rows),) = rows_of(ours)
    assert minute == 1
    assert sorted(text for row in rows for text in decode(row)) == sorted(asked[4:])


class Feed:
    """Ids as they come: counted, a few late, twice or from another counter."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._at = self._chance.choice([1, 10**6, 10**17])
        self._step = self._chance.choice([1, 2, 40, 5_000])

    def take(self, size: int) -> list[str]:
        chance, numbers = self._chance, list[int]()
        for _ in range(size):
            self._at += chance.randint(1, self._step)
            what = chance.random()
            if what < 0.8:
                numbers.append(self._at)
            elif what < 0.95:
                numbers.append(max(0, self._at - chance.randrange(200 * self._step)))
            else:
                numbers.append(chance.randrange(10 ** chance.randint(1, 18)))
            if what > 0.99:
                # It begins anew, as each day.
                self._at = chance.randrange(1_000)
        return [f"{chance.choice('ST')}\0\0{number}" for number in numbers]


@pytest.mark.parametrize("seed", range(6))
def test_numbers_in_any_order_are_known_exactly_while_they_are_remembered(seed: int) -> None:
    chance, feed = random.Random(seed), Feed(seed)
    stores = [store(compiled=True), store(compiled=False)]
    minutes: dict[str, int] = {}
    every: list[str] = []
    kept: list[tuple[int, bytes]] = []
    watermark = 100 * MINUTE
    for number in range(60):
        names = feed.take(chance.randrange(1, 400))
        minute = watermark // MINUTE - chance.randrange(2)
        repeated = []
        for place, name in enumerate(names):
            before = minutes.get(name)
            if before is not None and (before + 1) * MINUTE + HORIZON > watermark:
                repeated.append(place)
            else:
                minutes[name] = minute
        every += names
        found = []
        for each in stores:
            assert take(each, names, [minute], [watermark] * len(names)) == repeated
            found.append(rows_of(each))
            each.forget(watermark)
        assert found[0] == found[1]
        kept += [(own, row) for own, rows in found[0] for row in rows]
        if number % 20 == 19:
            # Another owner, with what is in the rows.
            stores = [store(compiled=True), store(compiled=False)]
            for place, (own, row) in enumerate(kept):
                for each in stores:
                    each.restore(own, b"%d" % place, row)
        for name in chance.choices(every, k=50):
            known = (minutes[name] + 1) * MINUTE + HORIZON > watermark
            assert [each.seen(name, watermark) for each in stores] == [known, known]
        watermark += chance.randrange(MINUTE)


@BOTH
def test_what_is_forgotten_takes_no_place_and_a_counter_may_begin_anew(compiled: bool) -> None:
    ours = store(compiled)
    first, again = range(1_000, 2_000), range(5, 400, 3)
    #: The minute in which each of the two last counted.
    counted = dict.fromkeys((first, again), -10)
    for minute in range(30):
        numbers = again if minute % 6 else first
        names = [f"S\0\0{number}" for number in numbers]
        known = counted[numbers] + 3 > minute
        if not known:
            counted[numbers] = minute
        repeated = list(range(len(names))) if known else []
        assert take(ours, names, [minute], [minute * MINUTE] * len(names)) == repeated
        for _ in range(20):
            ours.forget(minute * MINUTE)
        assert len(ours) == sum(len(each) for each, last in counted.items() if last + 3 > minute)


def test_prefixes_beyond_what_a_store_has_place_for_are_texts() -> None:
    ours = store(compiled=True)
    most = 262_144
    texts = [f"{number:x}\0\0{number}" for number in range(most + 300)]
    assert take(ours, texts, [1], [MINUTE] * len(texts)) == []
    ((_, rows),) = rows_of(ours)
    assert {row[:1] for row in rows} == {b"\xc1", b"\xdc"}
    assert len(decode(rows[-1])) == 300
    assert set(text for row in rows for text in decode(row)) == set(texts)
    again = store(compiled=True)
    for number, row in enumerate(reversed(rows)):
        again.restore(1, b"%d" % number, row)
    for each in (ours, again):
        others = [f"{text}0" for text in texts[-500:]]
        assert take(each, others, [1], [MINUTE] * len(others)) == []
        assert len(take(each, texts, [1], [MINUTE] * len(texts))) == len(texts)
        assert len(each) == len(texts) + len(others)
