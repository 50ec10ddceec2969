"""Durations and interval labels: text on the outside, integer nanoseconds within."""

from __future__ import annotations

import re

NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_PATTERN = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ns|us|ms|s|m|h|d)\s*$")


def parse_duration(text: str) -> int:
    """Turn `900ms`, `1s`, `15m`, `1.5h` into nanoseconds.

    Raises:
        ValueError: the text is not a number followed by ns, us, ms, s, m, h or d,
            or does not come to a whole number of nanoseconds.
    """
    match = _PATTERN.match(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not a duration: expected a number and a unit (ns, us, ms, s, m, h, d), "
            "such as 900ms, 1s or 15m"
        )
    number, unit = match.groups()
    if "." not in number:
        return int(number) * NANOSECONDS[unit]
    whole, fraction = number.split(".")
    scaled = int(whole + fraction) * NANOSECONDS[unit]
    denominator: int = 10 ** len(fraction)
    nanoseconds, rest = divmod(scaled, denominator)
    if rest:
        raise ValueError(f"{text!r} is not a whole number of nanoseconds")
    return nanoseconds


def format_duration(nanoseconds: int) -> str:
    """Write nanoseconds as the shortest exact label: 60_000_000_000 is `1m`."""
    for unit in ("d", "h", "m", "s", "ms", "us"):
        if nanoseconds and nanoseconds % NANOSECONDS[unit] == 0:
            return f"{nanoseconds // NANOSECONDS[unit]}{unit}"
    return f"{nanoseconds}ns"
