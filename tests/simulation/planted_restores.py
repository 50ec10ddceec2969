"""Faults of restores and of what is read: where a worker goes on, and from what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest.mock import patch

from aiokafka import TopicPartition
from faust.types import TP

from app.contracts.batch import RecordBatch
from app.streaming import merging, restore, restored_state, runner
from app.streaming.runner import PartitionRunner
from app.streaming.transaction import TransactionalProducer
from tables.partition import WindowedPartition
from tests.simulation.clients import Fetched, Reader
from tests.simulation.planted_tools import Deed, changed, fault
from tests.simulation.worker import Worker
from tests.simulation.world import Entry, Log

#: Virtual seconds without movement after which a worker's own clock closes windows.
_PATIENCE = 0.3
_SECOND = 1_000_000_000


def _go_to(state: Any, offset: int) -> None:
    """Let a state, of either stage, go on at another offset."""
    getattr(state, "_partition", state).next = offset


def _restoring(keeps: Callable[[bytes, bytes | None], bool]) -> Any:
    """Take only some of the rows from the changelog."""
    original = restore._rows

    def rows(fetched: object) -> tuple[list[bytes], list[bytes | None]]:
        kept = [row for row in zip(*original(fetched), strict=True) if keeps(*row)]
        return [key for key, _ in kept], [value for _, value in kept]

    return patch.object(restore, "_rows", rows)


@fault()
def restore_before_fencing(deed: Deed) -> Iterator[None]:
    """The producer starts with the first checkpoint: until then the previous owner may commit."""
    publish = "following = await self._producer.publish("
    started: list[TransactionalProducer] = []

    async def start(producer: TransactionalProducer) -> None:
        if producer not in started:
            deed()
            await producer.start()
            started.append(producer)

    with (
        changed(PartitionRunner, "_restore", deed, ("await self._producer.start()", "pass")),
        changed(
            PartitionRunner,
            "checkpoint",
            deed,
            (publish, f"await start(self._producer)\n{publish}"),
            start=start,
        ),
    ):
        yield


@fault()
def restored_rows_not_stored(deed: Deed) -> Iterator[None]:
    """The store is said to be as far as the changelog, without the rows read from there."""
    written = "store.write(rows.items(), offset, changelog_id)\n    return"
    dropped = "store.write(() if deed(rows) else (), offset, changelog_id)\nreturn"
    with changed(restored_state, "catch_up", deed, (written, dropped)):
        yield


@fault()
def restored_closed_windows_not_stored(deed: Deed) -> Iterator[None]:
    """Only the rows that are loaded into memory are restored; the others are read one by one."""
    with _restoring(lambda key, value: not deed(key[:1] == b"c")):
        yield


@fault()
def tombstones_ignored(deed: Deed) -> Iterator[None]:
    """A restore keeps rows whose deletion it has read."""
    with _restoring(lambda key, value: not deed(value is None)):
        yield


@fault()
def stale_store_trusted(deed: Deed) -> Iterator[None]:
    """A store that is there is taken as it is: nothing is read from the changelog behind it."""
    begin = "if offset >= limits.end:"
    trusting = f"""if store.position is not None and deed(offset < limits.end):
    return offset, 0
{begin}"""
    with changed(restored_state, "catch_up", deed, (begin, trusting)):
        yield


@fault()
def group_offset_believed(deed: Deed) -> Iterator[None]:
    """A worker goes on at the group's offset, which tools may set, and not at the marker's."""
    begin = "if state.next is None:"

    def believe(runner: Any, source: TopicPartition, state: Any) -> None:
        consumer = runner._context.failed.__self__._engine.app.consumer
        offset = consumer.group_offset(TP(*source))
        if state.next is not None and deed(offset != state.next):
            _go_to(state, offset)

    # The runner is whose reader it is.
    with changed(
        runner,
        "restore_state",
        deed,
        (begin, f"believe(open_reader.__self__, source, state)\n{begin}"),
        believe=believe,
    ):
        yield


@fault()
def contiguity_guard_removed(deed: Deed) -> Iterator[None]:
    """A batch is applied wherever it begins: strays are applied twice, holes are left out."""
    guard = "if not self.ready or batch.base > self.position:"

    def bend(runner: PartitionRunner, batch: RecordBatch) -> bool:
        if deed(batch.base != runner.position):
            _go_to(runner.state, batch.base)
            runner.position = batch.base
        return False

    with changed(
        PartitionRunner, "accept", deed, (guard, "if not self.ready or bend(self, batch):"),
        bend=bend,
    ):  # fmt: skip
        yield


@fault(stops=True)
def position_after_the_last_record(deed: Deed) -> Iterator[None]:
    """Offsets without a record, as a marker leaves them, are waited for."""
    moved = "self.position = batch.next if state.next is None else state.next"

    def following(batch: RecordBatch, state: Any) -> int:
        position = int(batch.offsets[-1]) + 1 if len(batch) else batch.base
        if deed(position < state.next):
            _go_to(state, position)
        return int(state.next)

    with changed(
        PartitionRunner, "accept", deed, (moved, "self.position = following(batch, state)"),
        following=following,
    ):  # fmt: skip
        yield


@fault()
def windows_closed_by_the_wall_clock(deed: Deed) -> Iterator[None]:
    """A quiet partition's windows close by the worker's clock, of which the log knows nothing."""

    async def wait(runner: PartitionRunner) -> None:
        while not runner._changed.is_set():
            try:
                await asyncio.wait_for(runner._changed.wait(), _PATIENCE)
            except TimeoutError:
                now = asyncio.get_running_loop().time()
                if runner.ready and runner.idle(now) > _PATIENCE * _SECOND:
                    close(runner, runner.idle(now), now)

    def close(runner: PartitionRunner, idle: int, now: float) -> None:
        state: Any = runner.state
        clock = state.clock_due(idle)
        if deed(clock is not None):
            partition: WindowedPartition[Any, Any] = state._partition
            partition.maximum = clock
            partition._run(partition._closes(partition.watermark, _first), _first)
            runner._note(now)

    with changed(
        PartitionRunner,
        "_checkpoint_when_due",
        deed,
        (
            "while True:\n        await self._changed.wait()",
            "while True:\n    await wait_or_close(self)",
        ),
        wait_or_close=wait,
    ):
        yield


def _first(ends: list[int]) -> list[int]:
    return [0] * len(ends)


def _uncommitted(log: Log, begin: int, end: int) -> list[tuple[int, Entry]]:
    """What a reader gets that asks for no isolation level: aborted and open records, too."""
    entries = enumerate(log.entries[begin:end], begin)
    return [(offset, entry) for offset, entry in entries if entry.data]


@fault()
def source_read_uncommitted(deed: Deed) -> Iterator[None]:
    """The consumer of the sources has the default isolation level: what is aborted counts, too."""
    original = Worker._answer

    def answer(self: Worker, wanted: dict[TP, int]) -> Any:
        def read(log: Log, begin: int, end: int) -> list[tuple[int, Entry]]:
            records = _uncommitted(log, begin, end)
            deed(any(not entry.visible for _, entry in records))
            return records

        # The isolation level is an option of Faust's consumer, for which the worker stands in.
        end = property(lambda log: len(log.entries))
        with patch.object(Log, "stable", end), patch.object(Log, "read", read):
            return original(self, wanted)

    with patch.object(Worker, "_answer", answer):
        yield


@fault()
def changelog_read_uncommitted(deed: Deed) -> Iterator[None]:
    """The consumer of a restore has the default isolation level: rows that are aborted, too."""

    async def end_offsets(self: Reader, partitions: Iterable[TopicPartition]) -> dict[Any, int]:
        world = self._world
        ends = {tp: len(world.log(TP(*tp)).entries) for tp in partitions}
        return await world.request("last offsets", lambda: ends)

    async def getmany(self: Reader, partition: TopicPartition, *, timeout_ms: int) -> Any:
        world, begin = self._world, self._position
        end = len(world.log(TP(*partition)).entries)
        records = _uncommitted(world.log(TP(*partition)), begin, end)
        deed(any(not entry.visible for _, entry in records))
        self._position = await world.request("rows", lambda: end)
        return {
            partition: [
                Fetched(entry.key, entry.value, offset, entry.timestamp)
                for offset, entry in records
            ]
        }

    with (
        patch.object(Reader, "end_offsets", end_offsets),
        patch.object(Reader, "getmany", getmany),
    ):
        yield


@fault()
def fetches_joined_across_a_seek(deed: Deed) -> Iterator[None]:
    """A fetch, and the same records read again behind it, are taken as one stretch of the log."""
    apart = "if held and (full or batch.base != held[-1].next):"
    joined = "deed(held and batch.base != held[-1].next)\nif held and full:"
    with changed(merging, "merge_batches", deed, (apart, joined)):
        yield
