"""What commands print for programs: bars as lines of JSON, and what a reset has removed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from app.broker import EmbeddedBroker
from app.connection import bootstrap_servers
from app.identity import deployment_folder, group_id
from app.notify.groups import notify_group
from app.run.environment import settings_environment
from app.sinks.groups import sink_group
from app.topic_state import topic_states
from app.topics import SINKS_DEAD, output_topic, ticks_topic, topic_table
from tests.broker.sinks_recording import sinks_settings
from tests.broker.worker import WorkerProcess, worker_settings
from tests.chaos.deployment import (
    FLUSH,
    HISTORICAL,
    SECOND,
    START,
    bars_of,
    prepared,
    send,
    symbol_of,
    trade,
    wait_drained,
)
from tests.command import Finished, candlewick

pytestmark = pytest.mark.broker


async def test_bars_and_what_a_reset_removes(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = await prepared(worker_settings(kafka, unique, tmp_path))
    given = settings_environment(settings).items()
    ours = {name: value for name, value in given if name.startswith("CANDLEWICK_")}

    async def command(*arguments: str) -> Finished:
        return await asyncio.to_thread(candlewick, tmp_path, *arguments, settings=ours)

    symbol = symbol_of(0, 2)
    trades = [trade(symbol, START + number * SECOND, 1.0 + number) for number in range(3)]
    await send(settings, {0: [HISTORICAL, *trades, FLUSH]})
    async with WorkerProcess(settings) as worker:
        await wait_drained(settings, worker)
        assert await worker.stop() == 0

    shown = await command("bars", symbol, "--interval", "1s", "--json")
    assert shown.code == 0, shown.errors
    bars = [bar for bar in await bars_of(settings) if bar["interval"] == "1s"]
    assert [json.loads(line) for line in shown.output.splitlines()] == bars
    assert len(bars) == 3

    removed = await command("reset", "--yes", "--json")
    assert removed.code == 0, removed.errors
    ticks = ticks_topic(settings)
    assert json.loads(removed.output) == {
        "deployment": "d",
        "topics": [spec.name for spec in topic_table(settings) if spec.name != ticks],
        "groups": [group_id(settings)],
        "folder": str(deployment_folder(settings)),
    }
    assert [each.spec.name for each in await topic_states(settings) if each.exists] == [ticks]
    assert not deployment_folder(settings).exists()

    nothing = json.loads((await command("reset", "--yes", "--json")).output)
    assert nothing == {"deployment": "d", "topics": [], "groups": [], "folder": None}


async def test_a_reset_lists_what_channels_and_sinks_have_left_whatever_the_settings_are_now(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = await prepared(sinks_settings(kafka, unique, tmp_path))
    place = TopicPartition(ticks_topic(settings), 0)
    groups = [notify_group(settings, "slack"), sink_group(settings, "influx")]
    for group in groups:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers(settings), group_id=group, enable_auto_commit=False
        )
        await consumer.start()
        try:
            consumer.assign([place])
            await consumer.commit({place: 0})
        finally:
            await consumer.stop()
    given = settings_environment(settings).items()
    ours = {name: value for name, value in given if name.startswith("CANDLEWICK_")}
    ours["CANDLEWICK_SINKS__DRIVERS"] = "none"

    async def removed() -> Any:
        done = await asyncio.to_thread(
            candlewick, tmp_path, "reset", "--yes", "--json", settings=ours
        )
        assert done.code == 0, done.errors
        return json.loads(done.output)

    first = await removed()
    assert first["groups"] == groups
    assert output_topic(settings, SINKS_DEAD) in first["topics"]
    again = await removed()
    assert (again["groups"], again["topics"]) == ([], [])


async def test_a_replay_s_summary(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> None:
    settings = worker_settings(kafka, unique, tmp_path)
    given = settings_environment(settings).items()
    ours = {name: value for name, value in given if name.startswith("CANDLEWICK_")}
    folder = tmp_path / "ticks"
    folder.mkdir()
    (folder / "a.csv").write_text("symbol,price,size,event_time\nA,1,2,1700000000000000000\n")
    (folder / "b.csv").write_text("symbol,bid,ask,event_time\nA,1,2,1700000000000000000\n")
    finished = await asyncio.to_thread(
        candlewick, tmp_path, "replay", folder, "--json", settings=ours
    )
    assert finished.code == 0, finished.errors
    summary = json.loads(finished.output)
    assert (summary["kind"], summary["trades"], summary["corrupt"]) == ("trades", 1, 0)
    # A mark and a flush for each of two partitions.
    assert (summary["sent"], sum(summary["partitions"])) == (5, 5)
    assert summary["skipped"] == [{"path": str(folder / "b.csv"), "reason": "quotes, not trades"}]
