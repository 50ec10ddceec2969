"""Closed bars of simulated and of recorded trades, by the engine's own code and without a broker.

Trades are encoded as the feeds send them, go through the state of one partition, and what that
publishes is exported as `candlewick run --export` does. `tests/checks/test_training_evidence.py`
shows that recorded days come out as the vendor's bars.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from app.contracts.batch import RecordBatch
from app.contracts.wire import FlushRecord, HistoricalRecord, encoder
from app.durations import parse_duration
from app.feeds.columns import TickColumns, Vocabulary, concatenate
from app.feeds.encode import TickEncoder
from app.feeds.market import BLOCK, SECOND, Market, MarketOptions
from app.feeds.source import open_source
from app.run.export import LAYOUTS, Highest, write_export
from tables.bars import BarsPartition
from tables.configuration import BarsConfiguration
from tables.policies import policy_of

#: 2026-01-05, 00:00 UTC.
START = 1_767_571_200 * SECOND
#: Blocks of the market that are fed at once.
TOGETHER = 1_000
#: When the log is written, for the engine: later than every trade here.
APPENDED = 2_000_000_000 * SECOND


def simulated(
    options: MarketOptions, seconds: int, vocabulary: Vocabulary
) -> Iterator[TickColumns]:
    """Yield the trades of a simulated market, in order."""
    market = Market(options, START, vocabulary)
    blocks = seconds * SECOND // BLOCK
    for begin in range(0, blocks, TOGETHER):
        trades = concatenate(
            [market.block()[0] for _ in range(min(TOGETHER, blocks - begin))],
        )
        if len(trades):
            yield trades


def bars_of_trades(
    parts: Iterable[TickColumns], vocabulary: Vocabulary, intervals: str, policy: str = "all"
) -> tuple[Highest, int]:
    """Return the closed bars, and how many trades there were.

    Args:
        parts: trades, in order.
        vocabulary: of the trades.
        intervals: labels, as the setting `bars.intervals` has them.
        policy: of the sale conditions.
    """
    lengths = tuple(map(parse_duration, intervals.split(",")))
    partition = BarsPartition(
        BarsConfiguration(lengths, SECOND, 900 * SECOND, policy_of(policy), 1, "evidence"),
        0,
        lambda key: None,
    )
    highest, tick_encoder, trades = Highest("bars"), TickEncoder(vocabulary, 1), 0
    partition.next = 0

    def apply(values: list[bytes]) -> None:
        begin = partition.next or 0
        end = begin + len(values)
        offsets = np.arange(begin, end, dtype=np.int64)
        times = np.full(len(values), APPENDED, dtype=np.int64)
        partition.apply(RecordBatch("ticks", 0, begin, end, values, offsets, times))
        published = partition.publisher.outputs["bars"]
        for record in published:
            highest.add(highest.layout.decoder.decode(record.value or b""))
        published.clear()

    apply([encoder.encode(HistoricalRecord())])
    for part in parts:
        trades += len(part)
        apply(tick_encoder.encode(part))
    apply([encoder.encode(FlushRecord())])
    assert partition.publisher.outputs["dead"] == []
    assert partition.publisher.outputs["late"] == []
    return highest, trades


def export_simulated(options: MarketOptions, seconds: int, interval: str, path: Path) -> int:
    """Write the bars of a simulated market to a file; how many trades they are of."""
    vocabulary = Vocabulary()
    highest, trades = bars_of_trades(simulated(options, seconds, vocabulary), vocabulary, interval)
    write_export(path, highest.rows(), LAYOUTS["bars"].schema)
    return trades


def export_recorded(folders: list[Path], intervals: str, path: Path) -> int:
    """Write the bars of recorded equity trades to a file; how many trades they are of."""
    source = open_source(folders)
    source.verify()
    highest, trades = bars_of_trades(source.chunks(), source.vocabulary, intervals, "algoseek")
    write_export(path, highest.rows(), LAYOUTS["bars"].schema)
    return trades
