"""The anomalies agent: closed bars to scores (agents/scoring.py)."""

from __future__ import annotations

from typing import Any

from agents.derived import DerivedStage
from agents.scoring import make_scoring_stage
from agents.windowed import batch_topic
from app.assembly import CandlewickApp
from app.contracts.wire import bar_input_decoder
from app.settings import Settings

AGENT = "anomalies"


def make_stage(settings: Settings) -> DerivedStage:
    """The agent's part of a deployment.

    Raises:
        SettingsError: a bar size that there is not.
    """
    return make_scoring_stage(settings, AGENT, "bars", bar_input_decoder)


def register(app: CandlewickApp, stage: DerivedStage) -> None:
    """Declare the agent; called once, before the worker starts."""

    @app.agent(batch_topic(app, stage), name=AGENT, concurrency=1)
    async def anomalies(stream: Any) -> None:
        async for batch in stream:
            await app.engine.handle(batch, AGENT)
