"""Partitions that come, stay and go: who flows, who is restored, who is released.

Kafka's group protocol takes all partitions from all workers at each rebalance and deals them out
again. A partition that stays has its state, so it flows again at once; what is restored or released
goes on beside it, each partition for itself, and flows when it is ready. So a long restore holds up
nobody else, and another rebalance in between does not begin it anew.

Nothing here protects the state: a partition that another worker has had meanwhile was fenced, so
its next checkpoint fails and it is restored; a batch that does not follow the state is refused.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from faust.types import TP

from app.exits import OperatorError
from app.observe.health import Phase
from app.streaming.failures import restore_with_patience
from app.streaming.runner import PartitionRunner, RunnerKey

if TYPE_CHECKING:
    from app.streaming.engine import Engine

logger = logging.getLogger(__name__)

#: Partitions restored at the same time.
RESTORES_AT_ONCE = 4
_SECOND = 1_000_000_000


class Rebalances:
    """The assignment of one worker, and what is under way because of it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        #: Of the group, as of the last assignment.
        self.generation = 0
        #: Partitions whose batches may come: Faust resumes and seeks these and no others.
        self._flowing: set[TP] = set()
        #: Restores under way, and runners that are being closed.
        self._taking: dict[RunnerKey, asyncio.Task[None]] = {}
        self._leaving: dict[RunnerKey, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(RESTORES_AT_ONCE)
        #: Whether Faust delivers: from its resume until the next revocation.
        self._delivering = False
        #: Set while an assignment holds: cleared from a revocation to the next one.
        self._owned = asyncio.Event()
        self._began = 0.0
        #: Whether it was said that all of this assignment is ready.
        self._told = True

    def flows(self, tp: TP) -> bool:
        """Whether batches of a source partition may come."""
        return tp in self._flowing

    # --- of all partitions -----------------------------------------------------------------

    async def revoked(self) -> None:
        """Checkpoint everything before partitions may go; intake has stopped."""
        self._owned.clear()
        self._flowing.clear()
        self._delivering = False
        limit = self._engine.settings.broker.session_timeout / _SECOND / 2
        began = time.monotonic()
        runners = self._engine.runners.values()
        suspended = [asyncio.ensure_future(each.suspend()) for each in runners]
        if not suspended:
            return
        _, late = await asyncio.wait(suspended, timeout=limit)
        for task in late:
            logger.warning("a checkpoint before the rebalance took over %.1f s", limit)
            task.cancel()
        count, seconds = len(suspended) - len(late), time.monotonic() - began
        logger.info(
            "rebalance: %d partitions checkpointed in %.2f s", count, seconds,
            extra={"partitions": count, "seconds": seconds, "generation": self.generation},
        )  # fmt: skip

    def assigned(self, sources: set[TP], generation: int) -> None:
        """Keep what stays, begin to release what has gone and to restore what is new."""
        self._began, self._told = time.monotonic(), False
        self.generation = generation
        runners = self._engine.runners
        for key in [key for key in runners if key.tp not in sources]:
            self._leave(key)
        for key in [key for tp in sorted(sources) for key in self._engine.keys(tp)]:
            runner = runners.get(key)
            if runner is None:
                runner = runners[key] = self._engine.make_runner(key)
            if runner.restorable and key not in self._taking:
                runner.resume()
                self._engine.set_phase(runner, Phase.READY)
            else:
                self.take(key)
        self._flowing = {tp for tp in sources if self._complete(tp)}
        self._owned.set()

    def delivering(self) -> None:
        """Faust has sought and resumed what flows; what else is ready follows by itself.

        What flows is sought once more. Faust lets a fetch through before it resumes the partitions
        (consumer.py, `getmany`): records that come in between it drops without a word, and where
        the log goes on behind them for nobody, they would never be read.
        """
        self._delivering = True
        engine = self._engine
        flowing = engine.positions(self._flowing)
        if flowing:
            engine.start(engine.consumer.seek_sources(flowing))
        for tp in {key.tp for key in engine.runners}:
            self._open_soon(tp)
        self._tell()

    def halt(self) -> set[asyncio.Task[None]]:
        """End the restores, for good; what is being closed meanwhile, to be waited for."""
        self._flowing.clear()
        self._delivering = False
        for task in self._taking.values():
            task.cancel()
        return set(self._leaving.values())

    # --- of one partition ------------------------------------------------------------------

    def _complete(self, tp: TP) -> bool:
        """Whether all that read a partition can take its batches.

        They share its fetch, so none goes on alone: it would have to be read again for the others.
        """
        return all(
            runner.ready and runner.key not in self._taking
            for runner in self._engine.runners_of(tp)
        )

    def hold(self, tp: TP) -> None:
        """Stop the flow of a partition: its state is gone, or has no room."""
        if tp in self._flowing:
            self._flowing.discard(tp)
            self._engine.consumer.pause_partitions([tp])

    def release(self, runner: PartitionRunner) -> None:
        """Let a partition that was held flow again from where its states end.

        Nothing where it has failed, has gone or is being restored since: then that decides.
        """
        if self._engine.runners.get(runner.key) is runner:
            self._open_soon(runner.key.tp)

    def take(self, key: RunnerKey) -> None:
        """Restore an owned partition, then let it flow; nothing if that is under way."""
        if key not in self._taking:
            runner = self._engine.runners[key]
            self._engine.set_phase(runner, Phase.RESTORING)
            task = self._engine.start(self._take(runner))
            self._taking[key] = task
            task.add_done_callback(lambda ended: self._taken(runner, ended))

    async def _take(self, runner: PartitionRunner) -> None:
        leaving = self._leaving.get(runner.key)
        if leaving is not None:
            # It has the same folder, whose lock must be free before the store is opened.
            await asyncio.wait([leaving])
        async with self._slots:
            try:
                await restore_with_patience(runner, self._owned)
            except OperatorError as error:
                self._engine.set_phase(runner, Phase.FAILED, str(error))
                raise

    def _taken(self, runner: PartitionRunner, task: asyncio.Task[None]) -> None:
        if self._taking.get(runner.key) is not task:
            return
        del self._taking[runner.key]
        if not task.cancelled() and task.exception() is None and runner.ready:
            self._engine.set_phase(runner, Phase.READY)
            self._open_soon(runner.key.tp)
            self._tell()

    def _open_soon(self, tp: TP) -> None:
        if self._delivering and tp not in self._flowing and self._complete(tp):
            self._engine.start(self._open(tp, self.generation))

    async def _open(self, tp: TP, generation: int) -> None:
        """Seek to where the states end, then let batches come."""
        engine = self._engine
        await engine.consumer.seek_sources(engine.positions([tp]))
        current = self._delivering and self.generation == generation
        if current and engine.runners_of(tp) and self._complete(tp):
            self._flowing.add(tp)
            engine.consumer.resume_partitions([tp])

    def _leave(self, key: RunnerKey) -> None:
        runner = self._engine.runners.pop(key)
        taking = self._taking.pop(key, None)
        if taking is not None:
            taking.cancel()
        task = self._engine.start(self._release(runner, taking))
        self._leaving[key] = task
        task.add_done_callback(lambda ended: self._left(key, ended))

    async def _release(self, runner: PartitionRunner, taking: asyncio.Task[None] | None) -> None:
        engine, agent = self._engine, runner.stage.agent
        engine.health.released(agent, runner.partition)
        if taking is not None:
            await asyncio.wait([taking])
        try:
            await runner.close()
        except Exception as error:  # noqa: BLE001
            # It is another worker's now; here only files and connections were left to close.
            runner.log.warning("%s was not closed cleanly: %r", runner.name, error)
        if runner.key not in engine.runners:
            engine.metrics.partition_released(agent, runner.partition)
        runner.log.info(
            "%s: released at position %d", runner.name, runner.position,
            extra={"position": runner.position},
        )  # fmt: skip

    def _left(self, key: RunnerKey, task: asyncio.Task[None]) -> None:
        if self._leaving.get(key) is task:
            del self._leaving[key]

    def _tell(self) -> None:
        """Say once that all of an assignment is ready."""
        if self._told or self._taking or not self._delivering:
            return
        self._told = True
        self._engine.health.ready()
        keys = sorted(self._engine.runners)
        names = ", ".join(f"{key.agent} {key.partition}" for key in keys)
        logger.info(
            "ready with %d partitions: %s", len(keys), names,
            extra={
                "partitions": len(keys),
                "generation": self.generation,
                "seconds": time.monotonic() - self._began,
            },
        )  # fmt: skip
