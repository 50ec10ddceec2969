"""The alerts agent: what agents have seen becomes notifications, a few for many.

What comes in: batches of `DEPLOYMENT.alerts.events`. Where it is kept: an `AlertBook` for each
partition (`tables/alerts`). What goes out: `notifications`, each once, and `alerts.dead`, with each
checkpoint. Delivery is not done here (`app/notify`).
"""

from __future__ import annotations

from agents.derived import DerivedStage, derived_configuration
from agents.registering import add_agent
from app.settings import Settings
from tables.alerts.partition import ROW_PREFIX, AlertsPartition

AGENT = "alerts"


def make_stage(settings: Settings) -> DerivedStage:
    """The alerts agent's part of a deployment."""
    configuration = derived_configuration(settings, AGENT)
    bars = settings.bars
    rules = settings.alerts.rules(settings.deployment, bars.clock_ahead, bars.max_ahead)
    return DerivedStage(
        settings,
        AGENT,
        lambda partition, read: AlertsPartition(configuration, partition, rules),
        (ROW_PREFIX,),
    )


register = add_agent
