"""Settings and positions as JSON values: to be read by people after a loss, applied by nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiokafka import TopicPartition
from pydantic import SecretStr

from app.connection import connect
from app.identity import deployment_name
from app.observe.masking import MASK, mask_addresses
from app.run.environment import environment_name, setting_text, walk_settings
from app.run.reader import bounds
from app.settings import Settings
from app.stages import with_all_agents
from app.topics import topic_table


def masked_settings(settings: Settings) -> dict[str, str | None]:
    """Return the effective settings by their names in the environment; None is not set.

    Secrets are masked: that there was one can be seen, not what it was.
    """
    found: dict[str, str | None] = {}
    for path, field, value in walk_settings(settings):
        text = setting_text(field, value)
        if text is not None:
            text = MASK if isinstance(value, SecretStr) else mask_addresses(text)
        found[environment_name(path)] = text
    return found


def setting_differences(
    backed_up: Mapping[str, str | None], present: Mapping[str, str | None]
) -> list[str]:
    """Return a line for each setting that a backup has otherwise; secrets cannot be compared."""
    lines = []
    for name, text in backed_up.items():
        here = present.get(name)
        if text == here or MASK in (text or "") or MASK in (here or ""):
            continue
        lines.append(f"{name}: backup {_shown(text)}, here {_shown(here)}")
    return lines


def _shown(text: str | None) -> str:
    return "not set" if text is None else text


async def read_positions(settings: Settings) -> dict[str, Any]:
    """Return how far all groups of the deployment have come, and from where to where its logs go.

    Both by topic and partition; a log is [first offset, end].

    Raises:
        AdminError: no broker answers, or it refuses.
        aiokafka.errors.KafkaError: it fails later on.
    """
    own = f"{deployment_name(settings)}."
    names = {spec.name for spec in topic_table(with_all_agents(settings))}
    groups: dict[str, dict[str, dict[str, int]]] = {}
    async with connect(settings) as client:
        described = {each["topic"]: each for each in await client.describe_topics(None)}
        known = await client.list_consumer_groups()
        for group in sorted(name for name, *_ in known if name.startswith(own)):
            offsets = await client.list_consumer_group_offsets(group)
            for place, entry in sorted(offsets.items()):
                if entry.offset >= 0:
                    topics = groups.setdefault(group, {})
                    topics.setdefault(place.topic, {})[str(place.partition)] = entry.offset
    places = [
        TopicPartition(name, entry["partition"])
        for name in sorted(names & described.keys())
        for entry in described[name]["partitions"]
    ]
    logs: dict[str, dict[str, list[int]]] = {}
    found = await bounds(settings, places) if places else {}
    for place, (first, end) in sorted(found.items()):
        logs.setdefault(place.topic, {})[str(place.partition)] = [first, end]
    return {"groups": groups, "logs": logs}
