"""A partition of the predictions agent with a registry and a store, fed by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from app.contracts.batch import RecordBatch
from app.contracts.predictions import alias_move
from app.contracts.wire import BarRecord, IndicatorsRecord, encoder
from models.predicting.conformal import Calibration
from models.predicting.drift import drift_reference
from models.predicting.features_plan import Feature
from models.predicting.features_terms import Change, Reading, Scaled
from models.predicting.featuresets import FeatureSet
from models.predicting.manifest import Manifest
from models.predicting.online import Configuration, OnlinePredictor
from models.predicting.online_version import FILE, write_online
from models.predicting.planted import planted_bars
from models.predicting.registry import Registry
from models.predicting.serving import PredictionsPartition, ServingConfiguration
from models.predicting.serving_models import Catalog, Wants
from tables.derived import DerivedConfiguration, load
from tables.indicators.base import Context
from tables.indicators.sets import IndicatorSet, Outcome
from tables.markets import Instrument, Instruments
from tests.unit.model_records import described
from tests.unit.partition_feeding import Kept, loaded_rows

MINUTE = 60_000_000_000
TOPIC = "test.indicators"


class Small(FeatureSet):
    """Two features, so that models are small and warm soon."""

    NAME = "small"
    VERSION = 1

    @classmethod
    def declare(cls) -> Sequence[Feature]:
        """Return the features."""
        return (
            Feature("return_1", Change(Reading("CLOSE"), 1)),
            Feature("rsi", Scaled(Reading("RSI(3)"), 0.01, -0.5)),
        )


@cache
def trees(seed: int, columns: int = 2) -> bytes:
    """A small model of returns."""
    import xgboost

    chance = np.random.default_rng(seed)
    rows = chance.standard_normal((300, columns)).astype(np.float32) * 1e-3
    target = np.sign(rows[:, 0]) + 0.3 * seed
    names = list(Small.plan().names)[:columns]
    matrix = xgboost.DMatrix(rows, target, feature_names=names, nthread=1)
    chosen = {"nthread": 1, "seed": seed, "max_depth": 3, "base_score": 0.0}
    return bytes(xgboost.train(chosen, matrix, 8).save_raw("ubj"))


def publish(registry: Registry, seed: int, **changes: Any) -> Manifest:
    """Publish a version whose predictions differ from those of other seeds."""
    plan = Small.plan()
    told = {
        "feature_set": plan.label,
        "feature_names": tuple(plan.names),
        "horizon": 2,
        "calibration": Calibration(tuple(number / 40 for number in range(200)), 1e-3 * seed),
    }
    return registry.publish(described(**told | changes), {"model.ubj": trees(seed)})


def publish_online(registry: Registry) -> Manifest:
    """Publish a version that learns, from nothing."""
    plan = Small.plan()
    learner = OnlinePredictor(plan.names, Configuration(warm_up=5, memory=100))
    told = described(
        kind="river",
        feature_set=plan.label,
        feature_names=tuple(plan.names),
        horizon=2,
        calibration=Calibration(tuple(number / 40 for number in range(200)), 1e-3),
    )
    return registry.publish(told, {FILE: write_online(learner)})


def promote(registry: Registry, version: int, alias: str = "champion") -> None:
    """Let an alias name a version."""
    registry.promote("returns", alias, version, reason="a test", time=1)


def wants(**changes: Any) -> Wants:
    """One model of minutes."""
    chosen: dict[str, Any] = {
        "intervals": {"returns": "1m"},
        "aliases": ("champion", "challenger"),
        "kinds": [Small],
        "longest": 10,
    }
    return Wants(**chosen | changes)


class Served(Kept):
    """A partition, all that it has stored and published, and its catalog."""

    state: PredictionsPartition

    def __init__(
        self,
        folder: Path,
        *,
        shares: Mapping[str, int] | None = None,
        instruments: Instruments | None = None,
        wanted: Wants | None = None,
    ) -> None:
        super().__init__()
        self.registry = Registry.at(folder)
        self.catalog = Catalog(lambda: self.registry, wanted or wants(), 8, 10**9)
        self._chosen = ServingConfiguration(
            {"1m": MINUTE, "1s": MINUTE // 60}, 0.1, 0.005, shares or {}, "test", 10**18
        )
        self._instruments = instruments or Instruments(default=Instrument(symbol="*"))
        self.offset = 0
        self.state = self._load()
        self.state.begin(0)

    def _load(self) -> PredictionsPartition:
        made = PredictionsPartition(
            DerivedConfiguration(1, "hash", 500_000, 1_000),
            0,
            self.rows.get,
            self._chosen,
            self.catalog,
            self._instruments,
        )
        loaded = loaded_rows(self.rows, PredictionsPartition.LOADED)
        return load(made, "topic", self.rows.get, loaded)

    def feed(self, values: Sequence[bytes | None]) -> None:
        """Apply a batch."""
        count = len(values)
        offsets = np.arange(self.offset, self.offset + count, dtype=np.int64)
        batch = RecordBatch(
            *(TOPIC, 0, self.offset, self.offset + count, list(values), offsets),
            np.full(count, 10**18, dtype=np.int64),
        )
        self.offset += count
        self.state.apply(batch)

    def restart(self) -> None:
        """Go on from the last checkpoint, as another worker."""
        self.state = self._load()
        self.offset = self.state.next or 0

    def values(self, output: str = "predictions") -> list[bytes]:
        """What was published."""
        return [each.value for each in self.published.get(output, [])]


def alias(manifest: Manifest, generation: int, sha256: str, name: str = "champion") -> bytes:
    """A move of an alias as the log has it."""
    return encoder.encode(alias_move(manifest.name, name, generation, manifest.version, sha256))


def indicators_of(
    bars: Iterable[BarRecord], kind: type[FeatureSet] = Small, *, fill_forward: bool = False
) -> list[bytes]:
    """The indicators of bars of any symbols, as the agent publishes them."""
    sets: dict[tuple[str, str], IndicatorSet] = {}
    values = []
    for bar in bars:
        held = sets.setdefault(
            (bar.symbol, bar.interval),
            IndicatorSet(kind.plan().requests, Context(), fill_forward=fill_forward),
        )
        outcome = held.take(bar)
        if outcome in (Outcome.OLDER, Outcome.REPEATED):
            continue
        found = held.values()
        if outcome is Outcome.EMPTIED:
            found = dict.fromkeys(found)
        values.append(
            encoder.encode(
                IndicatorsRecord(
                    bar.symbol, bar.interval, bar.start, bar.revision, held.exact, found
                )
            )
        )
    return values


def learning_log(served: Served) -> list[bytes]:
    """Hours of a champion with a drift reference, and a challenger that learns."""
    rows = np.random.default_rng(1).standard_normal((500, 2)).astype(np.float32)
    manifest = publish(served.registry, 1, drift=drift_reference(rows))
    promote(served.registry, manifest.version)
    promote(served.registry, publish_online(served.registry).version, "challenger")
    served.catalog.refresh()
    return [*served.state.announcements(), *indicators_of(bars(200))]


def monitored_hours(served: Served) -> list[bytes]:
    """What the monitors say of these hours."""
    served.feed(learning_log(served))
    served.checkpoint()
    return served.values("monitoring")


def bars(count: int, symbols: tuple[str, ...] = ("AAA", "BBB"), seed: int = 3) -> list[BarRecord]:
    """Bars of minutes."""
    return planted_bars(count, 1.0, symbols=symbols, seed=seed)


def revised(bar: BarRecord, close: float | None) -> BarRecord:
    """The next version of a bar: another close, or emptied."""
    import msgspec

    if close is None:
        return msgspec.structs.replace(
            bar, revision=bar.revision + 1, filled=True, trades=0, volume=0.0
        )
    return msgspec.structs.replace(bar, revision=bar.revision + 1, close=close)
