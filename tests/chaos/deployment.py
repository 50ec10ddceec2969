"""What goes into a deployment under test, and what it leaves on the broker."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from app.admin import ensure_topics
from app.connection import bootstrap_servers, connect
from app.contracts.wire import encoder
from app.feeds.partitioning import partition_of
from app.feeds.producer import TickSender
from app.groups import committed_offsets
from app.identity import group_id
from app.run.reader import bounds, plain_consumer, read_range
from app.settings import Settings
from app.topics import output_topic, ticks_topic
from tables.rows import MARKER_KEY, Marker, decode_marker
from tests.broker.worker import NotInTimeError, WorkerProcess, until
from tests.oracle.compare import (
    DeploymentComparison,
    TopicComparison,
    _body,
    compare_partition,
    expected_sources,
    found_bar,
    found_source,
)
from tests.oracle.log import LogRecord
from tests.oracle.reference import Reference
from tests.oracle.reference import Settings as ReferenceSettings

SECOND = 1_000_000_000
#: 2013-10-07 10:00 in New York.
START = 1_381_154_400 * SECOND
OUTPUTS = ("bars", "bars.late", "bars.dead")
CHANGELOG = "bars.changelog"
HISTORICAL, FLUSH = b'{"type":"historical"}', b'{"type":"flush"}'
Value = bytes | None


# --- what goes in ------------------------------------------------------------------------------


def symbol_of(partition: int, partitions: int, number: int = 0) -> str:
    """The symbol S<n> that is the number-th of a partition."""
    found = (name for name in (f"S{n}" for n in range(10_000)) if _at(name, partition, partitions))
    return next(name for place, name in enumerate(found) if place == number)


def _at(name: str, partition: int, partitions: int) -> bool:
    return partition_of(name, partitions) == partition


def trade(symbol: str, event_time: int, price: float = 1.0, **more: object) -> bytes:
    """One trade's value."""
    fields = {"symbol": symbol, "price": price, "size": 1.0, "event_time": event_time}
    return encoder.encode(fields | more)


def market(
    partition: int, partitions: int, count: int, begin: int = START, step: int = SECOND // 20
) -> list[Value]:
    """Trades of three symbols, `step` ns apart; every 50th is late, every 40th a bad record."""
    symbols = [symbol_of(partition, partitions, number) for number in range(3)]
    values: list[Value] = []
    for number in range(count):
        now = begin + number * step
        if number % 40 == 39:
            values.append(b"{broken %d" % number)
        elif number % 50 == 49 and number * step > 1000 * SECOND:
            values.append(trade(symbols[0], now - 1000 * SECOND, 2.0))
        else:
            price = 100 + number * 7 % 31 / 8
            behind = number % 7 * step * 5
            values.append(trade(symbols[number % 3], now - behind, price, sequence=number))
    return values


async def send(
    settings: Settings, values: Mapping[int, Sequence[Value]], batch_records: int = 4_000
) -> None:
    """Append values to partitions of the ticks topic, all acknowledged."""
    async with TickSender(settings, batch_records) as sender:
        for partition, records in values.items():
            await sender.send(partition, [(None, value) for value in records])
        await sender.flush()


async def send_in_transactions(
    settings: Settings, partition: int, transactions: Iterable[tuple[Sequence[Value], bool]]
) -> None:
    """Append values by a transactional producer: each sequence is committed, or aborted."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers(settings),
        transactional_id=f"{settings.topic_prefix}feed",
        compression_type="lz4",
        max_batch_size=512 * 1024,
    )
    await producer.start()
    try:
        for values, commit in transactions:
            await producer.begin_transaction()
            batch = producer.create_batch()
            for value in values:
                assert batch.append(timestamp=None, key=None, value=value) is not None
            batch.close()
            await (await producer.send_batch(batch, ticks_topic(settings), partition=partition))
            await (producer.commit_transaction() if commit else producer.abort_transaction())
    finally:
        await producer.stop()


# --- what comes out ----------------------------------------------------------------------------


async def ends(settings: Settings, *topics: str) -> dict[TopicPartition, int]:
    """End offsets of the logs of all partitions of topics."""
    return {tp: end for tp, (_, end) in (await bounds(settings, _all(settings, topics))).items()}


async def committed(settings: Settings) -> dict[int, int]:
    """The committed next offset of each partition of the deployment's group."""
    async with connect(settings) as client:
        return await _committed(settings, client)


async def _committed(settings: Settings, client: AIOKafkaAdminClient) -> dict[int, int]:
    topic, partitions = ticks_topic(settings), settings.topics.partitions
    return await committed_offsets(client, group_id(settings), topic, partitions)


def _all(settings: Settings, topics: Iterable[str]) -> list[TopicPartition]:
    numbers = range(settings.topics.partitions)
    return [TopicPartition(topic, number) for topic in topics for number in numbers]


async def wait_committed(
    settings: Settings, enough: Callable[[int], bool], *workers: WorkerProcess, seconds: float = 90
) -> int:
    """Wait until the sum of the committed offsets is enough; that sum."""
    done = 0
    async with connect(settings) as client:

        async def reached() -> bool:
            nonlocal done
            done = sum((await _committed(settings, client)).values())
            return enough(done)

        await until(reached, lambda: _said(f"committed {done}", workers), seconds)
    return done


async def wait_drained(settings: Settings, *workers: WorkerProcess, seconds: float = 90) -> int:
    """Wait until all that is in the ticks topic is committed and readable; the records' number.

    Records that are appended while it waits, such as clock records, count as well.

    Raises:
        NotInTimeError: it takes longer, or one of the workers has ended.
    """
    source = _all(settings, [ticks_topic(settings)])
    last: dict[TopicPartition, int] = {}
    found: dict[int, int] = {}
    async with connect(settings) as client, plain_consumer(settings, committed=False) as reader:

        async def drained() -> bool:
            nonlocal last, found
            for worker in workers:
                if not worker.running:
                    raise NotInTimeError(f"the worker has ended: {worker.tail}")
            # In this order: what is appended in between is not drained.
            found, last = await _committed(settings, client), await reader.end_offsets(source)
            return all(found.get(tp.partition, 0) == end for tp, end in last.items())

        await until(drained, lambda: _said(f"ends {last} committed {found}", workers), seconds)
    await wait_stable(settings)
    return sum(last.values())


async def wait_stable(settings: Settings, seconds: float = 30) -> None:
    """Wait until no output has an open transaction: what is in the logs is decided.

    A group's offset is visible a moment before the same transaction's outputs are.
    """
    outputs = _all(settings, [output_topic(settings, name) for name in (*OUTPUTS, CHANGELOG)])
    async with (
        plain_consumer(settings, committed=False) as all_of_it,
        plain_consumer(settings) as stable,
    ):

        async def decided() -> bool:
            return bool(await all_of_it.end_offsets(outputs) == await stable.end_offsets(outputs))

        await until(decided, lambda: "the end of all transactions", seconds)


def _said(state: str, workers: Iterable[WorkerProcess]) -> str:
    return "\n".join([state, *(worker.tail for worker in workers)])


@dataclass(frozen=True, slots=True)
class Read:
    """One record as a `read_committed` reader has it."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    @property
    def content(self) -> Read:
        """Without what differs between two deployments of the same input."""
        return replace(self, offset=0, timestamp=0)


async def read_topic(settings: Settings, topic: str) -> dict[int, list[Read]]:
    """All committed records of a topic by partition, in order."""
    wanted = _all(settings, [topic])
    found: dict[int, list[Read]] = {tp.partition: [] for tp in wanted}
    async for tp, records in read_range(settings, await bounds(settings, wanted)):
        found[tp.partition] += [
            Read(tp.partition, each.offset, each.timestamp, each.key, each.value, each.headers)
            for each in records
        ]
    return found


async def read_output(settings: Settings, name: str) -> dict[int, list[Read]]:
    """A deployment's output by its name, as `read_topic`."""
    return await read_topic(settings, output_topic(settings, name))


async def contents(settings: Settings) -> dict[str, dict[int, list[Read]]]:
    """All outputs of a deployment, comparable with those of another one of the same log."""
    return {
        name: {
            partition: [record.content for record in records]
            for partition, records in (await read_output(settings, name)).items()
        }
        for name in OUTPUTS
    }


async def bars_of(settings: Settings) -> list[dict[str, Any]]:
    """All published bars, decoded, partition by partition."""
    found = await read_output(settings, "bars")
    return [json.loads(each.value or b"") for records in found.values() for each in records]


async def markers(settings: Settings) -> dict[int, Marker]:
    """The newest marker of each partition, from the changelog."""
    found = await read_output(settings, CHANGELOG)
    return {
        partition: decode_marker(rows[-1])
        for partition, records in found.items()
        if (rows := [each.value or b"" for each in records if each.key == MARKER_KEY])
    }


async def compare(
    settings: Settings, until_offsets: Mapping[int, int] | None = None
) -> DeploymentComparison:
    """The deployment's outputs against the independent reference on the same log.

    `until_offsets` is how far the reference reads, by partition; all of it unless told.
    """
    bars = settings.bars
    expected = ReferenceSettings(
        intervals=bars.intervals,
        policy=bars.policy,
        grace=bars.grace,
        correction_horizon=bars.correction_horizon,
        recall_horizon=bars.recall_horizon,
        max_message_bytes=settings.topics.max_message_bytes,
    )
    ticks, count = ticks_topic(settings), settings.topics.partitions
    result = {name: TopicComparison(output_topic(settings, name)) for name in OUTPUTS}
    outcomes: Counter[str] = Counter()
    found = {name: await read_output(settings, name) for name in OUTPUTS}
    for partition, log in (await read_topic(settings, ticks)).items():
        reference = Reference(partition, count, expected)
        for each in log:
            if until_offsets is None or each.offset < until_offsets.get(partition, 0):
                reference.feed(each.offset, each.timestamp, each.value)
        outcomes += reference.outcomes
        wanted: dict[str, list[tuple[tuple[Any, ...], Any]]] = {
            "bars": [(bar.identity, _body(bar)) for bar in reference.bars],
            "bars.late": expected_sources(
                ticks, partition, [(e.offset, (e.value, e.symbol.encode())) for e in reference.late]
            ),
            "bars.dead": expected_sources(
                ticks, partition, [(e.offset, (e.value, e.reason.encode())) for e in reference.dead]
            ),
        }
        for name in OUTPUTS:
            records = map(_log_record, found[name][partition])
            there = (
                map(found_bar, records)
                if name == "bars"
                else (found_source(each, name == "bars.dead") for each in records)
            )
            compare_partition(result[name], partition, wanted[name], there)
    return DeploymentComparison(list(result.values()), outcomes)


def _log_record(read: Read) -> LogRecord:
    return LogRecord(read.offset, read.timestamp, read.key, read.value, dict(read.headers))


async def assert_exact(
    settings: Settings, until_offsets: Mapping[int, int] | None = None
) -> DeploymentComparison:
    """The deployment's outputs are those of the reference, each once; what was compared."""
    comparison = await compare(settings, until_offsets)
    assert comparison.passes, comparison.report()
    return comparison


async def prepared(settings: Settings) -> Settings:
    """The same settings, once the topics are there."""
    await ensure_topics(settings)
    return settings
