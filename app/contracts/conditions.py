"""The one vocabulary of sale conditions; every adapter maps its vendor's codes to it.

A trade carries names (`conditions: ["odd_lot", "extended_hours"]`). Inside the engine a
set of names is a bit mask; what a name means for open, high, low, close and volume is
a policy's (tables/policies.py), never this file's.

Sources of the names: the sale-condition tables of the Consolidated Tape Association
(CTS specification) and of the UTP plan (UTDF specification); `iso` is the CTS/UTP
"intermarket sweep".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

CONDITIONS: Final[tuple[str, ...]] = (
    "acquisition",
    "average_price",
    "bunched",
    "bunched_sold",
    "cash_sale",
    "closing_print",
    "contingent",
    "corrected_close",
    "cross",
    "derivatively_priced",
    "distribution",
    "extended_hours",
    "extended_hours_out_of_sequence",
    "iso",
    "market_center_official_close",
    "market_center_official_open",
    "next_day",
    "odd_lot",
    "opening_print",
    "placeholder",
    "price_variation",
    "prior_reference_price",
    "qualified_contingent",
    "regular",
    "reopening_print",
    "rule_127_155",
    "seller",
    "sold_last",
    "sold_out_of_sequence",
    "split_trade",
    "stock_option",
    "stopped_stock",
    "suspicious",
    "trade_through_exempt",
    "yellow_flag",
)
BIT: Final[dict[str, int]] = {name: 1 << index for index, name in enumerate(CONDITIONS)}


class UnknownConditionError(ValueError):
    """A condition that is not in the vocabulary."""


def mask_of(names: Iterable[str]) -> int:
    """Turn condition names into their bit mask.

    Raises:
        UnknownConditionError: a name is not in `CONDITIONS`.
    """
    mask = 0
    for name in names:
        bit = BIT.get(name)
        if bit is None:
            raise UnknownConditionError(f"unknown condition {name!r}")
        mask |= bit
    return mask
