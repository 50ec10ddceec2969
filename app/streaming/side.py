"""What a worker sends outside the checkpoints: forming bars and clock records; and its gauges.

Forming bars are at most once, five times a second. Clock records go to the source topic when
a partition's maximum event time has not moved for a second at the log's end and a window is open:
the decision to close is taken from the log, where the clock record then is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer
from faust.types import TP

from app.connection import client_options
from app.observe.gauges import Stalls

if TYPE_CHECKING:
    from app.streaming.engine import Engine
    from app.streaming.runner import PartitionRunner

logger = logging.getLogger(__name__)

FORMING_SECONDS = 0.2
CLOCK_SECONDS = 0.05
GAUGE_SECONDS = 1.0
#: Ns without movement before a clock record is written.
IDLE = 1_000_000_000
#: Seconds after which a clock record that did not come back is written again.
CLOCK_PATIENCE = 2.0


class SideChannel:
    """Timers of a worker; started once it has partitions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        #: When (monotonic) a clock record was sent at which position.
        self._clocks: dict[TP, tuple[int, float]] = {}
        self._stalls = Stalls()

    def start(self) -> None:
        """Start the timers; may be called again."""
        if not self._tasks:
            self._engine.metrics.garbage.start()
            self._tasks = [
                asyncio.create_task(self._every(FORMING_SECONDS, self._send_forming)),
                asyncio.create_task(self._every(CLOCK_SECONDS, self._send_clocks)),
                asyncio.create_task(self._every(GAUGE_SECONDS, self._gauges)),
                asyncio.create_task(self._engine.metrics.watch_event_loop()),
            ]

    async def stop(self) -> None:
        """Stop the timers and the producer."""
        self._engine.metrics.garbage.stop()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                await asyncio.wait_for(producer.stop(), 5.0)
            except Exception as error:  # noqa: BLE001
                # Only forming bars can be lost, and they are superseded.
                logger.debug("closing the side producer: %r", error)

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except Exception as error:  # noqa: BLE001
                # The broker may be away; nothing here is part of the promise.
                logger.warning("%s: %r", getattr(work, "__name__", work), error)

    async def _ready_producer(self) -> AIOKafkaProducer:
        # Two timers may ask at once.
        async with self._starting:
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
            return self._producer

    def _ready(self) -> list[tuple[TP, PartitionRunner]]:
        return [(tp, runner) for tp, runner in self._engine.runners.items() if runner.ready]

    async def _send_forming(self) -> None:
        producer = await self._ready_producer()
        for tp, runner in self._ready():
            values, bars = runner.state.forming()
            for value in values:
                sent = await producer.send(
                    runner.stage.forming_topic, value=value, partition=tp.partition
                )
                sent.add_done_callback(_retrieve)
            if bars:
                self._engine.metrics.forming_sent(runner.stage.agent, bars)

    async def _send_clocks(self) -> None:
        ends = self._engine.end_offsets()
        now = self._engine.now()
        for tp, runner in self._ready():
            if tp not in ends or runner.position < ends[tp] or runner.idle(now) < IDLE:
                continue
            event_time = runner.state.clock_due(runner.idle(now))
            sent = self._clocks.get(tp)
            if event_time is None or (
                sent is not None and sent[0] == runner.position and now - sent[1] < CLOCK_PATIENCE
            ):
                continue
            self._clocks[tp] = (runner.position, now)
            producer = await self._ready_producer()
            value = b'{"type":"clock","event_time":%d}' % event_time
            future = await producer.send(tp.topic, value=value, partition=tp.partition)
            future.add_done_callback(_retrieve)

    async def _gauges(self) -> None:
        ends = self._engine.end_offsets()
        self._note_waits(ends)
        for tp, runner in self._ready():
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
        for tp, runner in self._engine.runners.items():
            key = (runner.stage.agent, runner.partition)
            lag = ends[tp] - runner.position if tp in ends else 0
            self._engine.metrics.partition_waits(
                *key,
                uncommitted=runner.uncommitted_since,
                stalled=self._stalls.since(key, runner.position, lag, now),
            )
        self._stalls.keep(
            (runner.stage.agent, runner.partition) for runner in self._engine.runners.values()
        )


def _retrieve(future: asyncio.Future[object]) -> None:
    if not future.cancelled() and future.exception() is not None:
        logger.debug("a record outside the checkpoints was lost: %r", future.exception())
