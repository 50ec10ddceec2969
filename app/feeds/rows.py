"""One row of a plain CSV, judged alone: the slow way, to say what is wrong in which line."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from typing import Final

import pyarrow as pa

from app.contracts.conditions import mask_of
from app.contracts.records import (
    MAX_CONDITIONS,
    MAX_NOTIONAL,
    MAX_PRICE,
    MAX_SIZE,
    MAX_TEXT,
    MAX_TIME,
    SYMBOL_PATTERN,
)
from app.feeds.files import Kind

#: What a table must have, and what it may have.
REQUIRED: Final[dict[Kind, tuple[str, ...]]] = {
    "trades": ("symbol", "price", "size", "event_time"),
    "quotes": ("symbol", "bid", "ask", "event_time"),
}
COLUMNS: Final[dict[Kind, tuple[str, ...]]] = {
    "trades": (*REQUIRED["trades"], "trade_id", "sequence", "venue", "conditions", "source"),
    "quotes": (*REQUIRED["quotes"], "bid_size", "ask_size", "sequence", "venue", "source"),
}
_SYMBOL = re.compile(SYMBOL_PATTERN.removesuffix("$") + r"\Z")
_WHOLE = re.compile(r"^\d{1,19}\Z")


def known_symbol(text: str) -> bool:
    """Whether a symbol is within the contract's alphabet and length."""
    return _SYMBOL.match(text) is not None


def short_text(text: str) -> bool:
    """Whether a text has the contract's length, and no NUL."""
    return 1 <= len(text) <= MAX_TEXT and "\0" not in text


def conditions_of(text: str) -> tuple[str, ...]:
    """Names separated by `;`, as written.

    Raises:
        ValueError: a name is not in our vocabulary, or there are too many.
    """
    names = tuple(name.strip() for name in text.split(";")) if text.strip() else ()
    mask_of(names)
    if len(names) > MAX_CONDITIONS:
        raise ValueError(f"{len(names)} conditions; expected at most {MAX_CONDITIONS}")
    return names


def nanoseconds_of(text: str) -> int:
    """Nanoseconds since the epoch, of digits or of ISO 8601 text with its offset.

    Raises:
        ArrowInvalid: neither.
    """
    kind = pa.int64() if text.isdecimal() else pa.timestamp("ns", "UTC")
    number: int = pa.array([text]).cast(kind).cast(pa.int64())[0].as_py()
    return number


def first_fault(block: bytes, names: tuple[str, ...], kind: Kind) -> tuple[int, str] | None:
    """The first broken line of a block of whole lines: its number from 1, and what is wrong."""
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, raw in enumerate(lines, start=1):
        fault = _fault(raw, names, kind)
        if fault is not None:
            return number, fault
    return None


def _fault(raw: bytes, names: tuple[str, ...], kind: Kind) -> str | None:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8: {error.reason}"
    try:
        fields = next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        return str(error)
    if len(fields) != len(names):
        return f"{len(fields)} columns; expected {len(names)}: {', '.join(names)}"
    row = dict(zip(names, fields, strict=True))
    for name in REQUIRED[kind]:
        if not row[name]:
            return f"{name} is missing"
    for name, text in row.items():
        if text:
            try:
                _JUDGES[name](text)
            except ValueError as error:
                return f"{name} {text[:MAX_TEXT]!r}: {error}"
    if kind == "trades" and abs(float(row["price"]) * float(row["size"])) > MAX_NOTIONAL:
        return f"price x size is more than {MAX_NOTIONAL:.0e}"
    return None


def _symbol(text: str) -> None:
    if not known_symbol(text):
        raise ValueError(f"outside the alphabet; expected {SYMBOL_PATTERN}")


def _price(text: str) -> None:
    if "_" in text or not abs(float(text)) <= MAX_PRICE:
        raise ValueError(f"expected a number of at most {MAX_PRICE:.0e}")


def _size(text: str) -> None:
    if "_" in text or not 0 <= float(text) <= MAX_SIZE:
        raise ValueError(f"expected a number from 0 to {MAX_SIZE:.0e}")


def _event_time(text: str) -> None:
    if text.isdecimal():
        return _sequence(text)
    try:
        nanoseconds = nanoseconds_of(text)
    except pa.ArrowInvalid:
        raise ValueError("expected ns since the epoch, or ISO 8601 with its offset") from None
    if nanoseconds < 0:
        raise ValueError("expected a time since 1970")
    return None


def _sequence(text: str) -> None:
    if _WHOLE.match(text) is None or int(text) > MAX_TIME:
        raise ValueError(f"expected a whole number from 0 to {MAX_TIME}")


def _text(text: str) -> None:
    if not short_text(text):
        raise ValueError(f"{len(text)} characters; expected at most {MAX_TEXT} and no NUL")


def _conditions(text: str) -> None:
    conditions_of(text)


_JUDGES: Final[dict[str, Callable[[str], None]]] = {
    "symbol": _symbol,
    "price": _price,
    "size": _size,
    "bid": _price,
    "ask": _price,
    "bid_size": _size,
    "ask_size": _size,
    "event_time": _event_time,
    "trade_id": _text,
    "sequence": _sequence,
    "venue": _text,
    "conditions": _conditions,
    "source": _text,
}
