"""Rows of trade ids: identities that end in a number by prefix, all others as texts.

Most feeds count their trades, so that of an identity only the number is new: sorted, it is one or
two bytes more than the number before, where the text is some 25. Rows of numbers came with version
3 of the rows; before, all were texts.

| a row | |
|---|---|
| texts | a msgpack list |
| numbers | 0xC1 (no msgpack begins so), groups |
| group | bytes shared with the prefix before, count of the others, these; numbers; first; steps |

Everything in a group but the bytes of the prefix is a number of seven bits a byte, the lowest
first; `first` is the difference to that of the group before, doubled, or doubled and less one
where it is negative (zigzag). Prefixes ascend by their bytes and numbers by size. A row ends behind
the group with which it has `FULL_ROW` bytes; a group has at most `TOGETHER` numbers.

The compiled twin is `_ids_rows.pxi`. It writes identities of more prefixes than 262,144 as texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import msgspec

FULL_ROW = 65_536
TOGETHER = 1_000
#: Numbers are below it: 18 digits.
END_OF_NUMBERS = 10**18
#: Bytes of an identity: what a msgpack head of three bytes can say.
LONGEST = 65_535
_NUMBERS = b"\xc1"
_NUMBERED = re.compile(r"((?:.*\0)?0*)(0|[1-9][0-9]{0,17})", re.DOTALL)
_PREFIX = re.compile(r"(?:.*\0)?0*", re.DOTALL)

_encode_texts = msgspec.msgpack.Encoder().encode
_decode_texts = msgspec.msgpack.Decoder(list[str]).decode


def split(identity: str) -> tuple[str, int] | None:
    """The prefix and number of an identity that ends in one of up to 18 digits behind its last NUL.

    Zeros that lead are of the prefix, so that both together say which text it was.
    """
    found = _NUMBERED.fullmatch(identity)
    return None if found is None else (found[1], int(found[2]))


def encode(identities: Sequence[str], a_row: int) -> list[bytes]:
    """Rows of identities: of numbers, then of texts, at most `a_row` of these in a row."""
    numbers: dict[str, list[int]] = {}
    texts: list[str] = []
    for identity in identities:
        found = split(identity)
        if found is None:
            texts.append(identity)
        else:
            numbers.setdefault(found[0], []).append(found[1])
    rows = list(_number_rows({prefix.encode(): each for prefix, each in numbers.items()}))
    rows += [_encode_texts(texts[begin : begin + a_row]) for begin in range(0, len(texts), a_row)]
    return rows


def _number_rows(found: Mapping[bytes, list[int]]) -> Iterator[bytes]:
    row, before, first = bytearray(_NUMBERS), b"", 0
    for prefix in sorted(found):
        every = sorted(found[prefix])
        for begin in range(0, len(every), TOGETHER):
            numbers = every[begin : begin + TOGETHER]
            shared = _shared(before, prefix)
            _put(row, shared, len(prefix) - shared)
            row += prefix[shared:]
            step = numbers[0] - first
            _put(row, len(numbers), 2 * step if step >= 0 else -2 * step - 1)
            _put(row, *(after - number for number, after in pairwise(numbers)))
            before, first = prefix, numbers[0]
            if len(row) >= FULL_ROW:
                yield bytes(row)
                row, before, first = bytearray(_NUMBERS), b"", 0
    if len(row) > len(_NUMBERS):
        yield bytes(row)


def _shared(one: bytes, two: bytes) -> int:
    """How many bytes two texts have in common at the beginning."""
    most = min(len(one), len(two))
    return next((place for place in range(most) if one[place] != two[place]), most)


def _put(row: bytearray, *values: int) -> None:
    for value in values:
        rest = value
        while rest >= 0x80:
            row.append(rest & 0x7F | 0x80)
            rest >>= 7
        row.append(rest)


def decode(row: bytes) -> list[str]:
    """The identities of a row.

    Raises:
        ValueError: it is no row of identities.
    """
    if row[:1] == _NUMBERS:
        return list(_numbered(row))
    try:
        return _decode_texts(row)
    except msgspec.DecodeError as error:
        raise ValueError(f"not a row of identities: {error}") from None


def _numbered(row: bytes) -> Iterator[str]:
    prefix, first, at = b"", 0, 1
    while at < len(row):
        shared, at = _read(row, at)
        fresh, at = _read(row, at)
        if fresh > len(row) - at:
            raise ValueError("a row of identities that ends too early")
        if shared > len(prefix) or shared + fresh >= LONGEST:
            raise ValueError("not a row of identities: a prefix")
        prefix = prefix[:shared] + row[at : at + fresh]
        name = _name(prefix)
        count, at = _read(row, at + fresh)
        step, at = _read(row, at)
        if count == 0:
            raise ValueError("not a row of identities: an empty group")
        first += step >> 1 if step % 2 == 0 else -(step >> 1) - 1
        number = first
        for left in range(count, 0, -1):
            if not 0 <= number < END_OF_NUMBERS:
                raise ValueError(f"not a row of identities: {number}")
            yield f"{name}{number}"
            if left > 1:
                step, at = _read(row, at)
                number += step


def _name(prefix: bytes) -> str:
    try:
        name = prefix.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"not a row of identities: {error}") from None
    if _PREFIX.fullmatch(name) is None:
        raise ValueError("not a row of identities: a prefix")
    return name


def _read(row: bytes, at: int) -> tuple[int, int]:
    """A number of at most 63 bits, and the place behind it."""
    value = 0
    for shift in range(0, 63, 7):
        if at == len(row):
            break
        value |= (row[at] & 0x7F) << shift
        at += 1
        if row[at - 1] < 0x80:
            return value, at
    raise ValueError("a row of identities that ends too early")
