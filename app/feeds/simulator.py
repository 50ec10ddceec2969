"""A small market of its own: seeded random walks, traded now.

For demonstrations, and to see bars being built without any data. Not a model of a market.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from app.contracts.wire import TradeRecord
from app.feeds.columns import Vocabulary, columns_of
from app.feeds.encode import TickEncoder
from app.feeds.producer import TickSender
from app.settings import Settings

SOURCE: Final = "simulator"
VENUE: Final = "SIM"
#: Seconds between two sends.
STEP_SECONDS: Final = 0.05
#: Standard deviation of the logarithm of price between two trades of a symbol.
VOLATILITY: Final = 2e-4


class RandomWalk:
    """Trades of `symbols` symbols SIM-01, SIM-02, ...: geometric random walks from 10 to 500.

    The same seed gives the same symbols, prices and sizes in the same order; event times are
    the caller's.
    """

    def __init__(self, symbols: int, seed: int) -> None:
        if symbols < 1:
            raise ValueError(f"{symbols} symbols; expected at least 1")
        self._random = np.random.default_rng(seed)
        self._names = [f"SIM-{number:02}" for number in range(1, symbols + 1)]
        self._prices = np.exp(self._random.uniform(np.log(10), np.log(500), symbols))
        self._sequence = 0

    def trades(self, times: list[int]) -> Iterator[TradeRecord]:
        """One trade at each of these event times (ns, ascending)."""
        for event_time in times:
            number = int(self._random.integers(len(self._names)))
            self._prices[number] *= np.exp(self._random.normal(0.0, VOLATILITY))
            yield TradeRecord(
                symbol=self._names[number],
                price=round(float(self._prices[number]), 2),
                size=float(self._random.integers(1, 20) * 25),
                event_time=event_time,
                sequence=self._sequence,
                venue=VENUE,
                source=SOURCE,
            )
            self._sequence += 1


async def simulate(
    settings: Settings,
    *,
    symbols: int = 8,
    rate: float = 200.0,
    seed: int = 0,
    clock: Callable[[], int] = time.time_ns,
) -> None:
    """Send trades stamped with `clock` (ns), `rate` a second by it, until cancelled.

    No historical mark and no flush: this is a live feed.

    Raises:
        KafkaError: the broker is away or has refused a batch.
    """
    market = RandomWalk(symbols, seed)
    vocabulary = Vocabulary()
    async with TickSender(settings) as sender:
        encoder = TickEncoder(vocabulary, sender.partitions)
        started = previous = clock()
        sent = 0
        while True:
            await asyncio.sleep(STEP_SECONDS)
            now = clock()
            due = int((now - started) * rate / 1e9) - sent
            if due <= 0:
                continue
            times = np.linspace(previous, now, due + 1, dtype=np.int64)[1:].tolist()
            columns = columns_of(list(market.trades(times)), vocabulary)
            values = encoder.encode(columns)
            for number, value in zip(columns.symbol.tolist(), values, strict=True):
                partition = int(encoder.partitions[number])
                await sender.send(partition, [(encoder.keys[number], value)])
            await sender.push()
            sent += due
            previous = now
