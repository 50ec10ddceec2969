"""What the agents of features share: their stage, of settings."""

from __future__ import annotations

from typing import Any

from agents.derived import DerivedStage, derived_configuration
from agents.markets import market_context
from agents.windowed import bars_configuration
from app.durations import format_duration
from app.settings import PREFIX, Settings, SettingsError
from models.features import FeaturesConfiguration
from models.features.partition import LOADED_PREFIXES, FeaturesPartition
from models.features.stage import FeatureStage
from tables.markets import TradingDays

_DURATIONS = ("window", "slide", "recent", "gap")
#: A symbol: its trading day is then that of all that the instruments' file does not name.
_ANY = ""


def features_configuration(settings: Settings) -> FeaturesConfiguration:
    """The settings that features depend on, as plain values.

    Raises:
        SettingsError: durations that do not fit each other.
    """
    chosen = settings.features
    try:
        return FeaturesConfiguration(
            bars_configuration(settings),
            window=chosen.window,
            slide=chosen.slide,
            recent=chosen.recent,
            gap=chosen.gap,
            max_pending=chosen.max_pending,
        )
    except SettingsError:
        raise
    except ValueError as error:
        named = ", ".join(
            f"{PREFIX}FEATURES__{name.upper()}={format_duration(getattr(chosen, name))!r}"
            for name in _DURATIONS
        )
        raise SettingsError(f"{named}: {error}") from error


def make_features_stage(
    settings: Settings, agent: str, kind: type[FeatureStage[Any]]
) -> DerivedStage:
    """The part of a deployment of an agent of features.

    Days are those of `markets.calendar`, for all symbols: a partition turns them together.

    Raises:
        SettingsError: as `features_configuration` and `market_context`.
    """
    configuration = derived_configuration(settings, agent)
    features = features_configuration(settings)
    market = market_context(settings).market(_ANY)
    return DerivedStage(
        settings,
        agent,
        lambda partition, read: FeaturesPartition(
            configuration, partition, kind, features, TradingDays(market)
        ),
        LOADED_PREFIXES,
    )
