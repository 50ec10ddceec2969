"""How each agent is declared: a stream of its source's batches, handled by the engine."""

from __future__ import annotations

from typing import Any

from app.assembly import CandlewickApp
from app.streaming.protocols import Stage
from app.streaming.transport import BatchSchema

#: Batches waiting for the agent; each is up to a fetch of a partition.
QUEUED_BATCHES = 8


def add_agent(app: CandlewickApp, stage: Stage) -> None:
    """Declare a stage's agent; called once, before the worker starts."""
    agent = stage.agent
    # A fetch is one event of it.
    source = app.topic(stage.source, schema=BatchSchema(), acks=False, maxsize=QUEUED_BATCHES)

    async def take(stream: Any) -> None:
        async for batch in stream:
            await app.engine.handle(batch, agent)

    # Faust's log names an agent by its function.
    take.__module__, take.__qualname__ = f"agents.{agent}", agent
    app.agent(source, name=agent, concurrency=1)(take)
