"""All metrics, in one file: base units, names `candlewick_...`, served at `/metrics`.

The engine calls these once a batch, a checkpoint or a second: never once a record. Counters are of
this process: what is replayed after a crash is counted again here, and once only in the markers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app import __version__

NANOSECONDS = 1_000_000_000
#: Seconds between two measurements of the event loop's delay.
LOOP_SECONDS = 0.25
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_RESTORE = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class _WatermarkAge(Collector):
    """Age of each watermark at the time of the scrape, not of the last batch."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        #: Watermark in nanoseconds since the epoch by (agent, partition).
        self.watermarks: dict[tuple[str, int], int] = {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "candlewick_watermark_age_seconds",
            "Wall clock minus watermark",
            labels=["agent", "partition"],
        )
        now = self.now()
        for (agent, partition), watermark in list(self.watermarks.items()):
            family.add_metric([agent, str(partition)], now - watermark / NANOSECONDS)
        yield family


class Metrics:
    """The metrics of one process.

    Args:
        now: the wall clock in seconds since the epoch, for the watermarks' age.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._age = _WatermarkAge(now)
        self.registry.register(self._age)
        self._gauge("build_info", "Version of Candlewick", "version").labels(__version__).set(1)

        self._records = self._counter("records", "Records applied, by outcome", "agent", "outcome")
        self._dead = self._counter("dead_records", "Dead records, by reason", "agent", "reason")
        self._bars = self._counter("bars", "Bars committed: first or revised", "agent", "version")
        self._forming = self._counter("forming_bars", "Forming bars sent", "agent")
        self._batches = self._counter("batches", "Batches applied", "agent")
        self._refused = self._counter(
            "batches_refused", "Batches dropped because they are not the next one", "agent"
        )
        self._batch = self._histogram("batch_seconds", "Time to apply a batch", _FAST)
        self._checkpoint = self._histogram("checkpoint_seconds", "Time of a checkpoint", _SLOW)
        self._checkpoint_failures = self._counter(
            "checkpoint_failures", "Checkpoints that failed, by error", "agent", "error"
        )
        self._checkpoint_records = self._counter(
            "checkpoint_records", "Records of committed checkpoints", "agent", "kind"
        )
        self._checkpoint_bytes = self._counter(
            "checkpoint_bytes", "Bytes of committed checkpoints", "agent"
        )
        self._fenced = self._counter("fenced", "Times another owner took over", "agent")
        self._restore = self._histogram("restore_seconds", "Time to restore a partition", _RESTORE)
        self._restored = self._counter("restored_records", "Changelog records restored", "agent")
        self._rebalances = self._counter("rebalances", "Assignments received", "agent")
        self._loop_delay = Histogram(
            "candlewick_event_loop_delay_seconds",
            "How much later than asked for the event loop ran",
            buckets=_FAST,
            registry=self.registry,
        )
        of_partition = ("agent", "partition")
        self._event_time = self._gauge(
            "event_time_seconds", "Maximum event time since the epoch", *of_partition
        )
        self._watermark = self._gauge(
            "watermark_seconds", "Watermark since the epoch", *of_partition
        )
        self._lag = self._gauge("lag_records", "Records not read yet", *of_partition)
        self._pending = self._gauge(
            "pending_outputs", "Outputs waiting for their checkpoint", *of_partition
        )
        self._pending_bytes = self._gauge(
            "pending_output_bytes", "Bytes of outputs waiting for their checkpoint", *of_partition
        )
        self._rows = self._gauge("state_rows", "State rows in memory", *of_partition)
        self._slim = self._gauge(
            "slim_fetch", "1: values straight from record batches, 0: the slow way", "agent"
        )

    def batch_applied(
        self,
        agent: str,
        *,
        seconds: float,
        outcomes: Mapping[str, int],
        dead: Mapping[str, int] | None = None,
    ) -> None:
        """Count one batch: its records by outcome, its dead ones by reason, its time."""
        self._batches.labels(agent).inc()
        self._batch.labels(agent).observe(seconds)
        for outcome, count in outcomes.items():
            if count:
                self._records.labels(agent, outcome).inc(count)
        for reason, count in (dead or {}).items():
            if count:
                self._dead.labels(agent, reason).inc(count)

    def batch_refused(self, agent: str) -> None:
        """Count a batch that is not the next one of its partition."""
        self._refused.labels(agent).inc()

    def partition_state(
        self,
        agent: str,
        partition: int,
        *,
        event_time: int | None = None,
        watermark: int | None = None,
        lag: int | None = None,
        pending_outputs: int | None = None,
        pending_bytes: int | None = None,
        rows: int | None = None,
    ) -> None:
        """Set what is known of a partition; times in nanoseconds, None leaves a gauge alone."""
        labels = (agent, str(partition))
        if watermark is not None:
            self._age.watermarks[agent, partition] = watermark
            self._watermark.labels(*labels).set(watermark / NANOSECONDS)
        if event_time is not None:
            self._event_time.labels(*labels).set(event_time / NANOSECONDS)
        for gauge, value in (
            (self._lag, lag),
            (self._pending, pending_outputs),
            (self._pending_bytes, pending_bytes),
            (self._rows, rows),
        ):
            if value is not None:
                gauge.labels(*labels).set(value)

    def partition_released(self, agent: str, partition: int) -> None:
        """Drop the gauges of a partition that another worker owns now."""
        self._age.watermarks.pop((agent, partition), None)
        for gauge in (
            self._event_time,
            self._watermark,
            self._lag,
            self._pending,
            self._pending_bytes,
            self._rows,
        ):
            gauge.remove(agent, str(partition))

    def checkpoint_committed(
        self,
        agent: str,
        *,
        seconds: float,
        rows: int,
        outputs: int,
        size: int,
        bars: int = 0,
        revisions: int = 0,
    ) -> None:
        """Count one checkpoint: changed rows, outputs (of them bars and revisions), bytes."""
        self._checkpoint.labels(agent).observe(seconds)
        self._checkpoint_records.labels(agent, "row").inc(rows)
        self._checkpoint_records.labels(agent, "output").inc(outputs)
        self._checkpoint_bytes.labels(agent).inc(size)
        self._bars.labels(agent, "first").inc(bars)
        self._bars.labels(agent, "revised").inc(revisions)

    def checkpoint_failed(self, agent: str, error: BaseException) -> None:
        """Count a checkpoint that failed, under the name of its error."""
        self._checkpoint_failures.labels(agent, type(error).__name__).inc()

    def fenced(self, agent: str) -> None:
        """Count a producer that another owner has fenced."""
        self._fenced.labels(agent).inc()

    def restored(self, agent: str, *, seconds: float, records: int) -> None:
        """Count a restored partition and the changelog records it read."""
        self._restore.labels(agent).observe(seconds)
        self._restored.labels(agent).inc(records)

    def rebalanced(self, agent: str) -> None:
        """Count an assignment."""
        self._rebalances.labels(agent).inc()

    def forming_sent(self, agent: str, bars: int) -> None:
        """Count forming bars that were sent."""
        self._forming.labels(agent).inc(bars)

    def fetch_path(self, agent: str, *, slim: bool) -> None:
        """Set whether fetches come straight from the record batches."""
        self._slim.labels(agent).set(slim)

    async def watch_event_loop(self, seconds: float = LOOP_SECONDS) -> None:
        """Measure the event loop's delay every so many seconds until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(seconds)
            self._loop_delay.observe(max(0.0, loop.time() - before - seconds))

    def render(self) -> bytes:
        """Return the text format of Prometheus; its type is `CONTENT_TYPE`."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"candlewick_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"candlewick_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(
            f"candlewick_{name}", text, ["agent"], buckets=buckets, registry=self.registry
        )
