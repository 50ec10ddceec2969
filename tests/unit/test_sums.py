"""Exact sums: limbs and units agree with exact fractions, whatever the order."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.contracts.records import MAX_NOTIONAL
from tables.sums import GRID, GRID_BITS, MAX_BATCH_RECORDS, to_double, to_limbs, to_units

VALUES = st.floats(-MAX_NOTIONAL, MAX_NOTIONAL, allow_nan=False)


def exact_units(value: float) -> int:
    """Nearest multiple of 2^-40, ties to even, by fractions."""
    return round(Fraction(value) * GRID)


@given(VALUES)
def test_a_value_is_rounded_once_half_to_even(value: float) -> None:
    assert to_units(value) == exact_units(value)


@given(st.lists(VALUES, min_size=1, max_size=200))
def test_limbs_add_up_to_the_same_units_in_any_order(values: list[float]) -> None:
    whole, rest = to_limbs(np.array(values))
    forward = (int(whole.sum()) << GRID_BITS) + int(rest.sum())
    assert forward == sum(exact_units(value) for value in reversed(values))


def test_a_full_batch_of_the_greatest_values_does_not_overflow() -> None:
    whole, rest = to_limbs(np.full(MAX_BATCH_RECORDS, MAX_NOTIONAL))
    units = (int(np.add.reduce(whole)) << GRID_BITS) + int(np.add.reduce(rest))
    assert units == MAX_BATCH_RECORDS * exact_units(MAX_NOTIONAL)


def test_whole_shares_come_back_exactly() -> None:
    assert to_double(sum(to_units(100.0) for _ in range(1_000_003))) == 100_000_300.0


def test_the_float_sum_of_ten_tenths_is_not_one_but_ours_is() -> None:
    assert sum([0.1] * 10) != 1.0
    assert to_double(sum(to_units(0.1) for _ in range(10))) == to_double(10 * to_units(0.1))
