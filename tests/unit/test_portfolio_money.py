"""Numbers in and out of the grids of the portfolio's money."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tables.portfolio.money import MONEY, UNIT, amount_of, divided, quantity_of, to_money, to_units


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**12))
@example(5, 2)
@example(-5, 2)
@example(7, 2)
def test_quotients_are_rounded_half_to_even(numerator: int, denominator: int) -> None:
    assert divided(numerator, denominator) == round(Fraction(numerator, denominator))


@given(st.integers(0, 10**12), st.integers(0, 9_999))
def test_a_decimal_number_comes_in_and_goes_out_as_it_was_written(whole: int, part: int) -> None:
    whole %= 10**11
    value = float(f"{whole}.{part:04}")
    units = to_units(value)
    assert units == whole * UNIT + part * UNIT // 10_000
    assert quantity_of(units) == value
    assert to_money(value) == units * UNIT
    assert amount_of(to_money(value)) == value
    assert MONEY == UNIT**2


@pytest.mark.parametrize(
    ("value", "units"),
    [
        (0.1, 10**9),
        (-0.0, 0),
        (1e-10, 1),
        # Half to even.
        (0.5e-10, 0),
        (1.5e-10, 2),
        (-1.5e-10, -2),
        (524288.0001, 5242880001000000),
        (123456.7, 1234567 * 10**9),
        (1e12, 10**22),
        (5e-324, 0),
    ],
)
def test_a_number_is_the_decimal_number_that_is_written(value: float, units: int) -> None:
    assert to_units(value) == units


@given(st.floats(-1e14, 1e14))
def test_a_number_is_off_by_half_a_unit_at_most(value: float) -> None:
    assert abs(Fraction(to_units(value), UNIT) - Fraction(Decimal(repr(value)))) * 2 * UNIT <= 1
