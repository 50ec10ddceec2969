"""All channels of a process: a notifier each, and the topic for what they never take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer

from app.connection import client_options
from app.notify.channels import make_channels
from app.notify.consumer import DeadNotification, Notifier, notifications_topic
from app.notify.deliverer import Deliverer
from app.notify.settings import NotifyGroups
from app.settings import Settings

#: Seconds for the deliveries on their way when the service ends.
STOP_SECONDS = 10.0


def dead_notifications_topic(settings: Settings) -> str:
    """Name of the topic of notifications that a channel never takes."""
    return f"{notifications_topic(settings)}.dead"


class DeadNotifications:
    """Sends dead notifications to their topic; the producer is opened by the first one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None

    async def __call__(self, letter: DeadNotification) -> None:
        """Write a letter, as it was, with reason, channel and place in its headers.

        Raises:
            aiokafka.errors.KafkaError: it is not in the topic.
        """
        if self._producer is None:
            producer = AIOKafkaProducer(**client_options(self._settings), acks="all")
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        headers = [
            ("reason", letter.reason.encode()),
            ("channel", letter.channel.encode()),
            ("topic", letter.topic.encode()),
            ("partition", str(letter.partition).encode()),
            ("offset", str(letter.offset).encode()),
        ]
        await self._producer.send_and_wait(
            dead_notifications_topic(self._settings),
            key=letter.key,
            value=letter.value,
            partition=letter.partition,
            headers=headers,
        )

    async def close(self) -> None:
        """Close the producer."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()


@asynccontextmanager
async def notifiers(settings: Settings, groups: NotifyGroups) -> AsyncIterator[list[Notifier]]:
    """Deliver to every channel that a route names, until this is left.

    Raises:
        SettingsError: see `make_channels`.
    """
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
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for channel in channels:
            await channel.close()
        await dead.close()
