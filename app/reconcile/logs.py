"""Where the records are read that bars are recomputed from: Kafka, and the archive before it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from aiokafka import TopicPartition

from app.run.reader import bounds, partitions_of, read_range
from app.settings import Settings
from app.topics import source_topic

#: First offset and end by partition.
Ranges = Mapping[TopicPartition, tuple[int, int]]
#: Where records are read; the archive has what Kafka need not have any more.
KAFKA, ARCHIVE = LOGS = ("kafka", "archive")


class Log(Protocol):
    """All partitions of what an agent reads. Records have `offset`, `timestamp` (ms), `value`."""

    async def ranges(self) -> Ranges:
        """Return what there is of each partition.

        Raises:
            BrokerUnreachableError, RunError: it cannot be told.
        """

    def read(self, ranges: Ranges) -> AsyncIterator[tuple[TopicPartition, list[Any]]]:
        """Yield the committed records of each partition from an offset to before another.

        Raises:
            BrokerUnreachableError, RunError: they cannot be read.
        """

    def notes(self) -> list[str]:
        """Return what a reader of the result should know of it."""


class KafkaLog:
    """The source topic of an agent."""

    def __init__(self, settings: Settings, agent: str) -> None:
        self.settings, self.topic = settings, source_topic(settings, agent)

    async def ranges(self) -> Ranges:
        """Return the first offset that is left, and the end, of each partition."""
        return await bounds(self.settings, await partitions_of(self.settings, [self.topic]))

    def read(self, ranges: Ranges) -> AsyncIterator[tuple[TopicPartition, list[Any]]]:
        """Yield the records."""
        return read_range(self.settings, ranges)

    def notes(self) -> list[str]:
        """Nothing: what retention has cut off is counted as left out."""
        return []


def make_log(settings: Settings, agent: str, kind: str, location: str | None) -> Log:
    """Return where an agent's records are read.

    Args:
        kind: of `LOGS`.
        location: of the archive; None: the deployment's.

    Raises:
        RunError: the archive's package is missing.
    """
    if kind == ARCHIVE:
        from app.reconcile.archived_log import ArchivedLog

        return ArchivedLog(settings, agent, location)
    return KafkaLog(settings, agent)
