"""What a sale condition means for a bar: named policies over condition masks.

A policy answers one question, statelessly: which of a bar's fields may this trade set? The
answer is a combination of four flags; what the flags do is stated in app/README.md.

- `EXTREMES`: sets high and low (and counts for the vwap).
- `LAST`: sets open and close.
- `VOLUME`: its size and its count are added.
- `CLOSING`: a closing print, which belongs to its session's last window when it is stamped
  at or after the session's end (policy `algoseek`, class *minute*).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Final

from app.contracts.conditions import BIT, CONDITIONS

EXTREMES: Final = 1
LAST: Final = 2
VOLUME: Final = 4
CLOSING: Final = 8

MINUTE: Final = 60_000_000_000

_PRICE = EXTREMES | LAST
_ALL = EXTREMES | LAST | VOLUME


@dataclass(frozen=True, slots=True)
class Policy:
    """One named rule of eligibility.

    Attributes:
        name: as in the setting `bars.policy`.
        amends: whether closing prints move to the session's last window and volume without a
            price moves to the bar before it (app/README.md, *Policies*).
        classes: number of interval classes, 1 or 2.
    """

    name: str
    amends: bool
    classes: int
    rule: Callable[[int, int], int]

    def interval_class(self, length_ns: int) -> int:
        """Class of an interval of this length in ns: 1 from one minute, if there are two."""
        return 1 if self.classes == 2 and length_ns >= MINUTE else 0

    def flags(self, mask: int, interval_class: int) -> int:
        """Flags of a trade with these conditions (`mask_of`), 0 to 15, for one class."""
        return self.rule(mask, interval_class)


def policy_of(name: str) -> Policy:
    """The policy of this name.

    Raises:
        ValueError: no policy has this name.
    """
    policy = POLICIES.get(name)
    if policy is None:
        raise ValueError(f"unknown policy {name!r}; expected one of {', '.join(POLICIES)}")
    return policy


def _bits(*names: str) -> int:
    return reduce(or_, (BIT[name] for name in names), 0)


def _all(mask: int, interval_class: int) -> int:
    """Every trade counts for everything; no condition means anything, `suspicious` neither."""
    return _ALL


#: The tape's matrix: what a trade with this condition alone may update.
#:
#: Source: UTP Trade Data Feed (UTDF) Direct Subscriber Interface Specification, sale
#: condition matrix, columns *Consolidated Processing: Update High/Low, Update Last* and
#: *Volume*; Consolidated Tape System (CTS) specification, the table of the same name. Read from
#: their reprints, not from the specifications: polygon.io "Conditions & Indicators" (rows and
#: footnotes) and dxFeed "Raw exchange sale conditions: updating OHLC" (some rows). The tape's
#: codes are in the comments.
#:
#: Stateless readings, because a policy sees one trade and not the day:
#:
#: - A cell with a footnote keeps its printed value. Footnote 1 (`4 G P Z`: "No" unless this is
#:   the day's first or only last-eligible trade) is therefore No, footnote 2 (`L`: "Yes" under
#:   a condition on the day's other trades) is Yes.
#: - Seller (`R`): printings differ in High/Low (polygon.io's glossary yes, later lists no): no.
#: - Form T (`T`) and `U` set no price, as on the daily tape. Vendors that draw minute bars in
#:   extended hours let `T` set prices; that is not the tape's matrix and not done here.
#: - `M`, `Q` have No in all three: a price marker repeats trades that were reported before.
#: - Corrected consolidated close (`9`): price yes, volume no.
#: - The trade-through exemption (`8`) has no decided row: nothing is forbidden.
#:   Placeholder (`E`) is "to be determined" in UTDF and forbids prices (dxFeed's reading);
#:   stock option (`V` before it became *contingent*) is read as contingent.
#: - `suspicious` is a vendor's mark, not a condition of the tape: the consolidated tape has
#:   published that trade, so it forbids nothing.
SIP_MATRIX: Final[dict[str, int]] = {
    "acquisition": _ALL,  # A
    "average_price": VOLUME,  # W (CTS: B)
    "bunched": _ALL,  # B
    "bunched_sold": EXTREMES | VOLUME,  # G, footnote 1
    "cash_sale": VOLUME,  # C
    "closing_print": _ALL,  # 6
    "contingent": VOLUME,  # V
    "corrected_close": _PRICE,  # 9
    "cross": _ALL,  # X
    "derivatively_priced": EXTREMES | VOLUME,  # 4, footnote 1
    "distribution": _ALL,  # D
    "extended_hours": VOLUME,  # T
    "extended_hours_out_of_sequence": VOLUME,  # U
    "iso": _ALL,  # F
    "market_center_official_close": 0,  # M
    "market_center_official_open": 0,  # Q
    "next_day": VOLUME,  # N
    "odd_lot": VOLUME,  # I
    "opening_print": _ALL,  # O
    "placeholder": VOLUME,  # E
    "price_variation": VOLUME,  # H
    "prior_reference_price": EXTREMES | VOLUME,  # P, footnote 1
    "qualified_contingent": VOLUME,  # 7
    "regular": _ALL,  # @
    "reopening_print": _ALL,  # 5
    "rule_127_155": _ALL,  # K
    "seller": VOLUME,  # R
    "sold_last": _ALL,  # L, footnote 2
    "sold_out_of_sequence": EXTREMES | VOLUME,  # Z, footnote 1
    "split_trade": _ALL,  # S
    "stock_option": VOLUME,  # V of older feeds
    "stopped_stock": _ALL,  # 1
    "suspicious": _ALL,
    "trade_through_exempt": _ALL,
    "yellow_flag": _ALL,  # Y
}

#: For each flag, the conditions whose row has No.
_SIP_FORBIDS: Final[tuple[tuple[int, int], ...]] = tuple(
    (flag, _bits(*(name for name in CONDITIONS if not SIP_MATRIX[name] & flag)))
    for flag in (EXTREMES, LAST, VOLUME)
)


def _sip(mask: int, interval_class: int) -> int:
    """The tape's matrix; of several conditions the strictest decides, flag by flag."""
    flags = 0
    for flag, forbidding in _SIP_FORBIDS:
        if not mask & forbidding:
            flags |= flag
    return flags


_SUSPICIOUS = _bits("suspicious")
_EXTENDED = _bits("extended_hours")
_OPENING = _bits("opening_print")
_CLOSING = _bits("closing_print")
_OFFICIAL = _bits("market_center_official_open", "market_center_official_close")
_NO_PRICE = (
    _bits("iso", "derivatively_priced", "stock_option", "average_price", "reopening_print")
    | _OPENING
    | _CLOSING
    | _OFFICIAL
)


def _algoseek(mask: int, interval_class: int) -> int:
    """The rule of the recorded equity bars, app/README.md *Policies*.

    Class 0 are intervals below one minute, class 1 the others. `CLOSING` is set in class 1
    only; whether the print is stamped after the session's end is the caller's to look at.
    """
    if mask & _SUSPICIOUS:
        return 0
    auctions = mask & (_OPENING | _CLOSING)
    flags = 0
    if mask & _EXTENDED or not mask & _NO_PRICE or (interval_class == 1 and auctions):
        flags |= _PRICE
    if not mask & _OFFICIAL and not (interval_class == 0 and auctions):
        flags |= VOLUME
    if interval_class == 1 and mask & _CLOSING:
        flags |= CLOSING
    return flags


POLICIES: Final[dict[str, Policy]] = {
    policy.name: policy
    for policy in (
        Policy("all", amends=False, classes=1, rule=_all),
        Policy("sip", amends=False, classes=1, rule=_sip),
        Policy("algoseek", amends=True, classes=2, rule=_algoseek),
    )
}
