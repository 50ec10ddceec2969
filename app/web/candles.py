"""Bars as a chart wants them: one set of names for bars of trades and of quotes."""

from __future__ import annotations

from typing import Any

import msgspec

from app.web.answers import iso

#: What a bar of quotes lacks of a bar of trades.
_OF_TRADES = ("volume", "vwap", "trades")
_PRICES = ("open", "high", "low", "close")
#: Said once for all bars.
_ABOVE = ("symbol", "interval")


def parse_bar(value: bytes) -> dict[str, Any]:
    """A published or forming bar (app/contracts) as plain values."""
    bar: dict[str, Any] = msgspec.json.decode(value)
    return bar


def candle(bar: dict[str, Any]) -> dict[str, Any]:
    """A bar with its times as answers give them, without symbol and interval.

    A bar of quotes has the mid's prices as open, high, low and close beside all of its own fields;
    volume, vwap and trades are null.
    """
    shown: dict[str, Any] = {}
    for name, held in bar.items():
        if name == "start":
            shown |= {"start": iso(held), "start_ms": held // 1_000_000, "start_ns": str(held)}
            if "mid_open" in bar:
                shown |= {name: bar[f"mid_{name}"] for name in _PRICES}
                shown |= dict.fromkeys(_OF_TRADES)
        elif name not in _ABOVE:
            shown[name] = held
    return shown
