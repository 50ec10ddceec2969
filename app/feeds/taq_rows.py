"""One row of a TAQ file, judged alone: the slow way, to say what is wrong in which line."""

from __future__ import annotations

import csv
import re
from typing import Final

from app.contracts.records import MAX_NOTIONAL, MAX_PRICE, MAX_SIZE
from app.feeds.files import Kind
from app.feeds.rows import known_symbol
from app.feeds.taq_codes import CORRECTIONS, conditions_of

TRADES: Final = ("DT", "EX", "SYMBOL", "COND", "SIZE", "PRICE", "CORR")
QUOTES: Final = ("DT", "EX", "SYMBOL", "BID", "BIDSIZ", "OFR", "OFRSIZ")
COLUMNS: Final[dict[Kind, tuple[str, ...]]] = {"trades": TRADES, "quotes": QUOTES}
_PRICES: Final = ("PRICE", "BID", "OFR")
_SIZES: Final = ("SIZE", "BIDSIZ", "OFRSIZ")
_STAMP: Final = re.compile(r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{1,9})?\Z")


def is_venue(text: str) -> bool:
    """Whether a text is an exchange's letter."""
    return len(text) == 1 and text.isalnum()


def first_fault(
    block: bytes, names: tuple[str, ...], kind: Kind, tape_c: set[str]
) -> tuple[int, str] | None:
    """The first broken line of a block of whole lines: its number from 1, and what is wrong.

    `names` are the header's, `tape_c` the symbols of Tape C.
    """
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, raw in enumerate(lines, start=1):
        fault = _fault(raw, names, kind, tape_c)
        if fault is not None:
            return number, fault
    return None


def _fault(raw: bytes, names: tuple[str, ...], kind: Kind, tape_c: set[str]) -> str | None:
    """What is wrong with one row, or None."""
    try:
        fields = next(csv.reader([raw.decode()], strict=True), [])
    except (UnicodeDecodeError, csv.Error) as error:
        return str(error)
    if len(fields) != len(names):
        return f"{len(fields)} columns; expected {len(names)}: {', '.join(names)}"
    row = {name: text for name, text in zip(names, fields, strict=True) if name in COLUMNS[kind]}
    if _STAMP.match(row["DT"]) is None or not "1970" <= row["DT"][:4] < "2262":
        return f"DT {row['DT']!r}: expected YYYY-MM-DD HH:MM:SS.fffffffff from 1970 on, UTC"
    if not known_symbol(row["SYMBOL"]):
        return f"SYMBOL {row['SYMBOL']!r}: outside the alphabet"
    if not is_venue(row["EX"]):
        return f"EX {row['EX']!r}: expected a letter"
    for name, text in row.items():
        if name not in (*_PRICES, *_SIZES):
            continue
        most = MAX_PRICE if name in _PRICES else MAX_SIZE
        try:
            fits = 0 <= float(text) <= most
        except ValueError:
            fits = False
        if not fits:
            return f"{name} {text!r}: expected a number from 0 to {most:.0e}"
    if kind == "quotes":
        return None
    if float(row["PRICE"]) * float(row["SIZE"]) > MAX_NOTIONAL:
        return f"PRICE x SIZE is more than {MAX_NOTIONAL:.0e}"
    if not row["CORR"].isdecimal() or int(row["CORR"]) not in CORRECTIONS:
        return f"CORR {row['CORR']!r}: expected one of {', '.join(map(str, CORRECTIONS))}"
    try:
        conditions_of(row["COND"], row["SYMBOL"] in tape_c)
    except ValueError as error:
        return str(error)
    return None
