"""The quote quality agent: `quotes` to findings, summaries and the cleaned quotes.

As the quality agent (`agents/quality.py`), of quotes: `quality` and `quotes.clean` go out, and the
quotes agent sends bad records to `quotes.dead`.
"""

from __future__ import annotations

from typing import Any

from agents.derived import DerivedStage
from agents.markets import market_context
from agents.quality import checked_configuration
from agents.quality_settings import bounds_of, quality_configuration
from agents.windowed import batch_topic
from app.assembly import CandlewickApp
from app.settings import Settings
from tables.quality import QuoteQuality
from tables.quality.checking import LOADED_PREFIXES, CheckedQuotes

AGENT = "quote_quality"


def make_stage(settings: Settings) -> DerivedStage:
    """The quote quality agent's part of a deployment.

    Raises:
        SettingsError: a threshold, a calendar or an instrument file that cannot be used.
    """
    configuration, bounds = checked_configuration(settings, AGENT), bounds_of(settings)
    thresholds, instruments = quality_configuration(settings), market_context(settings)
    return DerivedStage(
        settings,
        AGENT,
        lambda partition, _: CheckedQuotes(
            configuration, partition, bounds, QuoteQuality(thresholds, instruments)
        ),
        LOADED_PREFIXES,
    )


def register(app: CandlewickApp, stage: DerivedStage) -> None:
    """Declare the agent; called once, before the worker starts."""

    @app.agent(batch_topic(app, stage), name=AGENT, concurrency=1)
    async def quote_quality(stream: Any) -> None:
        async for batch in stream:
            await app.engine.handle(batch, AGENT)
