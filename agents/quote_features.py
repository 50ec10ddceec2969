"""The quote features agent: `quotes` to features over sliding windows, sessions and trading days.

What comes in: batches of quotes and control records, as the quotes agent has them. Where it is
kept: windows of each symbol and records that wait for the grace (`models/features`). What goes out:
`features`, whose records have the kind `quotes`; `quote_features.late` and `quote_features.dead`,
with each checkpoint.

Quiet partitions close by the clock records of the quotes agent, as far as these go: see
agents/features.py.
"""

from __future__ import annotations

from agents.derived import DerivedStage
from agents.featuring import make_features_stage
from agents.registering import add_agent
from app.settings import Settings
from models.features import QuoteFeatures

AGENT = "quote_features"


def make_stage(settings: Settings) -> DerivedStage:
    """The quote features agent's part of a deployment.

    Raises:
        SettingsError: as `make_features_stage`.
    """
    return make_features_stage(settings, AGENT, QuoteFeatures)


register = add_agent
