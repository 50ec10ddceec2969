"""Both agents in one worker: each from its own topic, with its own state; killed on the way.

What was published is compared with the pure state machine, fed with the log as it is on the broker.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer

from agents.windowed import bars_configuration
from app.broker import EmbeddedBroker
from app.connection import bootstrap_servers, connect
from app.contracts.batch import RecordBatch
from app.contracts.wire import encoder
from app.groups import committed_offsets
from app.identity import group_id
from app.run.outcomes import read_markers
from app.settings import Settings
from app.topics import output_topic, output_topics, source_topic
from tables.bars import BarsPartition
from tables.partition import WindowedPartition
from tables.quotes import QuotesPartition
from tables.rows import MARKER_KEY, decode_marker
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import FLUSH, HISTORICAL, Value, ends, market, read_topic, symbol_of

pytestmark = pytest.mark.broker

KINDS: dict[str, type[WindowedPartition[Any, Any]]] = {
    "bars": BarsPartition,
    "quotes": QuotesPartition,
}
COUNT = 3_000


@pytest.fixture
def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    """Both agents."""
    activity = {"activity": ("tick:50", "dollar:20000")}
    chosen = worker_settings(kafka, unique, tmp_path, bars=activity)
    return chosen.model_copy(update={"agents": ("bars", "quotes")})


def quotes(partition: int, count: int) -> list[Value]:
    """Quotes with disorder; some late, crossed, without a side or broken."""
    symbols = [symbol_of(partition, 2, number) for number in range(3)]
    begin, step = 1_381_154_400_000_000_000, 500_000_000
    values: list[Value] = []
    for number in range(count):
        now = begin + number * step
        bid = 100 + number * 7 % 31 / 8
        ask = bid + (number % 5) / 100
        if number % 41 == 40:
            values.append(b"{broken %d" % number)
            continue
        if number % 43 == 42:
            ask = 0.0
        elif number % 47 == 46:
            ask = bid - 1
        late = 1000_000_000_000 if number % 50 == 49 and number > 2_500 else 0
        time = now - late - number % 7 * step
        fields = {"symbol": symbols[number % 3], "bid": bid, "ask": ask, "event_time": time}
        values.append(encoder.encode(fields | {"bid_size": float(number), "sequence": number}))
    return values


async def append(settings: Settings, topic: str, partition: int, values: list[Value]) -> None:
    """Append values, all acknowledged."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers(settings),
        acks="all",
        enable_idempotence=True,
        max_batch_size=1_000_000,
    )
    await producer.start()
    try:
        for begin in range(0, len(values), 1_000):
            batch = producer.create_batch()
            for value in values[begin : begin + 1_000]:
                assert batch.append(timestamp=None, key=None, value=value) is not None
            batch.close()
            await (await producer.send_batch(batch, topic, partition=partition))
    finally:
        await producer.stop()


async def wait_drained(settings: Settings, worker: WorkerProcess, seconds: float = 60) -> None:
    """Wait until one look finds every agent at the end of its log, one behind the other.

    Positions are asked before the ends: what an agent writes comes with its position, so nothing
    can be on its way then. Agents of one topic share its committed offset: there each one's last
    marker says how far it is.
    """
    sources = {agent: source_topic(settings, agent) for agent in settings.agents}
    shared = [agent for agent, topic in sources.items() if [*sources.values()].count(topic) > 1]
    count = settings.topics.partitions
    found: dict[str, dict[int, int]] = {}

    async def drained() -> bool:
        assert worker.running, worker.tail
        async with connect(settings) as client:
            for agent, topic in sources.items():
                if agent not in shared:
                    found[agent] = await committed_offsets(client, group_id(settings), topic, count)
        if shared:
            chosen = settings.model_copy(update={"agents": tuple(shared)})
            markers = await read_markers(chosen)
            for agent in shared:
                changelog = output_topic(settings, f"{agent}.changelog")
                found[agent] = {
                    place.partition: each.next
                    for place, each in markers.items()
                    if place.topic == changelog
                }
        last = await ends(settings, *sources.values())
        return all(
            found[agent].get(tp.partition, 0) == end
            for agent, topic in sources.items()
            for tp, end in last.items()
            if tp.topic == topic
        )

    await until(drained, lambda: f"{found} {worker.tail}", seconds)


async def expected(settings: Settings, agent: str) -> dict[int, WindowedPartition[Any, Any]]:
    """The state machine of each partition, fed with its log."""
    states = {}
    log = await read_topic(settings, source_topic(settings, agent))
    for partition, records in log.items():
        state = KINDS[agent](bars_configuration(settings), partition, lambda key: None)
        batch = RecordBatch(
            source_topic(settings, agent),
            partition,
            records[0].offset,
            records[-1].offset + 1,
            [record.value for record in records],
            np.array([record.offset for record in records], dtype=np.int64),
            np.array([record.timestamp * 1_000_000 for record in records], dtype=np.int64),
        )
        state.apply(batch)
        states[partition] = state
    return states


async def test_two_agents_publish_what_their_logs_say_although_the_worker_is_killed(
    settings: Settings,
) -> None:
    makers: dict[str, Callable[[int], list[Value]]] = {
        "bars": lambda number: market(number, 2, COUNT),
        "quotes": lambda number: quotes(number, COUNT),
    }
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        for agent, make in makers.items():
            for number in range(2):
                topic = source_topic(settings, agent)
                values = [HISTORICAL, *make(number), FLUSH]
                await append(settings, topic, number, values[: COUNT // 2])
                if number == 1:
                    await worker.kill9()
                await append(settings, topic, number, values[COUNT // 2 :])
                if number == 1:
                    await worker.start()
                    await worker.wait_ready()
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    for agent in settings.agents:
        states = await expected(settings, agent)
        for output, topic in output_topics(settings, agent).items():
            for number, records in (await read_topic(settings, topic)).items():
                published = [(each.key, each.value, list(each.headers)) for each in records]
                wanted = [tuple(each) for each in states[number].publisher.outputs[output]]
                assert published == wanted, (agent, output, number)
                assert published or output == "late"
        changelog = await read_topic(settings, output_topic(settings, f"{agent}.changelog"))
        for number, records in changelog.items():
            rows = [each.value for each in records if each.key == MARKER_KEY]
            marker = decode_marker(rows[-1] or b"")
            assert marker.counts == states[number].counts
            assert marker.details == states[number].details
            assert sum(marker.counts.values()) == COUNT + 2
    quoted = (await expected(settings, "quotes"))[0]
    assert all(quoted.details.values())
    assert quoted.counts["late"] > 0
