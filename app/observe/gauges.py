"""What is read at the moment of the scrape: partitions, phases, RocksDB, the collector's pauses.

Ages are those at the scrape, not of the last batch. A partition that is released is forgotten as a
whole, so none of its series stays behind.
"""

from __future__ import annotations

import gc
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from app.observe.health import HealthState, Phase

NANOSECONDS = 1_000_000_000
_OF_PARTITION = ("agent", "partition")


@dataclass(frozen=True, slots=True)
class PartitionSample:
    """What is known of a partition: times in ns, moments in monotonic seconds, None: unknown.

    A new one for each change, since a scrape reads it in another thread.
    """

    event_time: int | None = None
    watermark: int | None = None
    lag: int | None = None
    pending_outputs: int | None = None
    pending_bytes: int | None = None
    rows: int | None = None
    uncommitted_since: float | None = None
    stalled_since: float | None = None


_UNKNOWN = PartitionSample()


class PartitionGauges(Collector):
    """One family for each fact, one series for each owned partition.

    Args:
        now: wall clock, seconds since the epoch.
        monotonic: the clock of the samples' moments, in seconds.
    """

    _FAMILIES: tuple[tuple[str, str], ...] = (
        ("event_time_seconds", "Maximum event time, since the epoch"),
        ("watermark_seconds", "Watermark, since the epoch"),
        ("watermark_age_seconds", "Wall clock minus watermark"),
        ("lag_records", "Consumer lag: records of the log not applied yet"),
        ("pending_outputs", "Outputs waiting for their checkpoint"),
        ("pending_output_bytes", "Bytes of outputs waiting for their checkpoint"),
        ("state_rows", "State rows in memory"),
        ("checkpoint_age_seconds", "Since the oldest change that no checkpoint has committed"),
        ("stalled_seconds", "Since the position last moved while records were waiting"),
    )

    def __init__(self, now: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._now, self._monotonic = now, monotonic
        self._samples: dict[tuple[str, int], PartitionSample] = {}

    def update(self, agent: str, partition: int, **known: Any) -> None:
        """Know more of a partition: fields of its sample, which a scrape sees all or none of."""
        key = (agent, partition)
        self._samples[key] = replace(self._samples.get(key, _UNKNOWN), **known)

    def release(self, agent: str, partition: int) -> None:
        """Forget a partition."""
        self._samples.pop((agent, partition), None)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All families, for a scrape."""
        families = [
            GaugeMetricFamily(f"candlewick_{name}", text, labels=_OF_PARTITION)
            for name, text in self._FAMILIES
        ]
        now, monotonic = self._now(), self._monotonic()
        for (agent, partition), sample in self._samples.copy().items():
            labels = (agent, str(partition))
            values = _values(sample, now, monotonic)
            for family, value in zip(families, values, strict=True):
                if value is not None:
                    family.add_metric(labels, value)
        yield from families


def _values(sample: PartitionSample, now: float, monotonic: float) -> tuple[float | None, ...]:
    event_time, watermark = sample.event_time, sample.watermark
    return (
        None if event_time is None else event_time / NANOSECONDS,
        None if watermark is None else watermark / NANOSECONDS,
        None if watermark is None else now - watermark / NANOSECONDS,
        sample.lag,
        sample.pending_outputs,
        sample.pending_bytes,
        sample.rows,
        _since(sample.uncommitted_since, monotonic),
        _since(sample.stalled_since, monotonic),
    )


def _since(moment: float | None, monotonic: float) -> float:
    return 0.0 if moment is None else max(0.0, monotonic - moment)


class Stalls:
    """Since when each partition has not moved although records wait."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], tuple[int, float]] = {}

    def since(self, key: tuple[str, int], position: int, lag: int, now: float) -> float | None:
        """Note a partition's position; since when (monotonic) it waits there, None if it does not.

        Args:
            now: monotonic seconds.
        """
        known = self._seen.get(key)
        if lag <= 0 or known is None or known[0] != position:
            # The wait begins here at the earliest: nothing waited before, or it has moved.
            self._seen[key] = (position, now)
            return None if lag <= 0 else now
        return known[1]

    def keep(self, keys: Iterable[tuple[str, int]]) -> None:
        """Forget all partitions but these: the others were released."""
        self._seen = {key: self._seen[key] for key in keys if key in self._seen}


class PhaseGauges(Collector):
    """The health of the worker, as numbers."""

    def __init__(self, health: HealthState) -> None:
        self._health = health

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All families, for a scrape."""
        ready = GaugeMetricFamily(
            "candlewick_worker_ready", "1: the worker and all its partitions are ready"
        )
        ready.add_metric([], self._health.is_ready)
        yield ready
        age = GaugeMetricFamily(
            "candlewick_event_loop_age_seconds", "Since the event loop last ran, at the scrape"
        )
        age.add_metric([], self._health.loop_age or 0.0)
        yield age
        current, partitions = self._health.phases()
        worker = GaugeMetricFamily(
            "candlewick_worker_phase", "1: the phase that the worker is in", labels=["phase"]
        )
        for phase in Phase:
            worker.add_metric([str(phase)], phase is current)
        yield worker
        owned = GaugeMetricFamily(
            "candlewick_partitions", "Partitions owned, by their phase", labels=["agent", "phase"]
        )
        for (agent, phase), count in sorted(Counter(partitions).items()):
            owned.add_metric([agent, str(phase)], count)
        yield owned


class MeasuredStore(Protocol):
    """A store that tells its sizes by the names of `StoreGauges`; None once it is closed."""

    def sizes(self) -> Mapping[str, int] | None:
        """Numbers by name."""


class StoreGauges(Collector):
    """RocksDB: sums over the stores of each agent, and the cache that all of them share.

    Args:
        stores: agent and store of each open partition.
        cache: bytes that the shared block cache holds.
    """

    _FAMILIES: tuple[tuple[str, str, str], ...] = (
        ("keys", "store_keys", "Keys in RocksDB, as it estimates"),
        ("memtable_bytes", "store_memtable_bytes", "Bytes in RocksDB's memtables"),
        ("file_bytes", "store_file_bytes", "Bytes of RocksDB's table files"),
        ("table_reader_bytes", "store_table_reader_bytes", "Memory of open tables, not in cache"),
        (
            "pending_compaction_bytes",
            "store_pending_compaction_bytes",
            "Bytes that compaction has to rewrite, as RocksDB estimates",
        ),
        ("background_errors", "store_background_errors", "Failed flushes and compactions"),
        ("write_stopped", "store_write_stopped", "Stores that take no writes at the moment"),
    )

    def __init__(
        self,
        stores: Callable[[], Iterable[tuple[str, MeasuredStore]]],
        cache: Callable[[], int],
    ) -> None:
        self._stores, self._cache = stores, cache

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All families, for a scrape."""
        sums: dict[str, Counter[str]] = {}
        for agent, store in self._stores():
            sizes = store.sizes()
            if sizes is not None:
                sums.setdefault(agent, Counter()).update(sizes)
        for key, name, text in self._FAMILIES:
            family = GaugeMetricFamily(f"candlewick_{name}", text, labels=["agent"])
            for agent, sizes in sorted(sums.items()):
                family.add_metric([agent], sizes[key])
            yield family
        cache = GaugeMetricFamily(
            "candlewick_store_cache_bytes", "Bytes in the block cache that all stores share"
        )
        cache.add_metric([], self._cache())
        yield cache


class GarbagePauses(Collector):
    """How long the cyclic garbage collector stops this process, by generation.

    The collector runs in the middle of anything, also of a metric that holds its lock: so nothing
    here takes one.
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [[0] * (len(bounds) + 1) for _ in gc.get_stats()]
        self._sums = [0.0] * len(self._counts)
        self._began = 0.0

    def start(self) -> None:
        """Begin to measure; may be called again."""
        if self._note not in gc.callbacks:
            gc.callbacks.append(self._note)

    def stop(self) -> None:
        """End it."""
        if self._note in gc.callbacks:
            gc.callbacks.remove(self._note)

    def _note(self, moment: str, details: Mapping[str, int]) -> None:
        if moment == "start":
            self._began = time.perf_counter()
        elif self._began:
            seconds = time.perf_counter() - self._began
            generation = details["generation"]
            self._counts[generation][bisect_left(self._bounds, seconds)] += 1
            self._sums[generation] += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The family, for a scrape."""
        family = HistogramMetricFamily(
            "candlewick_gc_pause_seconds",
            "Pauses of the cyclic garbage collector",
            labels=["generation"],
        )
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        for generation, counts in enumerate(self._counts):
            total, buckets = 0, []
            for name, count in zip(names, counts, strict=True):
                total += count
                buckets.append((name, float(total)))
            family.add_metric([str(generation)], buckets, self._sums[generation])
        yield family
