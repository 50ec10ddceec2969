"""A broker that is away is waited for; what else keeps failing ends the worker and says why."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any, cast

import pytest
from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    KafkaConnectionError,
    KafkaTimeoutError,
    NotLeaderForPartitionError,
    ProducerFenced,
    TransactionalIdAuthorizationFailed,
)

from app.exits import OperatorError, RefusalError
from app.streaming import failures
from app.streaming.runner import PartitionRunner
from app.streaming.store import StoreDamagedError

AWAY = [
    KafkaConnectionError("no broker"),
    KafkaTimeoutError(),
    NotLeaderForPartitionError(),
    CoordinatorLoadInProgressError(),
    ConnectionRefusedError(),
    TimeoutError(),
    socket.gaierror(),
]
HERE = [
    OSError(28, "No space left on device"),
    PermissionError(),
    StoreDamagedError("bad block"),
    TransactionalIdAuthorizationFailed(),
    ProducerFenced(),
    ValueError("a fault of ours"),
]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sleeping moves the clock and takes no time."""
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr("app.streaming.failures.time.monotonic", lambda: now)


class Runner:
    """Fails by each of the errors in turn, then restores."""

    def __init__(self, errors: list[BaseException]) -> None:
        self.errors = errors
        self.attempts = 0
        self.stage: Any = type("Stage", (), {"agent": "bars"})
        self.partition = 3
        self.log = logging.getLogger("test")

    async def restore(self) -> None:
        self.attempts += 1
        if self.errors:
            raise self.errors.pop(0)


async def restore(*errors: BaseException) -> Runner:
    runner = Runner(list(errors))
    owned = asyncio.Event()
    owned.set()
    await failures.restore_with_patience(cast(PartitionRunner, runner), owned)
    return runner


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("error", AWAY, ids=repr)
async def test_a_broker_that_is_away_is_waited_for_however_long(error: BaseException) -> None:
    assert failures.is_away(error)
    assert (await restore(*[error] * 500)).attempts == 501


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("error", HERE, ids=repr)
async def test_what_is_not_the_brokers_absence_ends_it_after_a_while(error: BaseException) -> None:
    assert not failures.is_away(error)
    with pytest.raises(OperatorError, match="bars 3 cannot be restored since 3") as raised:
        await restore(*[error] * 500)
    assert not isinstance(raised.value, RefusalError)
    assert raised.value.__cause__ is error


@pytest.mark.usefixtures("clock")
async def test_a_disk_that_has_room_again_in_time_is_forgiven() -> None:
    assert (await restore(*[HERE[0]] * 8)).attempts == 9


@pytest.mark.usefixtures("clock")
async def test_the_time_without_a_broker_does_not_count() -> None:
    errors = [*[HERE[0]] * 7, *[AWAY[0]] * 100, *[HERE[0]] * 7]
    assert (await restore(*errors)).attempts == 115


async def test_nothing_is_restored_while_a_rebalance_decides_who_owns_it() -> None:
    runner, owned = Runner([]), asyncio.Event()
    restoring = asyncio.create_task(
        failures.restore_with_patience(cast(PartitionRunner, runner), owned)
    )
    for _ in range(10):
        await asyncio.sleep(0)
    attempts = [runner.attempts]
    owned.set()
    await restoring
    assert [*attempts, runner.attempts] == [0, 1]


@pytest.mark.usefixtures("clock")
async def test_a_refusal_is_not_tried_again() -> None:
    with pytest.raises(RefusalError, match="another log"):
        await restore(RefusalError("another log"))
