"""State rows as plain values, for the table pages."""

from __future__ import annotations

from typing import Any

from app.durations import format_duration
from tables.partial import Partial
from tables.quote_partial import QuotePartial
from tables.rows import decode_symbol
from tables.sums import to_double


def symbol_view(key: bytes, value: bytes) -> tuple[bytes, dict[str, Any]]:
    """A symbol's row: its open windows, times in ns, sums as doubles."""
    windows = decode_symbol(value, Partial).windows
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


def quote_symbol_view(key: bytes, value: bytes) -> tuple[bytes, dict[str, Any]]:
    """A symbol's row of quotes: its open windows, times in ns."""
    windows = decode_symbol(value, QuotePartial).windows
    return key[1:], {
        "symbol": key[1:].decode(),
        "open": [
            {
                "interval": format_duration(length),
                "start": start,
                "bid_open": partial.opening[0],
                "bid_high": partial.bid_high,
                "bid_low": partial.bid_low,
                "bid_close": partial.closing[0],
                "ask_open": partial.opening[1],
                "ask_high": partial.ask_high,
                "ask_low": partial.ask_low,
                "ask_close": partial.closing[1],
                "quotes": partial.quotes,
            }
            for length, start, partial in windows
        ],
    }
