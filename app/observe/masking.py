"""What must not be read in a log: passwords in addresses, values of secret names, in any depth.

It errs on the side of hiding: an address loses everything between `://` and its last `@`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "********"
_NAME = r"password|passwd|secret|token|credential|api_?key"
# Up to the last one: a password may hold an @ itself.
_USER_INFO = re.compile(r"(?<=://)[^/\s]+@")
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
#: `password=x`, `"api_key": "x"`, `sasl_plain_password='x y'`: also inside a longer text.
_ASSIGNMENT = re.compile(
    rf"""(\w*(?:{_NAME})\w*["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s"',;&)}}]+)""", re.IGNORECASE
)
_PLAIN = (int, float, bool, type(None))


def mask_addresses(text: str) -> str:
    """Replace the user name and password in every `scheme://user:password@host` of a text."""
    return _USER_INFO.sub(f"{MASK}@", text)


def mask_text(text: str) -> str:
    """Mask addresses, and whatever a secret's name is set to."""
    return _ASSIGNMENT.sub(rf"\g<1>{MASK}", mask_addresses(text))


def mask_value(name: str, value: Any) -> Any:
    """Mask a field by its name and by what it holds; other objects become their masked text."""
    if isinstance(value, _PLAIN) and not isinstance(value, str):
        return MASK if value is not None and _SECRET_NAME.search(name) else value
    if _SECRET_NAME.search(name):
        return MASK
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, Mapping):
        return {key: mask_value(str(key), each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [mask_value("", each) for each in value]
    return mask_text(str(value))
