"""What channels and sinks share: a group's consumer, the producer of letters, the end of tasks.

Both run beside the engine: they read committed records in consumer groups of their own, and what an
outside system will never take becomes a letter in a topic.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from app.connection import client_options
from app.settings import Settings
from app.streaming.transaction import abandon
from app.streaming.tuning import close_fetchers_whole

logger = logging.getLogger(__name__)

#: Seconds to leave a group or to close a producer; longer only while no broker answers.
CLOSE_SECONDS: Final = 5.0
#: Seconds for tasks that were told to stop, and for those that are cut short: they leave a group
#: and close what they write to.
STOP_SECONDS: Final = 5.0
CANCEL_SECONDS: Final = 2 * CLOSE_SECONDS
_MILLISECOND: Final = 1_000_000


@asynccontextmanager
async def group_consumer(
    settings: Settings, group: str, *topics: str, **options: Any
) -> AsyncIterator[AIOKafkaConsumer]:
    """Open a consumer of committed records in a group.

    Args:
        topics: to subscribe to; none: the caller subscribes.
        options: of `AIOKafkaConsumer`, beside those that all have alike.

    Raises:
        aiokafka.errors.KafkaError: no broker answers.
    """
    broker = settings.broker
    consumer = AIOKafkaConsumer(
        *topics,
        **client_options(settings),
        group_id=group,
        enable_auto_commit=False,
        isolation_level="read_committed",
        # What was there before the group is taken, too.
        auto_offset_reset="earliest",
        session_timeout_ms=broker.session_timeout // _MILLISECOND,
        heartbeat_interval_ms=broker.heartbeat_interval // _MILLISECOND,
        check_crcs=broker.check_crcs,
        **options,
    )
    close_fetchers_whole()
    try:
        await consumer.start()
        yield consumer
    finally:
        await _close(consumer)


async def _close(consumer: AIOKafkaConsumer) -> None:
    """Close a consumer; without a broker, not waiting for it to leave its group."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await consumer.stop()
    except (TimeoutError, KafkaError) as error:
        logger.debug("closing a consumer: %r", error)
        await consumer._client.close()


class LetterProducer:
    """The producer of letters, opened by the first one.

    Args:
        options: of `AIOKafkaProducer`, beside the connection and `acks`.
    """

    def __init__(self, settings: Settings, **options: Any) -> None:
        self._settings, self._options = settings, options
        self._producer: AIOKafkaProducer | None = None
        #: Several channels or sinks may have their first letter at once.
        self._opening = asyncio.Lock()

    async def open(self) -> AIOKafkaProducer:
        """Return the producer, started.

        Raises:
            aiokafka.errors.KafkaError: no broker answers.
        """
        async with self._opening:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **client_options(self._settings), acks="all", **self._options
                )
                try:
                    await producer.start()
                except BaseException:
                    # Also when it is cancelled: nobody else knows of it.
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def close(self) -> None:
        """Close the producer, where there is one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await producer.stop()
            except (TimeoutError, KafkaError) as error:
                # Each letter was waited for: nothing is left to send.
                logger.debug("closing a producer: %r", error)
                await abandon(producer)


async def end_tasks(tasks: Collection[asyncio.Task[None]]) -> None:
    """Wait for tasks that were told to stop, cut short those that do not, and say who still runs.

    What was under way is done again by whoever goes on.
    """
    late: set[asyncio.Task[None]] = set()
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
    for task in late:
        task.cancel()
    if late:
        _, late = await asyncio.wait(late, timeout=CANCEL_SECONDS)
    for task in late:
        logger.warning("%s has not ended in %.0f s", task.get_name(), CANCEL_SECONDS)
