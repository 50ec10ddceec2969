"""A checkpoint is one transaction, and whoever is not the owner publishes nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from app.broker import EmbeddedBroker
from app.connection import bootstrap_servers
from app.exits import REFUSED
from app.identity import group_id, transactional_id, worker_folder
from app.settings import Settings
from app.streaming.store import PartitionStore
from app.topics import ticks_topic
from tables.rows import MARKER_KEY, decode_marker
from tests.broker.worker import SESSION_SECONDS, WorkerProcess, until, worker_settings
from tests.chaos.deployment import (
    CHANGELOG,
    FLUSH,
    HISTORICAL,
    SECOND,
    START,
    assert_exact,
    committed,
    compare,
    markers,
    market,
    prepared,
    read_output,
    send,
    wait_committed,
    wait_drained,
    wait_stable,
)

pytestmark = pytest.mark.broker


@pytest.fixture
async def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    # Small fetches, so that checkpoints fall between many places of the log.
    return await prepared(
        worker_settings(kafka, unique, tmp_path, broker={"fetch_max_bytes": 16 * 1024})
    )


async def send_market(settings: Settings, count: int, begin: int = START, *, last: bool) -> None:
    """A historical log of both partitions, in batches of 200."""
    parts = {number: market(number, 2, count, begin) for number in range(2)}
    for values in parts.values():
        values.insert(0, HISTORICAL)
        values += [FLUSH] if last else []
    await send(settings, parts, batch_records=200)


async def test_outputs_rows_and_source_offset_are_committed_together_or_not_at_all(
    settings: Settings,
) -> None:
    """Whenever the worker is killed, each is there up to the same record."""
    await send_market(settings, 30_000, last=True)
    reached = []
    async with WorkerProcess(settings) as worker:
        for _ in range(3):
            before = sum((await committed(settings)).values())
            await wait_committed(settings, lambda done, at=before: done > at, worker)
            await worker.kill9()
            await wait_stable(settings)
            offsets = await committed(settings)
            assert {number: each.next for number, each in (await markers(settings)).items()} == (
                offsets
            )
            await assert_exact(settings, offsets)
            await assert_stores_are_prefixes(settings)
            reached.append(sum(offsets.values()))
            await worker.start()
        total = await wait_drained(settings, worker)
        await worker.wait_ready()
        assert await worker.stop() == 0
    assert reached == sorted(set(reached))
    assert reached[0] < total, "the first kill came after the end"
    outcomes = (await assert_exact(settings)).outcomes
    assert outcomes["late"]
    assert outcomes["dead"]
    await assert_stores_are_prefixes(settings)


async def assert_stores_are_prefixes(settings: Settings) -> None:
    """The rows in RocksDB are those of the changelog up to the position stored with them."""
    for partition, rows in (await read_output(settings, CHANGELOG)).items():
        store = PartitionStore(worker_folder(settings) / f"bars-{partition}")
        try:
            position = store.position
            if position is None:
                continue
            expected: dict[bytes, bytes] = {}
            for row in rows:
                if row.offset < position.changelog_next:
                    assert row.key is not None
                    expected[row.key] = row.value or b""
                    if row.value is None:
                        del expected[row.key]
            prefixes = sorted({key[:1] for key in expected})
            assert dict(store.rows(prefixes)) == expected
            marker = store.get(MARKER_KEY)
            assert marker is None or decode_marker(marker).next <= (
                (await markers(settings))[partition].next
            )
        finally:
            store.close()


async def test_a_worker_that_wakes_from_a_long_pause_publishes_nothing(settings: Settings) -> None:
    """SIGSTOP beyond the session timeout, another takes over, SIGCONT: exactly once."""
    await send_market(settings, 20_000, last=False)
    async with (
        WorkerProcess(settings, "first") as first,
        WorkerProcess(settings, "second") as other,
    ):
        await wait_committed(settings, lambda done: done > 0, first, other)
        await first.wait_ready()
        await other.wait_ready()
        first.pause()
        await asyncio.sleep(SESSION_SECONDS)  # what is tested: a pause of that length
        await wait_owners(other)
        await send_market(settings, 2_000, START + 2_000 * SECOND, last=False)
        first.resume()
        await send_market(settings, 2_000, START + 3_000 * SECOND, last=True)
        await wait_drained(settings, first, other)
        assert await first.stop() == 0
        assert await other.stop() == 0
    await assert_exact(settings)


async def wait_owners(*workers: WorkerProcess) -> None:
    """Wait until the workers own both partitions."""

    async def owned() -> bool:
        found = [await worker.partitions() for worker in workers]
        return set().union(*found) == {0, 1}

    await until(owned, lambda: "\n".join(worker.tail for worker in workers))


async def test_a_second_worker_with_the_same_transactional_ids_fences_the_first(
    settings: Settings,
) -> None:
    """An owner that was fenced once takes over again; twice without a rebalance is the end."""
    transactional = transactional_id(settings, "bars", 0)
    await send_market(settings, 2_000, last=False)
    async with WorkerProcess(settings) as worker:
        await wait_drained(settings, worker)
        await fence(settings, transactional)
        await send_market(settings, 2_000, START + 200 * SECOND, last=False)
        await wait_drained(settings, worker)
        assert 'candlewick_fenced_total{agent="bars"} 1.0' in (await worker.get("/metrics"))[1]
        assert (await compare(settings)).passes
        await fence(settings, transactional)
        await send_market(settings, 2_000, START + 400 * SECOND, last=True)
        assert await worker.wait() == REFUSED
        own = [line for line in worker.log.splitlines() if line.startswith("candlewick worker: ")]
        assert len(own) == 1
        assert "fenced twice without a rebalance: another application uses" in own[0]
        assert f"the transactional id {transactional}," in own[0]
        # The other one of that name has ended; all goes on where the last checkpoint was.
        await worker.start()
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    await assert_exact(settings)


async def fence(settings: Settings, transactional: str) -> None:
    """Be another owner of the id for a moment."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers(settings), transactional_id=transactional
    )
    await producer.start()
    await producer.stop()


@pytest.mark.parametrize("where", ["the beginning", "the end"])
async def test_the_marker_counts_and_not_the_group_s_offset(settings: Settings, where: str) -> None:
    await send_market(settings, 5_000, last=False)
    async with WorkerProcess(settings) as worker:
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
        await send_market(settings, 5_000, START + 300 * SECOND, last=True)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers(settings),
            group_id=group_id(settings),
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            partitions = [TopicPartition(ticks_topic(settings), number) for number in range(2)]
            consumer.assign(partitions)
            places = await consumer.end_offsets(partitions)
            await consumer.commit(
                {tp: places[tp] if where == "the end" else 0 for tp in partitions}
            )
        finally:
            await consumer.stop()
        await worker.start()
        await worker.wait_ready()
        for partition in range(2):
            assert f"bars {partition}: restored to position 5001" in worker.log
        await send_market(settings, 10, START + 600 * SECOND, last=True)
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    await assert_exact(settings)
