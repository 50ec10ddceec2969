"""Indicators from their formulas over whole columns, in exact fractions where there is no root.

For those that neither library has as we mean them. Slow and plain; nothing here knows ours.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

Series = list[float | None]


def mean_weighted(prices: Sequence[float | None], volumes: Sequence[float], length: int) -> Series:
    """Volume-weighted mean of the last `length` prices; bars without a price do not count."""
    answer: Series = []
    for end in range(1, len(volumes) + 1):
        held = [
            (Fraction(price), Fraction(volume))
            for price, volume in zip(
                prices[max(0, end - length) : end], volumes[max(0, end - length) : end], strict=True
            )
            if price is not None
        ]
        total = sum(volume for _, volume in held)
        ready = end >= length and total
        answer.append(
            float(sum(price * volume for price, volume in held) / total) if ready else None
        )
    return answer


def session_mean(
    prices: Sequence[float | None], volumes: Sequence[float], sessions: Sequence[int]
) -> Series:
    """Volume-weighted mean of the prices since the first bar of the session."""
    answer: Series = []
    for end in range(len(prices)):
        first = end
        while first and sessions[first - 1] == sessions[end]:
            first -= 1
        answer.append(
            mean_weighted(prices[first : end + 1], volumes[first : end + 1], end + 1 - first)[-1]
        )
    return answer


def volatility(closes: Sequence[float], length: int) -> Series:
    """Sample standard deviation of the last `length` logarithmic returns."""
    returns = [math.log(later / earlier) for earlier, later in pairwise(closes)]
    return [
        None if end < length else statistics.stdev(returns[end - length : end])
        for end in range(len(closes))
    ]


def wilder(values: Sequence[float], length: int) -> Series:
    """Wilder's average: the mean of the first `length`, then 1 / length of each value."""
    answer: Series = [None] * (length - 1)
    average = sum(map(Fraction, values[:length])) / length
    answer.append(float(average))
    for value in values[length:]:
        # Exact fractions would grow without end; a hundred digits do not.
        average = round((average * (length - 1) + Fraction(value)) / length, 100)
        answer.append(float(average))
    return answer


def negative_volume_index(closes: Sequence[float], volumes: Sequence[float]) -> Series:
    """1,000, changed with the close where there is less volume than before."""
    index = Fraction(1000)
    answer: Series = [1000.0]
    for place in range(1, len(closes)):
        if volumes[place] < volumes[place - 1]:
            index = round(index * Fraction(closes[place]) / Fraction(closes[place - 1]), 100)
        answer.append(float(index))
    return answer
