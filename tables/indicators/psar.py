"""Parabolic SAR: a stop that closes in on the price, and turns where it is met."""

from __future__ import annotations

from typing import Annotated

import msgspec

from app.contracts.wire import BarRecord
from tables.indicators.averages import Held
from tables.indicators.base import Indicator, IndicatorValue, ParameterError

Step = Annotated[float, msgspec.Meta(gt=0, le=1)]


class ParabolicStop(Indicator):
    """Stop and direction (1 rising, -1 falling) of each bar.

    The stop moves towards the extreme of the trend by a share of the distance, `step` more of it
    with each new extreme, up to `maximum`; never beyond the two bars before. Where a bar reaches
    it, the trend turns and the stop is the extreme of the trend that ended.
    """

    NAME = "PSAR"
    TITLE = "Parabolic stop and reverse"
    OUTPUTS = ("", "direction")
    SEED = (
        "rising, unless from the first bar to the second the low fell further than the high rose; "
        "the first stop is the first bar's low or high"
    )
    NOTE = "ta's stop may lie inside the two bars before, and begins with the close"
    SOURCE = "J. W. Wilder, New Concepts in Technical Trading Systems, 1978; TA-Lib SAR"

    def __init__(self, step: Step = 0.02, maximum: Step = 0.2) -> None:
        if step > maximum:
            raise ParameterError(
                f"{self.NAME}: step is {step}, maximum {maximum}; expected step <= maximum"
            )
        self._increment = step
        self._maximum = maximum
        #: Direction, stop of the next bar, extreme of the trend, share.
        self._trend = Held(None, None, None, None)
        #: High and low of the bar before.
        self._previous = Held(None, None)
        # A stop depends on all of its trend; nothing bounds how long one lasts.
        super().__init__(self._trend, self._previous, warm_up=2, memory=None)

    def _step(self, bar: BarRecord) -> IndicatorValue | None:
        high, low = self._previous.values
        direction, stop, extreme, share = self._trend.values
        self._previous.set(bar.high, bar.low)
        if high is None or low is None:
            self._trend.set(None, None, None, None)
            return None
        if direction is None or stop is None or extreme is None or share is None:
            fell = low - bar.low
            direction = -1.0 if fell > 0 and fell > bar.high - high else 1.0
            stop, extreme = (low, bar.high) if direction > 0 else (high, bar.low)
            share = self._increment
            # The first stop may lie inside the first bar: it does not count as one of the two.
            high, low = bar.high, bar.low
        rising = direction > 0
        ahead = bar.high if rising else bar.low
        if bar.low <= stop if rising else bar.high >= stop:
            rising = not rising
            shown = self._outside(extreme, rising, (high, bar.high), (low, bar.low))
            extreme = bar.high if rising else bar.low
            share = self._increment
        else:
            shown = stop
            if ahead > extreme if rising else ahead < extreme:
                extreme = ahead
                share = min(share + self._increment, self._maximum)
        moved = shown + share * (extreme - shown)
        direction = 1.0 if rising else -1.0
        following = self._outside(moved, rising, (high, bar.high), (low, bar.low))
        self._trend.set(direction, following, extreme, share)
        return shown, direction

    @staticmethod
    def _outside(
        stop: float, rising: bool, highs: tuple[float, float], lows: tuple[float, float]
    ) -> float:
        """Return the stop, moved out of the two bars: below both lows, or above both highs."""
        return min(stop, *lows) if rising else max(stop, *highs)
