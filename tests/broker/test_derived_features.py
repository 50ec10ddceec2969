"""Features beside bars, of the same topics in one worker, killed on the way.

What was published is compared with the features of each log, taken record by record; the bars are
compared with the bars' state machine, as if there were no features.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from agents import features, quote_features
from agents.featuring import features_configuration
from app.broker import EmbeddedBroker
from app.contracts.batch import RecordBatch
from app.setting_groups import FeatureSettings
from app.settings import Settings
from app.topics import output_topic, output_topics, source_topic
from models.features import QuoteFeatures, TradeFeatures
from models.features.partition import LOADED_PREFIXES
from models.features.stage import FeatureStage
from tables.markets import TradingDays, load_market
from tables.rows import MARKER_KEY, Marker, decode_marker
from tests.broker.test_engine_quotes import append, expected, quotes, wait_drained
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import (
    FLUSH,
    HISTORICAL,
    SECOND,
    START,
    Read,
    Value,
    market,
    read_topic,
    symbol_of,
    trade,
)

pytestmark = pytest.mark.broker

COUNT = 3_000
AGENTS: dict[str, ModuleType] = {"features": features, "quote_features": quote_features}
KINDS: dict[str, type[FeatureStage[Any]]] = {
    "features": TradeFeatures,
    "quote_features": QuoteFeatures,
}
CHOSEN = {"window": "60s", "slide": "10s", "recent": "20s", "gap": "8s", "max_pending": 40}
CORRUPT: list[Value] = [
    None,
    b"",
    b"\xff\xfe",
    b"[]",
    b'{"type":"clock","event_time":-1}',
    b'{"type":"clock","event_time":1}',
    b'{"symbol":"S0","price":1e400,"size":1,"event_time":1}',
    b'{"symbol":"S 0","price":1,"size":1,"event_time":%d}' % START,
    b'{"symbol":"S0","bid":NaN,"ask":1,"event_time":%d}' % START,
    b'{"x":"' + b"y" * 600_000 + b'"}',
]


@pytest.fixture
def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    """Two agents on each of both inputs."""
    chosen = worker_settings(kafka, unique, tmp_path, features=CHOSEN)
    return chosen.model_copy(update={"agents": ("bars", "features", "quote_features", "quotes")})


async def batches(settings: Settings, agent: str) -> dict[int, list[RecordBatch]]:
    """The log that an agent reads, a record a batch."""
    topic = source_topic(settings, agent)
    return {
        partition: [
            RecordBatch(
                topic,
                partition,
                each.offset,
                each.offset + 1,
                [each.value],
                np.array([each.offset], dtype=np.int64),
                np.array([each.timestamp * 1_000_000], dtype=np.int64),
            )
            for each in records
        ]
        for partition, records in (await read_topic(settings, topic)).items()
    }


async def markers(settings: Settings, agent: str) -> dict[int, Marker]:
    """The last marker of each partition that has one."""
    changelog = await read_topic(settings, output_topic(settings, f"{agent}.changelog"))
    return {
        partition: decode_marker(rows[-1])
        for partition, records in changelog.items()
        if (rows := [each.value or b"" for each in records if each.key == MARKER_KEY])
    }


async def wait_taken(settings: Settings, worker: WorkerProcess) -> None:
    """Wait until every agent has taken all: those of one topic share its committed offset."""
    await wait_drained(settings, worker)
    for agent in settings.agents:
        log = await read_topic(settings, source_topic(settings, agent))
        ends = {partition: records[-1].offset + 1 for partition, records in log.items()}

        async def taken(agent: str = agent, ends: dict[int, int] = ends) -> bool:
            held = await markers(settings, agent)
            return {partition: each.next for partition, each in held.items()} == ends

        await until(taken, lambda: worker.tail, 60)


def contents(records: Sequence[Read]) -> list[tuple[Any, ...]]:
    return [(each.key, each.value, list(each.headers)) for each in records]


async def assert_bars_are_those_of_their_log(settings: Settings, agent: str) -> None:
    """As if there were no other agent."""
    states, held = await expected(settings, agent), await markers(settings, agent)
    for output, topic in output_topics(settings, agent).items():
        for number, records in (await read_topic(settings, topic)).items():
            wanted = [tuple(each) for each in states[number].publisher.outputs[output]]
            assert contents(records) == wanted, (agent, output, number)
    for number, marker in held.items():
        assert marker.counts == states[number].counts
        assert marker.counts["dead"] >= 2 * len(CORRUPT)


async def assert_features_are_those_of_their_log(settings: Settings, agent: str) -> None:
    """Outputs are those of the features alone, rows those of an undisturbed partition."""
    kind, held = KINDS[agent], await markers(settings, agent)
    outputs = {
        output: await read_topic(settings, topic)
        for output, topic in output_topics(settings, agent).items()
    }
    changelog = await read_topic(settings, output_topic(settings, f"{agent}.changelog"))
    for number, log in (await batches(settings, agent)).items():
        alone = kind(features_configuration(settings), number, TradingDays(load_market("24/7")))
        whole = AGENTS[agent].make_stage(settings).load(number, "topic", lambda key: None, ())
        whole.begin(log[0].base)
        for batch in log:
            alone.apply(batch)
            whole.apply(batch)
        for output, wanted in alone.outputs.items():
            published = outputs[output][number]
            if output == "features":
                # Both agents write to it.
                own = b'"kind":"%s"' % alone.kind.kind.encode()
                published = [each for each in published if own in (each.value or b"")]
            assert contents(published) == [tuple(each) for each in wanted], output
        assert held[number].counts == alone.counts
        assert sum(alone.counts.values()) == COUNT + 2 + 2 * len(CORRUPT)
        assert alone.counts["dead"] >= 2 * len(CORRUPT)
        assert alone.counts["late"] > 0
        found = Counter(json.loads(e.value or b"")["window"] for e in alone.outputs["features"])
        assert min(found[window] for window in ("1m", "session", "day")) > 0
        rows = {each.key: each.value for each in changelog[number] if each.value is not None}
        stored = {key: row for key, row in rows.items() if (key or b"")[:1] in LOADED_PREFIXES}
        assert stored == {key: row for key, row in whole.take("topic").rows if key != MARKER_KEY}


async def test_bars_and_features_of_one_topic_publish_what_it_says_although_the_worker_is_killed(
    settings: Settings,
) -> None:
    makers: dict[str, Callable[[int], list[Value]]] = {
        "bars": lambda number: market(number, 2, COUNT),
        "quotes": lambda number: quotes(number, COUNT),
    }
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        for agent, make in makers.items():
            topic = source_topic(settings, agent)
            for number in range(2):
                values = [HISTORICAL, *make(number), FLUSH]
                await append(settings, topic, number, values[: COUNT // 2] + CORRUPT)
                if number == 1:
                    await worker.kill9()
                await append(settings, topic, number, CORRUPT + values[COUNT // 2 :])
                if number == 1:
                    await worker.start()
                    await worker.wait_ready()
        await wait_taken(settings, worker)
        assert await worker.stop() == 0
    for agent in makers:
        await assert_bars_are_those_of_their_log(settings, agent)
    for agent in AGENTS:
        await assert_features_are_those_of_their_log(settings, agent)


async def test_a_quiet_window_is_closed_by_the_clock_of_the_bars(settings: Settings) -> None:
    chosen = settings.model_copy(
        update={
            "agents": ("bars", "features"),
            "bars": settings.bars.model_copy(update={"intervals": (SECOND, 2 * SECOND)}),
            "features": FeatureSettings.model_validate(
                {"window": "4s", "slide": "2s", "recent": "2s"}
            ),
        }
    )
    topic, published = source_topic(chosen, "features"), output_topic(chosen, "features")
    async with WorkerProcess(chosen) as worker:
        await worker.wait_ready()
        await append(chosen, topic, 0, [trade(symbol_of(0, 2), START)])

        async def closed() -> bool:
            return bool((await read_topic(chosen, published))[0])

        await until(closed, lambda: worker.tail, 60)
        assert await worker.stop() == 0
    _, *clocks = (await read_topic(chosen, topic))[0]
    assert {json.loads(each.value or b"")["type"] for each in clocks} == {"clock"}
    (first, *_) = (await read_topic(chosen, published))[0]
    record = json.loads(first.value or b"")
    assert (record["window"], record["end"]) == ("4s", START + 2 * SECOND)
