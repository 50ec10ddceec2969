"""Positions in a backup: of all groups and topics of one deployment, of no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiokafka import TopicPartition

from app.admin import ensure_topics
from app.backup.documents import read_positions
from app.broker import EmbeddedBroker
from app.settings import load_settings
from app.topics import bars_topic, source_topic
from tests.broker.test_stages import commit, send, stage

pytestmark = pytest.mark.broker


async def test_positions_are_those_of_the_deployment(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = load_settings(
        broker={"url": kafka.url}, topic_prefix=f"{unique}.", data_dir=tmp_path / "data"
    )
    other = settings.model_copy(update={"deployment": "default2"})
    await ensure_topics(settings)
    await ensure_topics(other)
    ticks = source_topic(settings, "bars")
    await send(settings, ticks, [b"1", b"2", b"3"])
    await send(settings, bars_topic(settings, "bars"), [b"4"])
    await commit(stage(settings, "bars"), TopicPartition(ticks, 0), 2)
    await commit(stage(other, "bars"), TopicPartition(ticks, 0), 1)
    found = await read_positions(settings)
    assert found["groups"] == {f"{unique}.default.bars": {ticks: {"0": 2}}}
    assert found["logs"][ticks]["0"] == [0, 3]
    assert found["logs"][bars_topic(settings, "bars")]["0"] == [0, 1]
    assert bars_topic(other, "bars") not in found["logs"]
