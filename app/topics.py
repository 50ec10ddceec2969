"""All topics, in one table: name, what it carries, and how it must be made.

Names carry the cluster's prefix; outputs also the deployment. Every topic has the same number of
partitions and LogAppendTime; `app/admin.py` creates what is missing and checks what is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.durations import NANOSECONDS
from app.settings import Settings

#: Room for the headers of a dead record above its source's limit, in bytes.
DEAD_HEADROOM = 64 * 1024


@dataclass(frozen=True)
class TopicSpec:
    """One topic as it must be on the broker. `retention_ms` and sizes as Kafka names them."""

    name: str
    carries: str
    partitions: int
    replication: int
    cleanup: Literal["delete", "compact"]
    retention_ms: int | None
    max_message_bytes: int
    min_insync_replicas: int

    @property
    def configuration(self) -> dict[str, str]:
        """The broker's configuration entries that are set at creation and checked at start."""
        entries = {
            "cleanup.policy": self.cleanup,
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(self.max_message_bytes),
            "min.insync.replicas": str(self.min_insync_replicas),
        }
        if self.retention_ms is not None:
            entries["retention.ms"] = str(self.retention_ms)
        return entries


def ticks_topic(settings: Settings) -> str:
    """Name of the input topic; all deployments of a prefix share it."""
    return f"{settings.topic_prefix}ticks"


def output_topic(settings: Settings, output: str) -> str:
    """Name of an output: `bars`, `bars.late`, `bars.dead`, `bars.forming`, `bars.changelog`."""
    return f"{settings.topic_prefix}{settings.deployment}.{output}"


def topic_table(settings: Settings) -> tuple[TopicSpec, ...]:
    """Every topic of this deployment, inputs first."""
    chosen = settings.topics
    retention = chosen.retention // NANOSECONDS["ms"]

    def spec(
        name: str,
        carries: str,
        *,
        cleanup: Literal["delete", "compact"] = "delete",
        retention_ms: int | None = retention,
        headroom: int = 0,
    ) -> TopicSpec:
        return TopicSpec(
            name=name,
            carries=carries,
            partitions=chosen.partitions,
            replication=chosen.replication,
            cleanup=cleanup,
            retention_ms=None if cleanup == "compact" else retention_ms,
            max_message_bytes=chosen.max_message_bytes + headroom,
            min_insync_replicas=chosen.min_insync_replicas,
        )

    ten_minutes = 10 * 60 * 1000
    return (
        spec(ticks_topic(settings), "trades and control records"),
        spec(output_topic(settings, "bars"), "closed bars and their revisions"),
        spec(output_topic(settings, "bars.late"), "trades beyond the correction horizon"),
        spec(
            output_topic(settings, "bars.dead"),
            "bad records: raw bytes, reason and position in headers",
            headroom=DEAD_HEADROOM,
        ),
        spec(output_topic(settings, "bars.forming"), "forming bars", retention_ms=ten_minutes),
        spec(
            output_topic(settings, "bars.changelog"),
            "state rows and markers",
            cleanup="compact",
        ),
    )
