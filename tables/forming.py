"""Forming bars: the newest open window of each symbol and interval that has changed."""

from __future__ import annotations

from typing import Any

from app.contracts.wire import BarRecord, QuoteBarRecord, encoder
from tables.partition import WindowedPartition

#: Bytes of one bar as JSON, on the safe side.
BAR_BYTES = 768


def forming_values(
    partition: WindowedPartition[Any, Any], max_value_bytes: int
) -> tuple[list[bytes], int]:
    """JSON arrays of forming bars changed since the last call, and how many bars they hold.

    One array a partition, cut where it would pass `max_value_bytes`.
    """
    touched = set(partition.touched)
    partition.touched.clear()
    bars: list[BarRecord | QuoteBarRecord] = []
    for interval, windows in enumerate(partition.windows.open):
        done: set[int] = set()
        for start in sorted(windows, reverse=True):
            at_start = windows[start]
            left = (touched - done) & at_start.keys()
            chosen = [symbol for symbol in left if at_start[symbol].has_bar]
            done.update(chosen)
            bars += partition.publisher.forming(interval, start, chosen, at_start)
    per_value = max(1, max_value_bytes // BAR_BYTES)
    values = [
        encoder.encode(bars[begin : begin + per_value]) for begin in range(0, len(bars), per_value)
    ]
    return values, len(bars)


def forming_of(partition: WindowedPartition[Any, Any], symbol: str) -> list[bytes]:
    """The newest open bar of each interval of a symbol as JSON, shortest interval first."""
    code = partition.symbols.code_of(symbol)
    if code is None:
        return []
    found: list[bytes] = []
    for interval, windows in enumerate(partition.windows.open):
        for start in sorted(windows, reverse=True):
            partial = windows[start].get(code)
            if partial is not None and partial.has_bar:
                record = partition.publisher.record(interval, code, start, partial, is_final=False)
                found.append(encoder.encode(record))
                break
    return found
