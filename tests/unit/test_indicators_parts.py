"""The arithmetic that indicators stand on: sums that lose nothing, deviations without noise."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from tables.indicators.averages import (
    FORGOTTEN,
    ExponentialMean,
    Held,
    Total,
    WilderMean,
    memory_of,
)
from tables.indicators.registry import parse_indicators
from tables.indicators.windows import (
    Earlier,
    Highest,
    Lowest,
    Mean,
    Part,
    WeightedMean,
    mean_absolute_deviation,
    mean_and_deviation,
    ratio,
)
from tests.checks.hostile_bars import bar


def test_a_total_of_two_hundred_thousand_numbers_is_exact_to_the_last_digit() -> None:
    chance = random.Random(1)
    total, exact = Total(), Fraction(0)
    for _ in range(200_000):
        value = chance.uniform(-1, 1) * 10 ** chance.randrange(-6, 9)
        result = total.push(value)
        exact += Fraction(value)
    assert result == pytest.approx(float(exact), rel=1e-15)


def test_what_is_even_deviates_by_nothing() -> None:
    for value in (0.1, 100.1, 1e12 + 0.3, -37.63, 0.0, 5e-324):
        assert mean_and_deviation([value] * 49, 49) == (value, 0.0)
        assert mean_absolute_deviation([value] * 49, 49) == (value, 0.0)


def test_a_small_deviation_of_large_numbers_is_kept() -> None:
    values = [1e9 + 1e-3 * (number % 2) for number in range(20)]
    mean, deviation = mean_and_deviation(values, 20)
    # The mean is a double: what it is off by, squared, is all that the deviation is off by.
    exact = sum(Fraction(each) for each in values) / 20
    squares = sum((Fraction(each) - exact) ** 2 for each in values)
    assert mean == pytest.approx(float(exact), rel=1e-15)
    assert deviation == pytest.approx(float(squares) ** 0.5, rel=1e-7)


def test_a_quotient_is_null_where_there_is_none() -> None:
    assert ratio(1.0, 4.0) == 0.25
    assert [ratio(1.0, 0.0), ratio(0.0, 0.0), ratio(1.0, None), ratio(None, 1.0)] == [None] * 4
    assert ratio(1.0, 5e-324) is None


@pytest.mark.parametrize("length", [1, 2, 12, 26, 200])
@pytest.mark.parametrize("seed", ["sma", "first"])
def test_a_flat_market_leaves_an_average_exactly_where_it_is(length: int, seed: str) -> None:
    for part in (ExponentialMean(length, seed), WilderMean(length, seed)):
        values = [part.push(100.25) for _ in range(3 * length)]
        assert values == [None] * (length - 1) + [100.25] * (2 * length + 1)


@pytest.mark.parametrize("alpha", [1.0, 0.5, 2 / 27, 1 / 14, 1 / 500])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_memory_of_an_average_is_when_a_value_has_faded(alpha: float, levels: int) -> None:
    averages = [0.0] * levels
    for step in range(memory_of(alpha, levels=levels) + 1):
        value = 1.0 if step == 0 else 0.0
        for level in range(levels):
            averages[level] += alpha * (value - averages[level])
            value = averages[level]
    assert abs(value) <= FORGOTTEN


PARTS: tuple[Part, ...] = (
    Mean(3),
    WeightedMean(3),
    Highest(3),
    Lowest(3),
    Earlier(2),
    ExponentialMean(3),
    ExponentialMean(3, "first"),
    WilderMean(3),
    Total(),
)


@pytest.mark.parametrize("part", PARTS, ids=lambda each: type(each).__name__)
def test_nothing_pushed_leaves_a_part_as_it_is_and_undoes_nothing(part: Part) -> None:
    assert not isinstance(part, Held)
    for value in (1.0, 2.0, 3.0, 4.0):
        part.push(value)  # type: ignore[attr-defined]
    held = part.content()[1:]
    part.push(None)  # type: ignore[attr-defined]
    part.undo()
    assert part.content()[1:] == held


@pytest.mark.parametrize("length", [0, -1])
def test_a_length_below_one_is_refused(length: int) -> None:
    for kind in (Mean, ExponentialMean, WilderMean):
        with pytest.raises(ValueError, match=f"length {length}: expected 1 or more"):
            kind(length)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("RSI(3)", 50.0),
        ("RSI(3,flat=none)", None),
        ("RSI(3,flat=0)", 0.0),
        ("RSI(3,flat=100)", 100.0),
        ("MFI(3)", 50.0),
        ("STOCHASTIC(3,2)", (50.0, 50.0)),
        ("WILLIAMS_R(3)", -50.0),
        ("STOCH_RSI(3,3,2,2)", (0.5, 0.5, 0.5)),
        ("CCI(3)", 0.0),
        ("ATR(3)", 0.0),
        ("ADX(3)", (0.0, 0.0, 0.0)),
        ("BOLLINGER(3,2)", (100.1, 100.1, 100.1, 0.0, None)),
        ("VOLATILITY(3)", 0.0),
        ("VORTEX(3)", (None, None, None)),
        ("TSI(3,2)", 0.0),
        ("ULTIMATE(2,3,4)", 50.0),
        ("AROON(3)", (100.0, 100.0, 0.0)),
        ("OBV", 10.0),
        ("MASS_INDEX(3,4)", 4.0),
    ],
)
def test_a_flat_market_gives_what_is_documented(
    text: str, value: float | tuple[float | None, ...] | None
) -> None:
    made = parse_indicators(text)[0].create()
    for number in range(50):
        made.update(bar(number, 100.1, volume=10.0, vwap=100.1))
    assert made.value == value
