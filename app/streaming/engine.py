"""All partitions of a worker, and what they share: the application, tasks, metrics, the stop.

Faust calls in at five places (app/streaming/tables.py): partitions revoked, assigned, seek,
delivery resumed, stop. What comes, stays and goes then: `rebalance.py`; what fails: `failures.py`.
The agent calls `handle` with each event.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, cast

from faust.types import TP

from app.connection import client_options
from app.contracts.batch import RecordBatch
from app.identity import group_id, transactional_id, worker_folder
from app.observe.health import HealthState, Phase
from app.observe.metrics import Metrics
from app.observe.requests import measure_requests
from app.observe.tracing import make_tracing
from app.settings import Settings
from app.streaming.failures import Failures
from app.streaming.protocols import Stage
from app.streaming.rebalance import Rebalances
from app.streaming.runner import PartitionRunner, RunnerContext, RunnerKey
from app.streaming.side import SideChannel
from app.streaming.store import PartitionStore, cache_usage
from app.streaming.transaction import ProducerOptions
from app.streaming.watchdog import Watchdog
from app.topics import DEAD_HEADROOM

if TYPE_CHECKING:
    from app.assembly import CandlewickApp
    from app.streaming.transport import Consumer

logger = logging.getLogger(__name__)

_MILLISECOND = 1_000_000
_SECOND = 1_000_000_000
#: Room for headers and compression's worst case above a topic's limit.
REQUEST_HEADROOM = 256 * 1024
#: Why a partition could not publish at the stop, where it has not failed before.
TOOK_TOO_LONG = "no answer within the session time-out"


class Follower(Protocol):
    """What wants to know which source partitions are owned, such as the views."""

    def assigned(self, sources: Iterable[TP]) -> None:
        """These source partitions are owned now, no others; they may not be ready yet."""

    async def stop(self) -> None:
        """The worker stops."""


class Taken(Enum):
    """What of a batch was applied: all (or up to what asks for the log), or none of the rest."""

    ALL = "all"
    #: As much as there was room for.
    FULL = "full"
    #: It is not the next one, or the state was dropped.
    NOT = "not"


class Engine:
    """The runners of one worker."""

    def __init__(
        self,
        settings: Settings,
        stages: Iterable[Stage],
        health: HealthState,
        metrics: Metrics,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        self.settings = settings
        self._wall = wall
        self.stages = {stage.agent: stage for stage in stages}
        self._by_source: dict[str, list[Stage]] = {}
        for stage in self.stages.values():
            self._by_source.setdefault(stage.source, []).append(stage)
        self.health = health
        self.metrics = metrics
        self.runners: dict[RunnerKey, PartitionRunner] = {}
        health.describe(settings.deployment, settings.worker, list(self.stages))
        metrics.watch(settings.deployment, settings.worker, health, self._stores, cache_usage)
        #: None where nothing is traced.
        self.tracing = make_tracing(settings, "worker")
        if self.tracing is not None:
            metrics.read_on_loop(self.tracing.gauges)
        self.side = SideChannel(self)
        self.followers: list[Follower] = []
        self._app: CandlewickApp | None = None
        self._context: RunnerContext | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        #: Spent on applying batches so far.
        self.applied_seconds = 0.0
        self._seeking: set[TP] = set()
        self.failures = Failures(self)
        self.rebalances = Rebalances(self)
        self.watchdog = Watchdog(lambda: self.consumer.group_error)
        self.stopping = False
        #: After a stop: what was taken in and not published, and why; None where there is nothing.
        self.unpublished: str | None = None

    def attach(self, app: CandlewickApp) -> None:
        """Know the Faust application; called when it is made."""
        self._app = app
        # Faust's type of it does not know the server.
        web: Any = app.web
        measure_requests(web.web_app, self.metrics)

    @property
    def app(self) -> CandlewickApp:
        """The Faust application."""
        if self._app is None:
            raise RuntimeError("the engine has no application yet")
        return self._app

    def is_source(self, topic: str) -> bool:
        """Whether fetches of the topic come as batches."""
        return topic in self._by_source

    @property
    def sources(self) -> tuple[str, ...]:
        """Topics that are read, each once."""
        return tuple(self._by_source)

    def keys(self, tp: TP) -> list[RunnerKey]:
        """One key for each agent that reads a source partition."""
        return [RunnerKey(*tp, stage.agent) for stage in self._by_source[tp.topic]]

    def runners_of(self, tp: TP) -> list[PartitionRunner]:
        """The runners of a source partition."""
        return [self.runners[key] for key in self.keys(tp) if key in self.runners]

    @property
    def changelogs(self) -> set[str]:
        """Changelog topics of all stages."""
        return {stage.changelog for stage in self.stages.values()}

    def positions(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """Where to read on in those partitions whose runners all have a state.

        That is where the hindmost is; the others know the beginning of what comes then.
        """
        found = {}
        for tp in partitions:
            runners = self.runners_of(tp)
            if runners and all(runner.ready for runner in runners):
                found[tp] = min(runner.position for runner in runners)
        return found

    @property
    def consumer(self) -> Consumer:
        """Faust's consumer, which is ours."""
        return cast("Consumer", self.app.consumer)

    # --- events ----------------------------------------------------------------------------

    async def handle(self, batch: RecordBatch, agent: str) -> None:
        """Let an agent apply a batch; where it has too much unpublished, it is left to Kafka."""
        tp = TP(batch.topic, batch.partition)
        runner = self.runners.get(RunnerKey(*tp, agent))
        if runner is None:
            return
        if runner.full:
            self._wait_for_room(runner, tp)
            return
        runner.behind = self._behind(tp, batch)
        taken = await self._apply(runner, batch)
        if taken is Taken.FULL:
            self._wait_for_room(runner, tp)
            return
        accepted = taken is Taken.ALL
        if accepted and runner.asks:
            # A correction: what it changes is read from the log, then the rest is taken.
            accepted = await runner.take_rest(batch)
        if not accepted:
            self.metrics.batch_refused(runner.stage.agent)
            if runner.ready and batch.next > runner.position and tp not in self._seeking:
                # Something in between was dropped, or this begins before the position and ends
                # behind it, perhaps at the log's end: read it again.
                self._seeking.add(tp)
                self.start(self._seek(tp))

    def _behind(self, tp: TP, batch: RecordBatch) -> float | None:
        """How long ago (s) a batch was appended; None where nothing more waits behind it."""
        if self.consumer.known_ends([tp]).get(tp, 0) <= batch.next:
            return None
        if not len(batch):
            return 0.0
        return max(0, self._wall() - int(batch.append_times[-1])) / _SECOND

    def _wait_for_room(self, runner: PartitionRunner, tp: TP) -> None:
        """Leave a partition to Kafka: all come in one stream, the others must not wait for it."""
        if self.rebalances.flows(tp):
            runner.log.info(
                "%s: intake pauses: %d bytes of outputs wait to be published, above "
                "checkpoint.max_pending_bytes", runner.name, runner.state.pending_bytes,
            )  # fmt: skip
            self.rebalances.hold(tp)
            self.start(self._release(runner))

    async def _apply(self, runner: PartitionRunner, batch: RecordBatch) -> Taken:
        """Apply a batch, piece by piece where the stage is slow, as long as there is room."""
        piece = runner.stage.piece
        for part in [batch] if piece is None else batch.pieces(piece):
            if part.next < batch.next and runner.ready and part.next <= runner.position:
                # Another agent had to read it again.
                continue
            if not self._accept(runner, part):
                return Taken.NOT
            if runner.asks:
                break
            if runner.full and runner.position < batch.next:
                return Taken.FULL
            if piece is not None:
                # Checkpoints, heart-beats and the other partitions have their turn; in one of them
                # the state may be dropped.
                await asyncio.sleep(0)
        whole = runner.asks or (runner.ready and runner.position >= batch.next)
        return Taken.ALL if whole else Taken.NOT

    def _accept(self, runner: PartitionRunner, batch: RecordBatch) -> bool:
        began = time.perf_counter()
        accepted = runner.accept(batch)
        self.applied_seconds += time.perf_counter() - began
        return accepted

    async def _release(self, runner: PartitionRunner) -> None:
        began = self.now()
        await runner.room()
        if runner.ready:
            # Else it was dropped or given away, which has lines of its own.
            seconds = self.now() - began
            runner.log.info(
                "%s: intake goes on after %.2f s", runner.name, seconds, extra={"seconds": seconds}
            )
        self.rebalances.release(runner)

    async def _seek(self, tp: TP) -> None:
        try:
            await self.consumer.seek_sources(self.positions([tp]))
        finally:
            self._seeking.discard(tp)

    # --- rebalances ------------------------------------------------------------------------

    async def on_revoked(self) -> None:
        """Checkpoint everything before partitions may go; intake has stopped."""
        self.health.restoring("rebalance")
        await self.rebalances.revoked()

    def on_assigned(self, assigned: set[TP], generation: int) -> None:
        """Be ready for the source partitions among those assigned, and release the others.

        Nothing is awaited: what takes time is begun, and a refusal ends the worker by itself.
        """
        sources = {tp for tp in assigned if self.is_source(tp.topic)}
        self.health.restoring(f"{len(sources)} partitions")
        self.failures.assigned()
        self.rebalances.assigned(sources, generation)
        for follower in self.followers:
            follower.assigned(sources)
        for stage in self.stages.values():
            self.metrics.rebalanced(stage.agent)

    def on_delivering(self) -> None:
        """Faust delivers again."""
        self.rebalances.delivering()
        self.side.start()
        if not self.watchdog.started:
            loop, thread = asyncio.get_running_loop(), threading.get_ident()
            self.watchdog.watch("the event loop", loop, thread)
            self.consumer.watch(self.watchdog)
            self.watchdog.start()

    def is_current(self, runner: PartitionRunner, generation: int) -> bool:
        """Whether a partition is still a runner's, and no rebalance is under way or has been."""
        return (
            self.rebalances.generation == generation
            and self.runners.get(runner.key) is runner
            and not self.stopping
            and not self.app.rebalancing
        )

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task of the worker; an error that it raises ends the worker."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fatal(error)

    def fatal(self, error: BaseException) -> None:
        """End the worker: it cannot go on."""
        self.health.failed(str(error))
        self.start(self.app.crash(error))

    # --- stop ------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Checkpoint everything, leave the group, release everything, each partition for itself.

        The group is left between the two: others may take over what is checkpointed, while files
        and connections are closed here.
        """
        self.health.stopping()
        self.stopping = True
        began = time.monotonic()
        limit = self.settings.broker.session_timeout / _SECOND
        under_way = self.rebalances.halt()
        for task in self._tasks.difference(under_way):
            task.cancel()
        side = asyncio.create_task(self.side.stop())
        runners = dict(self.runners)
        await self._of_all(runners.values(), lambda runner: runner.suspend(), limit)
        self.unpublished = _unpublished(runners.values())
        await self.consumer.leave_group()
        await self._of_all(runners.values(), lambda runner: runner.close(), limit)
        await asyncio.wait([side, *under_way], timeout=limit)
        self.runners.clear()
        seconds = time.monotonic() - began
        logger.info(
            "stopped: %d partitions released in %.2f s", len(runners), seconds,
            extra={"partitions": len(runners), "seconds": seconds},
        )  # fmt: skip
        for follower in self.followers:
            await follower.stop()
        if self.tracing is not None:
            await self.tracing.close()
        self.watchdog.stop()

    async def _of_all(
        self,
        runners: Collection[PartitionRunner],
        work: Callable[[PartitionRunner], Coroutine[Any, Any, None]],
        limit: float,
    ) -> None:
        """Do it with all runners; a fault of one does not keep the others."""
        results = await asyncio.gather(
            *[asyncio.wait_for(work(runner), limit) for runner in runners],
            return_exceptions=True,
        )
        for runner, result in zip(runners, results, strict=True):
            if isinstance(result, BaseException):
                runner.log.warning("%s was not closed cleanly: %r", runner.name, result)

    def _stores(self) -> list[tuple[str, PartitionStore]]:
        runners = self.runners.values()
        return [(each.stage.agent, each.store) for each in runners if each.store is not None]

    # --- wiring ----------------------------------------------------------------------------

    def set_phase(self, runner: PartitionRunner, phase: Phase, reason: str = "") -> None:
        """Say what a partition is doing, and why."""
        self.health.partition(runner.stage.agent, runner.partition, phase, reason)

    @property
    def request_timeout(self) -> int:
        """Milliseconds that a request may take."""
        return 15_000

    def make_runner(self, key: RunnerKey) -> PartitionRunner:
        """A runner without a state yet."""
        return PartitionRunner(self.stages[key.agent], key.partition, self._make_context())

    def _make_context(self) -> RunnerContext:
        if self._context is None:
            self._context = RunnerContext(
                connection=client_options(self.settings),
                request_timeout=self.request_timeout,
                group=group_id(self.settings),
                checkpoint=self.settings.checkpoint,
                metrics=self.metrics,
                producer_options=self._producer_options,
                folder=lambda agent, partition: (
                    worker_folder(self.settings) / f"{agent}-{partition}"
                ),
                failed=self.failures.failed,
                tracing=self.tracing,
            )
        return self._context

    def _producer_options(self, agent: str, partition: int) -> ProducerOptions:
        chosen = self.settings.topics
        compression = chosen.compression
        dead = self.stages[agent].outputs.get("dead")
        limits = {} if dead is None else {dead: chosen.max_message_bytes + DEAD_HEADROOM}
        return ProducerOptions(
            connection=client_options(self.settings),
            transactional_id=transactional_id(self.settings, agent, partition),
            transaction_timeout=self.settings.broker.transaction_timeout // _MILLISECOND,
            request_timeout=self.request_timeout,
            max_request_bytes=chosen.max_message_bytes + REQUEST_HEADROOM,
            max_batch_bytes=chosen.max_message_bytes,
            compression=None if compression == "none" else compression,
            limits=limits,
        )

    def end_offsets(self) -> Mapping[TP, int]:
        """The log ends that the consumer knows of, for lag and idle partitions."""
        return self.consumer.known_ends({key.tp for key in self.runners})

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()


def _unpublished(runners: Iterable[PartitionRunner]) -> str | None:
    """What runners have taken in since their last checkpoints; None where there is nothing."""
    behind = [runner for runner in runners if runner.uncommitted_since is not None]
    if not behind:
        return None
    names = ", ".join(runner.name for runner in behind)
    why = {repr(each.trouble) if each.trouble else TOOK_TOO_LONG for each in behind}
    return (
        f"not published: what came in since the last checkpoint of {names}, because of "
        f"{', '.join(sorted(why))}; nothing is lost, the next start reads it again"
    )
