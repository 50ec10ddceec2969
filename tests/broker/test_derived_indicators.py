"""Bars and indicators in one worker, killed on the way: as one undisturbed pass over the log.

What was published is compared with the indicators of the committed bars, taken one by one.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from agents.derived import derived_configuration
from agents.indicators import requests_of
from app.broker import EmbeddedBroker
from app.contracts.batch import RecordBatch
from app.settings import Settings
from app.topics import bars_topic, output_topic, ticks_topic
from tables.indicating import IndicatorsPartition
from tables.rows import MARKER_KEY, decode_marker
from tests.broker.test_engine_quotes import append, wait_drained
from tests.broker.worker import WorkerProcess, worker_settings
from tests.chaos.deployment import FLUSH, HISTORICAL, market, read_topic

pytestmark = pytest.mark.broker

COUNT = 3_000
CHOSEN = {"default": "EMA(3),SMA(5),MACD(3,5,2)", "by_interval": {"10s": "", "1m": "RSI(3)"}}


@pytest.fixture
def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    """Two agents, one behind the other."""
    chosen = worker_settings(kafka, unique, tmp_path, indicators=CHOSEN)
    return chosen.model_copy(update={"agents": ("bars", "indicators")})


async def expected(settings: Settings) -> dict[int, IndicatorsPartition]:
    """The state of each partition, fed with the committed bars record by record."""
    states = {}
    for partition, records in (await read_topic(settings, bars_topic(settings, "bars"))).items():
        configuration = derived_configuration(settings, "indicators")
        ahead = settings.bars.max_ahead
        state = IndicatorsPartition(configuration, partition, None, requests_of(settings), ahead)
        state.begin(0)
        for record in records:
            state.next = record.offset
            batch = RecordBatch(
                bars_topic(settings, "bars"),
                partition,
                record.offset,
                record.offset + 1,
                [record.value],
                np.array([record.offset], dtype=np.int64),
                np.array([record.timestamp * 1_000_000], dtype=np.int64),
            )
            state.apply(batch)
        states[partition] = state
    return states


async def test_indicators_follow_the_committed_bars_although_the_worker_is_killed(
    settings: Settings,
) -> None:
    ticks, bars = ticks_topic(settings), bars_topic(settings, "bars")
    bad: list[bytes | None] = [
        b"",
        None,
        b"{}",
        b'{"type":"flush"}',
        b'{"symbol":"A","interval":"1s","start":0,"open":NaN}',
    ]
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        for number in range(2):
            values = [HISTORICAL, *market(number, 2, COUNT), FLUSH]
            await append(settings, ticks, number, values[: COUNT // 2])
            await append(settings, bars, number, bad)
            await worker.kill9()
            await append(settings, ticks, number, values[COUNT // 2 :])
            await worker.start()
            await worker.wait_ready()
        await append(settings, bars, 0, bad)
        await wait_drained(settings, worker)
        status, text = await worker.get("/api/v1/partitions")
        answer = json.loads(text)
        assert (status, answer["missing"]) == (200, [])
        assert {(each["agent"], each["partition"]) for each in answer["partitions"]} == {
            (agent, number) for agent in settings.agents for number in range(2)
        }
        assert {each["owner"] for each in answer["partitions"]} == {worker.url}
        assert await worker.stop() == 0
    states = await expected(settings)
    changelog = await read_topic(settings, output_topic(settings, "indicators.changelog"))
    for output in ("indicators", "dead"):
        name = output if output == "indicators" else "indicators.dead"
        for number, records in (await read_topic(settings, output_topic(settings, name))).items():
            published = [(each.key, each.value, list(each.headers)) for each in records]
            wanted = [tuple(each) for each in states[number]._outputs[output]]
            assert published == wanted, (output, number)
    for number, records in changelog.items():
        marker = decode_marker([e.value for e in records if e.key == MARKER_KEY][-1] or b"")
        assert marker.counts == states[number].counts
        assert marker.counts["applied"] > 100
        assert marker.counts["revised"] > 0
        assert marker.counts["ignored"] > 0
        assert marker.counts["dead"] == len(bad) * (2 - number)


async def test_a_worker_may_run_the_indicators_alone(settings: Settings) -> None:
    alone = settings.model_copy(update={"agents": ("indicators",)})
    others = settings.model_copy(update={"agents": ("bars",)})
    async with WorkerProcess(alone, "one") as one, WorkerProcess(others, "two") as two:
        await one.wait_ready()
        await two.wait_ready()
        for number in range(2):
            await append(settings, ticks_topic(settings), number, [*market(number, 2, 200), FLUSH])
        await wait_drained(others, two)
        await wait_drained(alone, one)
        assert await one.stop() == 0
        assert await two.stop() == 0
    states = await expected(settings)
    for number, records in (
        await read_topic(settings, output_topic(settings, "indicators"))
    ).items():
        wanted = [each.value for each in states[number]._outputs["indicators"]]
        assert [each.value for each in records] == wanted


async def test_indicators_of_other_parameters_are_refused_by_name(settings: Settings) -> None:
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        for number in range(2):
            await append(settings, ticks_topic(settings), number, [*market(number, 2, 100), FLUSH])
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    chosen = settings.indicators.model_copy(update={"default": "EMA(4)"})
    other = settings.model_copy(update={"indicators": chosen})
    async with WorkerProcess(other) as worker:
        assert await worker.wait() == 3
        assert "(indicators, bars, partitions or bounds differ): use --reset" in worker.log


def test_an_indicator_that_there_is_not_stops_the_start(settings: Settings) -> None:
    chosen = settings.indicators.model_copy(update={"default": "EMMA(4)"})
    with pytest.raises(ValueError, match=r"CANDLEWICK_INDICATORS__DEFAULT='EMMA\(4\)': .*EMMA"):
        requests_of(settings.model_copy(update={"indicators": chosen}))
