"""A worker's views on a real topic: where they begin, and when they are made anew."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from faust.types import TP

from app.broker import EmbeddedBroker
from app.connection import connect
from app.identity import worker_folder
from app.settings import Settings
from app.topics import bars_topic, source_topic
from app.views import follower as module
from app.views.follower import Views
from tests.broker.worker import until, worker_settings
from tests.chaos.deployment import prepared
from tests.unit.test_views_partition import SECOND, bar

pytestmark = pytest.mark.broker


@dataclass
class FakeStage:
    """What a view wants to know of a stage."""

    agent: str
    source: str


@dataclass
class FakeEngine:
    """What a view wants to know of the engine."""

    stages: dict[str, FakeStage]
    runners: dict[TP, Any] = field(default_factory=dict)
    request_timeout: int = 15_000
    applied_seconds: float = 0.0


@asynccontextmanager
async def following(settings: Settings, *partitions: int) -> AsyncIterator[Views]:
    engine = FakeEngine({"bars": FakeStage("bars", source_topic(settings, "bars"))})
    views = Views(settings, cast(Any, engine))
    views.assigned(TP(source_topic(settings, "bars"), number) for number in partitions)
    try:
        yield views
    finally:
        await views.stop()


async def publish(
    settings: Settings, values: Iterable[bytes], partition: int = 0, *, commit: bool = True
) -> None:
    """One transaction of bars."""
    producer = AIOKafkaProducer(
        bootstrap_servers=(settings.broker.url or "").removeprefix("kafka://"),
        transactional_id=f"{settings.topic_prefix}views",
    )
    await producer.start()
    try:
        await producer.begin_transaction()
        for value in values:
            await producer.send(bars_topic(settings, "bars"), value, partition=partition)
        await (producer.commit_transaction() if commit else producer.abort_transaction())
    finally:
        await producer.stop()


async def level(views: Views, count: int, partition: int = 0) -> None:
    """Wait until a view is at the end of its topic and has so many rows."""

    async def met() -> bool:
        found = views.get("bars", partition)
        return found is not None and found.behind == 0 and _rows(views, partition) == count

    await until(met, lambda: f"{count} rows; {views.get('bars', partition)}", 20)


def _rows(views: Views, partition: int = 0) -> int:
    found = views.get("bars", partition)
    return -1 if found is None or found.view is None else found.view.rows


def history(views: Views, symbol: str, partition: int = 0) -> list[tuple[int, int]]:
    found = views.get("bars", partition)
    assert found is not None
    assert found.view is not None
    bars = map(msgspec.json.decode, found.view.history(symbol, SECOND, 1_000))
    return [(each["start"] // SECOND, each["revision"]) for each in bars]


@pytest.fixture
async def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    return await prepared(worker_settings(kafka, unique, tmp_path, views={"bars_per_interval": 50}))


async def test_a_view_follows_goes_on_and_moves(settings: Settings) -> None:
    await publish(settings, [bar("A", "1s", number * SECOND) for number in range(3)])
    await publish(settings, [bar("A", "1s", SECOND, 9)], commit=False)
    await publish(settings, [bar("A", "1s", 2 * SECOND, 2), bar("A", "1s", 2 * SECOND, 1)])
    async with following(settings, 0) as views:
        await level(views, 3)
        assert history(views, "A") == [(0, 0), (1, 0), (2, 2)]
        await publish(settings, [bar("A", "1s", number * SECOND) for number in range(3, 200)])
        await level(views, 50)
        assert history(views, "A")[-1] == (199, 0)

        # A rebalance: this one goes, another one comes.
        await publish(settings, [bar("B", "1s", 0)], partition=1)
        views.assigned([TP(source_topic(settings, "bars"), 1)])
        await level(views, 1, partition=1)
        assert views.get("bars", 0) is None
        assert history(views, "B", 1) == [(0, 0)]
    await publish(settings, [bar("A", "1s", 200 * SECOND)])
    async with following(settings, 0) as views:
        await level(views, 51)
        assert history(views, "A")[-2:] == [(199, 0), (200, 0)]


async def test_a_restart_reads_only_what_is_new(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(settings, [bar("A", "1s", number * SECOND) for number in range(20)])
    async with following(settings, 0) as views:
        await level(views, 20)
    read: list[bytes | None] = []
    take = module.ViewPartition.take
    monkeypatch.setattr(
        module.ViewPartition, "take", lambda view, values: take(view, read.extend(values) or values)
    )
    fresh = bar("A", "1s", 20 * SECOND)
    await publish(settings, [fresh])
    async with following(settings, 0) as views:
        await level(views, 21)
    assert read == [fresh]


async def test_another_topic_of_that_name_is_read_from_its_beginning(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    await publish(settings, [bar("A", "1s", number * SECOND) for number in range(20)])
    async with following(settings, 0) as views:
        await level(views, 20)
    topic = bars_topic(settings, "bars")
    async with connect(settings) as client:
        await client.delete_topics([topic])

        async def gone() -> bool:
            return topic not in await client.list_topics()

        await until(gone, lambda: topic)
    await prepared(settings)
    await publish(settings, [bar("C", "1s", number * SECOND) for number in range(30)])
    async with following(settings, 0) as views:
        await level(views, 30)
        assert history(views, "A") == []
        assert len(history(views, "C")) == 30
    assert f"is of another topic {topic}" in caplog.text


async def test_a_view_ahead_of_its_topic_is_made_anew(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    await publish(settings, [bar("A", "1s", 0)])
    async with following(settings, 0) as views:
        await level(views, 1)
        found = views.get("bars", 0)
        assert found is not None
        assert found.view is not None
        found.view.store.write([], 1_000, found.topic_id)
    async with following(settings, 0) as views:
        await level(views, 1)
        assert history(views, "A") == [(0, 0)]
    assert "ends at 1000, outside of 0 to" in caplog.text


async def test_a_damaged_or_lost_folder_is_read_again(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    await publish(settings, [bar("A", "1s", number * SECOND) for number in range(40)])
    async with following(settings, 0) as views:
        await level(views, 40)
        found = views.get("bars", 0)
        assert found is not None
        # As a reader does that comes upon a bad block.
        found.damaged = True

        async def anew() -> bool:
            return not found.damaged and found.behind == 0

        await until(anew, lambda: str(found))
        await level(views, 40)
    assert "has a bad block: read again from" in caplog.text
    shutil.rmtree(worker_folder(settings) / "views")
    async with following(settings, 0) as views:
        await level(views, 40)
        assert len(history(views, "A")) == 40


async def test_a_new_view_begins_with_the_last_records_of_an_old_log(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAST_RECORDS", 11)
    short = settings.model_copy(update={"views": settings.views.model_copy(update={"lookback": 0})})
    await publish(settings, [bar("A", "1s", number * SECOND) for number in range(40)])
    async with following(short, 0) as views:
        # One of the eleven offsets is the commit marker.
        await level(views, 10)
        assert history(views, "A")[0] == (30, 0)
    shutil.rmtree(worker_folder(settings) / "views")
    async with following(settings, 0) as views:
        await level(views, 40)


async def test_views_that_are_off_keep_nothing(settings: Settings) -> None:
    off = settings.model_copy(
        update={"views": settings.views.model_copy(update={"enabled": False})}
    )
    async with following(off, 0) as views:
        assert views.get("bars", 0) is None
    assert not (worker_folder(settings) / "views").exists()
