"""Corrections of the trades of a random log: most name one, some name none or break a rule."""

from __future__ import annotations

import random
from typing import Any

from app.contracts.wire import encoder

#: A trade as it was reported; `price` and `size` become the corrected ones.
Reported = dict[str, Any]
#: Most corrections are of the newest of so many trades.
RECENT = 12


def random_corrections(rng: random.Random, reported: list[Reported], now: int) -> list[bytes]:
    """Give a row of corrections, of one trade or of several.

    Trades that turned out late, duplicate or dead are named as others are, and those that were
    cancelled or corrected before are named again: whether a correction holds is not known here.

    Args:
        rng: draws everything.
        reported: trades in log order, at least one; a corrected price and size are noted there.
        now: event time in ns, of the corrections.
    """
    row: list[bytes] = []
    target = _target(rng, reported)
    for _ in range(rng.choice((1, 1, 1, 1, 2, 2, 3, 5))):
        row.append(_correction(rng, target, now))
        if rng.random() < 0.5:
            target = _target(rng, reported)
    return row


def _target(rng: random.Random, reported: list[Reported]) -> Reported:
    return rng.choice(reported[-RECENT:] if rng.random() < 0.7 else reported)


def _correction(rng: random.Random, target: Reported, now: int) -> bytes:
    record: dict[str, Any] = {"type": "correction", "symbol": target["symbol"]}
    record |= {"action": rng.choice(("cancel", "correct")), "event_time": now}
    if "venue" in target:
        record["venue"] = target["venue"]
    if "trade_id" in target and rng.random() < 0.6:
        record["trade_id"] = target["trade_id"]
        if rng.random() < 0.3:
            record["original_event_time"] = target["event_time"]
    else:
        record["original_event_time"] = target["event_time"]
        if "sequence" in target:
            record["original_sequence"] = target["sequence"]
    if rng.random() < 0.3:
        record["original_price"] = target["price"] or rng.choice((0.0, -0.0))
    if rng.random() < 0.3:
        record["original_size"] = target["size"]
    if record["action"] == "correct":
        if rng.random() < 0.7:
            record["new_price"] = rng.choice((rng.uniform(-2, 5), 99.25, 0.0, -0.0))
        if rng.random() < 0.4:
            record["new_size"] = rng.choice((0.0, 7.0, 0.3, 1e-9, 500_000.125))
    if rng.random() < 0.2:
        record |= _fault(rng, target)
    elif rng.random() < 0.9:
        # Else later corrections name what it was before: an unknown price or size.
        for name in ("price", "size"):
            target[name] = record.get(f"new_{name}", target[name])
    return encoder.encode(record)


def _fault(rng: random.Random, target: Reported) -> dict[str, Any]:
    """Give fields that break a rule, name another trade or none, or are odd and allowed."""
    faults: tuple[dict[str, Any], ...] = (
        {"symbol": "?"},
        {"symbol": "UNSEEN"},
        {"symbol": "AAA"},
        {"venue": "P"},
        {"venue": None},
        {"trade_id": "never", "original_event_time": None},
        {"trade_id": "0"},
        {"trade_id": None, "original_event_time": None},
        {"trade_id": None, "original_event_time": target["event_time"]},
        {"original_event_time": target["event_time"] + 1},
        {"original_sequence": 3},
        {"original_sequence": None},
        {"original_price": 3.75},
        {"original_size": 3.75},
        {"action": "correct", "new_price": 1e12, "new_size": 1e12},
        {"action": "cancel", "new_price": 1e12, "new_size": 1e12},
        {"action": "correct", "new_price": None, "new_size": None},
        {"action": "undo"},
        {"action": None},
        {"event_time": 0},
        {"event_time": 2**63 - 1},
        {"event_time": -1},
        {"source": "three"},
        {"new_size": -1},
        {"venue": ""},
        {"more": 1},
    )
    return rng.choice(faults)
