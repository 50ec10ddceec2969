"""When is all closed: the group's committed offsets have reached the log's end.

A source offset is committed in the transaction that holds the outputs of all records before it, so
"committed up to the end" means "everything is published".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from aiokafka.errors import KafkaError

from app.connection import connect
from app.groups import committed_offsets
from app.identity import group_id
from app.run.errors import NotDrainedError
from app.run.reader import bounds, partitions_of
from app.settings import Settings
from app.topics import ticks_topic

#: Seconds without any progress after which waiting is given up.
STALL_SECONDS = 120.0
POLL_SECONDS = 0.1


async def input_bounds(settings: Settings) -> dict[int, tuple[int, int]]:
    """Return the first and the end offset of each partition of the ticks topic, now."""
    partitions = await partitions_of(settings, [ticks_topic(settings)])
    found = await bounds(settings, partitions)
    return {position.partition: found[position] for position in partitions}


async def wait_until_drained(
    settings: Settings,
    targets: dict[int, tuple[int, int]],
    progress: Callable[[int, int], None] = lambda done, total: None,
    stall_seconds: float = STALL_SECONDS,
) -> None:
    """Return once the group has committed each partition's end.

    Args:
        settings: of the deployment.
        targets: first and end offset by partition, taken after the last record was sent.
        progress: told how many records of how many are committed.
        stall_seconds: give up after so long without progress.

    Raises:
        NotDrainedError: no progress for `stall_seconds`.
        BrokerUnreachableError: the broker is gone.
    """
    group, topic = group_id(settings), ticks_topic(settings)
    waiting = {number: ends for number, ends in targets.items() if ends[1] > ends[0]}
    total = sum(end - first for first, end in waiting.values())
    loop = asyncio.get_running_loop()
    best, since = -1, loop.time()
    partitions = max(targets, default=-1) + 1
    reached: dict[int, int] = {}
    async with connect(settings) as client:
        while True:
            with suppress(KafkaError):  # a coordinator that moves: it counts as no progress
                reached = await committed_offsets(client, group, topic, partitions)
            done = sum(
                min(max(reached.get(number, first), first), end) - first
                for number, (first, end) in waiting.items()
            )
            progress(done, total)
            if done == total:
                return
            if done > best:
                best, since = done, loop.time()
            elif loop.time() - since > stall_seconds:
                raise NotDrainedError(_stalled(group, waiting, reached, stall_seconds))
            await asyncio.sleep(POLL_SECONDS)


def _stalled(
    group: str, waiting: dict[int, tuple[int, int]], reached: dict[int, int], seconds: float
) -> str:
    behind = [
        f"partition {number} at {reached.get(number, first)} of {end}"
        for number, (first, end) in sorted(waiting.items())
        if reached.get(number, first) < end
    ]
    return (
        f"group {group} has committed nothing for {seconds:g} s: {', '.join(behind)}; "
        "see the workers' logs"
    )
