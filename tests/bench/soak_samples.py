"""What a soak looks at every few seconds: processes, the workers' metrics, logs, the disk."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import aiohttp
import psutil
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from app.observe.latency import OUTPUT
from app.run.supervisor import Supervisor
from tests.bench.soak_verdicts import complaint, percentile

#: Of the workers' metrics, summed over workers and labels: name in a sample, name there.
GAUGES = {
    "lag": "candlewick_lag_records",
    "pending_bytes": "candlewick_pending_output_bytes",
    "rows": "candlewick_state_rows",
    "store_keys": "candlewick_store_keys",
    "store_memtable_bytes": "candlewick_store_memtable_bytes",
    "store_file_bytes": "candlewick_store_file_bytes",
    "store_table_reader_bytes": "candlewick_store_table_reader_bytes",
    "store_cache_bytes": "candlewick_store_cache_bytes",
    "gc_collected": "python_gc_objects_collected_total",
    "gc_uncollectable": "python_gc_objects_uncollectable_total",
    "records": "candlewick_records_total",
    "bars": "candlewick_bars_total",
    "checkpoint_failures": "candlewick_checkpoint_failures_total",
    "rebalances": "candlewick_rebalances_total",
}
#: By name; by upper end of a histogram's bucket.
Sums = defaultdict[str, float]
Buckets = defaultdict[float, float]
LATENCY = "candlewick_end_to_end_latency_seconds_bucket"


class Complaints:
    """Warnings and errors in growing log files, counted by their text."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._read = dict.fromkeys(files, 0)
        self.counts: Counter[str] = Counter()
        #: Those of the warm-up; all of them until it is over.
        self.warm_up = self.counts

    def look(self) -> None:
        """Read on; a line that is not whole yet is left for the next time."""
        for path, begin in self._read.items():
            if not path.exists():
                continue
            with path.open("rb") as file:
                file.seek(begin)
                whole, newline, _ = file.read().rpartition(b"\n")
            self._read[path] = begin + len(whole) + len(newline)
            found = map(complaint, whole.decode(errors="replace").splitlines())
            self.counts.update(text for text in found if text is not None)

    def warmed_up(self) -> None:
        """The warm-up is over: what comes from now on is judged."""
        self.look()
        self.warm_up = self.counts.copy()


def used_cpu(process: psutil.Process | None) -> float:
    """CPU seconds of a process so far; 0.0 where there is none."""
    if process is None:
        return 0.0
    used = process.cpu_times()
    return float(used.user + used.system)


def disk_bytes(folder: Path) -> int:
    """Bytes that the files of a folder take up; those that vanish meanwhile count as nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


class Sampler:
    """Takes samples of one soak.

    Args:
        supervisor: of the workers.
        broker, market: their processes.
        folders: whose sizes are told, by name.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        broker: psutil.Process,
        market: psutil.Process,
        folders: dict[str, Path],
    ) -> None:
        self._supervisor, self._broker, self._market = supervisor, broker, market
        self._folders = folders
        self._buckets: dict[float, float] = {}

    async def take(self, session: aiohttp.ClientSession, seconds: float) -> dict[str, float]:
        """Take a sample.

        Args:
            seconds: since the begin of the run, noted in it.

        Raises:
            psutil.Error: a process has ended.
            aiohttp.ClientError, TimeoutError: a worker does not answer.
        """
        sample = {"seconds": seconds, "restarts": float(self._supervisor.restarts)}
        sample |= await asyncio.to_thread(self._processes)
        totals: Sums = defaultdict(float)
        buckets: Buckets = defaultdict(float)
        for address in self._supervisor.web_addresses:
            async with session.get(f"{address}/metrics") as answer:
                _add(list(text_string_to_metric_families(await answer.text())), totals, buckets)
        sample |= {name: totals[metric] for name, metric in GAUGES.items()}
        p99 = percentile(self._buckets, buckets, 0.99)
        sample["p99_seconds"] = p99 if math.isfinite(p99) else 3600.0
        self._buckets = dict(buckets)
        return sample

    def _processes(self) -> dict[str, float]:
        found: Sums = defaultdict(float)
        for pid in self._supervisor.pids:
            process = psutil.Process(pid)
            memory = process.memory_full_info()
            found["rss"] += memory.rss
            found["pss"] += memory.pss
            found["uss"] += memory.uss
            # Of the process alone, whoever else has its libraries open.
            found["anonymous"] += memory.rss - memory.shared
            # RocksDB's tables come and go by the dozen, as it writes and merges them.
            tables = sum(file.path.endswith(".sst") for file in process.open_files())
            found["tables"] += tables
            found["fds"] += process.num_fds() - tables
            found["threads"] += process.num_threads()
            found["workers_cpu"] += used_cpu(process)
        found["broker_rss"] = self._broker.memory_info().rss
        found["broker_fds"] = self._broker.num_fds()
        found["broker_cpu"] = used_cpu(self._broker)
        found["market_cpu"] = used_cpu(self._market)
        for name, folder in self._folders.items():
            found[f"{name}_disk"] = disk_bytes(folder)
        return dict(found)


async def applied_records(session: aiohttp.ClientSession, addresses: Iterable[str]) -> float:
    """Return how many records the workers have applied.

    Raises:
        aiohttp.ClientError, TimeoutError: a worker does not answer.
    """
    totals: Sums = defaultdict(float)
    for address in addresses:
        async with session.get(f"{address}/metrics") as answer:
            families = text_string_to_metric_families(await answer.text())
            _add(list(families), totals, defaultdict(float))
    return totals[GAUGES["records"]]


def _add(families: list[Metric], totals: Sums, buckets: Buckets) -> None:
    for family in families:
        for sample in family.samples:
            if sample.name == LATENCY and sample.labels["effect"] == OUTPUT:
                buckets[float(sample.labels["le"])] += sample.value
            elif sample.name != LATENCY:
                totals[sample.name] += sample.value
