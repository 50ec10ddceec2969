"""Signatures of web hooks: HMAC-SHA256 over `TIMESTAMP.BODY`, as Stripe signs its own.

The header is `Candlewick-Signature: t=TIMESTAMP,v1=HEX`; the timestamp (seconds since the epoch,
of the attempt) is signed, so that who records a request cannot send it again later.
"""

from __future__ import annotations

import hashlib
import hmac
import re

HEADER = "Candlewick-Signature"
_FORM = re.compile(r"t=(\d{1,12}),v1=([0-9a-f]{64})")


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """Return the header's value."""
    return f"t={timestamp},v1={_digest(secret, timestamp, body)}"


def verify(secret: str, header: str, body: bytes, now: float, tolerance: float = 300.0) -> bool:
    """Whether a body was signed with the secret, at most `tolerance` seconds from `now`."""
    match = _FORM.fullmatch(header)
    if match is None or abs(now - int(match[1])) > tolerance:
        return False
    return hmac.compare_digest(_digest(secret, int(match[1]), body), match[2])


def _digest(secret: str, timestamp: int, body: bytes) -> str:
    return hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
