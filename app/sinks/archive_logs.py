"""What Kafka has of the partitions that an archive holds: which log, from where, up to where.

An archive keeps its positions itself, so it must know whether they are of this log: a topic that
was removed and made anew, as by `candlewick reset`, has the same name and offsets from 0 on again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from aiokafka import TopicPartition

from app.admin import describe
from app.archive.layout import broker_topic
from app.connection import CONNECT_SECONDS, connect
from app.run.reader import bounds
from app.settings import Settings
from app.sinks.driver import Place
from app.streaming.topic_identity import topic_ids


class Log(NamedTuple):
    """The log of a partition: Kafka's id of its topic, its first offset, its end (committed)."""

    id: str
    first: int
    end: int


async def topic_logs(
    settings: Settings, topics: Collection[str], seconds: float = CONNECT_SECONDS
) -> Mapping[Place, Log]:
    """Return the log of each partition of topics, named as in the archive, where there are such.

    Args:
        seconds: for the broker's first answer.

    Raises:
        AdminError, KafkaError, OSError: no broker answers.
    """
    names = {broker_topic(settings, topic): topic for topic in topics}
    async with connect(settings, seconds) as client:
        # Asked for by name, what is not there might be created by the question.
        described = await describe(client)
        there = sorted(names.keys() & described.keys())
        if not there:
            return {}
        # aiokafka's admin client has no public one below it.
        ids = await topic_ids(client._client, there)
    partitions = [
        TopicPartition(name, entry["partition"])
        for name in there
        for entry in described[name]["partitions"]
    ]
    found = await bounds(settings, partitions, committed=True)
    return {
        Place(names[each.topic], each.partition): Log(ids[each.topic], *found[each])
        for each in partitions
    }
