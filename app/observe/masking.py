"""What must not be read in a log: passwords in addresses, values of secret names, in any depth.

It errs on the side of hiding: an address loses everything between `://` and its last `@`, and what
looks like a token of a header, a JSON web token or a private key goes whatever stands before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "********"
_NAME = (
    r"password|passwd|passphrase|pwd|secret|token|credential|authorization|"
    r"api[_-]?key|private[_-]?key|access[_-]?key"
)
# Up to the last one: a password may hold an @ itself.
_USER_INFO = re.compile(r"(?<=://)[^/\s]+@")
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
#: `password=x`, `"api_key": "x"`, `sasl_plain_password='x y'`: also inside a longer text.
_ASSIGNMENT = re.compile(
    rf"""(\w*(?:{_NAME})\w*["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s"',;&)}}]+)""", re.IGNORECASE
)
#: `Authorization: Bearer x`, `"authorization": "Token x"`: the scheme and what follows it.
_AUTHORIZATION = re.compile(
    r"""(authorization["']?\s*[=:]\s*)("[^"]*"|'[^']*'|(?:[\w-]+\s+)?[^\s"',;&)}]+)""",
    re.IGNORECASE,
)
#: The same without its name; shorter than that are words of a sentence.
_SCHEME = re.compile(r"\b(Bearer|Basic|Token)\s+[A-Za-z0-9._~+/=-]{16,}")
_JSON_WEB_TOKEN = re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*")
_PRIVATE_KEY = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(-----END|\Z)", re.DOTALL)
#: Who knows the path of a web hook may use it.
_HOOK = re.compile(r"(hooks\.slack\.com/\w+/)[^\s\"']+")
_PLAIN = (int, float, bool, type(None))


def mask_addresses(text: str) -> str:
    """Replace the user name and password in every `scheme://user:password@host` of a text."""
    return _USER_INFO.sub(f"{MASK}@", text)


def mask_text(text: str) -> str:
    """Mask addresses, whatever a secret's name is set to, and what looks like a secret itself."""
    text = _AUTHORIZATION.sub(rf"\g<1>{MASK}", mask_addresses(text))
    text = _PRIVATE_KEY.sub(rf"\g<1>{MASK}\g<2>", _SCHEME.sub(rf"\g<1> {MASK}", text))
    text = _HOOK.sub(rf"\g<1>{MASK}", _JSON_WEB_TOKEN.sub(MASK, text))
    return _ASSIGNMENT.sub(rf"\g<1>{MASK}", text)


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
