"""What may be let go: never more than is durable, and all that is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contracts.batch import RecordBatch
from app.sinks.driver import Place
from app.sinks.ledger import Ledger

PLACE = Place("bars", 0)


def batch(base: int, offsets: list[int], following: int) -> RecordBatch:
    """A batch with records at these offsets; the others are markers."""
    places = np.array(offsets, dtype=np.int64)
    return RecordBatch("t.d.bars", 0, base, following, [b"x"] * len(offsets), places, places)


#: For each batch: which of its offsets hold records, and what the driver tells behind it.
STEPS = st.lists(
    st.tuples(st.lists(st.booleans(), max_size=4), st.integers(0, 20) | st.none()), max_size=8
)


@given(STEPS)
def test_what_is_owed_is_all_that_is_durable_and_nothing_else(
    steps: list[tuple[list[bool], int | None]],
) -> None:
    ledger = Ledger()
    ledger.meet(PLACE, 0)
    is_record: list[bool] = []
    durable = 0
    for records, told in steps:
        base = len(is_record)
        is_record += records
        offsets = [base + number for number, each in enumerate(records) if each]
        ledger.hand(PLACE, batch(base, offsets, len(is_record)))
        if told is not None:
            ledger.tell({PLACE: told})
            durable = max(durable, min(told, len(is_record)))
        position = ledger.positions()[PLACE]
        # Each record below is durable; and no position above could be let go as well.
        assert not any(is_record[durable:position])
        assert position >= durable
        # Markers behind the last record alone may be passed without a word.
        rest = any(is_record[durable:])
        assert position == (durable if rest else len(is_record))
        assert ledger.waiting == rest
        assert ledger.owed() == ({PLACE: position} if position else {})


def test_what_the_group_knows_is_not_owed() -> None:
    ledger = Ledger()
    ledger.meet(PLACE, 5)
    assert ledger.owed() == {}
    ledger.hand(PLACE, batch(5, [5], 6))
    ledger.tell({PLACE: 6})
    assert ledger.owed() == {PLACE: 6}
    ledger.paid({PLACE: 6})
    assert ledger.owed() == {}


def test_what_a_store_keeps_is_owed_as_the_group_may_not_know_it() -> None:
    ledger = Ledger()
    ledger.keep(PLACE, 9)
    ledger.meet(PLACE, 3)
    assert (ledger.owed(), ledger.expected(PLACE)) == ({PLACE: 9}, 9)


@pytest.mark.parametrize("position", [7, 100])
def test_nothing_is_let_go_that_was_not_handed_over(position: int) -> None:
    ledger = Ledger()
    ledger.meet(PLACE, 0)
    ledger.hand(PLACE, batch(0, [0, 1, 2], 3))
    ledger.tell({PLACE: position, Place("bars", 1): position})
    assert ledger.positions() == {PLACE: 3}


def test_a_partition_that_went_is_forgotten() -> None:
    ledger = Ledger()
    ledger.meet(PLACE, 0)
    ledger.hand(PLACE, batch(0, [0], 1))
    ledger.drop([PLACE, Place("bars", 1)])
    ledger.tell({PLACE: 1})
    ledger.paid({PLACE: 1})
    assert (ledger.owed(), ledger.waiting, ledger.places) == ({}, False, [])
    assert PLACE not in ledger
    assert ledger.expected(PLACE) is None
