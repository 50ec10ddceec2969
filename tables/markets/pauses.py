"""Daily pauses taken out of a session."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

_SECOND: Final = 1_000_000_000


def without_pauses(
    parts: Sequence[tuple[int, int]], pauses: Sequence[tuple[int, int]], timezone: str
) -> list[tuple[int, int]]:
    """Return what is left of the `[open, close)` parts, in ns, without the pauses of their days.

    Pauses are in seconds after local midnight, by the wall clock of that day.
    """
    zone = ZoneInfo(timezone)
    left = list(parts)
    first = datetime.fromtimestamp(parts[0][0] // _SECOND, UTC).astimezone(zone).date()
    last = datetime.fromtimestamp(parts[-1][1] // _SECOND, UTC).astimezone(zone).date()
    for number in range((last - first).days + 1):
        midnight = datetime.combine(first + timedelta(days=number), datetime.min.time(), zone)
        for begin, end in pauses:
            # Wall-clock arithmetic: adding to an aware datetime keeps its zone.
            span = [
                int((midnight + timedelta(seconds=seconds)).timestamp()) * _SECOND
                for seconds in (begin, end)
            ]
            left = [piece for part in left for piece in _cut(part, span[0], span[1])]
    return left


def _cut(part: tuple[int, int], begin: int, end: int) -> list[tuple[int, int]]:
    opens, closes = part
    pieces = [(opens, min(closes, begin)), (max(opens, end), closes)]
    return [(start, stop) for start, stop in pieces if start < stop]
