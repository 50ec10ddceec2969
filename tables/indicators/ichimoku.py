"""Ichimoku: middles of the ranges of three lengths."""

from __future__ import annotations

from typing import Annotated

import msgspec

from app.contracts.wire import BarRecord
from tables.indicators.base import Indicator, IndicatorValue, Length
from tables.indicators.windows import Earlier, Highest, Lowest


class Ichimoku(Indicator):
    """Conversion and base line, and the spans as they are known at this bar.

    Charts draw the spans `long` / 2 bars ahead of the bar that gives them. With `displacement` 26
    the spans are those drawn at this bar: made 26 bars ago, and nothing of the future. The lagging
    line, the close drawn 26 bars back, is left out: at its place it is the future.
    """

    NAME = "ICHIMOKU"
    TITLE = "Ichimoku lines: conversion, base, and both spans"
    OUTPUTS = ("conversion", "base", "span_a", "span_b")
    SEED = "spans undisplaced; `displacement=26`: those made 26 bars ago"
    NOTE = "ta shows span b before its window is full"
    SOURCE = "G. Hosoda, 1969; ta IchimokuIndicator"

    def __init__(
        self,
        short: Length = 9,
        middle: Length = 26,
        long: Length = 52,
        displacement: Annotated[int, msgspec.Meta(ge=0, le=2000)] = 0,
    ) -> None:
        self._lines = tuple((Highest(each), Lowest(each)) for each in (short, middle, long))
        self._spans = (Earlier(displacement), Earlier(displacement))
        longest = max(short, middle, long)
        super().__init__(
            *(part for line in self._lines for part in line),
            *self._spans,
            warm_up=longest + displacement,
        )

    def _step(self, bar: BarRecord) -> IndicatorValue | None:
        middles: list[float | None] = []
        for highs, lows in self._lines:
            highest = highs.push(bar.high)
            lowest = lows.push(bar.low)
            middles.append(None if highest is None or lowest is None else (highest + lowest) / 2)
        conversion, base, longest = middles
        mean = None if conversion is None or base is None else (conversion + base) / 2
        first = self._spans[0].push(mean)
        second = self._spans[1].push(longest)
        if conversion is None or base is None or first is None or second is None:
            return None
        return conversion, base, first, second
