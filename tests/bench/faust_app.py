"""Child: Faust as its users write it: a model, an agent an event, a table of bars on RocksDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faust

from tests.bench.marks import arguments
from tests.bench.peers.counting import Counter

SECOND = 1_000_000_000
TOLD = arguments()


class Trade(faust.Record, serializer="json"):
    """A trade, all fields of the contract."""

    symbol: str
    price: float
    size: float
    event_time: int
    trade_id: str | None = None
    sequence: int | None = None
    venue: str | None = None
    conditions: list[str] | None = None
    source: str | None = None


class Bar(faust.Record, serializer="json"):
    """The newest bar of a symbol."""

    symbol: str
    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int


app = faust.App(
    TOLD["app"],
    broker=f"kafka://{TOLD['servers']}",
    store="rocksdb://",
    datadir=Path(TOLD["folder"]),
    topic_partitions=TOLD["partitions"],
)
ticks = app.topic(TOLD["topic"], value_type=Trade)
published = app.topic(TOLD["output"], value_type=Bar)
table = app.Table(
    "bars", key_type=str, value_type=Bar, partitions=TOLD["partitions"],
    options={"driver": "rocksdict"},
)  # fmt: skip
count = Counter(TOLD)


@app.agent(ticks)
async def bars(stream: Any) -> None:
    """One bar a second and symbol, updated by each trade, published when the next one begins."""
    async for trade in stream:
        start = trade.event_time // SECOND * SECOND
        bar = table.get(trade.symbol)
        if bar is None or bar.start != start:
            if bar is not None:
                await published.send(key=trade.symbol, value=bar)
            price = trade.price
            bar = Bar(trade.symbol, start, price, price, price, price, trade.size, 1)
        else:
            bar.high = max(bar.high, trade.price)
            bar.low = min(bar.low, trade.price)
            bar.close = trade.price
            bar.volume += trade.size
            bar.trades += 1
        table[trade.symbol] = bar
        count()


if __name__ == "__main__":
    app.main()
