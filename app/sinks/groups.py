"""The consumer groups of the sinks: their offsets say what has been written."""

from __future__ import annotations

from app.settings import Settings
from app.sinks.settings import SINKS
from app.topics import output_topic


def sink_group(settings: Settings, sink: str) -> str:
    """Name of a sink's consumer group."""
    return output_topic(settings, f"sink.{sink}")


def sink_groups(settings: Settings) -> list[str]:
    """Names of the groups of all sinks that a deployment may ever have had.

    They go with the deployment: offsets that stay behind would pass over what a new one writes.
    """
    return [sink_group(settings, sink) for sink in SINKS]
