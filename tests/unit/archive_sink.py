"""Archive drivers over stores in memory, and an imagined Kafka that tells of its logs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaConnectionError

from app.settings import Settings
from app.sinks.archive import ArchiveDriver
from app.sinks.archive_logs import Log
from app.sinks.driver import Place
from models.predicting.registry_store import Store

TICKS, OTHER, BARS = Place("ticks", 0), Place("ticks", 1), Place("bars", 0)


class Kafka:
    """The logs of a Kafka that is not there."""

    def __init__(self, *places: Place) -> None:
        self.logs = {place: Log(f"first {place.topic}", 0, 10**9) for place in places}
        self.away = False

    async def __call__(self, topics: Collection[str]) -> Mapping[Place, Log]:
        if self.away:
            raise KafkaConnectionError("nobody answers")
        return {place: log for place, log in self.logs.items() if place.topic in topics}


def settings_of(folder: Path, **groups: Any) -> Settings:
    """Return settings whose archive is `folder/archive/mine`."""
    return Settings(deployment="mine", data_dir=folder, **groups)


def driver_of(store: Store, kafka: Kafka, **groups: Any) -> ArchiveDriver:
    """Return a driver that writes into a store, whatever its place is."""
    settings = settings_of(Path("nowhere"), **groups)
    return ArchiveDriver(settings, make_store=lambda location: store, logs=kafka)
