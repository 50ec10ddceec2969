"""Two agents behind the bars, which share each fetch, and one of another topic; killed on the way.

Each is compared with its own state, fed record by record with the log as it is on the broker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents import alerts, anomalies, indicators
from app.broker import EmbeddedBroker
from app.contracts.batch import RecordBatch
from app.settings import Settings
from app.topics import bars_topic, output_topic, output_topics, source_topic, ticks_topic
from tables.alerts.records import encoder
from tables.partitioning import partition_of
from tables.rows import MARKER_KEY, decode_marker
from tests.broker.test_engine_quotes import append, wait_drained
from tests.broker.worker import WorkerProcess, worker_settings
from tests.chaos.deployment import FLUSH, HISTORICAL, START, market, read_topic

pytestmark = pytest.mark.broker

COUNT = 6_000
SECOND = 1_000_000_000
MAKERS: Mapping[str, Callable[[Settings], Any]] = {
    "anomalies": anomalies.make_stage,
    "indicators": indicators.make_stage,
    "alerts": alerts.make_stage,
}


@pytest.fixture
def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    """Four agents in one worker."""
    chosen = worker_settings(
        kafka,
        unique,
        tmp_path,
        indicators={"default": "EMA(3)"},
        anomalies={"intervals": "1s", "warm_up": 150, "publish": "all"},
        # Their topic is that of the events which this test appends.
        raising={"agents": ""},
    )
    return chosen.model_copy(update={"agents": ("alerts", "anomalies", "bars", "indicators")})


def events(partition: int, count: int) -> list[bytes]:
    """Alert events of the partition's keys, one in ten broken."""
    keys = [text for text in map(str, range(40)) if partition_of(text.encode(), 2) == partition]
    values = []
    for number in range(count):
        event = {
            "type": "alert",
            "alert_type": "test.event",
            "key": keys[number % 5],
            "severity": "warning",
            "state": "resolved" if number % 17 == 16 else "firing",
            "title": f"event {number}",
            "event_time": START + number * 7 * SECOND,
        }
        values.append(b"{broken" if number % 10 == 9 else encoder.encode(event))
    return values


async def expected(settings: Settings, agent: str) -> dict[int, Any]:
    """The state of each partition, fed with the committed records of its source one by one."""
    states = {}
    stage, topic = MAKERS[agent](settings), source_topic(settings, agent)
    for partition, records in (await read_topic(settings, topic)).items():
        state = stage.load(partition, "topic", lambda key: None, [])
        for record in records:
            state.begin(record.offset)
            state.apply(
                RecordBatch(
                    topic,
                    partition,
                    record.offset,
                    record.offset + 1,
                    [record.value],
                    np.array([record.offset], dtype=np.int64),
                    np.array([record.timestamp * 1_000_000], dtype=np.int64),
                )
            )
        states[partition] = state
    return states


async def test_agents_that_share_a_fetch_publish_each_what_its_log_says(settings: Settings) -> None:
    ticks, bars = ticks_topic(settings), bars_topic(settings, "bars")
    told = source_topic(settings, "alerts")
    bad: list[bytes | None] = [
        b"",
        None,
        b"{}",
        b'{"type":"clock"}',
        b"\xff\xfe",
        b'{"symbol":"\xff"}',
    ]
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        for number in range(2):
            values = [HISTORICAL, *market(number, 2, COUNT), FLUSH]
            alarms = events(number, 300)
            await append(settings, ticks, number, values[: COUNT // 2])
            await append(settings, told, number, alarms[:150])
            await append(settings, bars, number, bad)
            await worker.kill9()
            await append(settings, ticks, number, values[COUNT // 2 :])
            await append(settings, told, number, alarms[150:])
            await worker.start()
            await worker.wait_ready()
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    for agent in MAKERS:
        states = await expected(settings, agent)
        wanted = {number: state.take("topic") for number, state in states.items()}
        for output, topic in output_topics(settings, agent).items():
            for number, records in (await read_topic(settings, topic)).items():
                published = [(each.key, each.value, list(each.headers)) for each in records]
                should = [tuple(each) for each in wanted[number].outputs.get(output, [])]
                assert published == should, (agent, output, number)
                assert published or output == "undelivered", (agent, output, number)
        changelog = await read_topic(settings, output_topic(settings, f"{agent}.changelog"))
        for number, records in changelog.items():
            rows = [each.value for each in records if each.key == MARKER_KEY]
            marker = decode_marker(rows[-1] or b"")
            assert marker.counts == states[number].progress.counts, (agent, number)
            assert marker.counts["dead"] > 0
