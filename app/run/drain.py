"""When is all closed: the committed offsets have reached the end of every agent's log.

A source offset is committed in the transaction that holds the outputs of all records before it, so
"committed up to the end" means "everything is published". A partition without news is not committed
again; so what a stage of other agents has committed for this deployment before counts as well.

Two things more where the settings have several agents. One may read what another writes: so once
all targets are reached the ends of such logs are asked again, until one pass finds all positions at
all ends. As positions are asked before the ends, nothing can be on its way then. And agents of one
topic share its committed offset, which is that of the last one to commit: so each one's own
position is taken from its marker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from app.connection import connect
from app.groups import committed_offsets
from app.identity import group_id
from app.run.errors import NotDrainedError
from app.run.outcomes import read_markers
from app.run.reader import bounds, partitions_of
from app.settings import Settings
from app.stages import stage_agents, stage_groups
from app.topics import output_topic, output_topics, source_topic

#: Seconds without any progress after which waiting is given up.
STALL_SECONDS = 120.0
POLL_SECONDS = 0.1

#: First and end offset by partition.
Bounds = dict[TopicPartition, tuple[int, int]]


async def input_bounds(settings: Settings) -> Bounds:
    """Return the bounds of each partition that the settings' agents read, now."""
    topics = {source_topic(settings, agent) for agent in settings.agents}
    return await bounds(settings, await partitions_of(settings, sorted(topics)))


async def wait_until_drained(
    settings: Settings,
    targets: Bounds,
    progress: Callable[[int, int], None] = lambda done, total: None,
    stall_seconds: float = STALL_SECONDS,
) -> None:
    """Return once each partition is committed to its end, and what one agent writes for another.

    Args:
        settings: of the deployment.
        targets: of the agents' topics, taken after the last record was sent; the ends of topics
            that these agents write grow on the way.
        progress: told how many records of how many are committed.
        stall_seconds: give up after so long without progress.

    Raises:
        NotDrainedError: no progress for `stall_seconds`.
        BrokerUnreachableError: the broker is gone.
    """
    waiting = _nonempty(targets)
    written, shared = _written(settings), _shared(settings)
    loop = asyncio.get_running_loop()
    best, since = -1, loop.time()
    reached: dict[TopicPartition, int] = {}
    async with connect(settings) as client:
        while True:
            with suppress(KafkaError):  # a coordinator that moves: it counts as no progress
                reached = await committed(client, settings, targets)
            done, total = _done(waiting, reached)
            if done == total and (written or shared):
                reached |= await _slowest(settings, shared)
                if written:
                    ends = await bounds(settings, await partitions_of(settings, written))
                    targets = {**targets, **ends}
                waiting = _nonempty(targets)
                done, total = _done(waiting, reached)
            progress(done, total)
            if done == total:
                return
            if done > best:
                best, since = done, loop.time()
            elif loop.time() - since > stall_seconds:
                raise NotDrainedError(_stalled(settings, waiting, reached, stall_seconds))
            await asyncio.sleep(POLL_SECONDS)


async def committed(
    client: AIOKafkaAdminClient, settings: Settings, targets: Bounds
) -> dict[TopicPartition, int]:
    """Return how far each partition is committed by any stage that runs its agent."""
    groups = await stage_groups(client, settings)
    furthest: dict[TopicPartition, int] = {}
    for agent in settings.agents:
        topic = source_topic(settings, agent)
        count = sum(place.topic == topic for place in targets)
        for group in groups:
            if agent not in stage_agents(settings, group):
                continue
            for number, offset in (await committed_offsets(client, group, topic, count)).items():
                place = TopicPartition(topic, number)
                furthest[place] = max(offset, furthest.get(place, 0))
    return furthest


def _nonempty(targets: Bounds) -> Bounds:
    return {place: ends for place, ends in targets.items() if ends[1] > ends[0]}


def _done(waiting: Bounds, reached: dict[TopicPartition, int]) -> tuple[int, int]:
    """How many records are committed, of how many."""
    done = sum(
        min(max(reached.get(place, first), first), end) - first
        for place, (first, end) in waiting.items()
    )
    return done, sum(end - first for first, end in waiting.values())


def _written(settings: Settings) -> list[str]:
    """Topics that one of the agents writes and one of them reads."""
    written = {
        name for agent in settings.agents for name in output_topics(settings, agent).values()
    }
    return sorted(written & {source_topic(settings, agent) for agent in settings.agents})


def _shared(settings: Settings) -> dict[str, list[str]]:
    """The agents of each topic that several of them read."""
    readers: dict[str, list[str]] = {}
    for agent in settings.agents:
        readers.setdefault(source_topic(settings, agent), []).append(agent)
    return {topic: agents for topic, agents in readers.items() if len(agents) > 1}


async def _slowest(settings: Settings, shared: dict[str, list[str]]) -> dict[TopicPartition, int]:
    """How far the agent that is furthest behind has come, of each partition of shared topics."""
    if not shared:
        return {}
    agents = tuple(agent for readers in shared.values() for agent in readers)
    markers = await read_markers(settings.model_copy(update={"agents": agents}))
    return {
        TopicPartition(topic, number): min(
            0 if (marker := markers.get(TopicPartition(changelog, number))) is None else marker.next
            for changelog in (output_topic(settings, f"{agent}.changelog") for agent in readers)
        )
        for topic, readers in shared.items()
        for number in range(settings.topics.partitions)
    }


def _stalled(
    settings: Settings, waiting: Bounds, reached: dict[TopicPartition, int], seconds: float
) -> str:
    def behind() -> Iterator[str]:
        several = len(settings.agents) > 1
        for place, (first, end) in sorted(waiting.items()):
            if reached.get(place, first) < end:
                where = f"{place.topic} " if several else ""
                yield f"{where}partition {place.partition} at {reached.get(place, first)} of {end}"

    return (
        f"group {group_id(settings)} has committed nothing for {seconds:g} s: "
        f"{', '.join(behind())}; "
        "see the workers' logs"
    )
