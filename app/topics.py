"""All topics, in one table: name, what it carries, and how it must be made.

Names carry the cluster's prefix; outputs also the deployment. Every topic has the same number of
partitions and LogAppendTime; `app/admin.py` creates what is missing and checks what is there.
"""

from __future__ import annotations

from collections.abc import Iterator
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


def quotes_topic(settings: Settings) -> str:
    """Name of the quotes' input topic; all deployments of a prefix share it."""
    return f"{settings.topic_prefix}quotes"


def source_topic(settings: Settings, agent: str) -> str:
    """Name of the topic that an agent reads."""
    return {"bars": ticks_topic, "quotes": quotes_topic}[agent](settings)


def bars_topic(settings: Settings, agent: str) -> str:
    """Name of the topic of an agent's closed bars: `DEPLOYMENT.bars`, `DEPLOYMENT.quotes.bars`."""
    return output_topic(settings, "bars" if agent == "bars" else f"{agent}.bars")


def output_topic(settings: Settings, output: str) -> str:
    """Name of an output: `bars`, `quotes.bars`, and `AGENT.late`, `.dead`, `.forming`,
    `.changelog`.
    """
    return f"{settings.topic_prefix}{settings.deployment}.{output}"


def topic_table(settings: Settings) -> tuple[TopicSpec, ...]:
    """Every topic of this deployment's agents, inputs first."""
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
    carried = {"bars": ("trades", "bars"), "quotes": ("quotes", "quote bars")}

    def outputs(agent: str) -> Iterator[TopicSpec]:
        records, bars = carried[agent]
        yield spec(bars_topic(settings, agent), f"closed {bars} and their revisions")
        yield spec(
            output_topic(settings, f"{agent}.late"), f"{records} beyond the correction horizon"
        )
        yield spec(
            output_topic(settings, f"{agent}.dead"),
            "bad records: raw bytes, reason and position in headers",
            headroom=DEAD_HEADROOM,
        )
        yield spec(
            output_topic(settings, f"{agent}.forming"), f"forming {bars}", retention_ms=ten_minutes
        )
        yield spec(
            output_topic(settings, f"{agent}.changelog"),
            "state rows and markers",
            cleanup="compact",
        )

    inputs = [
        spec(source_topic(settings, agent), f"{carried[agent][0]} and control records")
        for agent in settings.agents
    ]
    return (*inputs, *(each for agent in settings.agents for each in outputs(agent)))
