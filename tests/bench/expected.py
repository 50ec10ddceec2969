"""The oracle: bars straight from the input's columns, and the comparison with those committed.

Imports nothing of ours but the input (`ticks.py`). Policy `all`, no late trades, no revisions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from tests.bench.ticks import SOURCES, Ticks

INTERVALS = {"1s": 1, "10s": 10, "1m": 60, "5m": 300, "15m": 900}
SECOND = 1_000_000_000
#: Of a VWAP, whose sum here is not exact.
RELATIVE_TOLERANCE = 1e-9
FIELDS = ("open", "high", "low", "close", "volume", "trades", "sources")
#: What the bars of others are compared in, and their length.
PEER_FIELDS = ("open", "high", "low", "close", "volume", "trades")
PEER_INTERVAL = "1s"

Key: TypeAlias = tuple[str, str, int]
Bar: TypeAlias = dict[str, Any]


def expected_bars(
    ticks: Ticks, intervals: Mapping[str, int] = INTERVALS, *, sources: bool = True
) -> dict[Key, Bar]:
    """All bars by (symbol, interval, start).

    Args:
        intervals: name to seconds.
        sources: whether the records name theirs.
    """
    bars: dict[Key, Bar] = {}
    for interval, seconds in intervals.items():
        bars.update(_bars(ticks, interval, seconds * SECOND, sources))
    return bars


def _bars(ticks: Ticks, interval: str, length: int, named: bool) -> Iterator[tuple[Key, Bar]]:
    window = ticks.event_time // length
    order = np.lexsort((ticks.sequence, ticks.event_time, window, ticks.symbol))
    symbol, window = ticks.symbol[order], window[order]
    price = ticks.cents[order] / 100.0
    size = ticks.size[order]
    change = (np.diff(symbol) != 0) | (np.diff(window) != 0)
    first = np.append(0, np.flatnonzero(change) + 1)
    last = np.append(first[1:], len(order)) - 1
    volume = np.add.reduceat(size, first)
    notional = np.add.reduceat(price * size, first)
    sources = np.bitwise_or.reduceat(1 << ticks.source[order], first)
    rows = zip(
        symbol[first].tolist(),
        (window[first] * length).tolist(),
        price[first].tolist(),
        np.maximum.reduceat(price, first).tolist(),
        np.minimum.reduceat(price, first).tolist(),
        price[last].tolist(),
        volume.tolist(),
        (notional / volume).tolist(),
        (last - first + 1).tolist(),
        sources.tolist(),
        strict=True,
    )
    for code, start, opened, high, low, close, amount, vwap, trades, mask in rows:
        yield (
            (ticks.symbols[code], interval, start),
            {
                "open": opened,
                "high": high,
                "low": low,
                "close": close,
                "volume": float(amount),
                "vwap": vwap,
                "trades": trades,
                "sources": [name for bit, name in enumerate(SOURCES) if named and mask >> bit & 1],
            },
        )


def differences(expected: Mapping[Key, Bar], values: Iterable[bytes]) -> Iterator[str]:
    """Yield a line for each committed record that is wrong, double or missing."""
    seen: set[Key] = set()
    for value in values:
        bar = json.loads(value)
        key = (bar["symbol"], bar["interval"], bar["start"])
        wanted = expected.get(key)
        if wanted is None:
            yield f"{key}: not expected: {bar}"
            continue
        if key in seen:
            yield f"{key}: published twice: {bar}"
        seen.add(key)
        if bar["revision"] != 0 or not bar["is_final"] or bar["filled"]:
            yield f"{key}: expected a final first revision: {bar}"
        for field in FIELDS:
            if bar[field] != wanted[field]:
                yield f"{key}: {field} is {bar[field]}, expected {wanted[field]}"
        if not math.isclose(bar["vwap"], wanted["vwap"], rel_tol=RELATIVE_TOLERANCE):
            yield f"{key}: vwap is {bar['vwap']}, expected {wanted['vwap']}"
    for key in expected:
        if key not in seen:
            yield f"{key}: missing"


def peer_differences(
    expected: Mapping[Key, Bar], values: Iterable[bytes], *, updates: bool = False
) -> Iterator[str]:
    """Yield a line for each one-second bar of a peer that is wrong, double or missing.

    A peer closes a symbol's bar when something later comes: the last one of each may be missing.

    Args:
        values: JSON objects with symbol, start (ns) and `PEER_FIELDS`.
        updates: a bar is published as often as it changes, and the last time holds.
    """
    wanted = {
        (symbol, start): bar
        for (symbol, interval, start), bar in expected.items()
        if interval == PEER_INTERVAL
    }
    found: dict[tuple[str, int], Bar] = {}
    for value in values:
        bar = json.loads(value)
        place = (bar["symbol"], bar["start"])
        if place in found and not updates:
            yield f"{place}: published twice: {bar}"
        found[place] = bar
    if not found:
        yield "no bar was published"
    for place, bar in found.items():
        if place not in wanted:
            yield f"{place}: not expected: {bar}"
            continue
        for field in PEER_FIELDS:
            if bar[field] != wanted[place][field]:
                yield f"{place}: {field} is {bar[field]}, expected {wanted[place][field]}"
    last: dict[str, int] = {}
    for symbol, start in wanted:
        last[symbol] = max(start, last.get(symbol, start))
    for symbol, start in wanted:
        if start != last[symbol] and (symbol, start) not in found:
            yield f"{(symbol, start)}: missing"
