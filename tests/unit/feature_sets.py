"""Feature sets for tests of the feature store: small, and versions of one name that differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from app.contracts.wire import BarRecord
from models.predicting.features_plan import Feature
from models.predicting.features_terms import Change, Computed, Mean, Ratio, Reading, Scaled
from models.predicting.featuresets import FeatureSet
from models.store.records import FeatureSetRecord, describe
from tables.indicators.base import MINUTE

CLOSE = Reading("CLOSE")


def spread(closes: list[float]) -> float:
    return max(closes) - min(closes)


def other_spread(closes: list[float]) -> float:
    return closes[-1] - min(closes)


class Small(FeatureSet):
    """The last return, the close to its mean, and RSI."""

    NAME = "small"
    VERSION = 1

    @classmethod
    def declare(cls) -> Sequence[Feature]:
        return (
            Feature("return_1", Change(CLOSE, 1), "over a bar"),
            Feature("to_mean", Ratio(CLOSE, Mean(CLOSE, 3)), "close to its mean"),
            Feature("rsi", Scaled(Reading("RSI(3)"), 0.01, -0.5)),
        )


def small(
    *features: Feature, name: str = "small", version: int = 1, **members: Any
) -> type[FeatureSet]:
    """A set that declares these features."""

    def declare(cls: type[FeatureSet]) -> Sequence[Feature]:
        return features

    body = {"NAME": name, "VERSION": version, "declare": classmethod(declare), **members}
    return type("Made", (FeatureSet,), {"__module__": __name__, "__doc__": "Made.", **body})


def computed(function: Callable[..., float]) -> Feature:
    return Feature("spread", Computed(function, (CLOSE,), 3))


def recorded(kind: type[FeatureSet] = Small, **changes: Any) -> FeatureSetRecord:
    """A record as `describe` makes it."""
    fields: dict[str, Any] = {"time": 1_000, "code": "0.0.1", "owner": "ada", "by": "ada"}
    return describe(kind, **fields | changes)


def bar(start: int, close: float, symbol: str = "AAA", **changes: object) -> BarRecord:
    """A bar of the minute that begins `start` minutes after 1970."""
    made = BarRecord(
        *(symbol, "1m", start * MINUTE, close, close, close, close, 1.0, close, 1, 0, True, False),
        (),
    )
    return msgspec.structs.replace(made, **changes)
