"""What the channels of a worker have done, read at the scrape (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from app.notify.consumer import Notifier


class DeliveryGauges(Collector):
    """A series for each channel; counters are of the process.

    Args:
        notifiers: those that run.
    """

    def __init__(self, notifiers: Callable[[], Iterable[Notifier]]) -> None:
        self._notifiers = notifiers

    def describe(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Return the families without a series: the registry asks for their names."""
        return iter(self._families())

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Return all families, filled."""
        notifications, attempts, held, resting = families = self._families()
        for each in self._notifiers():
            status, channel = each.status, each.channel
            for result in ("delivered", "skipped", "dead"):
                notifications.add_metric([channel, result], getattr(status, result))
            attempts.add_metric([channel, "taken"], status.attempts - status.failures)
            attempts.add_metric([channel, "failed"], status.failures)
            held.add_metric([channel], status.held)
            resting.add_metric([channel], each.resting)
        return iter(families)

    def _families(
        self,
    ) -> tuple[CounterMetricFamily, CounterMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
        return (
            CounterMetricFamily(
                "candlewick_notifications",
                "Notifications done with, by what came of them",
                labels=["channel", "result"],
            ),
            CounterMetricFamily(
                "candlewick_delivery_attempts",
                "Requests to a channel, by whether it took them",
                labels=["channel", "result"],
            ),
            GaugeMetricFamily(
                "candlewick_notifications_held",
                "Notifications of a channel that are in memory",
                labels=["channel"],
            ),
            GaugeMetricFamily(
                "candlewick_channel_rest_seconds",
                "Until a channel that does not take messages is tried again",
                labels=["channel"],
            ),
        )
