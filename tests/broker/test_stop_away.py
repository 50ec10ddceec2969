"""SIGTERM while no broker answers: the worker ends by itself, and says what it could not publish.

Whatever it says, nothing is lost: the next start goes on from the last checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import exits
from app.broker import EmbeddedBroker
from tests.broker.backpressure import (
    Away,
    Watch,
    committed_at_last,
    killed,
    own_broker,
    paused,
)
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import (
    FLUSH,
    assert_exact,
    market,
    prepared,
    send,
    wait_drained,
)

pytestmark = pytest.mark.broker

#: Nothing is published before the worker ends.
LATE = {"output_delay": "10m", "row_delay": "10m", "max_delay": "10m"}
PENDING = "candlewick_pending_output_bytes"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """A Kafka of this module's own: it is paused and killed."""
    with own_broker(tmp_path_factory.mktemp("away")) as own:
        yield own


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep the test's own clients from telling at length that the broker is away."""
    caplog.set_level(logging.CRITICAL, "aiokafka")


@pytest.mark.parametrize("away", [paused, killed])
async def test_a_worker_that_has_published_all_ends_with_code_0(
    broker: EmbeddedBroker, unique: str, tmp_path: Path, away: Away
) -> None:
    settings = await prepared(worker_settings(broker, unique, tmp_path))
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await send(settings, {number: [*market(number, 2, 200), FLUSH] for number in range(2)})
        await wait_drained(settings, worker)
        back = await away(broker)
        try:
            # So the consumer has noticed, too.
            await Watch(worker).says("no broker answers")
            assert await worker.stop() == exits.OK
        finally:
            await back()
        assert "Traceback" not in worker.log
    await assert_exact(settings)


@pytest.mark.parametrize("away", [paused, killed])
async def test_a_worker_says_what_it_has_not_published_and_loses_nothing(
    broker: EmbeddedBroker, unique: str, tmp_path: Path, away: Away
) -> None:
    settings = await prepared(worker_settings(broker, unique, tmp_path, checkpoint=LATE))
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        watch = Watch(worker)
        await send(settings, {number: [*market(number, 2, 200), FLUSH] for number in range(2)})

        async def taken() -> bool:
            seen = await watch.look()
            pending = [seen.metrics[key] for key in seen.metrics if key[0] == PENDING]
            return len(pending) == 2 and min(pending) > 0 == seen.total("lag_records")

        await until(taken, lambda: worker.tail)
        back = await away(broker)
        try:
            await watch.says("no broker answers")
            assert await worker.stop() == exits.FAILURE
        finally:
            await back()
        [line] = [each for each in worker.log.splitlines() if each.startswith("candlewick worker:")]
        assert "not published: what came in since the last checkpoint of bars 0, bars 1" in line
        assert "Traceback" not in worker.log
        assert not sum((await committed_at_last(settings)).values())
    usual = worker_settings(broker, unique, tmp_path)
    async with WorkerProcess(usual) as worker:
        await wait_drained(usual, worker)
        assert await worker.stop() == exits.OK
    await assert_exact(usual)
