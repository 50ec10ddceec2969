"""One partition of one stage on this worker: its state, its store, its producer, its checkpoints.

A runner is *ready* between a restore and the next failure or release; only then it applies
batches. `checkpoint` freezes at a batch boundary (it runs between two events of the agent) and
the agent goes on while the transaction is under way.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.types import TP

from app.contracts.batch import RecordBatch
from app.contracts.outputs import NO_HEADERS, RoutedRecord, Taken
from app.observe.fields import bound_logger
from app.observe.latency import Uncommitted, runs_of
from app.observe.metrics import Metrics
from app.setting_groups import CheckpointSettings
from app.streaming.pacing import output_delay
from app.streaming.packing import Row
from app.streaming.protocols import Stage, State
from app.streaming.recall import take_rest
from app.streaming.restore import changelog_reader
from app.streaming.restored_state import restore_state
from app.streaming.store import PartitionStore, StoreDamagedError
from app.streaming.topic_identity import topic_ids
from app.streaming.transaction import (
    ProducerOptions,
    TopicRefusesError,
    TransactionalProducer,
)

if TYPE_CHECKING:
    from app.observe.spans import Tracing

logger = logging.getLogger(__name__)

#: Of a checkpoint, in their order, for metrics.
PHASES = ("freeze", "transaction", "store")
_SECOND = 1_000_000_000


class RunnerKey(NamedTuple):
    """One agent's part of a source partition; agents of a worker may share the partition."""

    topic: str
    partition: int
    agent: str

    @property
    def tp(self) -> TP:
        """The source partition."""
        return TP(self.topic, self.partition)


@dataclass(frozen=True, slots=True)
class RunnerContext:
    """What all runners of a worker share."""

    #: See `app.connection.client_options`; holds a password.
    connection: Mapping[str, Any] = field(repr=False)
    request_timeout: int
    group: str
    checkpoint: CheckpointSettings
    metrics: Metrics
    producer_options: Callable[[str, int], ProducerOptions]
    folder: Callable[[str, int], Path]
    #: Called with a runner whose state was dropped, and why.
    failed: Callable[[PartitionRunner, BaseException], None]
    #: None where nothing is traced.
    tracing: Tracing | None = None


class PartitionRunner:
    """Applies batches of a partition and checkpoints what came of them."""

    def __init__(self, stage: Stage, partition: int, context: RunnerContext) -> None:
        self.stage = stage
        self.partition = partition
        self.log = bound_logger(logger, agent=stage.agent, partition=partition)
        self.ready = False
        #: Where more input is waiting, how long ago (s) what was taken last was appended.
        self.behind: float | None = None
        #: What the wait for the next checkpoint was told of it.
        self._behind: float | None = None
        self.position = 0
        #: Why nothing can be published or restored; None where all is well.
        self.trouble: Exception | None = None
        #: When (monotonic) the last checkpoint was committed, None before the first one.
        self.checkpointed_at: float | None = None
        self._context = context
        tracing, place = context.tracing, (stage.agent, stage.source, partition)
        self._trace = None if tracing is None else tracing.partition(*place)
        self._state: State | None = None
        self._store: PartitionStore | None = None
        self._producer: TransactionalProducer | None = None
        self._source_id = self._changelog_id = ""
        self._dirty_since: float | None = None
        self._output_since: float | None = None
        #: Since when (monotonic) a change is not committed, and the batches that it came with.
        self.uncommitted_since: float | None = None
        self._uncommitted = Uncommitted()
        self._cost = 0.0
        #: Whether a checkpoint was committed since it went on: somebody waits for the first one.
        self._published = False
        self._busy = asyncio.Lock()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._task: asyncio.Task[None] | None = None
        self._moved_at = 0.0
        self._maximum: int | None = None
        self._damaged = False

    @property
    def key(self) -> RunnerKey:
        """Its place among the runners of a worker."""
        return RunnerKey(self.stage.source, self.partition, self.stage.agent)

    @property
    def name(self) -> str:
        """For logs and messages."""
        return f"{self.stage.agent} {self.partition}"

    @property
    def source(self) -> TopicPartition:
        """The partition that is read."""
        return TopicPartition(self.stage.source, self.partition)

    @property
    def state(self) -> State:
        """The state of a ready runner."""
        if self._state is None:
            raise RuntimeError(f"{self.stage.agent} {self.partition} has no state")
        return self._state

    @property
    def store(self) -> PartitionStore | None:
        """The open store, for table views."""
        return self._store

    # --- batches ---------------------------------------------------------------------------

    def accept(self, batch: RecordBatch) -> bool:
        """Apply what of a batch is next; nothing is awaited in here.

        The beginning may be known: another agent of this worker had to read its part of the
        partition again. What does not reach beyond the position, or begins behind it, is refused.
        """
        if not self.ready or batch.base > self.position:
            return False
        if batch.base < self.position:
            if batch.next <= self.position:
                return False
            batch = batch.since(self.position)
        state = self.state
        began = time.perf_counter()
        before, outputs = state.progress, state.pending_outputs
        try:
            state.apply(batch)
        except Exception as error:
            # Whatever it is: the state may be half changed, so it goes, and the log is read again.
            self.log.exception("%s %d: a batch failed", self.stage.agent, self.partition)
            self.fail(error)
            return False
        self.position = batch.next if state.next is None else state.next
        after = state.progress
        now = time.monotonic()
        self._note(now)
        if after.event_time != self._maximum:
            self._maximum = after.event_time
            self._moved_at = now
        appended = runs_of(batch.append_times)
        self._uncommitted.add(appended, made_output=state.pending_outputs > outputs)
        self._context.metrics.batch_applied(
            self.stage.agent,
            seconds=time.perf_counter() - began,
            outcomes=_difference(after.counts, before.counts),
            dead=_difference(after.dead, before.dead),
            ignored=_difference(after.ignored, before.ignored),
            appended=appended,
        )
        if self._trace is not None:
            self._trace.applied(batch, began)
        return True

    @property
    def asks(self) -> bool:
        """Whether the log has to be read again before the record at `position` can be taken."""
        return self.ready and self.state.recall is not None

    async def take_rest(self, batch: RecordBatch) -> bool:
        """Read it, and take what is left of the batch; false where the state was dropped."""
        began = time.monotonic()
        taken = await take_rest(self, batch, self._reader)
        self._context.metrics.recalled(self.stage.agent, seconds=time.monotonic() - began)
        return taken

    def _reader(self) -> AbstractAsyncContextManager[AIOKafkaConsumer]:
        return changelog_reader(self._context.connection, self._context.request_timeout)

    def _note(self, now: float) -> None:
        """Note what a batch has changed; where that brings the next checkpoint forward, say so.

        Each batch would otherwise wake a task that finds nothing to do.
        """
        state, sooner = self.state, False
        if self._dirty_since is None:
            self._dirty_since, sooner = now, True
        if self.uncommitted_since is None:
            self.uncommitted_since = now
        if self._output_since is None and state.pending_outputs:
            self._output_since, sooner = now, True
        if state.pending_bytes > self._context.checkpoint.max_pending_bytes:
            self._room.clear()
            sooner = True
        if self.behind != self._behind:
            # Less late than before, or at the log's end.
            sooner = sooner or self.behind is None or self.behind < (self._behind or 0.0)
            self._behind = self.behind
        if sooner:
            self._changed.set()

    @property
    def full(self) -> bool:
        """Whether too many outputs are pending; what is behind them waits in Kafka."""
        return not self._room.is_set()

    async def room(self) -> None:
        """Wait until they are published, or dropped with the state."""
        await self._room.wait()

    def idle(self, now: float) -> int:
        """For how long (ns) the maximum event time has not moved; `now` is monotonic."""
        return int((now - self._moved_at) * _SECOND)

    # --- checkpoints -----------------------------------------------------------------------

    async def _checkpoint_when_due(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            while (delay := self._delay(time.monotonic())) > 0:
                # Not `wait_for`, which makes a task, and may swallow a cancellation (CPython 3.11).
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._changed.wait()
                    self._changed.clear()
            if not await self.checkpoint():
                return

    def _delay(self, now: float) -> float:
        """Seconds until the next checkpoint is due."""
        settings = self._context.checkpoint
        if self._dirty_since is None:
            return 0.0
        due = self._dirty_since + settings.row_delay / _SECOND
        if self._output_since is not None:
            late = self.behind if self._published or self.behind is None else 0.0
            delay = output_delay(settings, self._cost, late)
            due = min(due, self._output_since + delay)
        return 0.0 if not self._room.is_set() else due - now

    async def checkpoint(self) -> bool:
        """Publish and store what has changed, if anything has; false where that failed."""
        async with self._busy:
            if not self.ready or self._dirty_since is None:
                return self.ready
            if self._state is None or self._producer is None or self._store is None:
                return False
            began, worked = time.perf_counter(), time.thread_time()
            try:
                taken = self._state.take(self._source_id)
                self._dirty_since = self._output_since = None
                batches, self._uncommitted = self._uncommitted, Uncommitted()
                records = self._records(taken)
                self._cost = time.thread_time() - worked
                if self._trace is not None:
                    self._trace.frozen(began)
                frozen = time.perf_counter()
                following = await self._producer.publish(
                    self.partition,
                    records,
                    self.stage.changelog,
                    self.source,
                    taken.next,
                    self._context.group,
                    partial(self._sent, frozen),
                )
                committed = time.perf_counter()
                size = self._producer.sent_bytes
                self._context.metrics.published(self.stage.agent, batches)
                await asyncio.to_thread(
                    self._store.write, taken.rows, following, self._changelog_id
                )
            except asyncio.CancelledError:
                # Its commit may go on by itself, and then the store lacks its rows: there is no
                # state that a next checkpoint could go on from.
                self.ready = False
                self._state = None
                raise
            except Exception as error:  # noqa: BLE001
                # Committed or not is not known here: the restore finds out from the changelog.
                self._context.metrics.checkpoint_failed(self.stage.agent, error)
                self.trouble = error
                self.fail(error)
                return False
            if self._state is not None:
                self._state.stored()
            self.trouble = None
            self._published = True
            self._room.set()
            self.checkpointed_at = time.monotonic()
            # What came in meanwhile waits for the next one.
            self.uncommitted_since = self._dirty_since
            ended = time.perf_counter()
            times = (frozen - began, committed - frozen, ended - committed)
            phases = dict(zip(PHASES, times, strict=True))
            self._measure(taken, phases, size)
            if self._trace is not None:
                self._trace.stored(taken, phases)
            return True

    def _sent(self, frozen: float) -> None:
        if self._trace is not None and self._producer is not None:
            self._trace.sent(self.stage.changelog, self._producer.sent, frozen)

    def _records(self, taken: Taken) -> dict[str, list[Row | RoutedRecord]]:
        records: dict[str, list[Row | RoutedRecord]] = {
            self.stage.outputs[name]: list(rows) for name, rows in taken.outputs.items() if rows
        }
        records[self.stage.changelog] = [(key, value, NO_HEADERS) for key, value in taken.rows]
        return records

    def _measure(self, taken: Taken, phases: Mapping[str, float], size: int) -> None:
        bars = taken.outputs.get("bars", [])
        # From its end, near which a bar has it: 0.14 us a bar, from its beginning 0.33 us.
        revised = sum([(each.value or b"").rfind(b'"revision":0,') < 0 for each in bars])
        self._context.metrics.checkpoint_committed(
            self.stage.agent,
            seconds=sum(phases.values()),
            phases=phases,
            rows=len(taken.rows),
            outputs={name: len(rows) for name, rows in taken.outputs.items()},
            size=size,
            bars=len(bars) - revised,
            revisions=revised,
        )

    # --- life ------------------------------------------------------------------------------

    def fail(self, error: BaseException) -> None:
        """Drop state and outputs; the engine restores if the partition is still ours."""
        if self.ready:
            self.ready = False
            self._state = None
            self._damaged = isinstance(error, StoreDamagedError)
            self._room.set()
            if self._trace is not None:
                self._trace.dropped(error)
            self._context.failed(self, error)

    async def restore(self) -> None:
        """Fence the previous owner, bring the store up to date, load the state, be ready.

        Raises:
            RefusalError: the state must not be used, or the source log does not hold its position.
            aiokafka.errors.KafkaError: no broker answers.
        """
        try:
            await self._restore()
        except Exception as error:
            # Who keeps the error would keep its frames, and with them the store's files open.
            traceback.clear_frames(error.__traceback__)
            self.trouble = error
            raise
        # A topic that refused shows only at the next checkpoint whether it still does.
        if not isinstance(self.trouble, TopicRefusesError):
            self.trouble = None

    async def _restore(self) -> None:
        self.ready = False
        await self._stop_tasks()
        context = self._context
        stage, partition = self.stage, self.partition
        began = time.monotonic()
        async with self._busy:
            await self._drop_producer()
            self._producer = TransactionalProducer(context.producer_options(stage.agent, partition))
            await self._producer.start()
            ids = await topic_ids(self._producer.client, [stage.source, stage.changelog])
            self._source_id, self._changelog_id = ids[stage.source], ids[stage.changelog]
            if self._store is None:
                self._store = PartitionStore(context.folder(stage.agent, partition))
            if self._damaged:
                self.log.warning("%s is damaged: rebuilt from the changelog", self._store.folder)
                self._store.clear()
                self._damaged = False
            try:
                found = await restore_state(
                    *(stage, partition, self._store, self._reader),
                    source_id=self._source_id,
                    changelog_id=self._changelog_id,
                )
            except StoreDamagedError:
                # The engine tries again, and then the store is made anew.
                self._damaged = True
                raise
            self._state, self.position = found.state, found.position
            self._dirty_since = self._output_since = self.uncommitted_since = None
            self._uncommitted = Uncommitted()
            if self._trace is not None:
                self._trace.dropped()
            self._room.set()
            self._maximum = found.state.progress.event_time
            self._moved_at = time.monotonic()
        self.resume()
        seconds = time.monotonic() - began
        context.metrics.restored(stage.agent, seconds=seconds, records=found.records)
        self.log.info(
            "%s %d: restored to position %d in %.2f s (%d changelog records)",
            stage.agent, partition, self.position, seconds, found.records,
            extra={"position": self.position, "seconds": seconds, "records": found.records},
        )  # fmt: skip

    def resume(self) -> None:
        """Be ready with the state that is there."""
        self.ready, self._published = True, False
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._checkpoint_when_due())

    @property
    def restorable(self) -> bool:
        """Whether the state is that of the last checkpoint, so that no restore is needed."""
        return self._state is not None and self._dirty_since is None

    async def suspend(self) -> None:
        """Checkpoint and stop: the partition may go to another worker."""
        if self.ready:
            await self.checkpoint()
        self.ready = False
        await self._stop_tasks()

    async def close(self) -> None:
        """Release producer and store."""
        self.ready = False
        self._room.set()
        await self._stop_tasks()
        async with self._busy:
            await self._drop_producer()
            self._state = None
            if self._store is not None:
                store, self._store = self._store, None
                await asyncio.to_thread(store.close)

    async def _stop_tasks(self) -> None:
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            # Not in the middle of a checkpoint: that would leave its outcome unknown.
            async with self._busy:
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _drop_producer(self) -> None:
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await producer.stop()


def _difference(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {name: count - before.get(name, 0) for name, count in after.items()}
