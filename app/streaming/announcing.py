"""Control records that a state wants in its source log: sent once, until they have come by it.

A state asks for as long as it lacks one. The log may be hours behind, so what was sent is not sent
again before the state has passed the offset that it got; then it would be needed again only where
it said nothing new.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from aiokafka.structs import RecordMetadata

if TYPE_CHECKING:
    from app.streaming.runner import PartitionRunner, RunnerKey

logger = logging.getLogger(__name__)


class Sender(Protocol):
    """Sends records beside the checkpoints."""

    async def send(
        self, topic: str, partition: int, value: bytes
    ) -> asyncio.Future[RecordMetadata]:
        """Send a record."""


class Announcer:
    """What was announced, by partition."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        #: By what was announced; an entry a partition and record.
        self._sent: dict[tuple[RunnerKey, bytes], asyncio.Future[RecordMetadata]] = {}

    async def announce(self, runner: PartitionRunner) -> None:
        """Send what a partition lacks and was not sent yet."""
        lacking = runner.state.announcements()
        key = runner.key
        if not lacking:
            for place in [each for each in self._sent if each[0] == key]:
                del self._sent[place]
            return
        for value in lacking:
            if self._due(runner, self._sent.get((key, value))):
                logger.info("%s %d: announces %s", runner.stage.agent, key.partition, value)
                self._sent[key, value] = await self._sender.send(key.topic, key.partition, value)

    def _due(self, runner: PartitionRunner, sent: asyncio.Future[RecordMetadata] | None) -> bool:
        if sent is None:
            return True
        if not sent.done():
            return False
        if sent.cancelled() or sent.exception() is not None:
            return True
        return bool(runner.position > sent.result().offset)
