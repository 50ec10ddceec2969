"""The consumer groups of the channels: their offsets say what was delivered."""

from __future__ import annotations

from app.notify.settings import CHANNELS
from app.settings import Settings
from app.topics import output_topic


def notify_group(settings: Settings, channel: str) -> str:
    """Name of a channel's consumer group."""
    return output_topic(settings, f"notify.{channel}")


def channel_groups(settings: Settings) -> list[str]:
    """Names of the groups of all channels that a deployment may ever have had.

    They go with the deployment: offsets that stay behind would pass over what a new one tells.
    """
    return [notify_group(settings, channel) for channel in CHANNELS]
