"""`candlewick doctor` and `candlewick topics` against a real broker: running, wrong, missing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from app.broker import EmbeddedBroker
from app.connection import bootstrap_servers
from app.doctor import Finding, examine
from app.doctor.cluster import SKEW_MS, clock, cluster
from app.run.environment import settings_environment
from app.settings import Settings
from app.topic_state import topic_states
from app.topics import source_topic, ticks_topic, topic_table
from tests.broker.worker import WorkerProcess, worker_settings
from tests.chaos.deployment import (
    HISTORICAL,
    SECOND,
    START,
    prepared,
    send,
    symbol_of,
    trade,
    wait_drained,
)
from tests.command import Finished, candlewick

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    """A deployment that nobody has made yet."""
    return worker_settings(kafka, unique, tmp_path)


def named(found: list[Finding], check: str) -> list[Finding]:
    return [each for each in found if each.check == check]


async def command(settings: Settings, folder: Path, *arguments: str) -> Finished:
    """A command of these settings, in a process of its own."""
    given = settings_environment(settings).items()
    ours = {name: value for name, value in given if name.startswith("CANDLEWICK_")}
    return await asyncio.to_thread(candlewick, folder, *arguments, settings=ours)


async def test_a_fresh_deployment_has_no_problem_and_stays_unmade(
    settings: Settings, tmp_path: Path
) -> None:
    answer = await command(settings, tmp_path, "doctor", "--json")
    assert answer.code == 0, answer.output
    found = [Finding(**each) for each in json.loads(answer.output)["checks"]]
    (broker,) = named(found, "broker")
    assert broker.result == "ok"
    assert "1 broker, PLAINTEXT" in broker.says
    (topics,) = named(found, "topics")
    assert (topics.result, topics.mend) == ("note", "candlewick topics --create")
    assert named(found, "workers")[0].mend == "candlewick worker"
    assert named(found, "state")[0].result == "ok"
    assert not any(state.exists for state in await topic_states(settings))
    assert not settings.data_dir.exists()


async def test_a_running_worker_is_seen_with_what_it_has_left_to_do(settings: Settings) -> None:
    await prepared(settings)
    symbol = symbol_of(0, 2)
    values = [HISTORICAL, *(trade(symbol, START + number * SECOND) for number in range(9))]
    await send(settings, {0: values})
    (waiting,) = named(await cluster(settings), "workers")
    assert waiting.result == "note"
    assert "bars 10 records behind" in waiting.says
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await wait_drained(settings, worker)
        found = await examine(worker.settings)
        assert await worker.stop() == 0
    assert [each for each in found if each.result == "problem"] == []
    (workers,) = named(found, "workers")
    assert (workers.result, workers.says.partition("; ")[2]) == ("ok", "bars 0 records behind")
    (port,) = named(found, "web port")
    assert port.says.startswith("worker 'worker' of deployment 'd' has port")
    assert named(found, "topics")[0].result == "ok"
    assert "is of these settings" in named(found, "state")[0].says
    assert named(found, "clock")[0].result == "ok"


async def test_other_settings_than_the_states_are_a_problem(
    settings: Settings, tmp_path: Path
) -> None:
    await prepared(settings)
    await send(settings, {0: [HISTORICAL, trade(symbol_of(0, 2), START)]})
    async with WorkerProcess(settings) as worker:
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    other = settings.model_copy(update={"bars": settings.bars.model_copy(update={"policy": "sip"})})
    answer = await command(other, tmp_path, "doctor")
    assert answer.code == 1
    (line,) = [each for each in answer.output.splitlines() if each.startswith("problem")]
    assert "made with settings hash" in line
    assert "mend: candlewick reset" in answer.output


def with_topics(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update={"topics": settings.topics.model_copy(update=changes)})


async def test_topics_that_differ_are_named_with_their_differences(
    settings: Settings, tmp_path: Path
) -> None:
    await prepared(settings)
    other = with_topics(settings, partitions=3)
    found = named(await cluster(other), "topics")
    assert [each.result for each in found] == ["problem"]
    assert "partitions is 2 on the broker, expected 3" in found[0].says
    assert "CANDLEWICK_TOPICS__PARTITIONS" in str(found[0].mend)

    answer = await command(other, tmp_path, "topics")
    assert answer.code == 0
    assert "differs" in answer.output
    assert answer.output.count("partitions is 2 on the broker, expected 3") == 1


async def test_topics_tell_what_they_hold(settings: Settings, tmp_path: Path) -> None:
    ticks = ticks_topic(settings)
    before = json.loads((await command(settings, tmp_path, "topics", "--json")).output)
    assert {each["state"] for each in before} == {"missing"}
    assert {each["records"] for each in before} == {None}

    created = await command(settings, tmp_path, "topics", "--create", "--json")
    assert {each["state"] for each in json.loads(created.output)} == {"ok"}
    await send(settings, {0: [b"x" * 500], 1: [b"y", None]})
    after = json.loads((await command(settings, tmp_path, "topics", "--json")).output)
    assert [each["name"] for each in after] == [spec.name for spec in topic_table(settings)]
    by_name = {each["name"]: each for each in after}
    assert by_name[ticks]["records"] == 3
    assert by_name[ticks]["bytes"] > 0
    assert by_name[ticks]["differences"] == []
    assert by_name[f"{settings.topic_prefix}d.bars"] | {"carries": ""} == {
        "name": f"{settings.topic_prefix}d.bars",
        "carries": "",
        "partitions": 2,
        "replication": 1,
        "cleanup": "delete",
        "retention_ms": 7 * 86_400_000,
        "max_message_bytes": 1024 * 1024,
        "min_insync_replicas": 1,
        "state": "ok",
        "differences": [],
        "records": 0,
        "bytes": 0,
    }
    table = (await command(settings, tmp_path, "topics")).output
    assert f"{ticks} " in table
    assert "missing" not in table


async def test_a_broker_that_is_gone_leaves_the_table(settings: Settings, tmp_path: Path) -> None:
    away = settings.model_copy(
        update={"broker": settings.broker.model_copy(update={"url": "kafka://127.0.0.1:1"})}
    )
    answer = await command(away, tmp_path, "topics", "--json")
    assert answer.code == 0
    assert "state" not in json.loads(answer.output)[0]
    assert "only the table: no broker answers" in answer.errors
    answer = await command(away, tmp_path, "doctor", "--json")
    assert answer.code == 1
    found = [Finding(**each) for each in json.loads(answer.output)["checks"]]
    assert [each.check for each in found if each.result == "problem"] == ["broker"]


async def test_a_clock_that_is_behind_the_brokers_is_seen(settings: Settings) -> None:
    await prepared(settings)
    states = await topic_states(settings)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers(settings))
    await producer.start()
    try:
        sent = await producer.send_and_wait(source_topic(settings, "bars"), b"now", partition=0)
    finally:
        await producer.stop()
    at = sent.timestamp * 1_000_000
    assert (await clock(settings, states, lambda: at)).result == "ok"
    found = await clock(settings, states, lambda: at - 2 * SKEW_MS * 1_000_000)
    assert found.result == "note"
    assert "at least 2.0 s ahead" in found.says
