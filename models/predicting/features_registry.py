"""Feature sets by name: the built-in ones, and those of modules a user names."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from models.predicting.features_plan import Feature, FeatureSetError
from models.predicting.featuresets import FeatureSet
from tables.learning import discover

BUILT_IN = "models.predicting.features_returns"

_WRITTEN = re.compile(r"(?:(?P<module>[\w.]+):)?(?P<name>[\w.-]+)(?:@(?P<version>\d+))?\Z")


@dataclass(frozen=True)
class Found:
    """A feature that a search found: `returns@1`, and the feature."""

    feature_set: str
    feature: Feature


def feature_sets(modules: Sequence[str] = ()) -> Mapping[str, type[FeatureSet]]:
    """Return all sets by name and version, `returns@1`.

    Args:
        modules: import paths of users' modules, beside the built-in one.

    Raises:
        FeatureSetError: a module cannot be imported or has no set, a set is not as it must be, or
            two have one name and version.
    """
    found: dict[str, type[FeatureSet]] = {}
    for path in (BUILT_IN, *modules):
        for kind in _sets_of(path):
            kind.plan()
            other = found.setdefault(f"{kind.NAME}@{kind.VERSION}", kind)
            if other is not kind:
                raise FeatureSetError(
                    f"two feature sets are {kind.NAME}@{kind.VERSION}: {other.__module__}."
                    f"{other.__qualname__} and {kind.__module__}.{kind.__qualname__}; raise the "
                    "version of one"
                )
    return dict(sorted(found.items()))


def _sets_of(path: str) -> list[type[FeatureSet]]:
    try:
        kinds = discover(importlib.import_module(path), FeatureSet)
    except ImportError as error:
        raise FeatureSetError(f"feature module {path!r} cannot be imported: {error}") from error
    if not kinds:
        raise FeatureSetError(f"feature module {path!r} defines no feature set")
    return kinds


def find_feature_set(written: str, modules: Sequence[str] = ()) -> type[FeatureSet]:
    """Return the set that `returns`, `returns@1` or `my_features:calm@2` names.

    Without a version it is the highest there is.

    Raises:
        FeatureSetError: there is none, or as `feature_sets`.
    """
    match = _WRITTEN.match(written.strip())
    if match is None:
        raise FeatureSetError(f"{written!r}: expected NAME, NAME@VERSION or MODULE:NAME@VERSION")
    module, name, version = match["module"], match["name"], match["version"]
    known = feature_sets((*modules, module) if module and module not in modules else modules)
    fitting = [
        kind
        for kind in known.values()
        if name == kind.NAME
        and (version is None or int(version) == kind.VERSION)
        and (module is None or _within(kind, module))
    ]
    if not fitting:
        raise FeatureSetError(f"no feature set {written!r}; there are {', '.join(known)}")
    return max(fitting, key=lambda kind: kind.VERSION)


def _within(kind: type[FeatureSet], package: str) -> bool:
    return kind.__module__ == package or kind.__module__.startswith(f"{package}.")


def search_features(text: str, modules: Sequence[str] = ()) -> Iterator[Found]:
    """Yield the features whose name, set, inputs or description have all words of a text.

    Raises:
        FeatureSetError: as `feature_sets`.
    """
    words = text.lower().split()
    for label, kind in feature_sets(modules).items():
        for each in kind.plan().features:
            whole = f"{label} {each.name} {each.about} {each.term!r}".lower()
            if all(word in whole for word in words):
                yield Found(label, each)
