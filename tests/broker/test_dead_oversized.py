"""A value that its sender's codec got past the broker's limit, and ours does not get past it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from app.admin import ensure_topics
from app.broker import EmbeddedBroker
from app.connection import bootstrap_servers
from app.dead import recent_dead
from app.settings import Settings
from app.topics import output_topic, ticks_topic
from tests.broker.test_engine_quotes import append, wait_drained
from tests.broker.worker import WorkerProcess, worker_settings
from tests.chaos.deployment import FLUSH, HISTORICAL, market, read_topic

pytestmark = pytest.mark.broker

LIMIT, BYTES = 64 * 1024, 220_000


async def send_compressed(settings: Settings, topic: str, value: bytes) -> None:
    """Append a value with gzip, in a batch of its own."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers(settings),
        compression_type="gzip",
        max_request_size=2 * BYTES,
    )
    await producer.start()
    try:
        await producer.send_and_wait(topic, value=value, partition=0)
    finally:
        await producer.stop()


@pytest.mark.parametrize("compression", ["none", "lz4"])
async def test_its_letter_goes_without_the_value_and_the_partition_goes_on(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path, compression: str
) -> None:
    topics = {"partitions": 2, "max_message_bytes": LIMIT, "compression": compression}
    settings = worker_settings(kafka, unique, tmp_path, topics=topics)
    settings = settings.model_copy(update={"agents": ("bars", "indicators")})
    await ensure_topics(settings)
    dice = random.Random(1)
    # Two bits a byte: a third of it is left by gzip, two thirds by lz4, all of it by nothing.
    value = bytes(dice.choice(b"abcd") for _ in range(BYTES))
    bars = output_topic(settings, "bars")
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        for topic in (ticks_topic(settings), bars):
            await send_compressed(settings, topic, value)
        await append(settings, ticks_topic(settings), 0, [HISTORICAL, *market(0, 2, 50), FLUSH])
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    for agent in ("bars", "indicators"):
        letters = (await read_topic(settings, output_topic(settings, f"{agent}.dead")))[0]
        (letter,) = [each for each in letters if dict(each.headers)["reason"] == b"too_large"]
        headers = dict(letter.headers)
        assert letter.value is None
        assert headers["value_bytes"] == b"%d" % BYTES
        source = ticks_topic(settings) if agent == "bars" else bars
        assert (headers["topic"], headers["partition"]) == (source.encode(), b"0")
        (read,) = await recent_dead(settings, agent, 10, reason="too_large")
        assert (read.left_out, read.to_json()["bytes"]) == (BYTES, BYTES)
    assert len((await read_topic(settings, bars))[0]) > 1
    assert len((await read_topic(settings, output_topic(settings, "indicators")))[0]) > 1
