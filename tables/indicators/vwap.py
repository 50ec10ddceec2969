"""VWAP over the last bars, and since the session began.

Both are of the bars' own prices: sum(vwap x volume) / sum(volume), which is the price per share of
all trades as long as every trade with volume also sets prices. VWAPs are never averaged. A bar
without a vwap (no eligible volume) adds nothing.
"""

from __future__ import annotations

from typing import Literal

from app.contracts.wire import BarRecord
from tables.indicators.averages import two_sum
from tables.indicators.base import Context, Indicator, Length
from tables.indicators.windows import Sum, ratio
from tables.learning import State

#: `bar`: the bar's own vwap; `typical`: (high + low + close) / 3 (ta, spreadsheets).
Price = Literal["bar", "typical"]

_Sums = tuple[int | None, float, float, float, float]


class RollingVwap(Indicator):
    """Volume-weighted mean price of the last `length` bars."""

    NAME = "VWAP"
    TITLE = "Volume-weighted average price of the last bars"
    SEED = (
        "`price=bar`: of each bar's own vwap; `typical`: of (high + low + close) / 3. "
        "No volume: null"
    )
    NOTE = "ta has `typical` only, and calls it VWAP"
    SOURCE = "sum(vwap x volume) / sum(volume)"

    def __init__(self, length: Length = 14, price: Price = "bar") -> None:
        self._products = Sum(length)
        self._volumes = Sum(length)
        self._typical = price == "typical"
        super().__init__(self._products, self._volumes, warm_up=length)

    def _step(self, bar: BarRecord) -> float | None:
        price = (bar.high + bar.low + bar.close) / 3 if self._typical else bar.vwap
        volume = 0.0 if price is None else bar.volume
        products = self._products.push((price or 0.0) * volume)
        return ratio(products, self._volumes.push(volume))


class SessionVwap(Indicator):
    """Volume-weighted mean price since the session of the bar began; sums lose nothing."""

    NAME = "SESSION_VWAP"
    TITLE = "Volume-weighted average price of the session so far"
    SEED = "begins anew with each session of the calendar (else UTC date). No volume yet: null"
    SOURCE = "sum(vwap x volume) / sum(volume)"

    def __init__(self, context: Context | None = None) -> None:
        self._session_of = (context or Context()).session_of
        #: Session, products and what their sum lost, volumes and what their sum lost.
        self._sums: _Sums = (None, 0.0, 0.0, 0.0, 0.0)
        self._sums_before: _Sums = self._sums
        super().__init__(warm_up=1, memory=None)

    def forgot(self, older: int, bars: int, newest: int) -> bool:
        """Return whether the session of the older bar is over."""
        return self._session_of(older) != self._session_of(newest)

    def _step(self, bar: BarRecord) -> float | None:
        self._sums_before = sums = self._sums
        held, product, product_rest, volume, volume_rest = sums
        session = self._session_of(bar.start)
        if session != held:
            product = product_rest = volume = volume_rest = 0.0
        if bar.vwap is not None:
            product, product_rest = two_sum(product, product_rest, bar.vwap * bar.volume)
            volume, volume_rest = two_sum(volume, volume_rest, bar.volume)
        self._sums = (session, product, product_rest, volume, volume_rest)
        return ratio(product + product_rest, volume + volume_rest)

    def revert(self) -> None:
        """Undo the last update."""
        super().revert()
        self._sums = self._sums_before

    def _content(self) -> State:
        return [*super()._content(), list(self._sums), list(self._sums_before)]

    def _restore(self, content: State) -> None:
        *rest, sums, before = content
        super()._restore(rest)
        self._sums, self._sums_before = tuple(sums), tuple(before)
