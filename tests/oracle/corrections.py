"""What is cancelled or corrected: the records that a correction may name, and how it names one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tests.oracle.parsing import Correction, Trade


@dataclass(slots=True, eq=False)
class Applied:
    """A record that was applied or revised, as corrected so far."""

    trade: Trade
    is_cancelled: bool = False


def is_named(applied: Applied, correction: Correction) -> bool:
    """Whether a correction may mean this record; its age is judged elsewhere."""
    trade = applied.trade
    if applied.is_cancelled or (trade.symbol, trade.venue) != (correction.symbol, correction.venue):
        return False
    if correction.trade_id is not None:
        # Reading: `original_sequence` means nothing beside a trade id.
        if trade.trade_id != correction.trade_id:
            return False
        if correction.original_event_time not in (None, trade.event_time):
            return False
    else:
        # Reading: a record with a trade id is named by its time and sequence too. Where there is
        # neither a trade id nor a time, none is named: the reason is `unknown_trade`.
        sequence = correction.original_sequence
        place = correction.original_event_time, -1 if sequence is None else sequence
        if trade.order[:2] != place:
            return False
    # Doubles compare by value, and the reader has made 0.0 of -0.0: both are equal.
    return correction.original_price in (None, trade.price) and correction.original_size in (
        None,
        trade.size,
    )


def newest_named(
    records: Iterable[Applied], correction: Correction, oldest: int | None
) -> Applied | None:
    """The last of the records, given the newest first, that a correction names.

    Args:
        oldest: earliest event time that may be named; None where there is no bound.
    """
    for applied in records:
        # Reading: a record that is too old is passed over; an earlier one may be named instead.
        if (oldest is None or applied.trade.event_time >= oldest) and is_named(applied, correction):
            return applied
    return None


def corrected(trade: Trade, correction: Correction) -> Trade:
    """The trade with what the correction gives; its place in the order stays."""
    return replace(
        trade,
        price=trade.price if correction.new_price is None else correction.new_price,
        size=trade.size if correction.new_size is None else correction.new_size,
    )
