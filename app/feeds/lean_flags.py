"""Lean's condition columns in our vocabulary."""

from __future__ import annotations

import re
from typing import Final

from app.contracts.records import MAX_CONDITIONS

#: Lean's `TradeConditionFlags` (Common/Data/Auxiliary/TradeConditionFlags.cs), bit by bit.
#: None: a flag without a meaning for bars, which is dropped - CAP election (27, abolished),
#: automatic execution (28, a regular trade) and the vendor's undocumented bit (30).
FLAGS: Final[tuple[str | None, ...]] = (
    "regular",
    "cash_sale",
    "next_day",
    "seller",
    "yellow_flag",
    "iso",
    "opening_print",
    "closing_print",
    "reopening_print",
    "derivatively_priced",
    "extended_hours",  # Form T: the reporting form's name of the same thing
    "sold_last",
    "stopped_stock",
    "extended_hours",
    "sold_out_of_sequence",
    "split_trade",
    "acquisition",
    "bunched",
    "stock_option",
    "distribution",
    "average_price",
    "cross",
    "price_variation",
    "rule_127_155",
    "market_center_official_close",
    "prior_reference_price",
    "market_center_official_open",
    None,
    None,
    "trade_through_exempt",
    None,
    "odd_lot",
)
#: Lean's `QuoteConditionFlags` (Common/Data/Auxiliary/QuoteConditionFlags.cs): the first bit.
REGULAR_QUOTE: Final = 1
_HEXADECIMAL = re.compile(r"^[0-9A-Fa-f]{1,8}\Z")


def known_flags(flags: str) -> bool:
    """Whether a text is a hex number of 32 bits."""
    return _HEXADECIMAL.match(flags) is not None


def conditions_of(flags: str, suspicious: str) -> tuple[str, ...]:
    """The two condition columns of a trade in our vocabulary, sorted, each name once.

    Raises:
        ValueError: not a hex number of 32 bits, not 0 or 1, or too many conditions.
    """
    if not known_flags(flags):
        raise ValueError(f"condition flags {flags!r}: expected 1 to 8 hex digits")
    if suspicious not in ("0", "1"):
        raise ValueError(f"suspicious {suspicious!r}: expected 0 or 1")
    value = int(flags, 16)
    names = {name for bit, name in enumerate(FLAGS) if name is not None and value >> bit & 1}
    if suspicious == "1":
        names.add("suspicious")
    if len(names) > MAX_CONDITIONS:
        raise ValueError(f"condition flags {flags!r}: more than {MAX_CONDITIONS} conditions")
    return tuple(sorted(names))


def regular_quote(flags: str) -> bool:
    """Whether a quote may be traded upon: it says `regular`, or nothing at all.

    Opening and closing quotes (800 and 8) are indications of one venue; the vendor's own quote
    bars leave them out.

    Raises:
        ValueError: not a hex number of 32 bits.
    """
    if not known_flags(flags):
        raise ValueError(f"condition flags {flags!r}: expected 1 to 8 hex digits")
    value = int(flags, 16)
    return not value or bool(value & REGULAR_QUOTE)
