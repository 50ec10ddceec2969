"""Exact money: quantities and prices on a decimal grid, their products on its square, as integers.

A number that comes in counts as the shortest decimal number that its double stands for: the one
that was written, where that has up to 15 significant digits. It is rounded once, half to even, to
a multiple of 10^-10. Quantity times price is then a whole number of 10^-20 (money), without
rounding, and so is every sum of such products. A number that goes out is rounded once, to the
nearest double.

Rounded besides are the cost of a part of a lot (the rest keeps what the part did not get, so the
sum stays) and quantities at a split. Python's integers have no bound to overflow.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

PLACES: Final = 10
#: Grid units of one quantity, and of one price.
UNIT: Final = 10**PLACES
#: Money units of one unit of currency.
MONEY: Final = UNIT * UNIT


def divided(numerator: int, denominator: int) -> int:
    """The quotient rounded half to even; `denominator` is above 0."""
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    if twice > denominator or (twice == denominator and quotient & 1):
        return quotient + 1
    return quotient


def to_units(value: float) -> int:
    """A finite quantity or price in grid units."""
    return int(Decimal(repr(value)).scaleb(PLACES).to_integral_value(ROUND_HALF_EVEN))


def to_money(value: float) -> int:
    """A finite amount in money units, rounded to the grid of prices."""
    return to_units(value) * UNIT


def quantity_of(units: int) -> float:
    """A quantity or price as the nearest double."""
    return units / UNIT


def amount_of(money: int) -> float:
    """An amount as the nearest double."""
    return money / MONEY
