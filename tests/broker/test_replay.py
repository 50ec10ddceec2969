"""Replay into a real Kafka: every record once, in order, whatever the size of the batches."""

import asyncio
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaTimeoutError, UnknownTopicOrPartitionError

from app.admin import ensure_topics
from app.broker import BrokerConfig, EmbeddedBroker
from app.contracts.wire import QuoteRecord, TradeRecord, quote_decoder, trade_decoder
from app.feeds import producer
from app.feeds.corrupt import CORRUPTIONS
from app.feeds.errors import FeedError
from app.feeds.partitioning import partition_of
from app.feeds.producer import TickSender
from app.feeds.replayer import replay
from app.feeds.source import MemorySource, open_source
from app.settings import Settings
from app.topics import quotes_topic, ticks_topic

pytestmark = pytest.mark.broker

START = 1_381_152_600_000_000_000
Log = list[list[tuple[bytes | None, bytes | None]]]


@pytest.fixture
def settings(kafka: EmbeddedBroker, unique: str) -> Settings:
    return Settings(
        topic_prefix=f"{unique}.",
        broker={"url": kafka.url},
        topics={"partitions": 4, "max_message_bytes": 64 * 1024},
    )


def trades(count: int) -> list[TradeRecord]:
    return [
        TradeRecord(
            symbol=f"S{number % 7}",
            price=100 + number / 8,
            size=1.0,
            event_time=START + number * 1_000_000,
            conditions=("iso",),
        )
        for number in range(count)
    ]


async def read(settings: Settings, topic: str | None = None) -> Log:
    """Everything in the topic, `ticks` unless told: (key, value) by partition."""
    assert settings.broker.url is not None
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.broker.url.removeprefix("kafka://"), auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        topic = topic or ticks_topic(settings)
        partitions = [TopicPartition(topic, number) for number in range(4)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        log: Log = [[] for _ in partitions]
        while any(len(log[tp.partition]) < end for tp, end in ends.items()):
            fetched = await consumer.getmany(timeout_ms=200)
            for tp, records in fetched.items():
                log[tp.partition] += [(record.key, record.value) for record in records]
        return log
    finally:
        await consumer.stop()


@pytest.mark.parametrize("batch_records", [None, 1, 100, 10_000])
async def test_each_partition_holds_mark_then_trades_in_order_then_flush(
    settings: Settings, batch_records: int | None
) -> None:
    await ensure_topics(settings)
    sent = trades(500)
    told: list[tuple[int, int]] = []
    summary = await replay(
        settings,
        MemorySource(sent, chunk=64),
        batch_records=batch_records,
        progress=lambda done, total: told.append((done, total)),
    )
    log = await read(settings)
    assert summary.trades == 500
    assert summary.sent == 508 == sum(map(len, log))
    assert summary.partitions == tuple(map(len, log))
    assert told[-1] == (500, 500)
    found = []
    for partition, records in enumerate(log):
        assert records[0] == (None, b'{"type":"historical"}')
        assert records[-1] == (None, b'{"type":"flush"}')
        decoded = [trade_decoder.decode(value or b"") for _, value in records[1:-1]]
        assert [trade.sequence for trade in decoded] == sorted(
            trade.sequence or 0 for trade in decoded
        )
        for (key, _), trade in zip(records[1:-1], decoded, strict=True):
            assert key == trade.symbol.encode()
            assert partition_of(trade.symbol, 4) == partition
        found += decoded
    found.sort(key=lambda trade: trade.event_time)
    assert [(t.symbol, t.price, t.size, t.event_time, t.conditions) for t in found] == [
        (t.symbol, t.price, t.size, t.event_time, t.conditions) for t in sent
    ]


async def test_quotes_go_to_their_own_topic_in_order(settings: Settings) -> None:
    await ensure_topics(settings)
    sent = [
        QuoteRecord(f"S{number % 7}", float(number), number + 0.5, START + number, 3.0, 4.0)
        for number in range(500)
    ]
    summary = await replay(settings, MemorySource(sent, chunk=64))
    assert (summary.kind, summary.trades, summary.sent) == ("quotes", 500, 508)
    assert await read(settings) == [[], [], [], []]
    log = await read(settings, quotes_topic(settings))
    found = []
    for partition, records in enumerate(log):
        assert records[0] == (None, b'{"type":"historical"}')
        assert records[-1] == (None, b'{"type":"flush"}')
        decoded = [quote_decoder.decode(value or b"") for _, value in records[1:-1]]
        sequences = [quote.sequence or 0 for quote in decoded]
        assert sequences == sorted(sequences)
        for (key, _), quote in zip(records[1:-1], decoded, strict=True):
            assert key == quote.symbol.encode()
            assert partition_of(quote.symbol, 4) == partition
        found += decoded
    found.sort(key=lambda quote: quote.event_time)
    assert [(q.symbol, q.bid, q.ask, q.bid_size, q.ask_size, q.event_time) for q in found] == [
        (q.symbol, q.bid, q.ask, q.bid_size, q.ask_size, q.event_time) for q in sent
    ]


async def test_the_kind_chooses_the_files_and_the_topic(settings: Settings, tmp_path: Path) -> None:
    await ensure_topics(settings)
    (tmp_path / "trades.csv").write_text(f"symbol,price,size,event_time\nA,1,1,{START}\n")
    (tmp_path / "quotes.csv").write_text(f"symbol,bid,ask,event_time\nA,1,2,{START}\n")
    quotes = await replay(settings, [tmp_path], kind="quotes")
    assert [(each.path.name, each.reason) for each in quotes.skipped] == [
        ("trades.csv", "trades, not quotes")
    ]
    trades = await replay(settings, [tmp_path])
    assert [(each.path.name, each.reason) for each in trades.skipped] == [
        ("quotes.csv", "quotes, not trades")
    ]
    for topic, value in ((quotes_topic(settings), b'"bid":1'), (ticks_topic(settings), b'"price"')):
        values = [value or b"" for part in await read(settings, topic) for _, value in part]
        assert len(values) == 4 + 1 + 4
        assert sum(value in found for found in values) == 1


async def test_bad_quotes_come_besides_the_good_ones(settings: Settings) -> None:
    await ensure_topics(settings)
    sent = [QuoteRecord("S", 1.0, 2.0, START + number) for number in range(2_000)]
    summary = await replay(settings, MemorySource(sent), corrupt=0.2, seed=3)
    values = [value for part in await read(settings, quotes_topic(settings)) for _, value in part]
    assert 300 < summary.corrupt < 560
    assert len(values) == summary.sent == 2_000 + summary.corrupt + 8


async def test_rows_with_a_value_are_sent_as_they_are(settings: Settings) -> None:
    await ensure_topics(settings)

    class Lines(MemorySource):
        def chunks(self):  # type: ignore[no-untyped-def]
            for chunk in MemorySource.chunks(self):
                value = np.array([None] * (len(chunk) - 1) + [b"not JSON"], dtype=object)
                yield dataclasses.replace(chunk, value=value)

    summary = await replay(settings, Lines(trades(10), chunk=5))
    assert (summary.trades, summary.raw, summary.sent) == (8, 2, 18)
    values = [value for part in await read(settings) for _, value in part]
    assert values.count(b"not JSON") == 2


async def test_bad_records_come_besides_the_good_ones(settings: Settings) -> None:
    await ensure_topics(settings)
    summary = await replay(settings, MemorySource(trades(4_000)), corrupt=0.2, seed=3)
    values = [value for part in await read(settings) for _, value in part]
    assert 600 < summary.corrupt < 1_100
    assert len(values) == summary.sent == 4_000 + summary.corrupt + 8
    good = [value for value in values if value is not None and _is_fine(value)]
    assert len(good) == 4_000 + 8


def _is_fine(value: bytes) -> bool:
    """Whether a value is one of the 4,000 trades or a control record."""
    try:
        record = json.loads(value)
    except ValueError:
        return False
    if not isinstance(record, dict):
        return False
    if record.get("type") in ("historical", "flush"):
        return True
    known = {"symbol", "price", "size", "event_time", "sequence", "conditions"}
    return (
        set(record) == known
        and len(value) < 32 * 1024
        and record["symbol"][0] == "S"
        and record["conditions"] == ["iso"]
        and START <= record["event_time"] < START + 4_000_000_000
        and record["price"] in (100 + number / 8 for number in range(4_000))
        and record["size"] == 1.0
    )


async def test_the_largest_bad_record_fits_the_topic(settings: Settings) -> None:
    await ensure_topics(settings)
    assert any(kind.name == "too_large" for kind in CORRUPTIONS)
    async with TickSender(settings) as sender:
        await sender.send(0, [(b"S", b"x" * (settings.topics.max_message_bytes // 2 + 1))])
        await sender.flush()
        assert sender.acknowledged == [1, 0, 0, 0]


async def test_a_broken_file_sends_nothing(settings: Settings, tmp_path: Path) -> None:
    await ensure_topics(settings)
    good = tmp_path / "a.csv"
    good.write_text("symbol,price,size,event_time\nA,1,1,1381152600000000000\n")
    broken = tmp_path / "b.csv"
    broken.write_text("symbol,price,size,event_time\nA,1,1,1381152600000000000\nA,1\n")
    with pytest.raises(FeedError) as caught:
        await replay(settings, [good, broken])
    assert (caught.value.file, caught.value.line, caught.value.sent) == (broken, 3, 0)
    assert await read(settings) == [[], [], [], []]


async def test_a_file_that_breaks_under_way_ends_without_flush(
    settings: Settings, tmp_path: Path
) -> None:
    await ensure_topics(settings)
    path = tmp_path / "a.csv"
    path.write_text("symbol,price,size,event_time\nA,1,1,1381152600000000000\n")
    source = open_source([path])
    source.verify()
    path.write_text("symbol,price,size,event_time\nA,1,1,1381152600000000000\nA\n")

    class Verified(MemorySource):
        def verify(self) -> int:
            return 1

        def chunks(self):  # type: ignore[no-untyped-def]
            yield from MemorySource.chunks(self)
            source.vocabulary = self.vocabulary
            yield from source.chunks()

    with pytest.raises(FeedError, match=r"a\.csv:3: 1 columns.*14 records had been sent"):
        await replay(settings, Verified(trades(10)))
    log = await read(settings)
    assert sum(map(len, log)) == 14
    assert all(value != b'{"type":"flush"}' for part in log for _, value in part)


async def test_a_rate_is_kept_by_the_wall_clock(settings: Settings) -> None:
    await ensure_topics(settings)
    summary = await replay(settings, MemorySource(trades(1_000)), rate=2_000)
    assert summary.seconds > 0.4


async def test_a_missing_topic_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer, "TOPIC_SECONDS", 0.5)
    with pytest.raises(UnknownTopicOrPartitionError, match="no topic"):
        await replay(settings, MemorySource(trades(1)))


@pytest.mark.slow
async def test_a_broker_that_goes_away_ends_the_replay(tmp_path: Path) -> None:
    broker = EmbeddedBroker(BrokerConfig(tmp_path / "broker", heap_megabytes=256))
    broker.start()
    try:
        broker.wait_ready()
        settings = Settings(broker={"url": broker.url})
        await ensure_topics(settings)
        source = MemorySource(trades(100_000))
        task = asyncio.create_task(replay(settings, source, rate=2_000, delivery_seconds=2))
        await asyncio.sleep(1.0)
        await asyncio.to_thread(broker.stop)
        with pytest.raises(KafkaTimeoutError, match="no acknowledgement within 2 s"):
            await asyncio.wait_for(task, 30)
    finally:
        broker.stop()


async def test_a_cancelled_replay_leaves_no_flush(settings: Settings) -> None:
    await ensure_topics(settings)
    task = asyncio.create_task(replay(settings, MemorySource(trades(100_000)), rate=1_000))
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    log = await read(settings)
    assert 0 < sum(map(len, log)) < 5_000
    assert all(value != b'{"type":"flush"}' for part in log for _, value in part)


@pytest.mark.realdata
@pytest.mark.slow
async def test_recorded_days_arrive_whole(settings: Settings, realdata: Path) -> None:
    await ensure_topics(settings)
    summary = await replay(settings, [realdata / "equity/tick/spy", realdata / "equity/tick/ibm"])
    assert summary.trades == 250_601 + 451_545 + 439_677 + 24_293 + 33_381 + 27_042
    assert len(summary.skipped) == 3
    print(f"{summary.trades / summary.seconds:,.0f} records/s produced")
