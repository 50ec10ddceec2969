"""The quality of trades: repeated ids, exact copies, prices, sizes, the tick grid."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from app.contracts.wire import TradeRecord
from tables.quality.counters import (
    COPIES,
    DUPLICATES,
    JUDGED,
    OFF_TICK,
    ZERO_SIZES,
)
from tables.quality.events import DUPLICATE
from tables.quality.partition import QualityPartition
from tables.quality.state import MAX_COPIES, SymbolState

#: Trades whose price was agreed elsewhere or earlier, or repeats another's: theirs may be far from
#: the market's, rightly, so they are neither judged nor learned. The sale-condition matrices of
#: UTDF and CTS (tables/policies.py) let none of them set the last price; odd lots and extended
#: hours, which do not either, trade at the market and are judged.
NOT_AT_MARKET: Final = frozenset(
    {
        "average_price",
        "bunched_sold",
        "cash_sale",
        "contingent",
        "corrected_close",
        "derivatively_priced",
        "extended_hours_out_of_sequence",
        "market_center_official_close",
        "market_center_official_open",
        "next_day",
        "placeholder",
        "price_variation",
        "prior_reference_price",
        "qualified_contingent",
        "seller",
        "sold_out_of_sequence",
        "stock_option",
    }
)
#: Differences from the tick grid that a double may have, in ticks.
_ON_GRID: Final = 1e-6


def at_market(conditions: Iterable[str]) -> bool:
    """Return whether a trade with these conditions is priced by the market of its moment."""
    return NOT_AT_MARKET.isdisjoint(conditions)


class TradeQuality(QualityPartition[TradeRecord]):
    """The quality of one partition of `ticks`."""

    def _judge(self, state: SymbolState, record: TradeRecord, offset: int) -> int:
        counts = state.counts
        identifier = record.trade_id
        if identifier is None:
            self._compare_copies(state, record)
        else:
            key = identifier if record.venue is None else f"{record.venue}\0{identifier}"
            if key in state.identifiers:
                counts[DUPLICATES] += 1
                if not state.in_duplicates:
                    state.in_duplicates = True
                    details = {"trade_id": identifier, "venue": record.venue}
                    time = record.event_time
                    self._event(state, "duplicate", time, offset, "info", details=details)
                return DUPLICATE
            state.identifiers[key] = None
            state.in_duplicates = False
            if len(state.identifiers) > self.configuration.duplicate_window:
                del state.identifiers[next(iter(state.identifiers))]
        if not record.size:
            counts[ZERO_SIZES] += 1
        price = record.price
        tick = state.instrument.tick_size
        if tick is not None:
            ticks = price / tick
            if abs(ticks - round(ticks)) > _ON_GRID * max(1.0, abs(ticks) * 1e-6):
                counts[OFF_TICK] += 1
        if record.conditions and not at_market(record.conditions):
            return 0
        counts[JUDGED] += 1
        return self._judge_price(state, record, price, offset)

    def _compare_copies(self, state: SymbolState, record: TradeRecord) -> None:
        """Count a trade that is like one of the same event time in all but its sequence."""
        if record.event_time != state.copies_time:
            state.copies_time = record.event_time
            state.copies = []
        own = (record.price, record.size, record.venue, record.source, record.conditions)
        if own in state.copies:
            state.counts[COPIES] += 1
        elif len(state.copies) < MAX_COPIES:
            state.copies.append(own)
