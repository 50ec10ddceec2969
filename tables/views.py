"""State rows as plain values, for the table pages."""

from __future__ import annotations

from typing import Any

from app.durations import format_duration
from tables.rows import decode_symbol
from tables.sums import to_double


def symbol_view(key: bytes, value: bytes) -> tuple[bytes, dict[str, Any]]:
    """A symbol's row: its open windows, times in ns, sums as doubles."""
    _, _, _, windows = decode_symbol(value)
    return key[1:], {
        "symbol": key[1:].decode(),
        "open": [
            {
                "interval": format_duration(length),
                "start": start,
                "open": partial.open if partial.has_bar else None,
                "high": partial.high if partial.has_bar else None,
                "low": partial.low if partial.has_bar else None,
                "close": partial.close if partial.has_bar else None,
                "volume": to_double(partial.volume),
                "trades": partial.trades,
            }
            for length, start, partial in windows
        ],
    }
