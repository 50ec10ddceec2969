"""MessagePack as its page describes it (github.com/msgpack/msgpack/blob/master/spec.md), read by
hand: what the reference knows of values that are no JSON.

A map comes as its fields in order, repetitions kept. Binary and extension values come as `bytes`,
which no field of the contract is.
"""

from __future__ import annotations

import struct
from typing import Any

#: The first bytes of a map.
MAPS = frozenset((*range(0x80, 0x90), 0xDE, 0xDF))
_NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
#: Bytes of the length that stands behind the first byte.
_TEXTS = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_BINARIES = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_EXTENSIONS = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_ARRAYS = {0xDC: 2, 0xDD: 4}
_WIDE_MAPS = {0xDE: 2, 0xDF: 4}


class Fields(list[tuple[Any, Any]]):
    """The fields of a map in order, repetitions kept; tells it from an array."""


def read_packed(value: bytes) -> Any:
    """Read one value.

    Raises:
        ValueError: it is none, or has more behind it; a text is not UTF-8.
        RecursionError: it is nested too deeply.
    """
    reader = _Reader(value)
    found = reader.value()
    if reader.at != len(value):
        raise ValueError("more behind the value")
    return found


class _Reader:
    def __init__(self, source: bytes) -> None:
        self.source, self.at = source, 0

    def bytes(self, count: int) -> bytes:
        """The next bytes."""
        found = self.source[self.at : self.at + count]
        if len(found) < count:
            raise ValueError("cut off")
        self.at += count
        return found

    def length(self, width: int) -> int:
        """A length in so many bytes."""
        return int.from_bytes(self.bytes(width), "big")

    def value(self) -> Any:
        """The next value."""
        first = self.bytes(1)[0]
        if first < 0x80:
            return first
        if first >= 0xE0:
            return first - 0x100
        if first < 0x90:
            return self.map(first & 0x0F)
        if first < 0xA0:
            return self.array(first & 0x0F)
        if first < 0xC0:
            return self.bytes(first & 0x1F).decode("utf-8")
        if first in _CONSTANTS:
            return _CONSTANTS[first]
        if first in _NUMBERS:
            form = _NUMBERS[first]
            return struct.unpack(form, self.bytes(struct.calcsize(form)))[0]
        return self.longer(first)

    def longer(self, first: int) -> Any:
        """What has its length behind the first byte."""
        if first in _TEXTS:
            return self.bytes(self.length(_TEXTS[first])).decode("utf-8")
        if first in _BINARIES:
            return self.bytes(self.length(_BINARIES[first]))
        if first in _EXTENSIONS:
            return self.bytes(self.length(_EXTENSIONS[first]) + 1)
        if 0xD4 <= first <= 0xD8:
            return self.bytes(1 + (1 << (first - 0xD4)))
        if first in _ARRAYS:
            return self.array(self.length(_ARRAYS[first]))
        if first in _WIDE_MAPS:
            return self.map(self.length(_WIDE_MAPS[first]))
        raise ValueError(f"no value begins with {first:#x}")

    def array(self, count: int) -> list[Any]:
        """So many values."""
        return [self.value() for _ in range(count)]

    def map(self, count: int) -> Fields:
        """So many fields."""
        return Fields((self.value(), self.value()) for _ in range(count))
