"""The restore bench's input: bars and state rows made by the engine's own code, then published.

Every symbol trades once a second of event time, so a second of it closes one bar a symbol of the
shortest interval. A partition of the bars stage applies the trades; what its checkpoints take goes
out through the engine's own producer, one transaction a checkpoint, as a worker would send it.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
from aiokafka import AIOKafkaProducer, TopicPartition

from agents.bars import AGENT, make_stage
from app.admin import ensure_topics
from app.connection import client_options
from app.contracts.batch import RecordBatch
from app.contracts.outputs import Taken
from app.feeds.producer import TickSender
from app.identity import group_id
from app.observe.health import HealthState
from app.observe.metrics import Metrics
from app.settings import Settings
from app.streaming.compression import use_fast_lz4
from app.streaming.engine import Engine
from app.streaming.topic_identity import topic_ids
from app.streaming.transaction import Row, TransactionalProducer
from app.topics import bars_topic, source_topic
from app.views.rows import decode_head, interval_length, row_key
from tables.snapshot import LOADED_PREFIXES
from tests.bench.log import make_topics
from tests.bench.ticks import BEGIN

SECOND = 1_000_000_000
#: Trades of a checkpoint, at least.
CHECKPOINT_TRADES = 20_000
BATCH_BYTES = 256 * 1024


@dataclass(frozen=True)
class Published:
    """Distinct rows, those of them that a restore holds in memory, and the records they came in."""

    rows: int
    loaded: int
    records: int


def trades(symbols: int, second: int) -> list[bytes]:
    """One trade of each symbol in a second of event time."""
    time = BEGIN + second * SECOND
    return [
        (
            f'{{"symbol":"S{number:06d}","price":{100 + (number * 7 + second) % 900 / 100!r},'
            f'"size":{100 + (number + second) % 50},"event_time":{time + number},'
            f'"trade_id":"{52_983_525_000 + second * symbols + number}","venue":"XNAS",'
            f'"source":"feed-a"}}'
        ).encode()
        for number in range(symbols)
    ]


def checkpoints(
    settings: Settings, symbols: int, topic_id: str
) -> Iterator[tuple[list[bytes], Taken]]:
    """Seconds of trades without end: the values applied, and what the checkpoint then takes."""
    stage = make_stage(settings)
    store: dict[bytes, bytes] = {}
    state = stage.load(0, topic_id, store.get, ())
    state.begin(0)
    position, applied = 0, list[bytes]()
    for second in itertools.count():
        values = trades(symbols, second)
        following = position + len(values)
        offsets = np.arange(position, following, dtype=np.int64)
        times = np.full(len(values), BEGIN + second * SECOND, dtype=np.int64)
        state.apply(RecordBatch(stage.source, 0, position, following, values, offsets, times))
        position = following
        applied += values
        if len(applied) >= CHECKPOINT_TRADES:
            taken = state.take(topic_id)
            yield applied, taken
            store.update((key, value) for key, value in taken.rows if value is not None)
            state.stored()
            applied = []


@asynccontextmanager
async def _publisher(settings: Settings) -> AsyncIterator[tuple[TransactionalProducer, str]]:
    """Make the topics; the bars stage's own producer of partition 0, and the source's id."""
    await ensure_topics(settings)
    use_fast_lz4()
    engine = Engine(settings, [make_stage(settings)], HealthState(), Metrics())
    producer = TransactionalProducer(engine._producer_options(AGENT, 0))
    await producer.start()
    try:
        source = source_topic(settings, AGENT)
        yield producer, (await topic_ids(producer.client, [source]))[source]
    finally:
        await producer.stop()


async def publish_bars(settings: Settings, symbols: int, rows: int) -> Published:
    """Publish that many closed bars, no two of one window."""
    topic = bars_topic(settings, AGENT)
    source = TopicPartition(source_topic(settings, AGENT), 0)
    sent = 0
    async with _publisher(settings) as (producer, topic_id):
        for _, taken in checkpoints(settings, symbols, topic_id):
            bars: list[Row] = list(taken.outputs.get("bars", ()))[: rows - sent]
            if bars:
                await producer.publish(0, {topic: bars}, topic, source, 0, group_id(settings))
            sent += len(bars)
            if sent == rows:
                return Published(rows, 0, sent)
    raise AssertionError("the checkpoints never end")


async def publish_state(settings: Settings, symbols: int, rows: int) -> Published:
    """Publish checkpoints until there are that many state rows; their trades go to the source."""
    changelog = make_stage(settings).changelog
    source = TopicPartition(source_topic(settings, AGENT), 0)
    keys: set[bytes] = set()
    records = 0
    async with _publisher(settings) as (producer, topic_id), TickSender(settings) as sender:
        for values, taken in checkpoints(settings, symbols, topic_id):
            await sender.send(0, [(None, value) for value in values])
            changed: list[Row] = [(key, value, []) for key, value in taken.rows]
            await producer.publish(
                0, {changelog: changed}, changelog, source, taken.next, group_id(settings)
            )
            records += len(changed)
            for key, value in taken.rows:
                (keys.discard if value is None else keys.add)(key)
            if len(keys) >= rows:
                await sender.flush()
                loaded = sum(key[:1] in LOADED_PREFIXES for key in keys)
                return Published(len(keys), loaded, records)
    raise AssertionError("the checkpoints never end")


async def publish_table(settings: Settings, topic: str, values: Iterable[bytes]) -> int:
    """Write bars, keyed as a view's rows are, to a Faust table's changelog; plain records."""
    make_topics(settings, {topic: 1})
    use_fast_lz4()
    producer = AIOKafkaProducer(
        **client_options(settings), max_batch_size=BATCH_BYTES, compression_type="lz4"
    )
    await producer.start()
    sent, futures = 0, []
    try:
        batch = producer.create_batch()
        for value in values:
            head = decode_head(value)
            key = row_key(head.symbol, interval_length(head.interval), head.start)
            if batch.append(timestamp=None, key=key, value=value, headers=[]) is None:
                futures.append(await producer.send_batch(batch, topic, partition=0))
                batch = producer.create_batch()
                batch.append(timestamp=None, key=key, value=value, headers=[])
            sent += 1
        futures.append(await producer.send_batch(batch, topic, partition=0))
        for future in futures:
            await future
    finally:
        await producer.stop()
    return sent
