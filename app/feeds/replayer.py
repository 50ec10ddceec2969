"""Replay of recorded trades or quotes: read, merge, mangle if asked, encode, send.

Every partition gets a `historical` record first and a `flush` record last. All files are read
through before the first record is sent; if one turns out broken after all, nothing more is sent,
no flush either, and the error says how many records had been.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.contracts.forms import Form
from app.contracts.wire import FlushRecord, HistoricalRecord, encoder
from app.feeds.columns import TickColumns
from app.feeds.corrupt import Corrupter, Limits
from app.feeds.errors import FeedError
from app.feeds.files import Kind, Skipped
from app.feeds.mangle import Delays, delayed
from app.feeds.producer import DELIVERY_SECONDS, TickSender
from app.feeds.sending import ColumnsSender
from app.feeds.source import FileMapping, TickSource, open_source
from app.settings import Settings
from app.topics import quotes_topic, ticks_topic

#: Parts of a second in which a paced replay sends.
SLICES_A_SECOND: Final = 20

#: Called with the files' records sent so far and those there are.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """What a replay has sent.

    Attributes:
        sent: records in the topic, control records included.
        trades: good ones, trades or quotes as `kind` says.
        corrupt: bad ones, sent on purpose.
        seconds: from the first record's sending to the last acknowledgement.
        reading_seconds: of reading all files through before.
        skipped: files that were not replayed, and why.
        partitions: records of each partition, by its number.
        kind: what was replayed, and so the topic.
        left_out: the files' records that were left out on purpose, by the reason.
        raw: the files' records that were sent as they are: control records, and lines that
            cannot be read and become dead letters.
    """

    sent: int
    trades: int
    corrupt: int
    seconds: float
    reading_seconds: float
    skipped: tuple[Skipped, ...]
    partitions: tuple[int, ...]
    kind: Kind = "trades"
    left_out: Mapping[str, int] = field(default_factory=dict)
    raw: int = 0


async def replay(
    settings: Settings,
    what: Sequence[Path] | TickSource,
    *,
    kind: Kind = "trades",
    mapping: FileMapping | None = None,
    rate: float | None = None,
    batch_records: int | None = None,
    disorder_ns: int = 0,
    late: float = 0.0,
    corrupt: float = 0.0,
    seed: int = 0,
    form: Form = "json",
    historical: bool = True,
    flush: bool = True,
    progress: Progress | None = None,
    delivery_seconds: float = DELIVERY_SECONDS,
) -> ReplaySummary:
    """Send recorded trades to the topic `ticks`, or quotes to `quotes`; the topic must exist.

    Args:
        settings: broker, topic, compression and limits; `bars.correction_horizon` is what
            `late` is measured by.
        what: files and folders, or a source of one's own.
        kind: which records of the files, and so the topic; a source says it itself.
        mapping: how tables under other column names are read.
        rate: records a second by the wall clock; None: as fast as they go.
        batch_records: at most so many records in a batch (a batch is bounded by bytes, too).
        disorder_ns, late, seed: see `Delays`.
        corrupt: this share of bad records besides the good ones (`corrupt.py`).
        form: of the files' trades or quotes; bad ones on purpose, and control records, are JSON.
        historical: begin with the mark that this replay owns the partitions' time.
        flush: close all windows at the end.
        progress: told after each part of the data.
        delivery_seconds: how long the broker may be away.

    Raises:
        FeedError: a file is broken, or there is nothing to replay; `sent` says how many
            records had gone.
        BrokerUnreachableError: no address is configured.
        KafkaError: the broker is away, the topic is missing, or a batch was refused.
    """
    if rate is not None and rate <= 0:
        raise ValueError(f"rate {rate}; expected records a second above 0")
    started = time.perf_counter()
    source = await asyncio.to_thread(_opened, what, kind, mapping)
    total = await asyncio.to_thread(source.verify)
    reading_seconds = time.perf_counter() - started
    delays = Delays(disorder_ns, late, settings.bars.correction_horizon, seed)
    topic = quotes_topic(settings) if source.kind == "quotes" else ticks_topic(settings)
    async with TickSender(settings, batch_records, delivery_seconds, topic) as sender:
        limits = Limits(settings.topics.max_message_bytes // 2, sender.partitions)
        corrupter = Corrupter(corrupt, limits, seed, source.kind) if corrupt > 0 else None
        run = ColumnsSender(sender, source.vocabulary, corrupter, form)
        started = time.perf_counter()
        if historical:
            await _everywhere(sender, encoder.encode(HistoricalRecord()))
        chunks = delayed(source.chunks(), delays) if delays else source.chunks()
        try:
            async for records in _paced(run, sender, chunks, rate):
                if progress is not None:
                    progress(records, total)
        except FeedError as error:
            await sender.flush()
            error.sent = sum(sender.acknowledged)
            raise
        if flush:
            await _everywhere(sender, encoder.encode(FlushRecord()))
        await sender.flush()
        return ReplaySummary(
            sent=sum(sender.acknowledged),
            trades=run.records,
            corrupt=run.corrupt,
            seconds=time.perf_counter() - started,
            reading_seconds=reading_seconds,
            skipped=tuple(source.skipped),
            partitions=tuple(sender.acknowledged),
            kind=source.kind,
            left_out=dict(source.left_out),
            raw=run.raw,
        )


def _opened(
    what: Sequence[Path] | TickSource, kind: Kind, mapping: FileMapping | None
) -> TickSource:
    return open_source(what, kind, mapping) if isinstance(what, Sequence) else what


async def _everywhere(sender: TickSender, value: bytes) -> None:
    for partition in range(sender.partitions):
        await sender.send(partition, [(None, value)])


async def _paced(
    run: ColumnsSender, sender: TickSender, chunks: Iterator[TickColumns], rate: float | None
) -> AsyncIterator[int]:
    """Send all chunks, each slice not before its time; gives the files' records sent so far."""
    started = time.perf_counter()
    for chunk in chunks:
        size = len(chunk) if rate is None else max(1, int(rate / SLICES_A_SECOND))
        for start in range(0, len(chunk), size):
            if rate is not None:
                due = started + (run.records + run.raw + run.corrupt) / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await run.send(chunk.take(slice(start, start + size)))
            if rate is not None:
                await sender.push()
            yield run.records + run.raw
