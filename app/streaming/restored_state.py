"""A partition's state out of its store and the two logs, and where it reads on.

The store is brought up to the changelog's end (`restore.py`), the state is built of it, and the
source log must hold the position that the state names: what lies before the log's first record was
lost to retention, what lies behind its end is of another log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from app.exits import RefusalError
from app.streaming.protocols import Stage, State
from app.streaming.restore import Bounds, bounds, catch_up
from app.streaming.store import PartitionStore

#: Seconds for reading ahead; the rest is read when it is needed.
AHEAD_SECONDS = 1.0
#: Seconds of it without a look at the event loop.
PIECE_SECONDS = 0.01


class Restored(NamedTuple):
    """What a restore has come to.

    Attributes:
        state: as of the last checkpoint.
        position: next source offset.
        records: of the changelog, that were read.
    """

    state: State
    position: int
    records: int


async def restore_state(
    stage: Stage,
    partition: int,
    store: PartitionStore,
    open_reader: Callable[[], AbstractAsyncContextManager[AIOKafkaConsumer]],
    *,
    source_id: str,
    changelog_id: str,
) -> Restored:
    """Build the state; the partition's previous owner must be fenced.

    Args:
        open_reader: a consumer without a group, of committed records.
        source_id, changelog_id: Kafka's ids of the stage's topics.

    Raises:
        RefusalError: the state must not be used, or the source log does not hold its position.
        StoreDamagedError: the store can be neither read nor written; it has to be made anew.
        aiokafka.errors.KafkaError: no broker answers.
    """
    source = TopicPartition(stage.source, partition)
    changelog = TopicPartition(stage.changelog, partition)
    async with open_reader() as consumer:
        limits = await bounds(consumer, [changelog])
        _, records = await catch_up(consumer, store, changelog, changelog_id, limits[changelog])
        # Only now: where this process has slept meanwhile, the rows may be those of another
        # owner, and end behind what was the log's end before.
        limits |= await bounds(consumer, [source])
    state = stage.load(partition, source_id, store.get, store.rows(stage.loaded_prefixes))
    if state.next is None:
        state.begin(limits[source].first)
    position = limits[source].first if state.next is None else state.next
    check_position(source, position, limits[source])
    await read_ahead(state, store)
    return Restored(state, position, records)


async def read_ahead(state: State, store: PartitionStore) -> None:
    """Let a state read what its first records will need, for at most `AHEAD_SECONDS`.

    Otherwise the first second of bars after a start waits for the entries of all symbols.

    Raises:
        StoreDamagedError: the store cannot be read.
    """
    now = asyncio.get_running_loop().time
    until, pause_at = now() + AHEAD_SECONDS, 0.0
    for _ in state.read_ahead(store.rows):
        if now() >= until:
            return
        if now() >= pause_at:
            # Heart-beats, probes and the other partitions have their turn.
            await asyncio.sleep(0)
            pause_at = now() + PIECE_SECONDS


def check_position(source: TopicPartition, position: int, limits: Bounds) -> None:
    """See that a log holds what comes next.

    Raises:
        RefusalError: records before its beginning lack, or it ends earlier.
    """
    name = f"{source.topic} partition {source.partition}"
    action = "use --reset or another deployment name"
    if position < limits.first:
        raise RefusalError(
            f"stored state of {name} ends at {position}, the log begins at {limits.first}: "
            f"records between are lost to retention; {action}"
        )
    if position > limits.end:
        raise RefusalError(
            f"stored state of {name} ends at {position}, the log ends at {limits.end}: "
            f"it is another log; {action}"
        )
