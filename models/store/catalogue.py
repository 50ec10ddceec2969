"""Search among what is registered, and lineage: down to the indicators, up to the models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from models.predicting.registry import Registry
from models.predicting.registry_errors import ModelError
from models.store.records import FeatureEntry, FeatureSetRecord
from models.store.registry import FeatureRegistry


@dataclass(frozen=True)
class Hit:
    """A version that a search found, and those of its features that have the words."""

    record: FeatureSetRecord
    features: tuple[FeatureEntry, ...]


@dataclass(frozen=True)
class ModelUse:
    """A version of a model and the feature set it was trained on.

    Attributes:
        aliases: of the model that name this version.
        same: False where the model's hash is not the registered one: its features are others.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    feature_set: str
    same: bool


@dataclass(frozen=True)
class Lineage:
    """Where the features of a version come from and who uses them.

    Attributes:
        indicators: whose outputs are read, by indicator: `{"RSI(14)": ("RSI(14)",)}`.
        models: trained on this name and version.
        unreadable: versions of models whose manifests cannot be read, and why.
    """

    record: FeatureSetRecord
    indicators: Mapping[str, tuple[str, ...]]
    models: tuple[ModelUse, ...]
    unreadable: tuple[str, ...]


def search(
    registry: FeatureRegistry,
    text: str = "",
    *,
    tags: Mapping[str, str | None] | None = None,
    inputs: tuple[str, ...] = (),
    owner: str | None = None,
) -> Iterator[Hit]:
    """Yield the versions that fit all of what is given, by name and version.

    Args:
        text: words, all of them somewhere in the record, in capitals or not.
        tags: with these values; None for any value.
        inputs: an output (`MACD(12,26,9).signal`), an indicator (`RSI(14)`), or one with any
            parameters (`rsi`).
        owner: exactly.

    Raises:
        ModelError: a record is broken.
    """
    words = text.lower().split()
    for name in registry.names():
        for version in registry.versions(name):
            record = registry.record(name, version)
            if owner is not None and record.owner != owner:
                continue
            if not all(_has_tag(record, each, value) for each, value in (tags or {}).items()):
                continue
            if not all(_reads(record, each) for each in inputs):
                continue
            whole = " ".join((_head(record), *map(_line, record.features))).lower()
            if not all(word in whole for word in words):
                continue
            head = _head(record).lower()
            left = [word for word in words if word not in head]
            features = tuple(
                each
                for each in record.features
                if left and all(word in _line(each).lower() for word in left)
            )
            yield Hit(record, features)


def _has_tag(record: FeatureSetRecord, name: str, value: str | None) -> bool:
    return name in record.tags and (value is None or record.tags[name] == value)


def _reads(record: FeatureSetRecord, wanted: str) -> bool:
    sought = "".join(wanted.upper().split())
    for each in record.inputs:
        output = each.upper()
        indicator = output.rpartition(").")[0] + ")" if ")." in output else output
        if sought in (output, indicator, indicator.partition("(")[0]):
            return True
    return False


def _head(record: FeatureSetRecord) -> str:
    tags = " ".join(f"{name}={value}" for name, value in record.tags.items())
    inputs = " ".join(record.inputs)
    return f"{record.label} {record.description} {record.owner or ''} {tags} {inputs}"


def _line(feature: FeatureEntry) -> str:
    return f"{feature.name} {feature.about} {feature.term}"


def lineage(
    registry: FeatureRegistry, name: str, version: int, models: Registry | None = None
) -> Lineage:
    """Return where a version comes from, and the models that were trained on it.

    Args:
        models: where models are looked for; None for nowhere.

    Raises:
        ModelError: there is no such version, or its record is broken.
    """
    record = registry.record(name, version)
    outputs = {
        each: tuple(one for one in record.inputs if one == each or one.startswith(f"{each}."))
        for each in record.indicators
    }
    found, unreadable = _users(record, models) if models is not None else ([], [])
    return Lineage(record, outputs, tuple(found), tuple(unreadable))


def _users(record: FeatureSetRecord, models: Registry) -> tuple[list[ModelUse], list[str]]:
    found, unreadable = [], []
    for model in models.names():
        try:
            named = models.aliases(model)
        except ModelError as error:
            named = {}
            unreadable.append(f"{model}: {error}")
        for version in models.versions(model):
            try:
                manifest = models.manifest(model, version)
            except ModelError as error:
                unreadable.append(f"{model} {version}: {error}")
                continue
            if manifest.feature_set.rpartition(":")[0] != f"{record.name}@{record.version}":
                continue
            aliases = tuple(each for each, move in named.items() if move.version == version)
            same = manifest.feature_set == record.label
            found.append(ModelUse(model, version, aliases, manifest.feature_set, same))
    return found, unreadable
