"""The engine's latency and lag as points: measurements `latency` and `kafka` of each worker.

Read from the metrics of the process (`app/observe`), every ten seconds. Latency is that of the
records committed since the last time: quantiles are estimated within the histogram's buckets, as
Prometheus' `histogram_quantile` does, and there is no point where nothing was committed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Metric

from app.sinks.lines import Column, Kind, column, encode_lines, series

#: Seconds between two points of a series.
EVERY: Final = 10.0
LATENCY: Final = "candlewick_end_to_end_latency_seconds"
#: Field, its kind and the gauge that it is.
GAUGES: Final[Mapping[str, tuple[Kind, str]]] = {
    "lag": (Kind.INTEGER, "candlewick_lag_records"),
    "watermark_age": (Kind.FLOAT, "candlewick_watermark_age_seconds"),
    "pending_outputs": (Kind.INTEGER, "candlewick_pending_outputs"),
}
QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

Collect = Callable[[], Iterable[Metric]]


def collect_from(registry: CollectorRegistry) -> Collect:
    """Return what reads from a worker's metrics what is needed here, and nothing else."""
    names = [f"{LATENCY}{suffix}" for suffix in ("_bucket", "_sum", "_count")]
    chosen = registry.restricted_registry([*names, *(name for _, name in GAUGES.values())])
    return chosen.collect


class Health:
    """Makes the points of one worker.

    Args:
        worker: its name, a tag.
        collect: the families of `collect_from`.
    """

    def __init__(self, worker: str, collect: Collect) -> None:
        self._worker, self._collect = worker, collect
        #: Of each series of the histogram: cumulative counts by upper end, and the sum.
        self._before: dict[tuple[str, str], tuple[dict[float, float], float]] = {}

    def lines(self, now: int) -> list[str]:
        """Return the lines of this moment, in ns since the epoch."""
        found = {family.name: family for family in self._collect()}
        latency = self._latency(found[LATENCY], now) if LATENCY in found else []
        return [*latency, *self._kafka(found, now)]

    def _latency(self, family: Metric, now: int) -> list[str]:
        counts: dict[tuple[str, str], dict[float, float]] = {}
        sums: dict[tuple[str, str], float] = {}
        for sample in family.samples:
            key = (sample.labels["agent"], sample.labels["effect"])
            if sample.name.endswith("_bucket"):
                counts.setdefault(key, {})[float(sample.labels["le"])] = sample.value
            elif sample.name.endswith("_sum"):
                sums[key] = sample.value
        heads: list[str] = []
        rows: list[dict[str, float]] = []
        for key, cumulative in sorted(counts.items()):
            before, sum_before = self._before.get(key, ({}, 0.0))
            bounds = sorted(cumulative)
            since = [cumulative[bound] - before.get(bound, 0.0) for bound in bounds]
            self._before[key] = cumulative, sums[key]
            if since[-1] <= 0:
                continue
            agent, effect = key
            heads.append(
                series("latency", {"agent": agent, "effect": effect, "worker": self._worker})
            )
            each = {name: quantile(share, bounds, since) for name, share in QUANTILES.items()}
            each["mean"] = (sums[key] - sum_before) / since[-1]
            rows.append(each | {"records": round(since[-1])})
        columns = [
            column(name, Kind.FLOAT, [row[name] for row in rows]) for name in ("mean", *QUANTILES)
        ]
        columns.append(column("records", Kind.INTEGER, [row["records"] for row in rows]))
        return encode_lines(heads, columns, [now] * len(rows))

    def _kafka(self, found: Mapping[str, Metric], now: int) -> list[str]:
        rows: dict[tuple[str, str], dict[str, float]] = {}
        for name, (kind, gauge) in GAUGES.items():
            for sample in found[gauge].samples if gauge in found else ():
                key = (sample.labels["agent"], sample.labels["partition"])
                value = round(sample.value) if kind is Kind.INTEGER else float(sample.value)
                rows.setdefault(key, {})[name] = value
        heads = [
            series("kafka", {"agent": agent, "partition": partition, "worker": self._worker})
            for agent, partition in rows
        ]
        columns: list[Column] = [
            column(name, kind, [row.get(name) for row in rows.values()])
            for name, (kind, _) in GAUGES.items()
        ]
        return [line for line in encode_lines(heads, columns, [now] * len(rows)) if line]


def quantile(share: float, bounds: Sequence[float], cumulative: Sequence[float]) -> float:
    """Return the value that a share of the observations does not exceed.

    Args:
        bounds: upper ends of the buckets, ascending; the last one is infinite.
        cumulative: observations up to each; the last one is above 0.
    """
    rank = share * cumulative[-1]
    place = bisect_left(cumulative, rank)
    if place >= len(bounds) - 1:
        # Beyond what the buckets tell apart.
        return bounds[-2]
    low = bounds[place - 1] if place else 0.0
    below = cumulative[place - 1] if place else 0.0
    return low + (bounds[place] - low) * (rank - below) / (cumulative[place] - below)
