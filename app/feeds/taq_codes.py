"""TAQ's letters and numbers: sale conditions (`COND`) and corrections (`CORR`).

`COND` is up to four letters, blanks between them. They are those of the consolidated tapes: CTS for
stocks of Tape A and B, UTDF for those of Tape C. The two differ in `B` and `E` alone. TAQ has no
column for the tape, but writes Nasdaq's own trades as `Q` on Tape C and as `T` on the others.

Sources: NYSE Daily TAQ client specification (Sale Condition), NYSE monthly TAQ user guide (`CORR`),
CTS and UTDF specifications; letters as in the comments of `tables/policies.py`.
"""

from __future__ import annotations

from typing import Final

from app.contracts.records import MAX_CONDITIONS

#: Nasdaq's letter in column `EX` for a stock of Tape C.
TAPE_C_EXCHANGE: Final = "Q"

_BOTH: Final[dict[str, str]] = {
    "@": "regular",
    "A": "acquisition",
    "C": "cash_sale",
    "D": "distribution",
    "F": "iso",
    "G": "bunched_sold",
    "H": "price_variation",
    "I": "odd_lot",
    "J": "rule_127_155",  # NYSE's Rule 127, before K stood for both
    "K": "rule_127_155",
    "L": "sold_last",
    "M": "market_center_official_close",
    "N": "next_day",
    "O": "opening_print",
    "P": "prior_reference_price",
    "Q": "market_center_official_open",
    "R": "seller",
    "S": "split_trade",
    "T": "extended_hours",
    "U": "extended_hours_out_of_sequence",
    "V": "contingent",
    "W": "average_price",
    "X": "cross",
    "Y": "yellow_flag",
    "Z": "sold_out_of_sequence",
    "1": "stopped_stock",
    "4": "derivatively_priced",
    "5": "reopening_print",
    "6": "closing_print",
    "7": "qualified_contingent",
    "8": "trade_through_exempt",
    "9": "corrected_close",
}
#: By letter; None: dropped, because it means nothing for bars. `E` was an automatic execution.
CTS: Final[dict[str, str | None]] = {**_BOTH, "B": "average_price", "E": None}
UTDF: Final[dict[str, str | None]] = {**_BOTH, "B": "bunched", "E": "placeholder"}

#: A trade that stood as it was printed.
REGULAR: Final = 0
#: A trade that was corrected later; its row has what was printed.
CORRECTED: Final = 1
#: Trades that were taken back later: because of an error, or cancelled.
CANCELLED: Final = (7, 8)
#: What the venue said later: cancel record, error record.
CANCELS: Final = (10, 11)
#: What the venue said later: the row has the new price and size.
CORRECTS: Final = 12
CORRECTIONS: Final = (REGULAR, CORRECTED, *CANCELLED, *CANCELS, CORRECTS)


def conditions_of(letters: str, tape_c: bool) -> tuple[str, ...]:
    """`COND` in our vocabulary, sorted, each name once.

    Raises:
        ValueError: a letter is not in the tape's table, or there are too many.
    """
    table = UTDF if tape_c else CTS
    names = set()
    for letter in letters:
        if letter == " ":
            continue
        if letter not in table:
            raise ValueError(f"COND {letters!r}: unknown letter {letter!r}")
        name = table[letter]
        if name is not None:
            names.add(name)
    if len(names) > MAX_CONDITIONS:
        raise ValueError(f"COND {letters!r}: more than {MAX_CONDITIONS} conditions")
    return tuple(sorted(names))
