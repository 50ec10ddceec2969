"""What the quality agents share: their stage, of settings.

Where it is kept: a row a symbol, and one of the partition (`tables/quality/checking.py`). What goes
out: `quality`, the cleaned records, and `alerts` where they are raised (`raising.agents`), with
each checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from agents.derived import DerivedStage, derived_configuration
from agents.markets import market_context
from agents.quality_settings import bounds_of, quality_configuration
from app.settings import Settings
from tables.alerts.raising import parse_raised
from tables.derived import DerivedConfiguration
from tables.markets import Instruments
from tables.quality import QualityConfiguration
from tables.quality.checking import LOADED_PREFIXES, CheckedPartition
from tables.quality.partition import QualityPartition


def checked_configuration(settings: Settings, agent: str) -> DerivedConfiguration:
    """Of a stage whose source is an input: its values are bounded as those of bars are."""
    chosen = derived_configuration(settings, agent)
    return replace(chosen, max_value_bytes=settings.topics.max_message_bytes // 2)


def make_checking_stage(
    settings: Settings,
    agent: str,
    checked: type[CheckedPartition[Any]],
    quality: Callable[[QualityConfiguration, Instruments], QualityPartition[Any]],
) -> DerivedStage:
    """The part of a deployment of an agent that checks records.

    Raises:
        SettingsError: a threshold, a calendar or an instrument file that cannot be used.
    """
    configuration, bounds = checked_configuration(settings, agent), bounds_of(settings)
    thresholds, instruments = quality_configuration(settings), market_context(settings)
    raising = settings.raising
    raised = parse_raised(raising.quality) if agent in raising.agents else None
    return DerivedStage(
        settings,
        agent,
        lambda partition, _: checked(
            configuration, partition, bounds, quality(thresholds, instruments), raised
        ),
        LOADED_PREFIXES,
    )
