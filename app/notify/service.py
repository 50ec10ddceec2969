"""All channels of a process: a notifier each, and the topic for what they never take."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from app.notify.channel import Channel
from app.notify.channels import make_channels
from app.notify.consumer import DeadNotification, Notifier, notifications_topic
from app.notify.deliverer import Deliverer
from app.notify.settings import NotifyGroups, notify_groups
from app.settings import Settings
from app.streaming.beside import LetterProducer, end_tasks

logger = logging.getLogger(__name__)


def dead_notifications_topic(settings: Settings) -> str:
    """Name of the topic of notifications that a channel never takes."""
    return f"{notifications_topic(settings)}.dead"


class DeadNotifications:
    """Sends dead notifications to their topic; the producer is opened by the first one."""

    def __init__(self, settings: Settings) -> None:
        self._topic = dead_notifications_topic(settings)
        self._producer = LetterProducer(settings)

    async def __call__(self, letter: DeadNotification) -> None:
        """Write a letter, as it was, with reason, channel and place in its headers.

        Raises:
            aiokafka.errors.KafkaError: it is not in the topic.
        """
        producer = await self._producer.open()
        headers = [
            ("reason", letter.reason.encode()),
            ("channel", letter.channel.encode()),
            ("topic", letter.topic.encode()),
            ("partition", str(letter.partition).encode()),
            ("offset", str(letter.offset).encode()),
        ]
        await producer.send_and_wait(
            self._topic,
            key=letter.key,
            value=letter.value,
            partition=letter.partition,
            headers=headers,
        )

    async def close(self) -> None:
        """Close the producer."""
        await self._producer.close()


@asynccontextmanager
async def notifiers(
    settings: Settings, groups: NotifyGroups, channels: Sequence[Channel] | None = None
) -> AsyncIterator[list[Notifier]]:
    """Deliver to every channel that a route names, until this is left.

    Args:
        channels: those of `make_channels`, where they are made already; they are closed at the end.

    Raises:
        SettingsError: see `make_channels`.
    """
    if channels is None:
        channels = make_channels(groups, settings.deployment)
    dead = DeadNotifications(settings)
    found = [
        Notifier(settings, Deliverer(channel, groups.notify), dead, groups.notify.give_up_after)
        for channel in channels
    ]
    tasks = [asyncio.create_task(each.run(), name=f"notify {each.channel}") for each in found]
    try:
        yield found
    finally:
        for each in found:
            each.stop()
        # What was on its way is sent again by whoever goes on, with the same key.
        await end_tasks(tasks)
        for channel in channels:
            await channel.close()
        await dead.close()


class Delivery:
    """The delivery of a worker: begins when it has partitions, ends behind its last checkpoint.

    Raises:
        SettingsError: see `make_channels`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._groups = settings, notify_groups(settings)
        self._channels = make_channels(self._groups, settings.deployment)
        self.running: list[Notifier] = []
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def assigned(self, sources: Iterable[object]) -> None:
        """Begin, where it has not begun: which partitions are delivered, Kafka says."""
        if self._task is None and not self._stopping.is_set():
            self._task = asyncio.create_task(self._run(), name="delivery")

    async def stop(self) -> None:
        """Let what is on its way come to an end, for a while, and leave the groups."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        names = ", ".join(channel.name for channel in self._channels)
        logger.info("delivering notifications to %s", names or "no channel")
        try:
            async with notifiers(self._settings, self._groups, self._channels) as found:
                self.running = found
                await self._stopping.wait()
        except Exception:
            # It ends last: nobody is there to hear of it.
            logger.exception("the delivery has not ended as it should")
        delivered = sum(each.status.delivered for each in self.running)
        logger.info("delivery ended: %d delivered", delivered)
