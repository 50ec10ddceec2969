"""Batches of records with latest values, and what the newest of them are by another way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from app.contracts.batch import RecordBatch
from app.contracts.predictions import PredictionRecord
from app.contracts.wire import (
    AnomalyRecord,
    BarRecord,
    IndicatorsRecord,
    QuoteRecord,
    TradeRecord,
    encoder,
)

#: 2026-11-20T00:00:00Z, ns.
FRIDAY = 1_795_132_800_000_000_000
MINUTE = 60_000_000_000


def batch(
    values: Sequence[bytes | None], base: int = 0, *, topic: str = "bars", partition: int = 0
) -> RecordBatch:
    """Records one behind the other, appended a second after Friday's midnight."""
    offsets = np.arange(base, base + len(values), dtype=np.int64)
    appended = np.full(len(values), FRIDAY + 1_000_000_000, dtype=np.int64)
    following = base + len(values)
    return RecordBatch(topic, partition, base, following, list(values), offsets, appended)


def bar(symbol: str, minute: int, revision: int = 0, interval: str = "1m") -> bytes:
    """A bar that no other key, start and revision has the bytes of."""
    close = float(minute + 1) + revision / 1_000
    return encoder.encode(
        BarRecord(
            symbol, interval, FRIDAY + minute * MINUTE, *(close,) * 4, 10.0, close, 3, revision,
            True, False, ("sip",),
        )
    )  # fmt: skip


def trade(symbol: str, event_time: int, price: float = 1.0, size: float = 1.0) -> bytes:
    """A trade; its time is of Friday, in ns."""
    return encoder.encode(TradeRecord(symbol, price, size, FRIDAY + event_time))


def quote(symbol: str, event_time: int) -> bytes:
    """A quote; its time is of Friday, in ns."""
    return encoder.encode(QuoteRecord(symbol, 1.0, 1.5, FRIDAY + event_time))


def indicators(symbol: str, minute: int, revision: int = 0) -> bytes:
    """The indicators of a bar."""
    start = FRIDAY + minute * MINUTE
    values = {"sma_5": minute / 3}
    return encoder.encode(IndicatorsRecord(symbol, "1m", start, revision, True, values))


def prediction(symbol: str, minute: int, model: str) -> bytes:
    """A prediction of a bar."""
    return encoder.encode(
        PredictionRecord(
            symbol, "1m", FRIDAY + minute * MINUTE, 0, True, model, 1, "champion", 1, 0.001, None,
            None, {},
        )
    )  # fmt: skip


def anomaly(symbol: str, minute: int, source: str) -> bytes:
    """An odd bar."""
    return encoder.encode(
        AnomalyRecord(
            symbol, "1m", FRIDAY + minute * MINUTE, 0, source, 4.0, 3.0, True, "volume", (), {},
            True,
        )
    )  # fmt: skip


def cut(values: Sequence[bytes | None], sizes: Iterable[int], **more: object) -> list[RecordBatch]:
    """Cut a log into batches of so many records, the last one takes the rest."""
    batches, base = [], 0
    for size in sizes:
        batches.append(batch(values[base : base + size], base, **more))  # type: ignore[arg-type]
        base += size
        if base >= len(values):
            return batches
    return [*batches, batch(values[base:], base, **more)]  # type: ignore[arg-type]
