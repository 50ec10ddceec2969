"""The settings of the quality checks, as the plain values of `tables/quality`; no Faust here."""

from __future__ import annotations

from app.settings import PREFIX, Settings, SettingsError
from tables.quality import QualityConfiguration, QualityConfigurationError
from tables.quality.intake import Bounds


def quality_configuration(settings: Settings) -> QualityConfiguration:
    """Thresholds and windows; late, and how far a record moves the clock, are as for bars.

    Raises:
        SettingsError: a threshold that cannot be meant.
    """
    bars = settings.bars
    chosen = settings.quality.model_dump()
    try:
        return QualityConfiguration(
            **chosen, late_after=bars.grace + bars.correction_horizon, clock_ahead=bars.clock_ahead
        )
    except QualityConfigurationError as error:
        name = f"{PREFIX}QUALITY__{error.attribute.upper()}"
        raise SettingsError(f"{name}={chosen[error.attribute]!r}: {error}") from error


def bounds_of(settings: Settings) -> Bounds:
    """What records are refused by: the same as for bars."""
    bars = settings.bars
    return Bounds(bars.earliest_event_time, bars.max_ahead, bars.max_symbols)
