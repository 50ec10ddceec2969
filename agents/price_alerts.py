"""The price_alerts agent: closed bars to alert events, where a price gets to what a user has set.

What comes in: batches of `DEPLOYMENT.bars`. Where it is kept: the newest bar and what fires, for
each symbol that is watched (`tables/alerts/watching.py`). What goes out: `alerts`, and
`price_alerts.dead`, with each checkpoint.
"""

from __future__ import annotations

from agents.derived import DerivedStage, derived_configuration
from agents.registering import add_agent
from app.durations import format_duration
from app.settings import PREFIX, Settings, SettingsError
from tables.alerts.watching import ROW_PREFIX, PriceAlertsPartition, parse_watches

AGENT = "price_alerts"


def make_stage(settings: Settings) -> DerivedStage:
    """The agent's part of a deployment.

    Raises:
        SettingsError: no price alert is set, or one on bars that there are not.
    """
    configuration = derived_configuration(settings, AGENT)
    watches = parse_watches(settings.price_alerts.watch)
    intervals = {format_duration(length): length for length in settings.bars.intervals}
    name = f"{PREFIX}PRICE_ALERTS__WATCH={','.join(settings.price_alerts.watch)!r}"
    if not watches:
        raise SettingsError(
            f"{name}: the agent {AGENT} has nothing to do; expected price alerts such as "
            f"SPY>200@1m, or {PREFIX}AGENTS without it"
        )
    for watch in watches:
        if watch.interval not in intervals:
            raise SettingsError(
                f"{name}: there are no bars of {watch.interval!r}; expected "
                f"{', '.join(intervals)} (bars.intervals)"
            )
    return DerivedStage(
        settings,
        AGENT,
        lambda partition, read: PriceAlertsPartition(
            configuration, partition, watches, intervals, settings.bars.max_ahead
        ),
        (ROW_PREFIX,),
    )


register = add_agent
