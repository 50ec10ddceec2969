"""All partitions of a worker: who owns what, when they restore, and what happens on a failure.

Faust calls in at four places (app/streaming/tables.py): partitions revoked, assigned, seek, stop.
The agent calls `handle` with each event.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

from aiokafka.errors import KafkaError, ProducerFenced
from faust.types import TP

from app.connection import client_options
from app.contracts.batch import RecordBatch
from app.exits import RefusalError
from app.identity import group_id, transactional_id, worker_folder
from app.observe.health import HealthState, Phase
from app.observe.metrics import Metrics
from app.observe.requests import measure_requests
from app.settings import Settings
from app.streaming.protocols import Stage
from app.streaming.runner import PartitionRunner, RunnerContext
from app.streaming.side import SideChannel
from app.streaming.store import PartitionStore, StoreDamagedError, cache_usage
from app.streaming.transaction import ProducerOptions

if TYPE_CHECKING:
    from app.assembly import CandlewickApp
    from app.streaming.transport import Consumer

logger = logging.getLogger(__name__)

_MILLISECOND = 1_000_000
_SECOND = 1_000_000_000
#: Seconds between attempts to restore a partition while the broker is away.
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
#: Partitions restored at the same time.
RESTORES_AT_ONCE = 4
#: Failures at one position, not the broker's, after which a worker gives up.
SAME_FAILURES = 3
#: Room for headers and compression's worst case above a topic's limit.
REQUEST_HEADROOM = 256 * 1024


class Follower(Protocol):
    """What wants to know which source partitions are owned, such as the views."""

    def assigned(self, sources: Iterable[TP]) -> None:
        """These source partitions are owned now, no others; they may not be ready yet."""

    async def stop(self) -> None:
        """The worker stops."""


class Engine:
    """The runners of one worker."""

    def __init__(
        self, settings: Settings, stages: Iterable[Stage], health: HealthState, metrics: Metrics
    ) -> None:
        self.settings = settings
        self.stages = {stage.source: stage for stage in stages}
        self.health = health
        self.metrics = metrics
        self.runners: dict[TP, PartitionRunner] = {}
        health.describe(
            settings.deployment, settings.worker, [stage.agent for stage in self.stages.values()]
        )
        metrics.watch(settings.deployment, settings.worker, health, self._stores, cache_usage)
        self.side = SideChannel(self)
        self.followers: list[Follower] = []
        self._app: CandlewickApp | None = None
        self._context: RunnerContext | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        #: Spent on applying batches so far.
        self.applied_seconds = 0.0
        self._fences: dict[TP, int] = {}
        #: Position and number of failures there that are not the broker's.
        self._failures: dict[TP, tuple[int, int]] = {}
        self._seeking: set[TP] = set()
        self._generation = 0
        self._stopping = False

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
        return topic in self.stages

    @property
    def changelogs(self) -> set[str]:
        """Changelog topics of all stages."""
        return {stage.changelog for stage in self.stages.values()}

    def positions(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """Next source offsets of those partitions that have a state."""
        return {
            tp: self.runners[tp].position
            for tp in partitions
            if tp in self.runners and self.runners[tp].ready
        }

    @property
    def _consumer(self) -> Consumer:
        return cast("Consumer", self.app.consumer)

    # --- events ----------------------------------------------------------------------------

    async def handle(self, batch: RecordBatch) -> None:
        """Apply a batch; waits first while too much of its partition is unpublished."""
        tp = TP(batch.topic, batch.partition)
        runner = self.runners.get(tp)
        if runner is None:
            return
        await runner.room()
        runner.backlog = self._consumer.known_ends([tp]).get(tp, 0) > batch.next
        began = time.perf_counter()
        accepted = runner.accept(batch)
        self.applied_seconds += time.perf_counter() - began
        if not accepted:
            self.metrics.batch_refused(runner.stage.agent)
            if runner.ready and batch.base > runner.position and tp not in self._seeking:
                # Something in between was dropped: read it again.
                self._seeking.add(tp)
                self._start(self._seek(tp))

    async def _seek(self, tp: TP) -> None:
        try:
            await self._consumer.seek_sources(self.positions([tp]))
        finally:
            self._seeking.discard(tp)

    # --- rebalances ------------------------------------------------------------------------

    async def on_revoked(self) -> None:
        """Checkpoint everything before partitions may go; intake has stopped."""
        self.health.restoring("rebalance")
        limit = self.settings.broker.session_timeout / _SECOND / 2
        began = time.monotonic()
        suspended = [asyncio.ensure_future(each.suspend()) for each in self.runners.values()]
        if suspended:
            _, late = await asyncio.wait(suspended, timeout=limit)
            for task in late:
                logger.warning("a checkpoint before the rebalance took over %.1f s", limit)
                task.cancel()
            count, seconds = len(suspended) - len(late), time.monotonic() - began
            logger.info(
                "rebalance: %d partitions checkpointed in %.2f s", count, seconds,
                extra={"partitions": count, "seconds": seconds, "generation": self._generation},
            )  # fmt: skip

    async def on_assigned(self, assigned: set[TP], generation: int) -> None:
        """Be ready for the source partitions among those assigned; release the others.

        Raises:
            RefusalError: stored state must not be used.
        """
        began = time.monotonic()
        self._generation = generation
        self._fences.clear()
        sources = {tp for tp in assigned if self.is_source(tp.topic)}
        self.health.restoring(f"{len(sources)} partitions")
        for tp in [tp for tp in self.runners if tp not in sources]:
            await self._release(tp)
        for follower in self.followers:
            follower.assigned(sources)
        slots = asyncio.Semaphore(RESTORES_AT_ONCE)
        await asyncio.gather(*[self._own(tp, slots) for tp in sorted(sources)])
        for stage in self.stages.values():
            self.metrics.rebalanced(stage.agent)
        self.health.ready()
        self.side.start()
        logger.info(
            "ready with %d partitions: %s", len(sources), sorted(sources),
            extra={
                "partitions": len(sources),
                "generation": generation,
                "seconds": time.monotonic() - began,
            },
        )  # fmt: skip

    async def _own(self, tp: TP, slots: asyncio.Semaphore) -> None:
        runner = self.runners.get(tp)
        if runner is None:
            runner = PartitionRunner(self.stages[tp.topic], tp.partition, self._make_context())
            self.runners[tp] = runner
        if runner.restorable:
            # Ours before and after: another owner in between would have fenced the producer,
            # and then the next checkpoint fails and restores.
            runner.resume()
            self._phase(runner, Phase.READY)
            return
        async with slots:
            await self._restore(runner)

    async def _restore(self, runner: PartitionRunner) -> None:
        """Restore with patience: a broker that is away comes back."""
        self._phase(runner, Phase.RESTORING)
        attempt = 0
        while not self._stopping:
            try:
                await runner.restore()
            except RefusalError as error:
                self._phase(runner, Phase.FAILED, str(error))
                raise
            except Exception as error:  # noqa: BLE001
                # Of whatever kind, it is said and tried again; the partition waits in Kafka.
                delay = RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)]
                attempt += 1
                runner.log.warning(
                    "%s %d cannot be restored: %r; again in %.1f s",
                    runner.stage.agent, runner.partition, error, delay,
                    extra={"error": type(error).__name__, "seconds": delay},
                )  # fmt: skip
                await asyncio.sleep(delay)
            else:
                self._phase(runner, Phase.READY)
                return

    async def _release(self, tp: TP) -> None:
        runner = self.runners.pop(tp)
        await runner.close()
        self.health.released(runner.stage.agent, runner.partition)
        self.metrics.partition_released(runner.stage.agent, runner.partition)
        runner.log.info(
            "%s %d: released at position %d", runner.stage.agent, runner.partition, runner.position,
            extra={"position": runner.position},
        )  # fmt: skip

    # --- failures --------------------------------------------------------------------------

    def _failed(self, runner: PartitionRunner, error: BaseException) -> None:
        runner.log.warning(
            "%s %d: dropped its state after position %d: %r",
            runner.stage.agent, runner.partition, runner.position, error,
            extra={"position": runner.position, "error": type(error).__name__},
        )  # fmt: skip
        self._phase(runner, Phase.RESTORING, repr(error))
        if not self._stopping:
            self._start(self._recover(runner, error, self._generation))

    async def _recover(
        self, runner: PartitionRunner, error: BaseException, generation: int
    ) -> None:
        tp = TP(runner.stage.source, runner.partition)
        if isinstance(error, ProducerFenced):
            self.metrics.fenced(runner.stage.agent)
            self._fences[tp] = self._fences.get(tp, 0) + 1
            if self._fences[tp] >= 2:
                raise self._refusal(
                    runner,
                    f"{runner.stage.agent} {runner.partition} was fenced twice without a "
                    f"rebalance: another application uses the transactional id "
                    f"{transactional_id(self.settings, runner.stage.agent, runner.partition)}, "
                    "probably a deployment of the same name with other agents",
                )
            runner.log.warning(
                "%s %d: fenced by another owner", runner.stage.agent, runner.partition,
                extra={"position": runner.position, "generation": generation},
            )  # fmt: skip
            # The legitimate owner is known after the next heartbeat.
            await asyncio.sleep(self.settings.broker.heartbeat_interval / _SECOND + 1.0)
        elif not isinstance(error, KafkaError | OSError | StoreDamagedError):
            self._count_failure(tp, runner, error)
        if self._is_current(tp, runner, generation):
            await self._restore(runner)
        if self._is_current(tp, runner, generation) and runner.ready:
            await self._seek(tp)

    def _count_failure(self, tp: TP, runner: PartitionRunner, error: BaseException) -> None:
        """A batch that fails whenever it is read again stops the worker: nothing may be skipped.

        Raises:
            RefusalError: it has failed at this position `SAME_FAILURES` times.
        """
        position, count = self._failures.get(tp, (runner.position, 0))
        count = count + 1 if position == runner.position else 1
        self._failures[tp] = (runner.position, count)
        if count >= SAME_FAILURES:
            raise self._refusal(
                runner,
                f"{runner.stage.agent} {runner.partition} fails at position {runner.position} "
                f"again and again: {error!r}; nothing of it was published, the log is unchanged",
            ) from error

    def _refusal(self, runner: PartitionRunner, text: str) -> RefusalError:
        """What ends the worker because of a partition, which `/healthz` and the log then name."""
        self._phase(runner, Phase.FAILED, text)
        return RefusalError(text)

    def _is_current(self, tp: TP, runner: PartitionRunner, generation: int) -> bool:
        return (
            self._generation == generation
            and self.runners.get(tp) is runner
            and not self._stopping
            and not self.app.rebalancing
        )

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fatal(error)

    def fatal(self, error: BaseException) -> None:
        """End the worker: it cannot go on."""
        self.health.failed(str(error))
        self._start(self.app.crash(error))

    # --- stop ------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Checkpoint everything and release it; a fault of one partition does not keep others."""
        self.health.stopping()
        self._stopping = True
        began = time.monotonic()
        await self.side.stop()
        for task in list(self._tasks):
            task.cancel()
        runners = list(self.runners.items())
        results = await asyncio.gather(
            *[self._finish(runner) for _, runner in runners], return_exceptions=True
        )
        for (tp, runner), result in zip(runners, results, strict=True):
            if isinstance(result, BaseException):
                runner.log.warning("%s was not closed cleanly: %r", tp, result)
        self.runners.clear()
        seconds = time.monotonic() - began
        logger.info(
            "stopped: %d partitions released in %.2f s", len(runners), seconds,
            extra={"partitions": len(runners), "seconds": seconds},
        )  # fmt: skip
        for follower in self.followers:
            await follower.stop()

    async def _finish(self, runner: PartitionRunner) -> None:
        limit = self.settings.broker.session_timeout / _SECOND
        try:
            await asyncio.wait_for(runner.suspend(), limit)
        finally:
            await asyncio.wait_for(runner.close(), limit)

    def _stores(self) -> list[tuple[str, PartitionStore]]:
        runners = self.runners.values()
        return [(each.stage.agent, each.store) for each in runners if each.store is not None]

    # --- wiring ----------------------------------------------------------------------------

    def _phase(self, runner: PartitionRunner, phase: Phase, reason: str = "") -> None:
        self.health.partition(runner.stage.agent, runner.partition, phase, reason)

    @property
    def request_timeout(self) -> int:
        """Milliseconds that a request may take."""
        return 15_000

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
                failed=self._failed,
            )
        return self._context

    def _producer_options(self, agent: str, partition: int) -> ProducerOptions:
        compression = self.settings.topics.compression
        return ProducerOptions(
            connection=client_options(self.settings),
            transactional_id=transactional_id(self.settings, agent, partition),
            transaction_timeout=self.settings.broker.transaction_timeout // _MILLISECOND,
            request_timeout=self.request_timeout,
            max_request_bytes=self.settings.topics.max_message_bytes + REQUEST_HEADROOM,
            compression=None if compression == "none" else compression,
        )

    def end_offsets(self) -> Mapping[TP, int]:
        """The log ends that the consumer knows of, for lag and idle partitions."""
        return self._consumer.known_ends(list(self.runners))

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()
