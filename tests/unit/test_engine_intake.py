"""Back-pressure is told: when a partition's intake pauses, why, and for how long it has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.types import TP

from app.observe.health import HealthState
from app.observe.metrics import Metrics
from app.observe.rates import RateFilter
from app.settings import Settings
from app.streaming.engine import Engine
from app.streaming.runner import PartitionRunner
from tests.unit.traced_runner import PARTITION, TICKS, batch, plain_runner

TOO_MUCH = 65 * 1024 * 1024
SOURCE = TP(TICKS, PARTITION)
PAUSES = (
    f"bars {PARTITION}: intake pauses: {TOO_MUCH} bytes of outputs wait to be published, above "
    "checkpoint.max_pending_bytes"
)


class Consumer:
    """Notes what is paused and resumed."""

    def __init__(self) -> None:
        #: The log's end, if it is known.
        self.end: int | None = None
        self.paused: set[TP] = set()
        self.resumed = asyncio.Event()

    def known_ends(self, partitions: Iterable[TP]) -> dict[TP, int]:
        return {} if self.end is None else dict.fromkeys(partitions, self.end)

    def pause_partitions(self, partitions: Iterable[TP]) -> None:
        self.paused.update(partitions)
        self.resumed.clear()

    def resume_partitions(self, partitions: Iterable[TP]) -> None:
        self.paused.difference_update(partitions)
        self.resumed.set()

    async def seek_sources(self, positions: Mapping[TP, int]) -> None:
        """It is where it has to be."""


class Worker:
    """An engine with one partition that flows, and nothing around it."""

    def __init__(self) -> None:
        self.runner, self.state, _ = plain_runner(None)
        self.consumer = Consumer()
        self.clock = 0.0
        self.wall = 0
        self.engine = Engine(
            Settings(), [self.runner.stage], HealthState(), Metrics(), lambda: self.wall
        )
        engine = cast("Any", self.engine)
        engine._app = SimpleNamespace(consumer=self.consumer)
        engine.now = lambda: self.clock
        self.engine.runners[self.runner.key] = self.runner
        self.engine.rebalances._flowing = {SOURCE}
        self.engine.rebalances._delivering = True

    async def fill(self, seconds: float, position: int = 0) -> PartitionRunner:
        """Take a batch that makes too much, and one behind it; then so much time passes."""
        self.state.pending_bytes = TOO_MUCH
        await self.engine.handle(batch(position, position + 2), "bars")
        await self.engine.handle(batch(position + 2, position + 4), "bars")
        # What waits for room has its turn.
        await asyncio.sleep(0)
        assert self.consumer.paused == {SOURCE}
        self.clock += seconds
        self.state.pending_bytes = 0
        return self.runner


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "app.streaming.runner")
    return caplog


async def test_a_pause_is_told_with_its_reason_and_its_end_with_its_length(
    lines: pytest.LogCaptureFixture,
) -> None:
    worker = Worker()
    runner = await worker.fill(1.5)
    assert [each.getMessage() for each in lines.records] == [PAUSES]
    assert await runner.checkpoint()
    await worker.consumer.resumed.wait()
    assert not worker.consumer.paused
    told = lines.records[-1]
    assert [each.getMessage() for each in lines.records] == [
        PAUSES,
        f"bars {PARTITION}: intake goes on after 1.50 s",
    ]
    fields: Any = told
    assert (fields.agent, fields.partition, fields.seconds) == ("bars", PARTITION, 1.5)


async def test_a_state_that_is_dropped_meanwhile_does_not_go_on(
    lines: pytest.LogCaptureFixture,
) -> None:
    worker = Worker()
    runner = await worker.fill(1.5)
    runner.fail(RuntimeError("dropped"))
    await asyncio.gather(*worker.engine._tasks)
    assert [each.getMessage() for each in lines.records] == [PAUSES]


async def test_many_pauses_are_counted_and_not_told_one_by_one(
    lines: pytest.LogCaptureFixture,
) -> None:
    waiting: list[Any] = []
    rates = RateFilter(2, lambda: 0.0, lambda seconds, call: waiting.append(call))
    worker = Worker()
    for number in range(5):
        runner = await worker.fill(0.1, 2 * number)
        assert await runner.checkpoint()
        await worker.consumer.resumed.wait()
    passed = [each.msg for each in lines.records if rates.filter(each)]
    assert len(lines.records) == 10
    # Two of each kind: however different the numbers in them are.
    assert sorted(map(passed.count, set(passed))) == [2, 2]
    assert waiting


async def test_a_runner_knows_how_late_its_input_is_while_more_of_it_waits() -> None:
    worker = Worker()
    appended = int(batch(0, 2).append_times[-1])
    for end, ahead, behind in (
        (None, 0, None),
        (2, 0, None),
        (99, 1_500_000_000, 1.5),
        # The broker's clock is ahead of ours.
        (99, -1_000_000_000, 0.0),
    ):
        worker.consumer.end = end
        worker.wall = appended + ahead
        runner = worker.runner
        await worker.engine.handle(batch(runner.position, runner.position + 2), "bars")
        assert runner.behind == behind
