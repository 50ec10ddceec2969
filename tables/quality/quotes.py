"""The quality of quotes: zero, crossed and locked ones, the mid price."""

from __future__ import annotations

from typing import Any

from app.contracts.wire import QuoteRecord
from tables.quality.counters import (
    CROSSED_QUOTES,
    JUDGED,
    LOCKED_QUOTES,
    WIDE_QUOTES,
    ZERO_QUOTES,
)
from tables.quality.events import CROSSED, ZERO
from tables.quality.partition import QualityPartition
from tables.quality.state import SymbolState


class QuoteQuality(QualityPartition[QuoteRecord]):
    """The quality of one partition of `quotes`.

    A price of zero is a side without a quote, a bid above the ask is crossed, at the ask locked.
    Locked quotes are counted only; the mid price of the others is compared as a trade's price is.
    But a quote with a spread beyond twice the floor, and the rolling median between its bid and its
    ask or within the floor of one, says nothing against the median: it is counted as wide, neither
    judged nor learned (venues leave such stubs in the book; after rule Q3 of Barndorff-Nielsen et
    al., 2009).
    """

    def _judge(self, state: SymbolState, record: QuoteRecord, offset: int) -> int:
        counts = state.counts
        bid, ask = record.bid, record.ask
        if bid < ask and bid and ask:
            state.in_invalid = 0
        elif not bid or not ask:
            counts[ZERO_QUOTES] += 1
            return self._invalid(state, record, offset, ZERO, "zero_quote")
        elif bid > ask:
            counts[CROSSED_QUOTES] += 1
            return self._invalid(state, record, offset, CROSSED, "crossed")
        else:
            state.in_invalid = 0
            counts[LOCKED_QUOTES] += 1
        mid = (bid + ask) / 2
        floor = self.configuration.outlier_floor * abs(mid)
        if ask - bid > 2 * floor:
            centre = state.outliers.statistics.centre()
            if centre is not None and bid - floor <= centre[1] <= ask + floor:
                counts[WIDE_QUOTES] += 1
                return 0
        counts[JUDGED] += 1
        return self._judge_price(state, record, mid, offset)

    def _invalid(
        self, state: SymbolState, record: QuoteRecord, offset: int, flag: int, kind: str
    ) -> int:
        if state.in_invalid != flag:
            state.in_invalid = flag
            details: dict[str, Any] = {
                "bid": record.bid,
                "ask": record.ask,
                "source": record.source,
                "venue": record.venue,
            }
            self._event(state, kind, record.event_time, offset, "warning", details=details)
        return flag
