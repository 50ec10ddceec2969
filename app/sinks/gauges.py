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
from app.sinks.status import BUCKETS

BREAKER_STATES = ("closed", "open", "half_open")
ERROR_KINDS = ("unavailable", "limited", "refuses", "conflict", "fault", "broker")
Family = type[CounterMetricFamily] | type[GaugeMetricFamily]


class SinkGauges(Collector):
    """Series for each sink; counters are of the process.

    Args:
        loops: those that run.
    """

    def __init__(self, loops: Callable[[], Iterable[SinkLoop]]) -> None:
        self._loops = loops

    def describe(self) -> Iterator[Metric]:
        """Return the families without a series: the registry asks for their names."""
        return iter(_families([]))

    def collect(self) -> Iterator[Metric]:
        """Return all families, filled."""
        return iter(_families(list(self._loops())))


def _families(loops: Sequence[SinkLoop]) -> list[Metric]:
    counter, gauge = CounterMetricFamily, GaugeMetricFamily

    def one(
        family: Family, name: str, text: str, value: Callable[[SinkLoop], float | None]
    ) -> Metric:
        """A series a sink; none where there is no value."""
        found = family(f"candlewick_sink_{name}", text, labels=["sink"])
        for each in loops:
            if (figure := value(each)) is not None:
                found.add_metric([each.sink], figure)
        return found

    def many(
        family: Family,
        name: str,
        text: str,
        label: str,
        values: Callable[[SinkLoop], Iterable[tuple[str, float]]],
    ) -> Metric:
        """A series for each value of a label."""
        found = family(f"candlewick_sink_{name}", text, labels=["sink", label])
        for each in loops:
            for own, figure in values(each):
                found.add_metric([each.sink, own], figure)
        return found

    return [
        one(counter, "rows", "Points, rows or keys written", lambda each: each.status.rows),
        _flushes(loops),
        one(counter, "retries", "Attempts after a failure", lambda each: each.status.retries),
        one(counter, "dead_records", "Records never to be taken", lambda each: each.status.dead),
        many(
            *(counter, "errors", "Attempts that failed, by kind", "kind"),
            lambda each: [(kind, each.status.errors[kind]) for kind in ERROR_KINDS],
        ),
        many(
            *(counter, "passed_records", "Records that give nothing to write, by reason", "reason"),
            lambda each: sorted(each.status.passed.items()),
        ),
        one(gauge, "held_bytes", "Bytes that wait for a flush", lambda each: each.held),
        one(
            *(gauge, "last_write_age_seconds", "Since something was written"),
            lambda each: each.last_write_age,
        ),
        many(
            gauge,
            "lag_records",
            "Records of partitions owned here that are not written",
            "topic",
            lambda each: sorted(each.status.lag.items()),
        ),
        many(
            *(gauge, "breaker", "1 for the breaker's state", "state"),
            lambda each: [(state, each.patience.state == state) for state in BREAKER_STATES],
        ),
    ]


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
