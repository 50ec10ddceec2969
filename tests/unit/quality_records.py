"""Records for the tests of the quality checks: a clean random walk, and ways to run them."""

import random
from collections.abc import Iterable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from app.contracts.wire import ControlRecord, QuoteRecord, TradeRecord
from tables.markets import Instrument, Instruments
from tables.quality import (
    QualityConfiguration,
    QualityEvent,
    QualitySummary,
    QuoteQuality,
    TradeQuality,
)

MILLISECOND = 1_000_000
SECOND = 1_000_000_000
NEW_YORK = ZoneInfo("America/New_York")
CRYPTO = Instruments()
STOCKS = Instruments(default=Instrument(symbol="*", calendar="XNYS", tick_size=0.01))

Record = TradeRecord | QuoteRecord | ControlRecord


def at(text: str) -> int:
    """New York's wall clock as ns."""
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp()) * SECOND


def walk(
    count: int,
    start: int,
    *,
    seed: int = 0,
    symbol: str = "SPY",
    mean_interval: float = 0.1,
    price: float = 100.0,
    source: str | None = None,
) -> list[TradeRecord]:
    """Trades of a random walk in cents with exponential intervals (mean in s), ids and numbers."""
    chance = random.Random(seed)
    time, found = start, []
    for number in range(count):
        time += 1 + int(chance.expovariate(1 / mean_interval) * SECOND)
        price = round(price + chance.choice((-0.01, 0.0, 0.0, 0.01)), 2)
        size = float(chance.choice((1, 10, 100)))
        found.append(
            TradeRecord(symbol, price, size, time, f"{seed}-{number}", number, None, (), source)
        )
    return found


def quotes_of(trades: Iterable[TradeRecord]) -> list[QuoteRecord]:
    """Quotes of one cent around trades."""
    return [
        QuoteRecord(
            each.symbol,
            round(each.price - 0.01, 2),
            round(each.price + 0.01, 2),
            each.event_time,
            1.0,
            1.0,
            each.sequence,
        )
        for each in trades
    ]


def partition(
    records: Sequence[Record],
    instruments: Instruments = CRYPTO,
    configuration: QualityConfiguration | None = None,
) -> TradeQuality | QuoteQuality:
    """An empty partition for these records."""
    quotes = any(isinstance(each, QuoteRecord) for each in records)
    kind = QuoteQuality if quotes else TradeQuality
    return kind(configuration or QualityConfiguration(), instruments)


def feed(
    quality: TradeQuality | QuoteQuality, records: Sequence[Record], first: int = 0
) -> list[int]:
    """Take records at offsets from `first`, 3 ms after their event time; their flags."""
    flags = []
    for offset, record in enumerate(records, first):
        append_time = getattr(record, "event_time", 0) + 3 * MILLISECOND
        if isinstance(record, TradeRecord | QuoteRecord):
            flags.append(quality.take(record, offset, append_time))  # type: ignore[arg-type]
        else:
            quality.take_control(record, offset, append_time)
            flags.append(0)
    return flags


def run(
    records: Sequence[Record],
    instruments: Instruments = CRYPTO,
    configuration: QualityConfiguration | None = None,
) -> tuple[list[QualityEvent], list[QualitySummary]]:
    """All events and summaries of records."""
    quality = partition(records, instruments, configuration)
    feed(quality, records)
    outputs = quality.take_outputs()
    return (
        [each for each in outputs if isinstance(each, QualityEvent)],
        [each for each in outputs if isinstance(each, QualitySummary)],
    )
