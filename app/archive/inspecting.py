"""What an archive holds, by topic: days, files, rows, bytes, and how far each partition goes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from app.archive.manifest import Part, State


@dataclass(frozen=True)
class PartitionFigures:
    """How far a partition is held.

    Attributes:
        next: the offset behind the last one held.
        log: Kafka's id of the topic; empty: not told.
        lost: offsets that Kafka had removed before they were archived.
    """

    partition: int
    next: int
    log: str
    lost: int


@dataclass(frozen=True)
class TopicFigures:
    """What there is of a topic; one without files has positions alone, its rows are in `raw`.

    Attributes:
        days: on which there are files; `first` and `last` of them, yyyy-mm-dd.
        bytes: of the files.
    """

    topic: str
    days: int
    first: str | None
    last: str | None
    files: int
    rows: int
    bytes: int
    partitions: tuple[PartitionFigures, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def topic_figures(state: State) -> list[TopicFigures]:
    """Return the figures of each topic that the archive holds anything of, by name."""
    parts: dict[str, list[Part]] = {topic: [] for topic, _ in state.positions}
    for part in state.parts.values():
        parts.setdefault(part.topic, []).append(part)
    partitions: dict[str, list[PartitionFigures]] = {topic: [] for topic in parts}
    for (topic, partition), held in sorted(state.positions.items()):
        partitions[topic].append(PartitionFigures(partition, held.next, held.log, held.lost))
    found = []
    for topic in sorted(parts):
        days = {part.day for part in parts[topic]}
        found.append(
            TopicFigures(
                topic,
                len(days),
                min(days, default=None),
                max(days, default=None),
                len(parts[topic]),
                sum(part.rows for part in parts[topic]),
                sum(part.bytes for part in parts[topic]),
                tuple(partitions[topic]),
            )
        )
    return found
