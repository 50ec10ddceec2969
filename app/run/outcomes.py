"""What became of the records: the counts in the last committed marker of each partition."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from app.exits import RefusalError
from app.run.reader import bounds, partitions_of, read_range
from app.settings import Settings
from app.topics import output_topic
from tables.rows import MARKER_KEY, Marker, decode_marker

OUTCOMES = ("applied", "revised", "late", "duplicate", "ignored", "dead", "control")
#: Offsets from the end of a changelog in which its last marker is looked for first.
FIRST_LOOK = 5_000


@dataclass(frozen=True)
class Outcomes:
    """Counts of all partitions of the settings' agents together, since the deployment began.

    Attributes:
        counts: records by outcome; they add up to the records read.
        details: ignored records by reason (quotes: `zero`, `crossed`), where the agent tells.
    """

    counts: dict[str, int]
    details: dict[str, int] = field(default_factory=dict)

    @property
    def records(self) -> int:
        """Records read: every record has exactly one outcome."""
        return sum(self.counts.values())


async def read_outcomes(settings: Settings) -> Outcomes:
    """Return the deployment's counts of records by outcome.

    Raises:
        BrokerUnreachableError, RunError: the changelog cannot be read.
    """
    total: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
    details: Counter[str] = Counter()
    for marker in (await read_markers(settings)).values():
        total.update(marker.counts)
        details.update(marker.details)
    return Outcomes(dict(total), dict(sorted(details.items())))


async def check_deployment(settings: Settings) -> None:
    """Make sure that what an existing deployment holds was made with these settings.

    A worker checks it too, but a deployment that is drained already would not wait for one.

    Raises:
        RefusalError: it was made with others.
    """
    agents = {output_topic(settings, f"{agent}.changelog"): agent for agent in settings.agents}
    for place, marker in sorted((await read_markers(settings)).items()):
        expected = settings.hash_of(agents[place.topic])
        if marker.results_hash != expected:
            raise RefusalError(
                f"deployment {settings.deployment!r}, {place.topic} partition "
                f"{place.partition}: made with "
                f"settings hash {marker.results_hash}, but the settings are "
                f"{expected} now; give the settings it was made with (bars.*, the agent's own, "
                "partitions, max_message_bytes), use --reset or another deployment name"
            )


async def read_markers(settings: Settings) -> dict[TopicPartition, Marker]:
    """Return the last committed marker of each partition of the agents' changelogs.

    Raises:
        BrokerUnreachableError, RunError: a changelog cannot be read.
    """
    topics = [output_topic(settings, f"{agent}.changelog") for agent in settings.agents]
    partitions = await partitions_of(settings, topics)
    return await _last_markers(settings, await bounds(settings, partitions))


async def _last_markers(
    settings: Settings, ends: dict[TopicPartition, tuple[int, int]]
) -> dict[TopicPartition, Marker]:
    """Look at the end of each partition, and further back where there was no marker."""
    markers: dict[TopicPartition, Marker] = {}
    look = FIRST_LOOK
    missing = {partition: entry for partition, entry in ends.items() if entry[1] > entry[0]}
    while missing:
        ranges = {
            partition: (max(first, end - look), end) for partition, (first, end) in missing.items()
        }
        async for partition, records in read_range(settings, ranges):
            for record in records:
                if record.key == MARKER_KEY and record.value is not None:
                    markers[partition] = decode_marker(record.value)
        missing = {
            partition: entry
            for partition, entry in missing.items()
            if partition not in markers and ranges[partition][0] > entry[0]
        }
        look *= 10
    return markers
