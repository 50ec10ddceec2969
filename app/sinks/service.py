"""All sinks of a process: a loop each, and the topic for what they never take."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from app.settings import Settings
from app.sinks.consumer import SinkLoop
from app.sinks.driver import Driver
from app.sinks.drivers import Watching, chosen, make_driver
from app.sinks.gauges import SinkGauges
from app.sinks.letters import DeadLetters
from app.streaming.beside import end_tasks

if TYPE_CHECKING:
    from app.observe.spans import Tracing
    from app.streaming.engine import Engine

logger = logging.getLogger(__name__)


@asynccontextmanager
async def running_sinks(
    settings: Settings, drivers: Sequence[Driver], tracing: Tracing | None = None
) -> AsyncIterator[list[SinkLoop]]:
    """Write with every driver until this is left; then flush once more, for a while."""
    letters = DeadLetters(settings)
    found = [SinkLoop(settings, driver, letters, tracing=tracing) for driver in drivers]
    tasks = [asyncio.create_task(each.run(), name=f"sink {each.sink}") for each in found]
    try:
        yield found
    finally:
        for each in found:
            each.stop()
        # What was not written is read again by whoever goes on.
        await end_tasks(tasks)
        await letters.close()


class Sinks:
    """The sinks of a worker: they begin when it has partitions, and end behind its last checkpoint.

    Raises:
        SettingsError: see `make_driver`.
    """

    def __init__(
        self, settings: Settings, registry: CollectorRegistry, tracing: Tracing | None
    ) -> None:
        self._settings, self._tracing = settings, tracing
        self._drivers = [make_driver(settings, name) for name in chosen(settings)]
        for driver in self._drivers:
            if isinstance(driver, Watching):
                driver.watch(registry)
        self.running: list[SinkLoop] = []
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def assigned(self, sources: Iterable[object]) -> None:
        """Begin, where they have not begun: which partitions are written, Kafka says."""
        if self._task is None and not self._stopping.is_set():
            self._task = asyncio.create_task(self._run(), name="sinks")

    async def stop(self) -> None:
        """Write what is held, for a while, and leave the groups."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        logger.info("writing to %s", ", ".join(driver.NAME for driver in self._drivers))
        try:
            async with running_sinks(self._settings, self._drivers, self._tracing) as found:
                self.running = found
                await self._stopping.wait()
        except Exception:
            # It ends last: nobody is there to hear of it.
            logger.exception("the sinks have not ended as they should")
        for each in self.running:
            logger.info("sink %s ended: %d written", each.sink, each.status.rows)


def follow_with_sinks(engine: Engine) -> None:
    """Have a worker run its deployment's sinks, where `sinks.in_worker` says so.

    Raises:
        SettingsError: see `make_driver`.
    """
    settings = engine.settings
    if settings.sinks.in_worker and chosen(settings):
        sinks = Sinks(settings, engine.metrics.registry, engine.tracing)
        engine.followers.append(sinks)
        engine.metrics.read_on_loop(SinkGauges(lambda: sinks.running))
