"""The quality agent: `ticks` to findings, summaries and the cleaned trades.

`quality` and `ticks.clean` go out (agents/checking.py). Bad records are counted here; the bars
agent sends them to `bars.dead`.
"""

from __future__ import annotations

from agents.checking import make_checking_stage
from agents.derived import DerivedStage
from agents.registering import add_agent
from app.settings import Settings
from tables.quality import TradeQuality
from tables.quality.checking import CheckedTrades

AGENT = "quality"


def make_stage(settings: Settings) -> DerivedStage:
    """The agent's part of a deployment.

    Raises:
        SettingsError: a threshold, a calendar or an instrument file that cannot be used.
    """
    return make_checking_stage(settings, AGENT, CheckedTrades, TradeQuality)


register = add_agent
