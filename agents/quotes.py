"""The quotes agent: `quotes` to quote bars, with late and dead records beside them.

What comes in: batches of quotes and control records. Where it is kept: open and closed windows of
each partition (`tables`). What goes out: `quotes.bars`, `quotes.late`, `quotes.dead` with each
checkpoint, `quotes.forming` beside it.
"""

from __future__ import annotations

from agents.registering import add_agent
from agents.windowed import WindowedStage, add_table
from app.assembly import CandlewickApp
from app.settings import Settings
from tables.quotes import QuotesPartition
from tables.views import quote_symbol_view

AGENT = "quotes"


def make_stage(settings: Settings) -> WindowedStage:
    """The quotes agent's part of a deployment."""
    return WindowedStage(settings, AGENT, QuotesPartition)


def register(app: CandlewickApp, stage: WindowedStage) -> None:
    """Declare the agent and its table; called once, before the worker starts."""
    add_table(app, stage, quote_symbol_view, "Open quote windows of each symbol")
    add_agent(app, stage)
