"""The arithmetic that the Python peers share: a bar as the plain object that they keep and send."""

from __future__ import annotations

from typing import Any

SECOND = 1_000_000_000


def begin(trade: dict[str, Any]) -> dict[str, Any]:
    """A bar of one trade."""
    price = trade["price"]
    return {
        "open": price, "high": price, "low": price, "close": price,
        "volume": trade["size"], "trades": 1,
    }  # fmt: skip


def add(bar: dict[str, Any], trade: dict[str, Any]) -> dict[str, Any]:
    """The bar with one more trade, which is the latest."""
    price = trade["price"]
    bar["high"] = max(bar["high"], price)
    bar["low"] = min(bar["low"], price)
    bar["close"] = price
    bar["volume"] += trade["size"]
    bar["trades"] += 1
    return bar
