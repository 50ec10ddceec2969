"""The metrics of a worker: base units, names `candlewick_...`, served at `/metrics`.

The engine calls these once a batch, a checkpoint or a second: never once a record. What is read
at the scrape is in `gauges.py`. A scrape comes in a thread of its own (`app/web/front.py`): what it
reads is safe from there, or is registered by `read_on_loop`. Counters are of this process: what is
replayed after a crash is counted again here, and once only in the markers. `docs/metrics.md` lists
all; a test holds it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from app import __version__
from app.observe.gauges import (
    GarbagePauses,
    MeasuredStore,
    PartitionGauges,
    PhaseGauges,
    StoreGauges,
)
from app.observe.health import HealthState
from app.observe.latency import Runs, Uncommitted, WeightedHistogram
from app.observe.process import OpenFiles, ProcessGauges
from app.observe.samples import LoopSamples

#: Seconds between two measurements of the event loop's delay.
LOOP_SECONDS = 0.25
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_RESTORE = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
#: Of the way of a record: closest where it usually is, from the output delay to a few times it.
_WAY = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
_PAUSE = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5)


class _Made(dict[str, Any]):
    """What is made of a label when it is asked for first."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, label: str) -> Any:
        made = self[label] = self._make(label)
        return made


class Metrics:
    """The metrics of one process.

    Args:
        now: the wall clock in seconds since the epoch, for latencies and the watermarks' age.
        monotonic: a clock that only goes forward, in seconds, for what waits.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        # One series more for each child, which no expression here needs.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._now = now
        self.registry = CollectorRegistry(auto_describe=True)
        self.samples = LoopSamples(monotonic)
        self.registry.register(self.samples)
        self.registry.register(ProcessGauges())
        self.read_on_loop(OpenFiles())
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._partitions = PartitionGauges(now, monotonic)
        self.garbage = GarbagePauses(_PAUSE)
        self._end_to_end = WeightedHistogram(
            "candlewick_end_to_end_latency_seconds",
            "From a record's append to the commit of the checkpoint that holds what it did",
            ["agent", "effect"],
            _WAY,
        )
        self._to_apply = WeightedHistogram(
            "candlewick_append_to_apply_seconds",
            "From a record's append to the end of its batch's application",
            ["agent"],
            _WAY,
        )
        for collector in (self._partitions, self.garbage, self._end_to_end, self._to_apply):
            self.registry.register(collector)
        self._gauge("build_info", "Version of Candlewick", "version").labels(__version__).set(1)
        self._worker = self._gauge("worker_info", "Who this is", "deployment", "worker")

        self._records = self._counter("records", "Records applied, by outcome", "agent", "outcome")
        self._dead = self._counter("dead_records", "Dead records, by reason", "agent", "reason")
        self._ignored = self._counter(
            "ignored_records", "Ignored records, by reason", "agent", "reason"
        )
        self._ahead = self._counter(
            "clock_skew_records", "Records appended later than they were applied", "agent"
        )
        self._bars = self._counter("bars", "Bars committed: first or revised", "agent", "version")
        self._outputs = self._counter(
            "output_records", "Records committed, by output", "agent", "output"
        )
        self._forming = self._counter("forming_bars", "Forming bars sent", "agent")
        self._batches = self._counter("batches", "Batches applied", "agent")
        self._refused = self._counter(
            "batches_refused", "Batches dropped because they are not the next one", "agent"
        )
        self._batch = self._histogram("batch_seconds", "Time to apply a batch", _FAST, "agent")
        self._checkpoint = self._histogram(
            "checkpoint_seconds", "Time of a checkpoint", _SLOW, "agent"
        )
        self._phase = self._histogram(
            "checkpoint_phase_seconds", "Time of a checkpoint's phases", _SLOW, "agent", "phase"
        )
        self._checkpoint_failures = self._counter(
            "checkpoint_failures", "Checkpoints that failed, by error", "agent", "error"
        )
        self._checkpoint_records = self._counter(
            "checkpoint_records", "Records of committed checkpoints", "agent", "kind"
        )
        self._checkpoint_bytes = self._counter(
            "checkpoint_bytes", "Bytes of committed checkpoints, before compression", "agent"
        )
        self._fenced = self._counter("fenced", "Times another owner took over", "agent")
        self._restore = self._histogram(
            "restore_seconds", "Time to restore a partition", _RESTORE, "agent"
        )
        self._restored = self._counter("restored_records", "Changelog records restored", "agent")
        self._recall = self._histogram(
            "recall_seconds", "Time to read the log again for a correction", _RESTORE, "agent"
        )
        self._rebalances = self._counter("rebalances", "Assignments received", "agent")
        self._loop_delay = self._histogram(
            "event_loop_delay_seconds", "How much later than asked for the event loop ran", _FAST
        )
        self._slim = self._gauge(
            "slim_fetch", "1: values straight from record batches, 0: the slow way", "agent"
        )
        #: Of each agent, what every batch changes: looking for it each time cost more than that.
        self._applied = _Made(
            lambda agent: (
                self._batches.labels(agent),
                self._batch.labels(agent),
                _Made(lambda outcome: self._records.labels(agent, outcome)),
            )
        )
        self._requests = self._counter(
            "http_requests", "Requests answered by the web server", "route", "status"
        )
        self._request = self._histogram(
            "http_request_seconds", "Time to answer a request", _FAST, "route"
        )

    def watch(
        self,
        deployment: str,
        worker: str,
        health: HealthState,
        stores: Callable[[], Iterable[tuple[str, MeasuredStore]]],
        cache: Callable[[], int],
    ) -> None:
        """Read at each scrape: the worker's phase, and the sizes of the open stores; call it once.

        Args:
            stores: agent and store of each partition with an open store.
            cache: bytes of the block cache that the stores share.
        """
        self._worker.labels(deployment, worker).set(1)
        self.registry.register(PhaseGauges(health))
        self.read_on_loop(StoreGauges(stores, cache))

    def read_on_loop(self, collector: Collector) -> None:
        """Read a collector at the scrape whose values only the event loop may touch."""
        self.registry.register(self.samples.hold(collector))

    def batch_applied(
        self,
        agent: str,
        *,
        seconds: float,
        outcomes: Mapping[str, int],
        dead: Mapping[str, int] | None = None,
        ignored: Mapping[str, int] | None = None,
        appended: Runs | None = None,
    ) -> None:
        """Count one batch: records by outcome, dead and ignored ones by reason, its times."""
        batches, batch, records = self._applied[agent]
        batches.inc()
        batch.observe(seconds)
        for outcome, count in outcomes.items():
            if count:
                records[outcome].inc(count)
        for reason, count in (dead or {}).items():
            if count:
                self._dead.labels(agent, reason).inc(count)
        for reason, count in (ignored or {}).items():
            if count:
                self._ignored.labels(agent, reason).inc(count)
        if appended is not None and len(appended.counts):
            ahead = self._to_apply.observe((agent,), appended, self._now())
            if ahead:
                self._ahead.labels(agent).inc(ahead)

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
        told = {
            "event_time": event_time,
            "watermark": watermark,
            "lag": lag,
            "pending_outputs": pending_outputs,
            "pending_bytes": pending_bytes,
            "rows": rows,
        }
        known = {name: value for name, value in told.items() if value is not None}
        self._partitions.update(agent, partition, **known)

    def partition_waits(
        self, agent: str, partition: int, *, uncommitted: float | None, stalled: float | None
    ) -> None:
        """Set since when (monotonic s, None: not) a change waits for a commit, and records for us.

        Args:
            uncommitted: the oldest change that no checkpoint has committed.
            stalled: the position has not moved although records wait, as `Stalls` says.
        """
        self._partitions.update(
            agent, partition, uncommitted_since=uncommitted, stalled_since=stalled
        )

    def partition_released(self, agent: str, partition: int) -> None:
        """Drop the gauges of a partition that another worker owns now."""
        self._partitions.release(agent, partition)

    def checkpoint_committed(
        self,
        agent: str,
        *,
        seconds: float,
        rows: int,
        outputs: Mapping[str, int],
        size: int,
        bars: int = 0,
        revisions: int = 0,
        phases: Mapping[str, float] | None = None,
    ) -> None:
        """Count one checkpoint: changed rows, records by output (of them bars), bytes, times."""
        self._checkpoint.labels(agent).observe(seconds)
        for phase, part in (phases or {}).items():
            self._phase.labels(agent, phase).observe(part)
        self._checkpoint_records.labels(agent, "row").inc(rows)
        self._checkpoint_records.labels(agent, "output").inc(sum(outputs.values()))
        for output, count in outputs.items():
            self._outputs.labels(agent, output).inc(count)
        self._checkpoint_bytes.labels(agent).inc(size)
        self._bars.labels(agent, "first").inc(bars)
        self._bars.labels(agent, "revised").inc(revisions)

    def published(self, agent: str, batches: Uncommitted) -> None:
        """Observe each record of a checkpoint, at the moment of its commit: that is now."""
        now = self._now()
        for effect, runs in batches.by_effect():
            self._end_to_end.observe((agent, effect), runs, now)

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

    def recalled(self, agent: str, *, seconds: float) -> None:
        """Note that the log was read again for a correction."""
        self._recall.labels(agent).observe(seconds)

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

    def request_answered(self, route: str, status: int, seconds: float | None) -> None:
        """Count a request by its route's template and status class; None: it was a connection."""
        self._requests.labels(route, f"{status // 100}xx").inc()
        if seconds is not None:
            self._request.labels(route).observe(seconds)

    def render(self) -> bytes:
        """Return the text format of Prometheus; its type is `CONTENT_TYPE`."""
        return generate_latest(self.registry)

    def expose(self, accept: str) -> tuple[bytes, str]:
        """Return what a scraper with that `Accept` header wants, and its content type.

        OpenMetrics for one that asks for it, as Prometheus does, else the text format.
        """
        if "application/openmetrics-text" not in accept:
            return self.render(), CONTENT_TYPE
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"candlewick_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"candlewick_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            f"candlewick_{name}", text, labels, buckets=buckets, registry=self.registry
        )
