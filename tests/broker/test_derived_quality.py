"""Bars and quality of both inputs in one worker, killed on the way: every planted fault once.

What was published is compared with what the stages make of the logs in one undisturbed batch.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from agents import quality, quote_quality
from app.broker import EmbeddedBroker
from app.contracts.batch import RecordBatch
from app.contracts.outputs import Taken
from app.contracts.wire import encoder
from app.settings import Settings
from app.topics import AGENT_TOPICS, output_topic, output_topics, source_topic
from tables.rows import MARKER_KEY, decode_marker
from tests.broker.test_engine_quotes import append, wait_drained
from tests.broker.worker import WorkerProcess, worker_settings
from tests.chaos.deployment import (
    FLUSH,
    HISTORICAL,
    START,
    Value,
    read_topic,
    symbol_of,
    wait_committed,
)
from tests.unit.quality_records import SECOND, quotes_of, walk

pytestmark = pytest.mark.broker

STAGES = {"quality": quality, "quote_quality": quote_quality}
BROKEN = b"{broken"
OUTLIER, OTHER, GAP = 800, 900, 1_200


@pytest.fixture
def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    """Two agents an input."""
    chosen = worker_settings(kafka, unique, tmp_path)
    # As the settings have them, sorted: they name the group.
    return chosen.model_copy(update={"agents": ("bars", "quality", "quote_quality", "quotes")})


def planted(agent: str, partition: int) -> tuple[list[Value], dict[str, list[int]]]:
    """A partition's values, and the offsets of what is planted, by the kind of the event.

    Three symbols trade every 0.3 s; all of them pause once for 20 s.
    """
    trades = [
        each
        for number in range(3)
        for each in walk(
            700,
            START,
            seed=3 * partition + number,
            symbol=symbol_of(partition, 2, number),
            mean_interval=0.3,
        )
    ]
    trades.sort(key=lambda each: (each.event_time, each.symbol))
    for place in range(GAP, len(trades)):
        later = trades[place].event_time + 20 * SECOND
        trades[place] = msgspec.structs.replace(trades[place], event_time=later)
    outlier = trades[OUTLIER]
    trades[OUTLIER] = msgspec.structs.replace(outlier, price=outlier.price * 1.5)
    records: list[Any] = list(trades)
    if agent == "quality":
        other = "duplicate"
        records[OTHER] = records[OTHER - 1]
    else:
        other = "crossed"
        records = quotes_of(records)
        records[OTHER] = msgspec.structs.replace(records[OTHER], bid=records[OTHER].ask + 1)
    values: list[Value] = [HISTORICAL]
    offsets = []
    for number, record in enumerate(records):
        if number % 40 == 39:
            values.append((BROKEN, None, b"")[number % 3])
        offsets.append(len(values))
        values.append(encoder.encode(record))
    first = {each.symbol: place for place, each in reversed([*enumerate(trades)]) if place >= GAP}
    found = {
        "outlier": [offsets[OUTLIER]],
        other: [offsets[OTHER]],
        "gap": sorted(offsets[place] for place in first.values()),
        "incomplete": [len(values)] * 3,
    }
    return [*values, FLUSH], found


async def expected(settings: Settings, agent: str) -> dict[int, tuple[Taken, dict[str, int]]]:
    """What each partition's log comes to, in one batch and one checkpoint, and its outcomes."""
    stage = STAGES[agent].make_stage(settings)
    made = {}
    for number, records in (await read_topic(settings, source_topic(settings, agent))).items():
        state = stage.load(number, "topic", lambda key: None, ())
        state.begin(0)
        batch = RecordBatch(
            stage.source,
            number,
            0,
            records[-1].offset + 1,
            [record.value for record in records],
            np.array([record.offset for record in records], dtype=np.int64),
            np.array([record.timestamp * 1_000_000 for record in records], dtype=np.int64),
        )
        state.apply(batch)
        made[number] = (state.take("topic"), dict(state.progress.counts))
    return made


async def test_planted_faults_are_found_once_although_the_worker_is_killed(
    settings: Settings,
) -> None:
    logs = {(agent, number): planted(agent, number) for agent in STAGES for number in range(2)}
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        for (agent, number), (values, _) in logs.items():
            topic = source_topic(settings, agent)
            await append(settings, topic, number, values[: OTHER + 50])
            if number == 1:
                # Some of it is committed, and some is on its way.
                await wait_committed(settings, lambda done: done > 0, worker)
                await append(settings, topic, number, values[OTHER + 50 : GAP])
                await worker.kill9()
                await append(settings, topic, number, values[GAP:])
                await worker.start()
                await worker.wait_ready()
            else:
                await append(settings, topic, number, values[OTHER + 50 :])
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    published = await read_topic(settings, output_topic(settings, "quality"))
    for agent in STAGES:
        of_input = f'"input":"{AGENT_TOPICS[agent].source}"}}'.encode()
        clean = await read_topic(settings, output_topics(settings, agent)["clean"])
        for number, (taken, outcomes) in (await expected(settings, agent)).items():
            values, faults = logs[agent, number]
            own = [e for e in published[number] if (e.value or b"").endswith(of_input)]
            assert [(e.key, e.value) for e in own] == [e[:2] for e in taken.outputs["quality"]]
            assert [(e.key, e.value) for e in clean[number]] == [
                e[:2] for e in taken.outputs["clean"]
            ]
            found: dict[str, list[int]] = {}
            kinds: Counter[str] = Counter()
            for each in own:
                event = json.loads(each.value or b"")
                kinds[event["type"]] += 1
                if event["type"] == "event":
                    found.setdefault(event["kind"], []).append(event["offset"])
            assert found == faults
            assert kinds["summary"] == 3
            # Each record has one outcome, and what is not in the cleaned data is told of.
            dead = sum(value in (BROKEN, None, b"") for value in values)
            assert outcomes == {
                "clean": len(values) - dead - 2 - 2,
                "flagged": 2,
                "control": 2,
                "dead": dead,
            }
            kept = [e for e in values if e not in (BROKEN, None, b"", HISTORICAL, FLUSH)]
            for fault in (faults["outlier"], faults.get("duplicate") or faults["crossed"]):
                index = sum(e not in (BROKEN, None, b"") for e in values[1 : fault[0]])
                kept[index] = None
            assert [e.value for e in clean[number]] == [e for e in kept if e is not None]
        await assert_rows(settings, agent)
    assert await dead_of(settings, "bars") == await dead_of(settings, "quality")
    assert await dead_of(settings, "quotes") == await dead_of(settings, "quote_quality")


async def assert_rows(settings: Settings, agent: str) -> None:
    """The rows are those of the undisturbed pass."""
    changelog = await read_topic(settings, output_topic(settings, f"{agent}.changelog"))
    for number, (taken, outcomes) in (await expected(settings, agent)).items():
        rows = {each.key: each.value for each in changelog[number]}
        marker = decode_marker(rows.pop(MARKER_KEY) or b"")
        assert rows == {key: row for key, row in taken.rows if key != MARKER_KEY}
        assert marker.counts == outcomes
        assert sum(marker.details.values()) == outcomes["flagged"]


async def dead_of(settings: Settings, agent: str) -> list[int]:
    """Bad records by partition, as the agent's markers count them."""
    changelog = await read_topic(settings, output_topic(settings, f"{agent}.changelog"))
    rows = [{each.key: each.value for each in records} for records in changelog.values()]
    counts = [decode_marker(each[MARKER_KEY] or b"").counts["dead"] for each in rows]
    assert all(counts)
    return counts


async def test_thresholds_of_other_settings_are_refused_by_name(settings: Settings) -> None:
    values, _ = planted("quality", 0)
    settings = settings.model_copy(update={"agents": ("bars", "quality")})
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await append(settings, source_topic(settings, "quality"), 0, values[:300])
        await wait_committed(settings, lambda done: done == 300, worker)
        assert await worker.stop() == 0
    chosen = settings.quality.model_copy(update={"outlier_run": 5})
    async with WorkerProcess(settings.model_copy(update={"quality": chosen})) as worker:
        assert await worker.wait() == 3
        text = "(quality, markets, raising, bars, partitions or bounds differ): use --reset"
        assert text in worker.log
