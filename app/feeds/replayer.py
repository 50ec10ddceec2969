"""Replay of recorded trades: read, merge, mangle if asked, encode, send.

Every partition gets a `historical` record first and a `flush` record last. All files are read
through before the first record is sent; if one turns out broken after all, nothing more is sent,
no flush either, and the error says how many records had been.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from app.contracts.wire import FlushRecord, HistoricalRecord, encoder
from app.feeds.columns import TradeColumns
from app.feeds.corrupt import Corrupter, Limits, Value
from app.feeds.encode import TickEncoder
from app.feeds.errors import FeedError
from app.feeds.files import Skipped
from app.feeds.mangle import Delays, delayed
from app.feeds.producer import DELIVERY_SECONDS, TickSender
from app.feeds.source import TradeSource, open_source
from app.settings import Settings

#: Parts of a second in which a paced replay sends.
SLICES_A_SECOND: Final = 20

#: Called with the trades sent so far and the trades there are.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """What a replay has sent.

    Attributes:
        sent: records in the topic, control records included.
        trades: good ones.
        corrupt: bad ones, sent on purpose.
        seconds: from the first record's sending to the last acknowledgement.
        reading_seconds: of reading all files through before.
        skipped: files of other kinds.
        partitions: records of each partition, by its number.
    """

    sent: int
    trades: int
    corrupt: int
    seconds: float
    reading_seconds: float
    skipped: tuple[Skipped, ...]
    partitions: tuple[int, ...]


async def replay(
    settings: Settings,
    what: Sequence[Path] | TradeSource,
    *,
    rate: float | None = None,
    batch_records: int | None = None,
    disorder_ns: int = 0,
    late: float = 0.0,
    corrupt: float = 0.0,
    seed: int = 0,
    historical: bool = True,
    flush: bool = True,
    progress: Progress | None = None,
    delivery_seconds: float = DELIVERY_SECONDS,
) -> ReplaySummary:
    """Send recorded trades to the topic `ticks`, which must exist.

    Args:
        settings: broker, topic, compression and limits; `bars.correction_horizon` is what
            `late` is measured by.
        what: files and folders, or a source of one's own.
        rate: records a second by the wall clock; None: as fast as they go.
        batch_records: at most so many records in a batch (a batch is bounded by bytes, too).
        disorder_ns, late, seed: see `Delays`.
        corrupt: this share of bad records besides the good ones (`corrupt.py`).
        historical: begin with the mark that this replay owns the partitions' time.
        flush: close all windows at the end.
        progress: told after each part of the data.
        delivery_seconds: how long the broker may be away.

    Raises:
        FeedError: a file is broken or of another kind; `sent` says how many had gone.
        BrokerUnreachableError: no address is configured.
        KafkaError: the broker is away, the topic is missing, or a batch was refused.
    """
    if rate is not None and rate <= 0:
        raise ValueError(f"rate {rate}; expected records a second above 0")
    started = time.perf_counter()
    source = await asyncio.to_thread(_opened, what)
    total = await asyncio.to_thread(source.verify)
    reading_seconds = time.perf_counter() - started
    delays = Delays(disorder_ns, late, settings.bars.correction_horizon, seed)
    async with TickSender(settings, batch_records, delivery_seconds) as sender:
        limits = Limits(settings.topics.max_message_bytes // 2, sender.partitions)
        run = _Run(sender, source, Corrupter(corrupt, limits, seed) if corrupt > 0 else None)
        started = time.perf_counter()
        if historical:
            await _everywhere(sender, encoder.encode(HistoricalRecord()))
        chunks = delayed(source.chunks(), delays) if delays else source.chunks()
        try:
            async for trades in run.send(chunks, rate):
                if progress is not None:
                    progress(trades, total)
        except FeedError as error:
            await sender.flush()
            error.sent = sum(sender.acknowledged)
            raise
        if flush:
            await _everywhere(sender, encoder.encode(FlushRecord()))
        await sender.flush()
        return ReplaySummary(
            sent=sum(sender.acknowledged),
            trades=run.trades,
            corrupt=run.corrupt,
            seconds=time.perf_counter() - started,
            reading_seconds=reading_seconds,
            skipped=tuple(source.skipped),
            partitions=tuple(sender.acknowledged),
        )


def _opened(what: Sequence[Path] | TradeSource) -> TradeSource:
    return open_source(what) if isinstance(what, Sequence) else what


async def _everywhere(sender: TickSender, value: bytes) -> None:
    for partition in range(sender.partitions):
        await sender.send(partition, [(None, value)])


class _Run:
    """One replay on its way: pace and counts."""

    def __init__(
        self, sender: TickSender, source: TradeSource, corrupter: Corrupter | None
    ) -> None:
        self.trades = 0
        self.corrupt = 0
        self._sender = sender
        self._encoder = TickEncoder(source.vocabulary, sender.partitions)
        self._corrupter = corrupter

    async def send(self, chunks: Iterator[TradeColumns], rate: float | None) -> AsyncIterator[int]:
        """Send all chunks, each slice not before its time; gives the trades sent so far."""
        started = time.perf_counter()
        for chunk in chunks:
            size = len(chunk) if rate is None else max(1, int(rate / SLICES_A_SECOND))
            for start in range(0, len(chunk), size):
                if rate is not None:
                    due = started + (self.trades + self.corrupt) / rate
                    await asyncio.sleep(max(0.0, due - time.perf_counter()))
                await self._send_slice(chunk.take(slice(start, start + size)))
                if rate is not None:
                    await self._sender.push()
                yield self.trades

    async def _send_slice(self, part: TradeColumns) -> None:
        """Encode and send trades in their order, partition by partition."""
        good = self._encoder.encode(part)
        values: list[Value] = list(good)
        symbols = part.symbol
        self.trades += len(part)
        if self._corrupter is not None:
            values, repeats = _inserted(good, self._corrupter.after(good))
            self.corrupt += len(values) - len(good)
            symbols = np.repeat(symbols, repeats)
        partitions = self._encoder.partitions[symbols]
        order = np.argsort(partitions, kind="stable")
        edges = np.searchsorted(partitions[order], np.arange(self._sender.partitions + 1))
        keys = self._encoder.keys
        numbers, places = symbols[order].tolist(), order.tolist()
        for partition, (start, end) in enumerate(pairwise(edges.tolist())):
            records = zip(numbers[start:end], places[start:end], strict=True)
            await self._sender.send(
                partition, [(keys[number], values[place]) for number, place in records]
            )


def _inserted(
    good: list[bytes], bad: list[tuple[int, tuple[Value, ...]]]
) -> tuple[list[Value], list[int]]:
    """Good values with bad ones after them, and how many each good one has become."""
    values: list[Value] = []
    repeats = [1] * len(good)
    done = 0
    for place, more in bad:
        values += good[done : place + 1]
        values += more
        repeats[place] += len(more)
        done = place + 1
    values += good[done:]
    return values, repeats
