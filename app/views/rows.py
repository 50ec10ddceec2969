"""Rows of a view: keys in the order of time, and the four fields of a bar that the view reads.

A row's key is `symbol NUL length start`, length and start (ns) as 8 bytes big-endian, so a scan
over a prefix is the history of a symbol and interval; its value is the bar's JSON as it was
published. Beside them lies one row a symbol and interval, `0x01 symbol NUL length`: how many rows
there are, the oldest, the newest. Symbols begin with a letter or a digit (app/contracts), so the
store's own key and these never meet.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple

import msgspec

from app.durations import parse_duration

SERIES_PREFIX = b"\x01"
_SEPARATOR = b"\0"
_TAIL = struct.Struct(">QQ")
_LENGTH = struct.Struct(">Q")
#: Above every start.
_LAST = b"\xff" * 8


class Head(msgspec.Struct, frozen=True, gc=False):
    """What a view reads of a bar or a quote bar; `start` in ns."""

    symbol: str
    interval: str
    start: int
    revision: int


class Series(msgspec.Struct, array_like=True, gc=False):
    """The rows of one symbol and interval: their number, first and last start in ns."""

    count: int
    oldest: int
    newest: int


class SeriesKey(NamedTuple):
    """A symbol and an interval; `length` in ns."""

    symbol: str
    length: int


decode_head = msgspec.json.Decoder(Head).decode
decode_series = msgspec.msgpack.Decoder(Series).decode
encode_series = msgspec.msgpack.Encoder().encode

#: Nanoseconds of an interval's label; a deployment has a few.
interval_length = lru_cache(maxsize=1024)(parse_duration)


def series_prefix(symbol: str, length: int) -> bytes:
    """What the keys of a symbol and interval begin with."""
    return symbol.encode() + _SEPARATOR + _LENGTH.pack(length)


def row_key(symbol: str, length: int, start: int) -> bytes:
    """Key of the bar that begins at `start`; both in ns."""
    return symbol.encode() + _SEPARATOR + _TAIL.pack(length, start)


def start_of(key: bytes) -> int:
    """The start in ns that a row's key ends with."""
    start: int = _LENGTH.unpack_from(key, len(key) - 8)[0]
    return start


def last_key(prefix: bytes) -> bytes:
    """Not below any key of a symbol and interval."""
    return prefix + _LAST


def series_key(symbol: str, length: int) -> bytes:
    """Key of the row that describes a symbol and interval."""
    return SERIES_PREFIX + series_prefix(symbol, length)


def parse_series_key(key: bytes) -> SeriesKey:
    """Turn the key of a describing row into its symbol and interval."""
    return SeriesKey(key[1:-9].decode(), start_of(key))
