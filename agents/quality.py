"""The quality agent: `ticks` to findings, summaries and the cleaned trades.

What comes in: batches of trades and control records. Where it is kept: a row a symbol, and one of
the partition (`tables/quality/checking.py`). What goes out: `quality` and `ticks.clean`, with each
checkpoint. Bad records are counted here; the bars agent sends them to `bars.dead`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agents.derived import DerivedStage, derived_configuration
from agents.markets import market_context
from agents.quality_settings import bounds_of, quality_configuration
from agents.windowed import batch_topic
from app.assembly import CandlewickApp
from app.settings import Settings
from tables.derived import DerivedConfiguration
from tables.quality import TradeQuality
from tables.quality.checking import LOADED_PREFIXES, CheckedTrades

AGENT = "quality"


def checked_configuration(settings: Settings, agent: str) -> DerivedConfiguration:
    """Of a stage whose source is an input: its values are bounded as those of bars are."""
    chosen = derived_configuration(settings, agent)
    return replace(chosen, max_value_bytes=settings.topics.max_message_bytes // 2)


def make_stage(settings: Settings) -> DerivedStage:
    """The quality agent's part of a deployment.

    Raises:
        SettingsError: a threshold, a calendar or an instrument file that cannot be used.
    """
    configuration, bounds = checked_configuration(settings, AGENT), bounds_of(settings)
    thresholds, instruments = quality_configuration(settings), market_context(settings)
    return DerivedStage(
        settings,
        AGENT,
        lambda partition, _: CheckedTrades(
            configuration, partition, bounds, TradeQuality(thresholds, instruments)
        ),
        LOADED_PREFIXES,
    )


def register(app: CandlewickApp, stage: DerivedStage) -> None:
    """Declare the agent; called once, before the worker starts."""

    @app.agent(batch_topic(app, stage), name=AGENT, concurrency=1)
    async def quality(stream: Any) -> None:
        async for batch in stream:
            await app.engine.handle(batch, AGENT)
