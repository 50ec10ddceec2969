"""The quote quality agent: `quotes` to findings, summaries and the cleaned quotes.

`quality` and `quotes.clean` go out (agents/checking.py). Bad records are counted here; the quotes
agent sends them to `quotes.dead`.
"""

from __future__ import annotations

from agents.checking import make_checking_stage
from agents.derived import DerivedStage
from agents.registering import add_agent
from app.settings import Settings
from tables.quality import QuoteQuality
from tables.quality.checking import CheckedQuotes

AGENT = "quote_quality"


def make_stage(settings: Settings) -> DerivedStage:
    """The agent's part of a deployment.

    Raises:
        SettingsError: a threshold, a calendar or an instrument file that cannot be used.
    """
    return make_checking_stage(settings, AGENT, CheckedQuotes, QuoteQuality)


register = add_agent
