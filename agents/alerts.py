"""The alerts agent: what agents have seen becomes notifications, a few for many.

What comes in: batches of `DEPLOYMENT.alerts.events`. Where it is kept: an `AlertBook` for each
partition (`tables/alerts`). What goes out: `notifications`, each once, and `alerts.dead`, with each
checkpoint. Its worker also delivers them (`app/notify`), unless `notify.in_worker` is false.
"""

from __future__ import annotations

from agents.derived import DerivedStage, derived_configuration
from agents.registering import add_agent
from app.assembly import CandlewickApp
from app.notify.gauges import DeliveryGauges
from app.notify.service import Delivery
from app.settings import Settings
from app.streaming.protocols import Stage
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


def register(app: CandlewickApp, stage: Stage) -> None:
    """Declare the agent, and the delivery; called once, before the worker starts.

    Raises:
        SettingsError: a route names a channel that nothing says how to reach, or its secret or
            address cannot be used.
    """
    add_agent(app, stage)
    engine = app.engine
    if engine.settings.notify.in_worker:
        delivery = Delivery(engine.settings)
        engine.followers.append(delivery)
        engine.metrics.read_on_loop(DeliveryGauges(lambda: delivery.running))
