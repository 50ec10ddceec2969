"""What a service asks: the newest features of the version that is served, counted by caller.

Which version that is, the alias `active` says. It is read by `refresh`, when the caller says so,
and not at each look-up: a look-up reads memory alone. A version whose code makes other features
than the registered ones, or of which there is no source, is refused by name, and what was served
before goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.predicting.registry_errors import MismatchedModelError, MissingModelError, ModelError
from models.store.online import OnlineRows, OnlineSource
from models.store.registry import FeatureRegistry
from models.store.usage import Usage


@dataclass(frozen=True)
class Refreshed:
    """What a refresh found.

    Attributes:
        served: the version by name: `{"returns": "returns@1:0123456789abcdef"}`.
        faults: why a name's active version is not served, by name.
    """

    served: Mapping[str, str]
    faults: Mapping[str, str]


class FeatureService:
    """Online look-ups by the name of a feature set."""

    def __init__(
        self,
        registry: FeatureRegistry,
        sources: Sequence[OnlineSource],
        usage: Usage | None = None,
    ) -> None:
        """Begin without a version served: call `refresh`.

        Args:
            sources: one a version that runs here.
            usage: where look-ups are counted.
        """
        self._registry = registry
        self._sources = {each.feature_set: each for each in sources}
        self.usage = usage if usage is not None else Usage()
        self._served: dict[str, OnlineSource] = {}

    def refresh(self) -> Refreshed:
        """Read which versions are active; blocks for as long as the store takes.

        Raises:
            OSError: of the store.
        """
        faults: dict[str, str] = {}
        served = dict(self._served)
        names = sorted({each.partition("@")[0] for each in self._sources})
        for name in names:
            try:
                served[name] = self._active(name)
            except ModelError as error:
                faults[name] = str(error)
        self._served = served
        return Refreshed({name: each.feature_set for name, each in served.items()}, faults)

    def _active(self, name: str) -> OnlineSource:
        record = self._registry.record(name, self._registry.resolve(name))
        source = self._sources.get(record.label)
        if source is None:
            running = [each for each in self._sources if each.partition("@")[0] == name]
            raise MismatchedModelError(
                record.label, f"there runs {', '.join(sorted(running))}", "the active version"
            )
        return source

    def online(
        self,
        name: str,
        symbols: Sequence[str],
        interval: str,
        *,
        now: int,
        caller: str,
        features: Sequence[str] | None = None,
        max_age: int | None = None,
    ) -> OnlineRows:
        """Look up the newest features of symbols, and count it.

        Args:
            name: of the feature set; its active version is served.
            now: ns.
            caller: as it calls itself, for the counts.
            features: see `OnlineSource.latest`, as `interval` and `max_age`.

        Raises:
            MissingModelError: no version of it is served.
            ValueError: the interval is none, or the set has no such feature.
        """
        source = self._served.get(name)
        if source is None:
            raise MissingModelError(name, "no version is served", "an active one that runs here")
        found = source.latest(symbols, interval, now=now, features=features, max_age=max_age)
        self.usage.count(
            source.feature_set,
            "online",
            caller,
            rows=len(found.rows),
            served=found.served,
            time=now,
        )
        return found
