"""The bars agent: `ticks` to bars, with late and dead records beside them.

What comes in: batches of trades and control records. Where it is kept: open windows, closed windows
and trade ids of each partition (`tables`). What goes out: `bars`, `bars.late`, `bars.dead` with
each checkpoint, `bars.forming` beside it.
"""

from __future__ import annotations

from agents.registering import add_agent
from agents.windowed import WindowedStage, WindowedState, add_table
from app.assembly import CandlewickApp
from app.settings import Settings
from tables.bars import BarsPartition
from tables.corrections import Answer
from tables.recall import Recall
from tables.views import symbol_view

AGENT = "bars"


class TradesState(WindowedState):
    """A `BarsPartition` as the engine wants it."""

    def __init__(self, partition: BarsPartition, max_value_bytes: int) -> None:
        super().__init__(partition, max_value_bytes)
        self._trades = partition
        self._recall: Recall | None = None

    @property
    def recall(self) -> Recall | None:
        """What to read of the log for the correction that is next."""
        question = self._trades.question
        if question is None:
            return None
        if self._recall is None:
            self._recall = Recall.shortest(self._trades, question)
        return self._recall

    def recalled(self, *, whole: bool) -> None:
        """Answer the correction, or find that more has to be read."""
        recall, question = self.recall, self._trades.question
        if recall is None or question is None:
            raise RuntimeError("nothing was asked for")
        result = recall.result() if whole else Answer(question.offset, reason="log_gone")
        self._recall = result if isinstance(result, Recall) else None
        if isinstance(result, Answer):
            self._trades.answer(result)


def make_stage(settings: Settings) -> WindowedStage:
    """The bars agent's part of a deployment."""
    return WindowedStage(settings, AGENT, BarsPartition, TradesState)


def register(app: CandlewickApp, stage: WindowedStage) -> None:
    """Declare the agent and its table; called once, before the worker starts."""
    add_table(app, stage, symbol_view, "Open windows of each symbol")
    add_agent(app, stage)
