"""Versions that an agent predicts by: what the aliases name in the registry, loaded and checked.

Data that flows: the registry -> `refresh` (blocks; a thread, every few seconds) -> `wanted`: the
moves that may go into the log, because their versions were loaded and fit -> the log -> `get`, by
the partition that has met the record. A version that is broken or for other features never gets
into the log: `faults` names it, and what the log names goes on.

The log names a version by number and by the SHA-256 of its manifest: other bytes under that number
are no version of it. What cannot be loaded any more predicts nothing.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from app.contracts.predictions import AliasRecord, alias_move
from models.predicting.boosting import TrainingError
from models.predicting.cache import LoadedCache
from models.predicting.conformal import Calibration
from models.predicting.featuresets import FeatureSet
from models.predicting.manifest import Manifest
from models.predicting.online_version import OnlineVersion
from models.predicting.predictor import EnsemblePredictor, Predictor, make_predictor
from models.predicting.registry import Registry
from models.predicting.registry_contents import LoadedVersion
from models.predicting.registry_errors import (
    CorruptModelError,
    MismatchedModelError,
    ModelError,
)
from tables.markets import Market

NOTHING = Calibration((), 0.0)

#: Model and alias.
Slot = tuple[str, str]


@dataclass(frozen=True)
class Serving:
    """A version that predicts.

    Attributes:
        features: index of its feature set among those that are kept.
        sha256: of its manifest.
    """

    predictor: Predictor
    features: int
    sha256: str

    @cached_property
    def manifest(self) -> Manifest:
        """Of the version."""
        return self.predictor.manifest

    @cached_property
    def calibration(self) -> Calibration:
        """What its intervals are made of; one that makes none where it has none."""
        return self.manifest.calibration or NOTHING

    @property
    def size(self) -> int:
        """Bytes."""
        return self.predictor.size

    @cached_property
    def learns(self) -> bool:
        """Whether it learns from what comes: each partition has a learner of its own then."""
        return isinstance(self.predictor, OnlineVersion)

    def fits(self, symbol: str, market: Market | None) -> bool:
        """Whether it was trained under the calendar of a symbol; one that says nothing was.

        Of an ensemble each member, too.
        """
        manifests = [self.manifest, *(each.manifest for each in self.members)]
        if market is None or all(each.market is None for each in manifests):
            return True
        try:
            for each in manifests:
                each.require_market("", symbol, market.fingerprint)
        except MismatchedModelError:
            return False
        return True

    @property
    def members(self) -> Sequence[Predictor]:
        """Of an ensemble."""
        return self.predictor.members if isinstance(self.predictor, EnsemblePredictor) else ()

    @cached_property
    def across_sessions(self) -> bool:
        """Whether its targets may lie across the end of a session."""
        return bool(self.manifest.parameters.get("across_sessions", False))


@dataclass(frozen=True)
class Wants:
    """What versions must be for.

    Attributes:
        intervals: label of the bars of each model, by its name.
        aliases: that are followed, of each model.
        kinds: feature sets that are kept.
        longest: horizon, in bars.
        fill_forward: whether bars without trades are input.
    """

    intervals: Mapping[str, str]
    aliases: Sequence[str]
    kinds: Sequence[type[FeatureSet]]
    longest: int
    fill_forward: bool = False

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Every model and alias, in an order that never changes."""
        return tuple((model, alias) for model in sorted(self.intervals) for alias in self.aliases)

    def index_of(self, manifest: Manifest, place: str) -> int:
        """Return which feature set a version is for.

        Raises:
            MismatchedModelError: for none of these, for other bars, or too long a horizon.
        """
        plans = [kind.plan() for kind in self.kinds]
        labels = [plan.label for plan in plans]
        if manifest.feature_set not in labels:
            expected = f"feature set {' or '.join(labels)} (predictions.feature_sets)"
            raise MismatchedModelError(place, f"feature set {manifest.feature_set}", expected)
        found = labels.index(manifest.feature_set)
        interval = self.intervals[manifest.name]
        manifest.require(place, labels[found], tuple(plans[found].names), interval)
        if manifest.horizon > self.longest:
            expected = f"at most {self.longest} (predictions.max_horizon)"
            raise MismatchedModelError(place, f"a horizon of {manifest.horizon} bars", expected)
        return found


class Catalog:
    """Versions of a registry as partitions want them; safe for a thread that refreshes.

    Args:
        open_registry: called with each refresh: an address may not answer.
        most, most_bytes: of versions kept loaded, beside those in use.
    """

    def __init__(
        self, open_registry: Callable[[], Registry], wants: Wants, most: int, most_bytes: int
    ) -> None:
        self.wants = wants
        self._open = open_registry
        self._loaded = LoadedCache[tuple[str, int], Serving](self._load, most, most_bytes)
        self._lock = threading.Lock()
        #: What may be written into the log, and what is wrong, by model and alias.
        self._wanted: dict[Slot, AliasRecord] = {}
        self._faults: dict[Slot, str] = {}
        #: Versions that partitions asked for in vain: what is wrong with them.
        self._refused: dict[tuple[str, int, str], str] = {}
        #: How often; partitions ask again for what was refused.
        self.refreshed = 0

    def wanted(self) -> Mapping[Slot, AliasRecord]:
        """Return the moves in force whose versions were loaded."""
        with self._lock:
            return dict(self._wanted)

    def faults(self) -> Mapping[Slot, str]:
        """Return what keeps an alias from being followed."""
        with self._lock:
            return dict(self._faults)

    def refused(self) -> Mapping[tuple[str, int, str], str]:
        """Return what is wrong with versions that the log names: by name, version and SHA-256."""
        with self._lock:
            return dict(self._refused)

    def refresh(self) -> None:
        """Read the aliases, load what they name anew, and try again what was refused."""
        for slot in self.wants.slots:
            fault, record = None, None
            try:
                record = self._current(*slot)
            except (ModelError, TrainingError, OSError) as error:
                fault = str(error)
            with self._lock:
                if fault is None:
                    self._faults.pop(slot, None)
                else:
                    self._faults[slot] = fault
                if record is not None:
                    self._wanted[slot] = record
        for key in self.refused():
            with contextlib.suppress(OSError):
                self._check(*key)
        self.refreshed += 1

    def _current(self, model: str, alias: str) -> AliasRecord | None:
        move = self._open().current(model, alias)
        if move is None:
            return None
        known = self._wanted.get((model, alias))
        if known is not None and known.generation == move.generation:
            return known
        sha256 = None
        if move.version is not None:
            sha256 = self._loaded.get((model, move.version)).sha256
        return alias_move(model, alias, move.generation, move.version, sha256)

    def get(self, model: str, version: int, sha256: str) -> Serving | None:
        """Return a version that the log names; None, and a line in `refused`, where it is gone.

        Blocks while it is loaded, which is before the log names it in the worker that wrote that.

        Raises:
            OSError: the registry does not answer: to be asked again.
        """
        with self._lock:
            if (model, version, sha256) in self._refused:
                return None
        return self._check(model, version, sha256)

    def _check(self, model: str, version: int, sha256: str) -> Serving | None:
        """Load a version, and note whether it could be."""
        found, fault = None, ""
        try:
            found = self._loaded.get((model, version))
            if found.sha256 != sha256:
                place = f"{model} {version}"
                raise CorruptModelError(place, f"manifest {found.sha256}", f"{sha256}, by the log")
        except (ModelError, TrainingError) as error:
            found, fault = None, str(error)
        with self._lock:
            if found is None:
                self._refused[model, version, sha256] = fault
            else:
                self._refused.pop((model, version, sha256), None)
        return found

    def _load(self, key: tuple[str, int]) -> Serving:
        return self.serving(self._open().load(*key))

    def serving(self, version: LoadedVersion) -> Serving:
        """Return a loaded version at work.

        Raises:
            ModelError: it is not for what is wanted, or broken.
            TrainingError: XGBoost is not installed.
        """
        place = version.where("manifest.json")
        features = self.wants.index_of(version.manifest, place)
        for each in (version, *version.members):
            each.manifest.require_filling(place, fill_forward=self.wants.fill_forward)
        return Serving(make_predictor(version), features, version.sha256)
