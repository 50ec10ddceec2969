"""A day's profile as plain values: the JSON file, and what the page shows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from app.profile.collect import DayProfile
from app.profile.pictures import interval_names

WORST = 30


def document(profile: DayProfile) -> dict[str, Any]:
    """Return the report of a day; times and lengths in ns, absent numbers None."""
    summary = profile.summary
    seconds = profile.seconds.values()
    prices: dict[str, float | None] = {
        "first": profile.first_price,
        "last": profile.seconds[max(profile.seconds)].last if profile.seconds else None,
        "low": min((one.low for one in seconds), default=None),
        "high": max((one.high for one in seconds), default=None),
    }
    records = sum(profile.sources.values())
    found: dict[str, Any] = {
        "symbol": profile.symbol,
        "session": profile.day.identifier,
        "kind": "quotes" if profile.quotes else "trades",
        "calendar": profile.market.name,
        "open": profile.day.open,
        "close": profile.day.close,
        "records": records,
        "flagged": profile.flagged,
        "clean": records - profile.flagged,
        "prices": prices,
        "summary": None if summary is None else msgspec.to_builtins(summary),
        "events": dict(sorted(profile.event_counts.items())),
        "worst": [msgspec.to_builtins(each) for each in profile.worst(WORST)],
        "gaps": [
            {"length": length, "start": start, "end": end}
            for length, start, end in sorted(profile.gaps, reverse=True)
        ],
        "intervals": [
            {"up_to": name, "count": count}
            for name, count in zip(interval_names(), profile.intervals, strict=True)
            if count
        ],
        "sources": _most(profile.sources),
        "venues": _most(profile.venues),
        "conditions": _most(profile.conditions),
    }
    if not profile.quotes:
        found["volume"] = profile.volume
        found["vwap"] = profile.notional / profile.volume if profile.volume else None
    return found


def _most(counter: Counter[str]) -> dict[str, int]:
    """The most frequent first, by name among equals."""
    return dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))
