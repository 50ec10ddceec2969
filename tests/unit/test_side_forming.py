"""Forming bars go out five times a second, and less often where they are late anyway."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.streaming.runner import RunnerKey
from app.streaming.side import FORMING_SECONDS, FORMING_TURNS, SideChannel


class Side(SideChannel):
    """Notes when it would have sent; nothing leaves."""

    def __init__(self, engine: Any) -> None:
        super().__init__(engine)
        self.sent: list[float] = []

    async def send(self, topic: str, partition: int, value: bytes) -> Any:
        self.sent.append(self._engine.now())


def runner(behind: float | None) -> Any:
    """A partition with a changed window, always."""
    return SimpleNamespace(
        ready=True,
        key=RunnerKey("ticks", 0, "bars"),
        partition=0,
        behind=behind,
        stage=SimpleNamespace(agent="bars", forming_topic="bars.forming"),
        state=SimpleNamespace(forming=lambda: ([b"[]"], 1)),
    )


@pytest.mark.parametrize(
    ("behind", "times"), [(None, 20), (0.02, 20), (1.0, 20), (3.5, 10), (60.0, 4)]
)
async def test_they_come_less_often_behind_a_backlog(behind: float | None, times: int) -> None:
    one = runner(behind)
    clock = [100.0]
    engine = SimpleNamespace(
        now=lambda: clock[0],
        runners={one.key: one},
        metrics=SimpleNamespace(forming_sent=lambda agent, bars: None),
    )
    side = Side(cast(Any, engine))
    turn = FORMING_SECONDS / FORMING_TURNS
    for _ in range(round(4.0 / turn)):
        await side._send_forming()
        clock[0] += turn
    assert len(side.sent) == times
