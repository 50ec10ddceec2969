"""What a worker knows of the models it predicts by, read at the moment of the scrape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from models.predicting.serving_models import Catalog


class ModelGauges(Collector):
    """A series for each model and alias.

    Args:
        catalog: of the predictions stage.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Return the families without a series: the registry asks for their names."""
        return iter(self._families())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return all families, filled."""
        version, fault, refused = families = self._families()
        wanted, faults = self._catalog.wanted(), self._catalog.faults()
        for slot in self._catalog.wants.slots:
            move = wanted.get(slot)
            version.add_metric(slot, 0 if move is None or move.version is None else move.version)
            fault.add_metric(slot, slot in faults)
        refused.add_metric([], len(self._catalog.refused()))
        return iter(families)

    def _families(self) -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
        labels = ("model", "alias")
        return (
            GaugeMetricFamily(
                "candlewick_model_version",
                "Version that an alias names in the registry and that can be loaded; 0: none",
                labels=labels,
            ),
            GaugeMetricFamily(
                "candlewick_model_fault",
                "1: what an alias names cannot be followed; the log says why",
                labels=labels,
            ),
            GaugeMetricFamily(
                "candlewick_models_refused",
                "Versions that the topic names and that cannot be loaded: they predict nothing",
            ),
        )
