"""Changes of the close: momentum, rate of change, returns, their volatility."""

from __future__ import annotations

from math import inf, log, sqrt
from typing import Literal

from app.contracts.wire import BarRecord
from tables.indicators.averages import Held
from tables.indicators.base import Indicator, Length
from tables.indicators.windows import Earlier, Part, Window, mean_and_deviation, ratio


class _Lagged(Indicator):
    def __init__(self, length: int, *others: Part, warm_up: int | None = None) -> None:
        self._earlier_close = Earlier(length)
        super().__init__(
            self._earlier_close, *others, warm_up=length + 1 if warm_up is None else warm_up
        )


class Momentum(_Lagged):
    """Close less the close `length` bars ago."""

    NAME = "MOMENTUM"
    TITLE = "Change over the last bars, in price"
    SOURCE = "TA-Lib MOM"

    def __init__(self, length: Length = 10) -> None:
        super().__init__(length)

    def _step(self, bar: BarRecord) -> float | None:
        before = self._earlier_close.push(bar.close)
        return None if before is None else bar.close - before


class RateOfChange(_Lagged):
    """Change from the close `length` bars ago, in per cent of that."""

    NAME = "ROC"
    TITLE = "Change over the last bars, per cent"
    SEED = "null where the earlier close is 0"
    SOURCE = "TA-Lib ROC"

    def __init__(self, length: Length = 12) -> None:
        super().__init__(length)

    def _step(self, bar: BarRecord) -> float | None:
        before = self._earlier_close.push(bar.close)
        return None if before is None else ratio(100 * (bar.close - before), before)


class Return(RateOfChange):
    """Change from the close before, in per cent."""

    NAME = "RETURN"
    TITLE = "Return of a bar, per cent (ta's daily return)"
    SOURCE = "ta DailyReturnIndicator"

    def __init__(self) -> None:
        super().__init__(1)


class LogReturn(_Lagged):
    """100 x the logarithm of close / close before."""

    NAME = "LOG_RETURN"
    TITLE = "Logarithmic return of a bar, per cent"
    SEED = "null where either close is 0 or below"
    SOURCE = "ta DailyLogReturnIndicator"

    def __init__(self) -> None:
        super().__init__(1)

    def _step(self, bar: BarRecord) -> float | None:
        change = log_return(bar.close, self._earlier_close.push(bar.close))
        return None if change is None else 100 * change


class CumulativeReturn(Indicator):
    """Change from the very first close, in per cent."""

    NAME = "CUMULATIVE_RETURN"
    TITLE = "Return since the first bar, per cent"
    SEED = "of the first bar ever taken; null where its close is 0"
    SOURCE = "ta CumulativeReturnIndicator"

    def __init__(self) -> None:
        self._first = Held(None)
        super().__init__(self._first, warm_up=1, memory=None)

    def _step(self, bar: BarRecord) -> float | None:
        first = self._first.values[0]
        if first is None:
            first = bar.close
        self._first.set(first)
        return ratio(100 * (bar.close - first), first)


def log_return(close: float, before: float | None) -> float | None:
    """Return log(close / before); None unless both are above 0."""
    if before is None or close <= 0 or before <= 0:
        return None
    quotient = close / before
    # Prices so far apart that their quotient is no number have logarithms all the same.
    return log(quotient) if 0 < quotient < inf else log(close) - log(before)


class Volatility(Indicator):
    """Standard deviation of the last `length` logarithmic returns, not annualised."""

    NAME = "VOLATILITY"
    TITLE = "Standard deviation of logarithmic returns (per bar, not annualised)"
    SEED = (
        "`sample`: divided by `length` - 1; `population`: by `length`. Null while the window has a "
        "close of 0 or below"
    )
    SOURCE = "sample standard deviation of log(close / previous close)"

    def __init__(
        self, length: Length = 20, deviation: Literal["sample", "population"] = "sample"
    ) -> None:
        self._closes = Earlier()
        self._returns = Window(length)
        self._length = length
        #: Bars since the last undefined return.
        self._defined = Held(0)
        self._root = sqrt(max(1, length - 1) if deviation == "sample" else length)
        super().__init__(self._closes, self._returns, self._defined, warm_up=length + 1)

    def _step(self, bar: BarRecord) -> float | None:
        before = self._closes.push(bar.close)
        change = log_return(bar.close, before)
        # A place-holder: no value is given while the window has one.
        values = self._returns.take(None if before is None else change or 0.0)
        run = 0 if change is None else min(self._length, int(self._defined.values[0] or 0) + 1)
        self._defined.set(run)
        if values is None or run < self._length:
            return None
        return mean_and_deviation(values, self._length)[1] / self._root
