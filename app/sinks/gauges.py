"""What the sinks of a process have done, read at the scrape (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from app.sinks.consumer import SinkLoop
from app.sinks.status import BUCKETS, SinkStatus

BREAKER_STATES = ("closed", "open", "half_open")
ERROR_KINDS = ("unavailable", "limited", "refuses", "conflict", "fault", "broker")


class SinkGauges(Collector):
    """Series for each sink; counters are of the process.

    Args:
        loops: those that run.
    """

    def __init__(self, loops: Callable[[], Iterable[SinkLoop]]) -> None:
        self._loops = loops

    def describe(self) -> Iterator[Metric]:
        """Return the families without a series: the registry asks for their names."""
        return iter(self._families([]))

    def collect(self) -> Iterator[Metric]:
        """Return all families, filled."""
        return iter(self._families(list(self._loops())))

    def _families(self, loops: Sequence[SinkLoop]) -> list[Metric]:
        return [
            _counter("rows", "Points, rows or keys written", loops, lambda each: each.rows),
            _flushes(loops),
            _counter("retries", "Attempts after a failure", loops, lambda each: each.retries),
            _counter("dead_records", "Records never to be taken", loops, lambda each: each.dead),
            _errors(loops),
            _passed(loops),
            _gauge("held_bytes", "Bytes that wait for a flush", loops, lambda each: each.held),
            _gauge(
                "last_write_age_seconds",
                "Since something was written",
                loops,
                lambda each: each.last_write_age,
            ),
            _lag(loops),
            _breaker(loops),
        ]


def _counter(
    name: str, text: str, loops: Sequence[SinkLoop], value: Callable[[SinkStatus], int]
) -> Metric:
    family = CounterMetricFamily(f"candlewick_sink_{name}", text, labels=["sink"])
    for each in loops:
        family.add_metric([each.sink], value(each.status))
    return family


def _gauge(
    name: str, text: str, loops: Sequence[SinkLoop], value: Callable[[SinkLoop], float | None]
) -> Metric:
    family = GaugeMetricFamily(f"candlewick_sink_{name}", text, labels=["sink"])
    for each in loops:
        found = value(each)
        if found is not None:
            family.add_metric([each.sink], found)
    return family


def _flushes(loops: Sequence[SinkLoop]) -> Metric:
    family = HistogramMetricFamily(
        "candlewick_sink_flush_seconds", "Time of a flush that has returned", labels=["sink"]
    )
    for each in loops:
        bounds = [*map(str, BUCKETS), "+Inf"]
        counts = list(accumulate(each.status.flushes))
        family.add_metric(
            [each.sink], list(zip(bounds, counts, strict=True)), each.status.flush_seconds
        )
    return family


def _errors(loops: Sequence[SinkLoop]) -> Metric:
    family = CounterMetricFamily(
        "candlewick_sink_errors", "Attempts that failed, by kind", labels=["sink", "kind"]
    )
    for each in loops:
        for kind in ERROR_KINDS:
            family.add_metric([each.sink, kind], each.status.errors[kind])
    return family


def _passed(loops: Sequence[SinkLoop]) -> Metric:
    family = CounterMetricFamily(
        "candlewick_sink_passed_records",
        "Records that give nothing to write, by reason",
        labels=["sink", "reason"],
    )
    for each in loops:
        for reason, count in sorted(each.status.passed.items()):
            family.add_metric([each.sink, reason], count)
    return family


def _lag(loops: Sequence[SinkLoop]) -> Metric:
    family = GaugeMetricFamily(
        "candlewick_sink_lag_records",
        "Records of partitions owned here that are not written",
        labels=["sink", "topic"],
    )
    for each in loops:
        for topic, lag in sorted(each.status.lag.items()):
            family.add_metric([each.sink, topic], lag)
    return family


def _breaker(loops: Sequence[SinkLoop]) -> Metric:
    family = GaugeMetricFamily(
        "candlewick_sink_breaker", "1 for the breaker's state", labels=["sink", "state"]
    )
    for each in loops:
        for state in BREAKER_STATES:
            family.add_metric([each.sink, state], each.patience.state == state)
    return family
