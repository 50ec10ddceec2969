"""Values of inputs as the JSON that says the same, for who copies their text or keeps it.

A value that is MessagePack and of the topic's contract becomes the JSON that an encoder of ours
would have written, less what is absent. All other values stay the bytes that they are: JSON,
nulls, and what nobody can read. A reader of records needs none of this: `wire.trade_decoder` and
its like take both forms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from app.contracts.forms import MAP_BYTES, is_packed
from app.contracts.wire import ControlRecord, QuoteControlRecord, QuoteRecord, TradeRecord, encoder

_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Trade(TradeRecord, omit_defaults=True, gc=False):
    """Without the fields that are absent."""


class _Quote(QuoteRecord, omit_defaults=True, gc=False):
    """Without the fields that are absent."""


#: By input: a record without `type` is the first decoder's.
_DECODERS: Final[Mapping[str, Sequence[msgspec.msgpack.Decoder[Any]]]] = {
    "ticks": (msgspec.msgpack.Decoder(_Trade), msgspec.msgpack.Decoder(ControlRecord)),
    "quotes": (msgspec.msgpack.Decoder(_Quote), msgspec.msgpack.Decoder(QuoteControlRecord)),
}


def in_json(topic: str, value: bytes) -> bytes:
    """Return the JSON of a value of a topic, named without prefix and deployment."""
    if is_packed(value):
        for decoder in _DECODERS.get(topic, ()):
            with suppress(*_ERRORS):
                return encoder.encode(decoder.decode(value))
    return value


def all_in_json(topic: str, values: Sequence[bytes | None]) -> Sequence[bytes | None]:
    """Return the JSON of values of a topic; the same sequence where all are JSON already."""
    if topic not in _DECODERS:
        return values
    rows = [row for row, value in enumerate(values) if value and value[0] in MAP_BYTES]
    if not rows:
        return values
    changed = list(values)
    for row in rows:
        changed[row] = in_json(topic, changed[row] or b"")
    return changed
