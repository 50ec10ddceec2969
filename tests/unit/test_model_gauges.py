"""What the metrics say of models: as documented, and what is wrong."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from app.observe.model_gauges import ModelGauges
from tests.metric_table import DOCUMENT
from tests.unit.serving_feeding import Served, bars, indicators_of, promote, publish

_ROW = re.compile(r"^\| `(candlewick_models?_\w+)` \| (\w+) \| ([\w, ]+|-) \|", re.MULTILINE)


def values(served: Served) -> dict[tuple[str, ...], float]:
    registry = CollectorRegistry()
    registry.register(ModelGauges(served.catalog))
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_versions_and_faults_are_told(tmp_path: Path) -> None:
    served = Served(tmp_path)
    promote(served.registry, publish(served.registry, 1).version)
    wrong = publish(served.registry, 2, interval="5m")
    promote(served.registry, wrong.version, "challenger")
    served.catalog.refresh()
    found = values(served)
    assert found["candlewick_model_version", "returns", "champion"] == 1
    assert found["candlewick_model_fault", "returns", "champion"] == 0
    assert found["candlewick_model_version", "returns", "challenger"] == 0
    assert found["candlewick_model_fault", "returns", "challenger"] == 1
    assert found["candlewick_models_refused",] == 0


def test_a_version_that_is_gone_is_told_until_it_is_back(tmp_path: Path) -> None:
    served = Served(tmp_path)
    promote(served.registry, publish(served.registry, 1).version)
    served.catalog.refresh()
    (move,) = served.state.announcements()
    file = next(tmp_path.glob("**/model.ubj"))
    content = file.read_bytes()
    file.unlink()
    other = Served(tmp_path)
    other.feed([move, *indicators_of(bars(10))])
    assert values(other)["candlewick_models_refused",] == 1
    other.catalog.refresh()
    assert values(other)["candlewick_models_refused",] == 1
    file.write_bytes(content)
    other.catalog.refresh()
    assert values(other)["candlewick_models_refused",] == 0


def test_the_table_of_the_documentation_is_what_is_exported(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    registry.register(ModelGauges(Served(tmp_path).catalog))
    exported = {
        (family.name, family.type, ", ".join(family.samples[0].labels) or "-")
        for family in registry.collect()
    }
    assert exported == set(_ROW.findall(DOCUMENT.read_text(encoding="utf-8")))
