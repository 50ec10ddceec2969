"""The indicators agent: closed bars to indicators.

What comes in: batches of `DEPLOYMENT.bars`. Where it is kept: an `IndicatorSet` for each symbol and
interval (`tables/indicating.py`). What goes out: `indicators`, and `indicators.dead`, with each
checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agents.derived import MAX_ENTRIES, DerivedStage, derived_configuration
from agents.markets import market_context
from agents.registering import add_agent
from app.durations import format_duration
from app.settings import PREFIX, Settings, SettingsError
from tables.indicating import IndicatorsPartition, contexts_of
from tables.indicators.base import ParameterError
from tables.indicators.registry import Request, parse_indicators

AGENT = "indicators"


def requests_of(settings: Settings) -> Mapping[str, Sequence[Request]]:
    """The indicators of each bar size, by its label.

    Raises:
        SettingsError: an indicator that there is not, or a bar size that there is not.
    """
    chosen = settings.indicators
    labels = [format_duration(length) for length in settings.bars.intervals]
    for label in chosen.by_interval:
        if label not in labels:
            raise SettingsError(
                f"{PREFIX}INDICATORS__BY_INTERVAL={dict(chosen.by_interval)!r}: there are no bars "
                f"of {label!r}; expected {', '.join(labels)} (bars.intervals)"
            )
    found = {}
    for label in labels:
        text = chosen.by_interval.get(label, chosen.default)
        try:
            found[label] = parse_indicators(text, chosen.modules) if text.strip() else ()
        except ParameterError as error:
            name = "BY_INTERVAL" if label in chosen.by_interval else "DEFAULT"
            raise SettingsError(f"{PREFIX}INDICATORS__{name}={text!r}: {error}") from error
    return found


def make_stage(settings: Settings, max_entries: int = MAX_ENTRIES) -> DerivedStage:
    """The indicators agent's part of a deployment.

    Raises:
        SettingsError: as `requests_of` and `market_context`.
    """
    configuration = derived_configuration(settings, AGENT, max_entries)
    requests, context_of = requests_of(settings), contexts_of(market_context(settings))
    return DerivedStage(
        settings,
        AGENT,
        lambda partition, read: IndicatorsPartition(
            configuration,
            partition,
            read,
            requests,
            settings.bars.max_ahead,
            context_of=context_of,
            fill_forward=settings.bars.fill_forward,
        ),
    )


register = add_agent
