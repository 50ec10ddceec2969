"""Keys and values of the state rows: msgpack lists, versioned by the marker.

| key | value |
|---|---|
| `m` | `Marker` |
| `s` symbol | newest starts, flushed windows, open windows |
| `c` symbol NUL length slot | start and aggregate of a closed window |
| `i` minute offset part | identities (tables/id_rows.py) |
| `k` symbol NUL length start | start and aggregate of a closed window that was corrected |
| `x` symbol NUL offset | what a correction made of the trade at that offset |
| `a` offset | an anchor: the maximum before the record at that offset |
| `v` symbol | open bars of activity (tables/activity) |

Version 1 had neither of the last three, and 1 and 2 had identities as texts only; they are read,
and written as version 3.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple

import msgspec

from tables.aggregate import Aggregate, Held

#: To be raised by one when older code cannot read the rows.
ROW_VERSION = 3
#: Versions that this code reads.
READ_VERSIONS = (1, 2, 3)
MARKER_KEY = b"m"
SYMBOL_PREFIX = b"s"
CLOSED_PREFIX = b"c"
IDENTIFIER_PREFIX = b"i"
CORRECTED_PREFIX = b"k"
OVERRIDE_PREFIX = b"x"
ANCHOR_PREFIX = b"a"
ACTIVITY_PREFIX = b"v"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_CLOSED_TAIL = struct.Struct(">qI")
_CORRECTED_TAIL = struct.Struct(">qq")
_OFFSET = struct.Struct(">q")
_IDENTIFIER_TAIL = struct.Struct(">qqI")


class Marker(msgspec.Struct, frozen=True):
    """What one checkpoint is: position, watermark and what its results depend on.

    `next` is the next source offset; `maximum` the greatest event time in ns, None at first;
    `details` divides an outcome of `counts` by reason.
    """

    version: int
    next: int
    maximum: int | None
    historical: bool
    counts: dict[str, int]
    results_hash: str
    topic_id: str
    sources: list[str]
    details: dict[str, int] = {}


_marker_decoder = msgspec.msgpack.Decoder(Marker)


def encode_marker(marker: Marker) -> bytes:
    """The marker's row."""
    return msgspec.msgpack.encode(marker)


def decode_marker(value: bytes) -> Marker:
    """Read a marker's row.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return _marker_decoder.decode(value)


def symbol_key(symbol: str) -> bytes:
    """Key of a symbol's row."""
    return SYMBOL_PREFIX + symbol.encode()


def closed_key(symbol: str, length: int, slot: int) -> bytes:
    """Key of the ring slot of a closed window."""
    return CLOSED_PREFIX + symbol.encode() + b"\0" + _CLOSED_TAIL.pack(length, slot)


def activity_key(symbol: str) -> bytes:
    """Key of a symbol's open bars of activity."""
    return ACTIVITY_PREFIX + symbol.encode()


def encode_activity(row: list[Any]) -> bytes:
    """A row of `ActivityBars.take_changes`."""
    return _encode(row)


def decode_activity(value: bytes) -> list[Any]:
    """What `encode_activity` wrote."""
    return list(_decode(value))


def corrected_key(symbol: str, length: int, start: int) -> bytes:
    """Key of a closed window that was corrected."""
    return CORRECTED_PREFIX + symbol.encode() + b"\0" + _CORRECTED_TAIL.pack(length, start)


def read_corrected_key(key: bytes) -> tuple[str, int, int]:
    """Symbol, length and start of a corrected window's key."""
    size = _CORRECTED_TAIL.size
    length, start = _CORRECTED_TAIL.unpack(key[-size:])
    return key[1 : -size - 1].decode(), length, start


def override_key(symbol: str, offset: int) -> bytes:
    """Key of what a correction made of the trade at an offset."""
    return OVERRIDE_PREFIX + symbol.encode() + b"\0" + _OFFSET.pack(offset)


def read_override_key(key: bytes) -> tuple[str, int]:
    """Symbol and offset of an override's key."""
    (offset,) = _OFFSET.unpack(key[-_OFFSET.size :])
    return key[1 : -_OFFSET.size - 1].decode(), offset


def encode_override(time: int, price: float | None, size: float | None) -> bytes:
    """A trade's event time in ns with what it counts as; None and None where it is cancelled."""
    return _encode([time, price, size])


def decode_override(value: bytes) -> tuple[int, float | None, float | None]:
    """What `encode_override` wrote."""
    time, price, size = _decode(value)
    return time, price, size


def anchor_key(offset: int) -> bytes:
    """Key of an anchor."""
    return ANCHOR_PREFIX + _OFFSET.pack(offset)


def anchor_offset(key: bytes) -> int:
    """The offset of an anchor's key."""
    (offset,) = _OFFSET.unpack(key[1:])
    return int(offset)


def encode_anchor(maximum: int | None) -> bytes:
    """An anchor's maximum event time in ns, None before the first record."""
    return _encode(maximum)


def decode_anchor(value: bytes) -> int | None:
    """What `encode_anchor` wrote."""
    maximum: int | None = _decode(value)
    return maximum


def identifier_key(minute: int, offset: int, part: int) -> bytes:
    """Key of a chunk of identities; `offset` is the checkpoint's next source offset."""
    return IDENTIFIER_PREFIX + _IDENTIFIER_TAIL.pack(minute, offset, part)


def identifier_minute(key: bytes) -> int:
    """The minute of a chunk's key."""
    return int(_IDENTIFIER_TAIL.unpack(key[1:])[0])


class SymbolRow(NamedTuple, Generic[Held]):
    """A symbol's row; flushed windows and open ones by (length, start)."""

    newest: list[int | None]
    runs: list[int]
    flushed: list[tuple[int, int]]
    windows: list[tuple[int, int, Held]]


def encode_symbol(
    newest: list[int | None],
    runs: list[int],
    flushed: list[tuple[int, int]],
    windows: Sequence[tuple[int, int, Aggregate]],
) -> bytes:
    """A symbol's row; windows and flushed ones by (length, start)."""
    return _encode(
        [
            newest,
            runs,
            flushed,
            [(length, start, partial.to_row()) for length, start, partial in windows],
        ]
    )


def decode_symbol(value: bytes, aggregate: type[Held]) -> SymbolRow[Held]:
    """What `encode_symbol` wrote."""
    newest, runs, flushed, windows = _decode(value)
    return SymbolRow(
        newest,
        runs,
        [(length, start) for length, start in flushed],
        [(length, start, aggregate.from_row(row)) for length, start, row in windows],
    )


def encode_closed(start: int, partial: Aggregate) -> bytes:
    """A closed window's row."""
    return _encode([start, partial.to_row()])


def decode_closed(value: bytes, aggregate: type[Held]) -> tuple[int, Held]:
    """Start and aggregate of a closed window's row."""
    start, row = _decode(value)
    return start, aggregate.from_row(row)
