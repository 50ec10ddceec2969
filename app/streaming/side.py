"""What a worker does beside the checkpoints: forming bars, clock records, gauges, health.

Forming bars are at most once, five times a second, and once behind a backlog. Clock records go to
the source topic when a partition's maximum event time has not moved for a second at the log's end
and a window is open: the decision to close is taken from the log, where the clock record then is.
Announcements (moves of a model's alias) go there, too.

A partition without input needs nothing from the broker, so it is asked: `/readyz` says when it does
not answer, and what keeps a partition from publishing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata
from faust.types import TP

from app.connection import client_options
from app.observe.gauges import Stalls
from app.observe.health import Phase
from app.streaming.announcing import Announcer
from app.streaming.pacing import forming_delay, next_time
from app.streaming.transaction import abandon

if TYPE_CHECKING:
    from app.streaming.engine import Engine
    from app.streaming.runner import PartitionRunner, RunnerKey

logger = logging.getLogger(__name__)

FORMING_SECONDS = 0.2
#: Times in which all partitions have published theirs: of 500 symbols' bars, all at once keep the
#: event loop, the producer and those that read them for 10 ms and more.
FORMING_TURNS = 4
CLOCK_SECONDS = 0.05
ANNOUNCE_SECONDS = 0.25
GAUGE_SECONDS = 1.0
ASK_SECONDS = 1.0
#: At least so many seconds between a producer that has lost a record and the next one.
RENEW_SECONDS = 5.0
#: Seconds to close a producer.
STOP_SECONDS = 5.0
_SECOND = 1_000_000_000
#: Ns without movement before a clock record is written.
IDLE = 1_000_000_000
#: Seconds after which a clock record that did not come back is written again.
CLOCK_PATIENCE = 2.0


class SideChannel:
    """Timers of a worker; started once it has partitions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._producer: AIOKafkaProducer | None = None
        #: When (monotonic) it was made, and whether it has lost a record.
        self._made = 0.0
        self._lossy = False
        self._starting = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        #: When (monotonic) a clock record was sent at which position.
        self._clocks: dict[RunnerKey, tuple[int, float]] = {}
        self._stalls = Stalls()
        self._announcer = Announcer(self)
        #: When (monotonic) the broker answered last, and whether its silence was told.
        self._answered = 0.0
        self._silent = False
        #: No broker answered when one was asked last: nothing is sent meanwhile.
        self._away = False
        #: Whose forming bars are next, of `FORMING_TURNS`.
        self._turn = 0
        #: When (monotonic) a partition's were sent last.
        self._formed: dict[RunnerKey, float] = {}
        #: Partitions whose trouble was told.
        self._troubled: set[RunnerKey] = set()

    def start(self) -> None:
        """Start the timers; may be called again."""
        if not self._tasks:
            self._engine.metrics.garbage.start()
            self._answered = self._engine.now()
            self._tasks = [
                asyncio.create_task(
                    self._every(FORMING_SECONDS / FORMING_TURNS, self._send_forming)
                ),
                asyncio.create_task(self._every(CLOCK_SECONDS, self._send_clocks)),
                asyncio.create_task(self._every(ANNOUNCE_SECONDS, self._send_announcements)),
                asyncio.create_task(self._every(GAUGE_SECONDS, self._gauges)),
                asyncio.create_task(self._every(FORMING_SECONDS, self._tell_health)),
                asyncio.create_task(self._every(ASK_SECONDS, self._ask_broker)),
                asyncio.create_task(self._engine.metrics.watch_event_loop()),
            ]

    async def stop(self) -> None:
        """Stop the timers and the producer."""
        self._engine.metrics.garbage.stop()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._drop_producer(flush=not self._away)

    async def _drop_producer(self, *, flush: bool) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await (producer.stop() if flush else abandon(producer))
            except Exception as error:  # noqa: BLE001
                # Only forming bars can be lost, and they are superseded.
                logger.debug("closing the side producer: %r", error)

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        now = self._engine.now
        due = now() + seconds
        while True:
            await asyncio.sleep(max(0.0, due - now()))
            began = now()
            try:
                await work()
            except Exception as error:  # noqa: BLE001
                # The broker may be away; nothing here is part of the promise.
                logger.warning("%s: %r", getattr(work, "__name__", work), error)
            due = next_time(due, began, now(), seconds)

    async def _ready_producer(self) -> AIOKafkaProducer:
        # Two timers may ask at once.
        async with self._starting:
            if self._lossy and self._engine.now() - self._made > RENEW_SECONDS:
                # After a loss the broker refuses what follows: a number is missing, or aiokafka's
                # sender has ended.
                await self._drop_producer(flush=False)
            if self._producer is None:
                settings = self._engine.settings
                producer = AIOKafkaProducer(
                    **client_options(settings),
                    client_id="candlewick-side",
                    enable_idempotence=True,
                    compression_type=None
                    if settings.topics.compression == "none"
                    else settings.topics.compression,
                    max_request_size=settings.topics.max_message_bytes + 65_536,
                )
                try:
                    await producer.start()
                except BaseException:
                    # Also when the worker is stopped just now: nobody else knows of it.
                    await producer.stop()
                    raise
                self._producer = producer
                self._made, self._lossy = self._engine.now(), False
            return self._producer

    async def send(
        self, topic: str, partition: int, value: bytes
    ) -> asyncio.Future[RecordMetadata]:
        """Send a record beside the checkpoints; the future is done when the broker has it."""
        producer = await self._ready_producer()
        try:
            sent: asyncio.Future[RecordMetadata] = await producer.send(
                topic, value=value, partition=partition
            )
        except Exception:
            self._lossy = True
            raise
        sent.add_done_callback(partial(self._settle, topic))
        return sent

    def _settle(self, topic: str, sent: asyncio.Future[RecordMetadata]) -> None:
        if not sent.cancelled() and (error := sent.exception()) is not None:
            self._lossy = True
            logger.warning("topic %s: a record beside the checkpoints was lost: %r", topic, error)

    def _ready(self) -> list[PartitionRunner]:
        return [runner for runner in self._engine.runners.values() if runner.ready]

    async def _send_forming(self) -> None:
        self._turn = (self._turn + 1) % FORMING_TURNS
        if self._away:
            return
        now = self._engine.now()
        for runner in self._ready()[self._turn :: FORMING_TURNS]:
            if now - self._formed.get(runner.key, -inf) < forming_delay(runner.behind):
                continue
            self._formed[runner.key] = now
            values, bars = runner.state.forming()
            for value in values:
                await self.send(runner.stage.forming_topic, runner.partition, value)
            if bars:
                self._engine.metrics.forming_sent(runner.stage.agent, bars)

    async def _send_clocks(self) -> None:
        if self._away:
            return
        ends = self._engine.end_offsets()
        now = self._engine.now()
        for runner in self._ready():
            key = runner.key
            end = ends.get(key.tp)
            if end is None or runner.position < end or runner.idle(now) < IDLE:
                continue
            event_time = runner.state.clock_due(runner.idle(now))
            sent = self._clocks.get(key)
            if event_time is None or (
                sent is not None and sent[0] == runner.position and now - sent[1] < CLOCK_PATIENCE
            ):
                continue
            self._clocks[key] = (runner.position, now)
            value = b'{"type":"clock","event_time":%d}' % event_time
            await self.send(key.topic, key.partition, value)

    async def _send_announcements(self) -> None:
        if not self._away:
            for runner in self._ready():
                await self._announcer.announce(runner)

    async def _ask_broker(self) -> None:
        """Note when it answers; say once that it does not, and once that it does again."""
        limit = self._engine.settings.broker.session_timeout / _SECOND
        try:
            async with asyncio.timeout(limit):
                producer = await self._ready_producer()
                for topic in self._engine.sources:
                    # A client that knows no topic asks for all that the cluster has.
                    producer.client.add_topic(topic)
                answered = await producer.client.force_metadata_update()
        except (KafkaError, OSError):
            answered = False
        self._away = not answered
        if self._away:
            # Otherwise it asks for leaders all the time. What it holds is superseded by then.
            async with self._starting:
                await self._drop_producer(flush=False)
        now = self._engine.now()
        seconds = now - self._answered
        if answered:
            self._answered = now
            if self._silent:
                self._silent = False
                logger.info(
                    "a broker answers again after %.1f s", seconds, extra={"seconds": seconds}
                )
        elif seconds > limit and not self._silent:
            self._silent = True
            logger.warning(
                "no broker answers since %.1f s: nothing can be read or published, all goes on "
                "when one does", seconds, extra={"seconds": seconds},
            )  # fmt: skip

    async def _tell_health(self) -> None:
        """Say of each partition what keeps it from working, or that this is over."""
        health = self._engine.health
        if not health.is_alive:
            return
        troubled = set()
        for key, runner in self._engine.runners.items():
            agent, partition = key.agent, key.partition
            reason = "no broker answers" if self._silent else ""
            if not reason and runner.trouble is not None:
                reason = str(runner.trouble)
            if reason:
                health.partition(agent, partition, Phase.RESTORING, reason)
                troubled.add(key)
            elif key in self._troubled and runner.ready:
                health.partition(agent, partition, Phase.READY)
        self._troubled = troubled

    async def _gauges(self) -> None:
        ends = self._engine.end_offsets()
        self._note_waits(ends)
        for runner in self._ready():
            tp = runner.key.tp
            progress = runner.state.progress
            self._engine.metrics.partition_state(
                runner.stage.agent,
                runner.partition,
                event_time=progress.event_time,
                watermark=progress.watermark,
                lag=max(0, ends[tp] - runner.position) if tp in ends else None,
                pending_outputs=runner.state.pending_outputs,
                pending_bytes=runner.state.pending_bytes,
                rows=progress.rows,
            )

    def _note_waits(self, ends: Mapping[TP, int]) -> None:
        """Of partitions that are being restored, too: they do not move either."""
        now = self._engine.now()
        for place, runner in self._engine.runners.items():
            key = (place.agent, place.partition)
            lag = ends[place.tp] - runner.position if place.tp in ends else 0
            self._engine.metrics.partition_waits(
                *key,
                uncommitted=runner.uncommitted_since,
                stalled=self._stalls.since(key, runner.position, lag, now),
            )
        self._stalls.keep(
            (runner.stage.agent, runner.partition) for runner in self._engine.runners.values()
        )
