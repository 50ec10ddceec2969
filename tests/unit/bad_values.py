"""What a bad record is, and how one is made of a good one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.contracts.wire import encoder
from tests.unit.good_records import GOOD, SECOND

Value = bytes | None
#: Beyond 64 bits, signed and not; and what no float holds.
HUGE = (str(2**63), str(2**64), "9" * 400)
NOT_NUMBERS = ("NaN", "Infinity", "-Infinity", "1e999", '"1"', "null", "true", "[]", "{}")
#: A field's name is replaced by this to be written raw.
MARK = b'"@@"'
FAR = 2**62 // (60 * SECOND) * 60 * SECOND


@dataclass(frozen=True)
class Bad:
    """Consecutive values, all with one reason."""

    name: str
    values: tuple[Value, ...]
    reason: str = "malformed"


@dataclass(frozen=True)
class Shape:
    """What the records of a topic have.

    Attributes:
        limit: the longest value in bytes.
        name: the field whose partition counts, and the reasons of a name with a NUL, and of
            another partition's.
        time: field, and reason of one that is far ahead of the log.
        prices: required numbers with a fraction.
        counts: required whole numbers, the time apart.
        optional: fields that a record may do without.
        control: whether clocks and flushes are among the good ones.
        early: a time before 1990 is refused.
    """

    limit: int
    name: str
    nul: str
    elsewhere: str
    time: str
    prices: tuple[str, ...]
    counts: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    control: bool = False
    early: bool = False
    more: Callable[[int], Iterator[Bad]] = lambda partition: iter(())


def is_data(value: bytes) -> bool:
    """Whether a good record is no control record."""
    return json.loads(value).get("type") in (None, "trade", "quote", "leg", "alert", "transaction")


def sample(source: str, partition: int) -> dict[str, Any]:
    """One good record, that of data, not of control."""
    found: dict[str, Any] = json.loads(next(filter(is_data, GOOD[source](partition))))
    return found


def changed(record: Mapping[str, Any], **fields: object) -> bytes:
    """A record with other fields."""
    return encoder.encode({**record, **fields})


def raw(record: Mapping[str, Any], name: str, text: str | bytes) -> bytes:
    """A record with a field written as this text, which need not be JSON."""
    written = text.encode() if isinstance(text, str) else text
    marked = changed(record, **{name: "@@"})
    assert marked.count(MARK) == 1
    return marked.replace(MARK, written)


def without(record: Mapping[str, Any], name: str) -> bytes:
    """A record that lacks a field."""
    return encoder.encode({key: value for key, value in record.items() if key != name})
