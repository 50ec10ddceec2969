"""Clients on a real broker whose list of brokers is empty at first, and that end at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiokafka.cluster import ClusterMetadata

from app.broker import EmbeddedBroker
from app.connection import BrokerUnreachableError, connect
from app.run.reader import plain_consumer
from app.settings import Settings, load_settings

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    return load_settings(
        broker={"url": kafka.url}, topic_prefix=f"{unique}.", data_dir=tmp_path / "data"
    )


def forget(monkeypatch: pytest.MonkeyPatch, answers: int) -> None:
    """Let so many first answers name no broker, as after a long pause of the only one."""
    update = ClusterMetadata.update_metadata
    left = answers

    def scripted(self: ClusterMetadata, metadata: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            update(self, metadata)

    monkeypatch.setattr(ClusterMetadata, "update_metadata", scripted)


@pytest.mark.parametrize("answers", [1, 3])
async def test_a_broker_that_does_not_name_itself_yet_is_waited_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, answers: int
) -> None:
    forget(monkeypatch, answers)
    async with connect(settings) as client:
        assert await client.list_consumer_groups() is not None


async def test_a_broker_that_never_names_itself_is_said_to_be_away(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(monkeypatch, 1_000_000)
    with pytest.raises(BrokerUnreachableError, match="no broker answers"):
        async with connect(settings, seconds=0.5):
            pass


async def test_what_ends_a_reader_at_once_is_not_hidden(settings: Settings) -> None:
    with pytest.raises(ZeroDivisionError):
        async with plain_consumer(settings):
            raise ZeroDivisionError
