"""What the two anomalies agents share: closed bars to scores.

What comes in: batches of `DEPLOYMENT.bars` or `DEPLOYMENT.quotes.bars`. Where it is kept: a scorer
for each symbol and interval (`models/anomalies`). What goes out: `anomalies`, `alerts` where they
are raised (`raising.agents`), and `AGENT.dead`, with each checkpoint.
"""

from __future__ import annotations

from typing import Any

import msgspec

from agents.derived import DerivedStage, derived_configuration
from app.durations import format_duration
from app.settings import PREFIX, Settings, SettingsError
from models.anomalies.partition import AnomaliesPartition
from models.anomalies.rules import RuleLimits


def make_scoring_stage(
    settings: Settings, agent: str, source: str, decoder: msgspec.json.Decoder[Any]
) -> DerivedStage:
    """An anomalies agent's part of a deployment.

    Raises:
        SettingsError: a bar size that there is not.
    """
    chosen = settings.anomalies
    configuration = derived_configuration(settings, agent)
    labels = {length: format_duration(length) for length in settings.bars.intervals}
    for length in chosen.intervals:
        if length not in labels:
            raise SettingsError(
                f"{PREFIX}ANOMALIES__INTERVALS: there are no bars of {format_duration(length)!r}; "
                f"expected {', '.join(labels.values())} (bars.intervals)"
            )
    limits = RuleLimits(
        chosen.price_share, chosen.size_times, chosen.overbought, chosen.oversold, None
    )
    scorers = {
        labels[length]: {
            "interval": length,
            "false_alarms_per_day": chosen.false_alarms_per_day,
            "session_gap": chosen.session_gap,
            "warm_up": chosen.warm_up,
            "limits": limits,
        }
        for length in chosen.intervals
    }
    raising = settings.raising
    critical = raising.anomaly_critical if agent in raising.agents else None
    return DerivedStage(
        settings,
        agent,
        lambda partition, read: AnomaliesPartition(
            configuration,
            partition,
            read,
            decoder=decoder,
            source=source,
            scorers=scorers,
            intervals={label: length for length, label in labels.items()},
            max_ahead=settings.bars.max_ahead,
            publish_all=chosen.publish == "all",
            critical=critical,
        ),
    )
