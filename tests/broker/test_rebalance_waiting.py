"""More workers than partitions: who has none waits quietly, and takes over when another dies."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from app.broker import EmbeddedBroker
from app.settings import Settings
from tests.broker.worker import WorkerProcess, until, worker_settings
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

PARTITIONS = 2
#: Questions of the worker's health, each after a wait, while it has nothing to do.
LOOKS = 40


@pytest.fixture
async def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    return await prepared(
        worker_settings(kafka, unique, tmp_path, topics={"partitions": PARTITIONS})
    )


async def owners(*workers: WorkerProcess) -> dict[str, set[int]]:
    """The ready partitions of each worker."""
    return {each.settings.worker: await each.partitions() for each in workers}


async def wait_owned(*workers: WorkerProcess) -> dict[str, set[int]]:
    """Wait until these workers are ready, each with at most one partition, together with all."""
    found: dict[str, set[int]] = {}

    async def owned() -> bool:
        found.update(await owners(*workers))
        ready = [(await each.get("/readyz"))[0] == 200 for each in workers]
        shares = [len(share) for share in found.values()]
        return all(ready) and sum(shares) == PARTITIONS and max(shares) == 1

    await until(owned, lambda: "\n".join([str(found), *(each.tail for each in workers)]))
    return found


async def test_a_worker_without_partitions_waits_quietly_and_takes_over_from_a_dead_one(
    settings: Settings,
) -> None:
    await send(settings, {each: [HISTORICAL, *market(each, 2, 500)] for each in range(PARTITIONS)})
    async with (
        WorkerProcess(settings, "one") as one,
        WorkerProcess(settings, "two") as two,
        WorkerProcess(settings, "three") as three,
    ):
        workers = {each.settings.worker: each for each in (one, two, three)}
        found = await wait_owned(*workers.values())
        (idle,) = (workers[name] for name, share in found.items() if not share)
        said, looks = len(idle.log), 0
        worked = sum(psutil.Process(idle.pid).cpu_times()[:2])

        async def looked() -> bool:
            nonlocal looks
            looks += 1
            assert (await idle.get("/readyz"))[0] == 200
            return looks == LOOKS

        await until(looked, lambda: idle.tail)
        # It has answered, and done nothing else: a busy loop would take the whole time.
        assert sum(psutil.Process(idle.pid).cpu_times()[:2]) - worked < LOOKS * 0.05
        assert idle.log[said:] == ""

        busy = next(workers[name] for name, share in found.items() if share)
        left = [each for each in workers.values() if each is not busy]
        await busy.kill9()
        found = await wait_owned(*left)
        assert found[idle.settings.worker]
        await send(
            settings,
            {
                each: [*market(each, 2, 500, 1_381_154_500 * 10**9), FLUSH]
                for each in range(PARTITIONS)
            },
        )
        await wait_drained(settings, *left)
        for each in left:
            assert await each.stop() == 0
    await assert_exact(settings)
