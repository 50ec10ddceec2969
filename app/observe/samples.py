"""What only the event loop may read, for a scrape that comes in another thread.

RocksDB, sinks, channels and models change under the loop's hands: read from elsewhere, a store may
be closing and a dictionary growing. So a scrape asks the loop for a sample, waits for it a moment,
and else takes the last one; `candlewick_sample_age_seconds` tells which it was.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

logger = logging.getLogger(__name__)


class LoopSamples(Collector):
    """Takes samples of collectors on the event loop that they belong to.

    Where no loop is bound, and on the loop itself, what they hold is read at the scrape.

    Args:
        monotonic: seconds, for the age of a sample.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._held: list[_Held] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: int | None = None
        self._taken = 0.0
        self._lock = threading.Lock()
        #: The sample that the loop was asked for and has not taken yet.
        self._asked: Future[None] | None = None

    def hold(self, collector: Collector) -> Collector:
        """Return a collector for the registry that reads this one on the loop alone."""
        held = _Held(collector, self)
        self._held.append(held)
        return held

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Belong to the running loop from now on, and take a first sample; called on it."""
        self._thread = threading.get_ident()
        self._take(Future())
        self._loop = loop

    def unbind(self) -> None:
        """Belong to none any more."""
        self._loop = None

    @property
    def is_foreign(self) -> bool:
        """Whether this thread must not read what the loop owns."""
        return self._loop is not None and threading.get_ident() != self._thread

    async def refresh(self, seconds: float) -> None:
        """Ask the loop for a sample, and wait for it so long; for any other thread's loop.

        However many ask, a loop that does not come to it is asked once.
        """
        loop = self._loop
        if loop is None or not self.is_foreign:
            return
        with self._lock:
            asked, first = self._asked, self._asked is None
            if asked is None:
                asked = self._asked = Future()
        if first:
            # A loop that is closed owns nothing any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._take, asked)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(asked)), seconds)

    def _take(self, asked: Future[None]) -> None:
        for each in self._held:
            each.take()
        self._taken = self._monotonic()
        with self._lock:
            self._asked = None
        asked.set_result(None)

    def collect(self) -> Iterator[Metric]:
        """The age of the sample that a scrape tells, for a scrape."""
        age = GaugeMetricFamily(
            "candlewick_sample_age_seconds",
            "Since the event loop read what it alone may read: stores, sinks, channels, models",
        )
        age.add_metric([], max(0.0, self._monotonic() - self._taken) if self.is_foreign else 0.0)
        yield age


class _Held(Collector):
    """A collector, and what it gave when the loop read it last."""

    def __init__(self, collector: Collector, samples: LoopSamples) -> None:
        self._collector, self._samples = collector, samples
        self._families: list[Metric] = []

    def take(self) -> None:
        """Read it; called on the loop."""
        try:
            self._families = list(self._collector.collect())
        except Exception:
            # A series that is missing is seen, one that stands still is not.
            self._families = []
            logger.exception("%s cannot be read", type(self._collector).__name__)

    def describe(self) -> Iterable[Metric]:
        """Its families, for their names."""
        describe = getattr(self._collector, "describe", self._collector.collect)
        found: Iterable[Metric] = describe()
        return found

    def collect(self) -> Iterable[Metric]:
        """Its families, for a scrape."""
        return self._families if self._samples.is_foreign else self._collector.collect()
