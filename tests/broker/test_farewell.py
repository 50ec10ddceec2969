"""A supervised worker that is killed leaves its group by its supervisor, not by a time-out."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import aiohttp
import pytest

from app.admin import ensure_topics
from app.broker import EmbeddedBroker
from app.run.farewell import leave_group_for, new_client_id
from app.run.services import running_workers
from app.run.supervisor import Supervisor
from app.settings import Settings, load_settings
from tests.broker.worker import until, worker_settings

pytestmark = [pytest.mark.broker, pytest.mark.slow]


async def test_a_killed_worker_leaves_and_the_next_process_shares_the_partitions_again(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = worker_settings(
        kafka, unique, tmp_path, broker={"session_timeout": "20m"}, topics={"partitions": 4}
    )
    await ensure_topics(settings)
    left: list[bool] = []

    async def farewell(worker: Settings, client_id: str) -> bool:
        left.append(await leave_group_for(worker, client_id))
        return left[-1]

    supervisor = Supervisor(settings, 2, farewell=farewell)
    async with running_workers(supervisor), aiohttp.ClientSession() as session:

        async def owned() -> list[int]:
            """Partitions that each worker has ready."""
            found = []
            for address in supervisor.web_addresses:
                try:
                    async with session.get(f"{address}/readyz") as answer:
                        listed = json.loads(await answer.text())["partitions"]
                        found.append(len(listed) if answer.status == 200 else 0)
                except aiohttp.ClientError:
                    found.append(0)
            return found

        async def even() -> bool:
            return await owned() == [2, 2]

        await until(even, lambda: "two partitions each", 90)
        for number in (0, 1):
            before = supervisor.pids
            os.kill(before[number], signal.SIGKILL)

            async def another(before: list[int] = before) -> bool:
                return len(supervisor.pids) == 2 and supervisor.pids != before and await even()

            await until(another, lambda: "two partitions each again", 120)
        assert supervisor.restarts == 2
    # Each was a member still, and has left by our word, not by a time-out.
    assert left == [True, True]


async def test_nobody_else_leaves(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> None:
    settings = worker_settings(kafka, unique, tmp_path)
    assert new_client_id(settings) != new_client_id(settings)
    assert not await leave_group_for(settings, new_client_id(settings))


async def test_without_a_broker_the_session_ends_by_itself(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level("INFO", "app.run.farewell")
    settings = load_settings(data_dir=tmp_path, worker="worker-0")
    assert not await leave_group_for(settings, "candlewick-worker-0-0")
    assert "worker-0 could not leave its group: BrokerUnreachableError" in caplog.text
