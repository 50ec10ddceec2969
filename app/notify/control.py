"""Control records of alerts, which travel in every partition of `alerts.events`."""

from __future__ import annotations

from app.feeds.producer import TickSender
from app.settings import Settings
from app.topics import output_topic


def alert_events_topic(settings: Settings) -> str:
    """Name of the topic of what agents see, and of control records."""
    return output_topic(settings, "alerts.events")


async def send_control(settings: Settings, value: bytes) -> int:
    """Send a record to each partition; return how many those are.

    Raises:
        aiokafka.errors.KafkaError: the broker is away, or the topic is missing.
    """
    async with TickSender(settings, topic=alert_events_topic(settings)) as sender:
        for partition in range(sender.partitions):
            await sender.send(partition, [(None, value)])
        await sender.flush()
        return sender.partitions
