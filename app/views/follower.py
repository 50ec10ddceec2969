"""The loop of a worker's views: one consumer without a group over the partitions that it owns.

The engine says which source partitions are owned; outputs go to the source's partition, so the
view of an agent's partition follows that partition of its bars topic, committed records alone.
Where a view begins:

- at the offset that its rows include, if that lies in the log of the same topic;
- else (a new owner, a lost or damaged folder, another topic) it is made anew from the offset of
  `views.lookback` ago, or the last `LAST_RECORDS` records, whichever is more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from app.connection import client_options
from app.identity import worker_folder
from app.settings import Settings
from app.streaming import slim
from app.streaming.restore import Bounds, bounds, retry_delay
from app.streaming.slim import SlimBatch
from app.streaming.store import StoreDamagedError
from app.streaming.topic_identity import topic_ids
from app.topics import WINDOWED, bars_topic
from app.views.pace import Load, give_way
from app.views.partition import ViewPartition
from app.views.store import ViewStore

if TYPE_CHECKING:
    from faust.types import TP

    from app.streaming.engine import Engine

logger = logging.getLogger(__name__)

#: Records that a new view reads even if they are older than the lookback: a market that slept.
LAST_RECORDS = 50_000
#: Bytes of a partition's fetch, so that a step is short.
FETCH_BYTES = 256 * 1024
#: Records of one step, some 20 ms in two parts with a look at the event loop between them. What
#: describes a series is written once a step, so short steps write twice as many rows.
STEP_RECORDS = 8_000
WAIT_MILLISECONDS = 200
#: Seconds between two rounds at the log's end: commits come every 50 ms, writes need not.
ROUND_SECONDS = 0.1
STOP_SECONDS = 5.0
_MILLISECOND = 1_000_000


@dataclass(slots=True)
class FollowedView:
    """One view's partition that this worker owns."""

    agent: str
    tp: TopicPartition
    opened: ViewPartition | None = None
    #: Whether what is in it belongs to the topic as it is now, so that it may be read.
    usable: bool = False
    #: A reader has found a bad block: it is made anew.
    damaged: bool = False
    topic_id: str = ""
    next: int = 0
    end: int | None = None
    #: The topic's end when this worker took the view over.
    target: int = 0

    @property
    def whole(self) -> bool:
        """Whether all is in it that was published before this worker took it over."""
        return self.usable and self.next >= self.target

    @property
    def view(self) -> ViewPartition | None:
        """What may be read; None until it is known to be usable."""
        return self.opened if self.usable else None

    @property
    def behind(self) -> int | None:
        """Offsets until the log's end, 0 at the end; None while that is not known."""
        if self.view is None or self.end is None:
            return None
        return max(0, self.end - self.next)


class Views:
    """All views of one worker. Their rows are read on the event loop's thread alone."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = settings
        self._engine = engine
        #: Agent of each source topic that has a view.
        self._agents = {
            stage.source: stage.agent for stage in engine.stages.values() if stage.agent in WINDOWED
        }
        self._followed: dict[tuple[str, int], FollowedView] = {}
        self._wanted: frozenset[tuple[str, int]] = frozenset()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._load = Load(lambda: engine.applied_seconds)
        if settings.views.enabled:
            for agent in self._agents.values():
                slim.register(bars_topic(settings, agent))

    @property
    def enabled(self) -> bool:
        """Whether there are views at all."""
        return self.settings.views.enabled

    def get(self, agent: str, partition: int) -> FollowedView | None:
        """A partition's view if it is open here."""
        followed = self._followed.get((agent, partition))
        return None if followed is None or followed.view is None else followed

    # --- called by the engine --------------------------------------------------------------

    def assigned(self, sources: Iterable[TP]) -> None:
        """Follow the bars of these source partitions and no others."""
        if self.enabled:
            self._wanted = frozenset(
                (self._agents[tp.topic], tp.partition) for tp in sources if tp.topic in self._agents
            )
            self._changed.set()
            if self._task is None:
                self._task = asyncio.create_task(self._run(), name="views")

    async def stop(self) -> None:
        """Close everything."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=STOP_SECONDS)
        for name in list(self._followed):
            await self._close(name)

    # --- the loop --------------------------------------------------------------------------

    async def _run(self) -> None:
        attempt = 0
        while True:
            try:
                timeout = self._engine.request_timeout
                async with _committed_reader(self.settings, timeout) as consumer:
                    self._changed.set()
                    while True:
                        await self._round(consumer)
                        attempt = 0
            except Exception as error:  # noqa: BLE001
                # Of whatever kind, it is said and tried again: a view never ends the worker.
                delay = retry_delay(attempt)
                attempt += 1
                logger.warning("views stopped: %r; again in %.1f s", error, delay)
                for followed in self._followed.values():
                    followed.end = None
                await asyncio.sleep(delay)

    async def _round(self, consumer: AIOKafkaConsumer) -> None:
        if self._changed.is_set():
            self._changed.clear()
            await self._reassign(consumer)
        if not self._followed:
            await self._changed.wait()
            return
        await give_way(self._engine_is_busy)
        fetched = await consumer.getmany(timeout_ms=WAIT_MILLISECONDS)
        for followed in list(self._followed.values()):
            try:
                await self._apply(followed, fetched.get(followed.tp, ()))
                await self._note_end(consumer, followed)
            except StoreDamagedError as error:
                logger.warning("%s", error)
                followed.damaged = True
            if followed.damaged:
                self._changed.set()
        if not any(followed.behind for followed in self._followed.values()):
            await asyncio.sleep(ROUND_SECONDS)

    def _engine_is_busy(self) -> bool:
        restoring = any(not runner.ready for runner in list(self._engine.runners.values()))
        return self._load.is_busy() or restoring

    async def _apply(self, followed: FollowedView, fetched: Iterable[Any]) -> None:
        for values, following in steps(fetched):
            view = followed.view
            if view is None:
                return
            changes = view.take(values)
            await self._write(followed, view, changes.rows, following)
            # Not before: until then readers do not find what is in these offsets.
            followed.next = following
            if changes.long:
                await self._write(followed, view, view.prune(changes.long), following)

    async def _write(
        self,
        followed: FollowedView,
        view: ViewPartition,
        rows: list[tuple[bytes, bytes | None]],
        following: int,
    ) -> None:
        if rows:
            await asyncio.to_thread(view.store.write, rows, following, followed.topic_id)

    async def _note_end(self, consumer: AIOKafkaConsumer, followed: FollowedView) -> None:
        """Know how far it is to the end; markers and aborted records are passed as well."""
        followed.next = await consumer.position(followed.tp)
        followed.end = consumer.last_stable_offset(followed.tp)

    # --- which partitions ------------------------------------------------------------------

    async def _reassign(self, consumer: AIOKafkaConsumer) -> None:
        wanted = self._wanted
        for name in [name for name in self._followed if name not in wanted]:
            await self._close(name)
        for agent, partition in sorted(wanted - self._followed.keys()):
            tp = TopicPartition(bars_topic(self.settings, agent), partition)
            self._followed[agent, partition] = FollowedView(agent, tp)
        if self._followed:
            await self._begin(consumer)
        consumer.assign([followed.tp for followed in self._all])
        for followed in self._all:
            consumer.seek(followed.tp, followed.next)

    async def _begin(self, consumer: AIOKafkaConsumer) -> None:
        """Open what is not open, and find out where each view goes on."""
        # aiokafka's consumer has no public client; the producer has one.
        ids = await topic_ids(consumer._client, sorted({each.tp.topic for each in self._all}))
        limits = await bounds(consumer, [followed.tp for followed in self._all])
        anew = []
        for followed in self._all:
            followed.topic_id = ids[followed.tp.topic]
            if not followed.whole:
                followed.target = limits[followed.tp].end
            view = followed.opened or await self._open(followed)
            followed.usable = self._goes_on(followed, view, limits[followed.tp])
            if not followed.usable:
                await self._clear(followed)
                anew.append(followed)
        if anew:
            starts = await self._starts(consumer, {each.tp: limits[each.tp] for each in anew})
            for followed in anew:
                followed.next, followed.usable = starts[followed.tp], True

    @property
    def _all(self) -> list[FollowedView]:
        return list(self._followed.values())

    def _folder(self, followed: FollowedView) -> Path:
        name = f"{followed.agent}.closed-{followed.tp.partition}"
        return worker_folder(self.settings) / "views" / name

    async def _open(self, followed: FollowedView) -> ViewPartition:
        store = await asyncio.to_thread(ViewStore, self._folder(followed))
        view = ViewPartition(store, self.settings.views.bars_per_interval)
        followed.opened = view
        try:
            await asyncio.to_thread(view.count)
        except StoreDamagedError:
            followed.damaged = True
        return view

    async def _clear(self, followed: FollowedView) -> None:
        """Begin anew; `_begin` finds out where."""
        followed.usable, followed.end = False, None
        if followed.opened is not None:
            store = followed.opened.store
            await asyncio.to_thread(store.clear)
            followed.opened = ViewPartition(store, self.settings.views.bars_per_interval)
        followed.damaged = False
        followed.next = 0

    async def _close(self, name: tuple[str, int]) -> None:
        followed = self._followed.pop(name)
        followed.usable = False
        if followed.opened is not None:
            store = followed.opened.store
            try:
                await asyncio.to_thread(store.close)
            except Exception as error:  # noqa: BLE001
                # What is not on disk is read again.
                logger.warning("closing %s: %r", store.folder, error)

    def _goes_on(self, followed: FollowedView, view: ViewPartition, limits: Bounds) -> bool:
        """Whether the view goes on where its rows end; says why it does not."""
        try:
            position = view.position
        except StoreDamagedError:
            position, followed.damaged = None, True
        if followed.damaged:
            fault = "has a bad block"
        elif position is None:
            return False
        elif position.changelog_id != followed.topic_id:
            fault = f"is of another topic {followed.tp.topic}"
        else:
            # What was read without a bar in it, such as a commit marker, is not in the store.
            following = max(followed.next, position.changelog_next)
            if limits.first <= following <= limits.end:
                followed.next = following
                return True
            fault = f"ends at {following}, outside of {limits.first} to {limits.end}"
        logger.warning("%s %s: read again from %s", view.store.folder, fault, followed.tp.topic)
        return False

    async def _starts(
        self, consumer: AIOKafkaConsumer, limits: Mapping[TopicPartition, Bounds]
    ) -> dict[TopicPartition, int]:
        """Where views that are made anew begin."""
        since = int(time.time() * 1000) - self.settings.views.lookback // _MILLISECOND
        found = await consumer.offsets_for_times(dict.fromkeys(limits, since))
        return {
            tp: first_offset(limit, None if found.get(tp) is None else found[tp].offset)
            for tp, limit in limits.items()
        }


def first_offset(limits: Bounds, at_lookback: int | None) -> int:
    """Where a new view begins: `at_lookback` is None where nothing is as new as the lookback."""
    last = limits.end - LAST_RECORDS
    return max(limits.first, last if at_lookback is None else min(at_lookback, last))


@asynccontextmanager
async def _committed_reader(
    settings: Settings, request_timeout: int
) -> AsyncIterator[AIOKafkaConsumer]:
    """Open a consumer of committed records without a group; time-out in ms."""
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        client_id="candlewick-views",
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        request_timeout_ms=request_timeout,
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_wait_ms=WAIT_MILLISECONDS,
        check_crcs=settings.broker.check_crcs,
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


def steps(fetched: Iterable[Any]) -> Iterator[tuple[list[bytes | None], int]]:
    """Values and the position after them, some thousand at a time; both ways of reading."""
    values: list[bytes | None] = []
    following = 0
    for record in fetched:
        if isinstance(record, SlimBatch):
            values.extend(record.values)
            following = record.next
        else:
            values.append(record.value)
            following = record.offset + 1
        if len(values) >= STEP_RECORDS:
            yield values, following
            values = []
    if values:
        yield values, following
