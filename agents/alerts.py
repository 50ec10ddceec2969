"""The alerts agent: what agents have seen becomes notifications, a few for many.

What comes in: batches of `DEPLOYMENT.alerts.events`. Where it is kept: an `AlertBook` for each
partition (`tables/alerts`). What goes out: `notifications`, each once, and `alerts.dead`, with each
checkpoint. Delivery is not done here (`app/notify`).
"""

from __future__ import annotations

from typing import Any

from agents.derived import DerivedStage, derived_configuration
from agents.windowed import batch_topic
from app.assembly import CandlewickApp
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


def register(app: CandlewickApp, stage: DerivedStage) -> None:
    """Declare the agent; called once, before the worker starts."""

    @app.agent(batch_topic(app, stage), name=AGENT, concurrency=1)
    async def alerts(stream: Any) -> None:
        async for batch in stream:
            await app.engine.handle(batch, AGENT)
