"""A trade, a quote or a correction as the standard library's `json` reads it (MessagePack:
`packed.py`), checked against the contract.

Where the page of semantics is silent, this reader decides so: a repeated field counts by its
last value, but every occurrence must be valid; a symbol that is not 1 to 32 characters long is
`malformed`, one of other characters `bad_symbol`; a float is no integer, even `1.0`; lone
surrogates and a byte order mark are malformed; lengths count characters. A record with `type`
`correction` anywhere is one of corrections, where no other type is valid. Its fields that may be
absent may be null, as a trade's; which of them name a trade is no question of the contract.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from tests.oracle.packed import MAPS, read_packed

MAX_PRICE = 1e12
MAX_SIZE = 1e12
MAX_NOTIONAL = 1e14
MAX_INTEGER = 2**63 - 1
SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/^=+-]{0,31}\Z")

KNOWN_CONDITIONS = frozenset(
    {
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
    }
)


class DeadRecordError(Exception):
    """A record that is refused; its text is the reason."""

    @property
    def reason(self) -> str:
        """The reason, as in the header of the dead record."""
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade of the log. `order` is what decides open and close."""

    symbol: str
    price: float
    size: float
    event_time: int
    trade_id: str | None
    venue: str | None
    conditions: frozenset[str]
    source: str | None
    order: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Quote:
    """One quote of the log. `order` is what decides open and close."""

    symbol: str
    bid: float
    ask: float
    bid_size: float
    ask_size: float
    event_time: int
    source: str | None
    order: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Control:
    """A control record; only a clock has an event time."""

    kind: str
    event_time: int | None


@dataclass(frozen=True, slots=True)
class Correction:
    """A venue's word about a trade that it has reported: fields as in the contract.

    Its source and its own event time are read, and then mean nothing.
    """

    is_cancel: bool
    symbol: str
    venue: str | None
    trade_id: str | None
    original_event_time: int | None
    original_sequence: int | None
    original_price: float | None
    original_size: float | None
    new_price: float | None
    new_size: float | None


def _malformed() -> NoReturn:
    raise DeadRecordError("malformed")


def _number(value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _malformed()
    # Integers of any length are compared exactly, before they become doubles.
    if not low <= value <= high or (isinstance(value, float) and not math.isfinite(value)):
        _malformed()
    return float(value) + 0.0


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_INTEGER:
        _malformed()
    return value


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _text(value: Any, longest: int = 64) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= longest or not _is_unicode(value):
        _malformed()
    return value


def _name(value: Any) -> str:
    text = _text(value)
    if "\0" in text:
        _malformed()
    return text


def _optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def _conditions(value: Any) -> frozenset[str]:
    if not isinstance(value, list) or len(value) > 8:
        _malformed()
    for name in value:
        if not isinstance(name, str) or not _is_unicode(name):
            _malformed()
    return frozenset(value)


def _kind(*kinds: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in kinds:
            _malformed()
        return value

    return read


_TRADE_FIELDS: dict[str, Callable[[Any], Any]] = {
    "type": _kind("trade", "clock", "historical", "flush"),
    "symbol": lambda value: _text(value, 32),
    "price": lambda value: _number(value, -MAX_PRICE, MAX_PRICE),
    "size": lambda value: _number(value, 0.0, MAX_SIZE),
    "event_time": _integer,
    "trade_id": _optional(_name),
    "sequence": _optional(_integer),
    "venue": _optional(_name),
    "conditions": _conditions,
    "source": _optional(_name),
}
_TRADE_REQUIRED = ("symbol", "price", "size", "event_time")
_QUOTE_FIELDS: dict[str, Callable[[Any], Any]] = {
    "type": _kind("quote", "clock", "historical", "flush"),
    "symbol": lambda value: _text(value, 32),
    "bid": lambda value: _number(value, -MAX_PRICE, MAX_PRICE),
    "ask": lambda value: _number(value, -MAX_PRICE, MAX_PRICE),
    "bid_size": lambda value: _number(value, 0.0, MAX_SIZE),
    "ask_size": lambda value: _number(value, 0.0, MAX_SIZE),
    "event_time": _integer,
    "sequence": _optional(_integer),
    "venue": _optional(_name),
    "source": _optional(_name),
}
_QUOTE_REQUIRED = ("symbol", "bid", "ask", "event_time")
_CORRECTION_FIELDS: dict[str, Callable[[Any], Any]] = {
    "type": _kind("correction"),
    "action": _kind("cancel", "correct"),
    "symbol": lambda value: _text(value, 32),
    "event_time": _integer,
    "venue": _optional(_name),
    "trade_id": _optional(_name),
    "original_event_time": _optional(_integer),
    "original_sequence": _optional(_integer),
    "original_price": _optional(lambda value: _number(value, -MAX_PRICE, MAX_PRICE)),
    "original_size": _optional(lambda value: _number(value, 0.0, MAX_SIZE)),
    "new_price": _optional(lambda value: _number(value, -MAX_PRICE, MAX_PRICE)),
    "new_size": _optional(lambda value: _number(value, 0.0, MAX_SIZE)),
    "source": _optional(_name),
}
_CORRECTION_REQUIRED = ("action", "symbol", "event_time")
_CONTROL_FIELDS: dict[str, tuple[str, ...]] = {
    "clock": ("type", "event_time"),
    "historical": ("type",),
    "flush": ("type",),
}


class _Object(list[tuple[str, Any]]):
    """The fields of a JSON object in order, repetitions kept; tells it from an array."""


def _refuse_constant(constant: str) -> NoReturn:
    _malformed()


def _object(value: bytes) -> _Object:
    try:
        if value[0] in MAPS:
            # A name may be anything here, also what no dictionary takes.
            return _Object(
                (name if isinstance(name, str) else "", each) for name, each in read_packed(value)
            )
        parsed = json.loads(
            value.decode("utf-8"), object_pairs_hook=_Object, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):
        _malformed()
    if not isinstance(parsed, _Object):
        _malformed()
    return parsed


def _fields(
    parsed: _Object, readers: dict[str, Callable[[Any], Any]], required: tuple[str, ...]
) -> dict[str, Any] | Control:
    """The fields of a record; a record without `type` is none of control."""
    fields: dict[str, Any] = {}
    for name, raw in parsed:
        reader = readers.get(name)
        if reader is None:
            _malformed()
        fields[name] = reader(raw)
    expected = _CONTROL_FIELDS.get(fields.get("type", ""))
    if expected is not None:
        if set(fields) != set(expected):
            _malformed()
        return Control(fields["type"], fields.get("event_time"))
    if any(name not in fields for name in required):
        _malformed()
    return fields


def _order(offset: int, fields: dict[str, Any]) -> tuple[int, int, int]:
    sequence = fields.get("sequence")
    return fields["event_time"], -1 if sequence is None else sequence, offset


def read_quote(offset: int, value: bytes) -> Quote | Control:
    """Read one value of the topic of quotes that is neither empty nor too large.

    Raises:
        DeadRecordError: with `malformed` or `bad_symbol`.
    """
    fields = _fields(_object(value), _QUOTE_FIELDS, _QUOTE_REQUIRED)
    if isinstance(fields, Control):
        return fields
    if SYMBOL.match(fields["symbol"]) is None:
        raise DeadRecordError("bad_symbol")
    return Quote(
        symbol=fields["symbol"],
        bid=fields["bid"],
        ask=fields["ask"],
        bid_size=fields.get("bid_size", 0.0),
        ask_size=fields.get("ask_size", 0.0),
        event_time=fields["event_time"],
        source=fields.get("source"),
        order=_order(offset, fields),
    )


def _correction(parsed: _Object) -> Correction:
    fields = _fields(parsed, _CORRECTION_FIELDS, _CORRECTION_REQUIRED)
    assert isinstance(fields, dict)
    return Correction(
        is_cancel=fields["action"] == "cancel",
        symbol=fields["symbol"],
        venue=fields.get("venue"),
        trade_id=fields.get("trade_id"),
        original_event_time=fields.get("original_event_time"),
        original_sequence=fields.get("original_sequence"),
        original_price=fields.get("original_price"),
        original_size=fields.get("original_size"),
        new_price=fields.get("new_price"),
        new_size=fields.get("new_size"),
    )


def read_value(offset: int, value: bytes) -> Trade | Control | Correction:
    """Read one value of the topic of ticks that is neither empty nor too large.

    The symbol of a correction is not judged here: another reason comes before.

    Raises:
        DeadRecordError: with `malformed`, `unknown_condition` or `bad_symbol`.
    """
    parsed = _object(value)
    if ("type", "correction") in parsed:
        return _correction(parsed)
    fields = _fields(parsed, _TRADE_FIELDS, _TRADE_REQUIRED)
    if isinstance(fields, Control):
        return fields
    conditions = fields.get("conditions", frozenset())
    if not conditions <= KNOWN_CONDITIONS:
        raise DeadRecordError("unknown_condition")
    if SYMBOL.match(fields["symbol"]) is None:
        raise DeadRecordError("bad_symbol")
    return Trade(
        symbol=fields["symbol"],
        price=fields["price"],
        size=fields["size"],
        event_time=fields["event_time"],
        trade_id=fields.get("trade_id"),
        venue=fields.get("venue"),
        conditions=conditions,
        source=fields.get("source"),
        order=_order(offset, fields),
    )
