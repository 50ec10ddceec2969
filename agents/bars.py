"""The bars agent: `ticks` to bars, with late and dead records beside them.

What comes in: batches of trades and control records. Where it is kept: open windows, closed windows
and trade ids of each partition (`tables`). What goes out: `bars`, `bars.late`, `bars.dead` with
each checkpoint, `bars.forming` beside it.
"""

from __future__ import annotations

from typing import Any

from agents.windowed import WindowedStage, add_table, batch_topic
from app.assembly import CandlewickApp
from app.settings import Settings
from tables.bars import BarsPartition
from tables.views import symbol_view

AGENT = "bars"


def make_stage(settings: Settings) -> WindowedStage:
    """The bars agent's part of a deployment."""
    return WindowedStage(settings, AGENT, BarsPartition)


def register(app: CandlewickApp, stage: WindowedStage) -> None:
    """Declare the agent and its table; called once, before the worker starts."""
    add_table(app, stage, symbol_view, "Open windows of each symbol")

    @app.agent(batch_topic(app, stage), name=AGENT, concurrency=1)
    async def bars(stream: Any) -> None:
        async for batch in stream:
            await app.engine.handle(batch)
