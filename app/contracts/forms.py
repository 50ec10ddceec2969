"""The two forms that a record of an input may have: JSON, and MessagePack with the same fields.

The value's first byte tells which (`{` or white space; 0x80 to 0x8f, 0xde, 0xdf of a map), so no
setting can be wrong, and a topic may hold both while its writers move over. Outputs are JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec

Record = TypeVar("Record")
Form = Literal["json", "msgpack"]

#: The first bytes of a MessagePack map. No JSON text begins with one of them.
MAP_BYTES: Final = frozenset((*range(0x80, 0x90), 0xDE, 0xDF))


def is_packed(value: bytes | None) -> bool:
    """Whether a value is MessagePack, if it is anything."""
    return bool(value) and value[0] in MAP_BYTES  # type: ignore[index]


class RecordDecoder(Generic[Record]):
    """Decodes a record of either form; the bounds of its fields are the same in both.

    Args:
        kind: a struct, or a union of structs.

    Attributes:
        json, packed: of a value whose form is known, without the cost of looking.
    """

    def __init__(self, kind: Any) -> None:
        self.json: Callable[[bytes], Record] = msgspec.json.Decoder(kind).decode
        self.packed: Callable[[bytes], Record] = msgspec.msgpack.Decoder(kind).decode

    def decode(self, value: bytes) -> Record:
        """Decode a value.

        Raises:
            msgspec.DecodeError, UnicodeDecodeError, RecursionError: it is no such record.
        """
        return self.packed(value) if value and value[0] in MAP_BYTES else self.json(value)


def pack(value: bytes) -> bytes:
    """Return the MessagePack form of a JSON value; the value as it is where it is no JSON object.

    Numbers keep their kind: what JSON writes without point and exponent becomes an integer.
    """
    try:
        fields = msgspec.json.decode(value)
        # A number beyond 64 bits has no form.
        return msgspec.msgpack.encode(fields) if isinstance(fields, dict) else value
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        return value


def readable(value: bytes) -> bytes:
    """Return what people can read of a value: the JSON of MessagePack, else the value itself."""
    if not is_packed(value):
        return value
    try:
        return msgspec.json.encode(msgspec.msgpack.decode(value))
    except (msgspec.MsgspecError, UnicodeError, RecursionError, TypeError, ValueError):
        return value
