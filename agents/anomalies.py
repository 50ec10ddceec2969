"""The anomalies agent: closed bars to scores (agents/scoring.py)."""

from __future__ import annotations

from agents.derived import DerivedStage
from agents.registering import add_agent
from agents.scoring import make_scoring_stage
from app.contracts.wire import bar_input_decoder
from app.settings import Settings

AGENT = "anomalies"


def make_stage(settings: Settings) -> DerivedStage:
    """The agent's part of a deployment.

    Raises:
        SettingsError: a bar size that there is not.
    """
    return make_scoring_stage(settings, AGENT, "bars", bar_input_decoder)


register = add_agent
