"""A worker that cannot make progress ends by itself, says why, and another one goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.broker import EmbeddedBroker
from app.exits import FAILURE
from app.identity import worker_folder
from app.settings import Settings
from tests.broker.worker import WorkerProcess, worker_settings
from tests.chaos.deployment import (
    FLUSH,
    HISTORICAL,
    assert_exact,
    market,
    prepared,
    send,
    wait_drained,
)

pytestmark = pytest.mark.broker

#: An application that gives up soon, and does what a test appends.
HASTY = """
import asyncio, threading, time
import app.streaming.failures as failures
import app.streaming.watchdog as watchdog
failures.GIVE_UP_SECONDS = 1.0
watchdog.STUCK_SECONDS = 2.0
from app.application import app
from app.streaming.engine import Engine
"""
MAIN_LOOP_STUCK = """
async def handle(self, batch, agent):
    time.sleep(3600)
Engine.handle = handle
"""
#: In the consumer's thread, as soon as Faust delivers.
IN_THREAD = """
plain = Engine.on_delivering
def on_delivering(self):
    plain(self)
    thread = self.consumer._thread
    thread.thread_loop.call_soon_threadsafe(act, thread)
Engine.on_delivering = on_delivering
"""
CONSUMER_STUCK = "def act(thread): time.sleep(3600)\n" + IN_THREAD
CONSUMER_ENDED = "def act(thread): thread.thread_loop.stop()\n" + IN_THREAD
GROUP_REFUSED = (
    """
from aiokafka.errors import GroupAuthorizationFailedError
def act(thread):
    coordinator = thread._consumer._coordinator
    error = GroupAuthorizationFailedError(coordinator.group_id)
    act.kept = asyncio.ensure_future(coordinator._push_error_to_user(error))
"""
    + IN_THREAD
)


@pytest.fixture
async def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    prepared_settings = await prepared(worker_settings(kafka, unique, tmp_path))
    values = {each: [HISTORICAL, *market(each, 2, 500), FLUSH] for each in range(2)}
    await send(prepared_settings, values)
    return prepared_settings


def hasty(settings: Settings, folder: Path, fault: str = "") -> WorkerProcess:
    """A worker, not started, of an application with a fault."""
    (folder / "hasty.py").write_text(HASTY + fault, encoding="utf-8")
    return WorkerProcess(settings, "hasty", application="hasty", folders=[folder])


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param(MAIN_LOOP_STUCK, "the event loop is stuck for", id="main"),
        pytest.param(CONSUMER_STUCK, "the consumer's loop is stuck for", id="consumer"),
        pytest.param(GROUP_REFUSED, "the consumer cannot take part in its group", id="group"),
    ],
)
async def test_a_worker_that_is_stuck_ends_with_its_reason_and_another_goes_on(
    settings: Settings, tmp_path: Path, fault: str, reason: str
) -> None:
    async with hasty(settings, tmp_path, fault) as worker:
        assert await worker.wait() == FAILURE, worker.tail
        assert worker.log.splitlines()[-1].startswith(f"candlewick worker: {reason}"), worker.tail
    async with WorkerProcess(settings) as other:
        await other.wait_ready()
        await wait_drained(settings, other)
        assert await other.stop() == 0
    await assert_exact(settings)


async def test_a_consumer_thread_that_ends_takes_the_worker_with_it(
    settings: Settings, tmp_path: Path
) -> None:
    async with hasty(settings, tmp_path, CONSUMER_ENDED) as worker:
        assert await worker.wait() == FAILURE, worker.tail
    assert "Event loop stopped before Future completed" in worker.log, worker.tail


async def test_a_store_that_can_never_be_opened_ends_the_worker_in_one_line(
    settings: Settings, tmp_path: Path
) -> None:
    worker = hasty(settings, tmp_path)
    folder = worker_folder(worker.settings)
    folder.mkdir(parents=True)
    (folder / "bars-0").write_text("in the way")
    async with worker:
        assert await worker.wait() == FAILURE, worker.tail
        last = worker.log.splitlines()[-1]
    assert last.startswith("candlewick worker: bars 0 cannot be restored since"), worker.tail
