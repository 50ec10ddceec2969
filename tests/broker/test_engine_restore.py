"""Where a worker goes on from: the changelog, whatever has become of its folder."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from app.broker import EmbeddedBroker
from app.identity import deployment_folder, worker_folder
from app.settings import Settings
from app.streaming.store import PartitionStore
from tests.broker.worker import NotInTimeError, WorkerProcess, until, worker_settings
from tests.chaos.deployment import (
    FLUSH,
    HISTORICAL,
    SECOND,
    START,
    assert_exact,
    market,
    prepared,
    send,
    wait_drained,
)

pytestmark = pytest.mark.broker

PARTITIONS = 6


@pytest.fixture
async def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    return await prepared(
        worker_settings(kafka, unique, tmp_path, topics={"partitions": PARTITIONS})
    )


async def send_part(settings: Settings, begin: int, *, last: bool) -> None:
    """200 s of trades for all partitions."""
    parts = {number: market(number, PARTITIONS, 4_000, begin) for number in range(PARTITIONS)}
    for values in parts.values():
        values.insert(0, HISTORICAL)
        values += [FLUSH] if last else []
    await send(settings, parts)


async def test_a_deleted_data_folder_is_restored_from_the_changelog(settings: Settings) -> None:
    await send_part(settings, START, last=False)
    async with WorkerProcess(settings) as worker:
        await wait_drained(settings, worker)
        await worker.kill9()
        shutil.rmtree(deployment_folder(settings))
        await worker.start()
        await worker.wait_ready()
        for partition in range(PARTITIONS):
            assert f"bars {partition}: restored to position 4001" in worker.log
        assert "(0 changelog records)" not in worker.log
        await send_part(settings, START + 200 * SECOND, last=True)
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    await assert_exact(settings)


async def test_a_worker_that_stopped_in_order_restores_without_the_changelog(
    settings: Settings,
) -> None:
    await send_part(settings, START, last=False)
    async with WorkerProcess(settings) as worker:
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
        await worker.start()
        await worker.wait_ready()
        assert worker.log.count("(0 changelog records)") == PARTITIONS
        await send_part(settings, START + 200 * SECOND, last=True)
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    await assert_exact(settings)


def damage(folder: Path, partition: int) -> str:
    """Make a store unusable, each partition's in another way; what the log must say."""
    path = folder / f"bars-{partition}"
    if partition == 3:
        (path / "CURRENT").unlink()
        return "cannot be opened"
    store = PartitionStore(path)
    if partition == 4:
        store._db.flush()
        store.close()
        for file in path.glob("*.sst"):
            data = bytearray(file.read_bytes())
            # The block that has the position, which is asked for first.
            data[:1_000] = bytes(1_000)
            file.write_bytes(data)
        return "block checksum mismatch"
    try:
        position = store.position
        assert position is not None
        ahead, other = position.changelog_next + 1_000_000, "0" * 32
        match partition:
            case 0:
                store.write([(b"s\0wrong", b"row")], ahead, position.changelog_id)
                return "is ahead of its changelog"
            case 1:
                store.write([(b"s\0wrong", b"row")], position.changelog_next, other)
                return "belongs to another changelog topic"
            case 2:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr("app.streaming.store.time.time", lambda: 1_000_000_000.0)
                    store.write([], position.changelog_next, position.changelog_id)
                return "may have missed deletions"
            case _:
                return ""
    finally:
        store.close()


async def test_a_store_that_is_ahead_foreign_old_torn_or_damaged_is_rebuilt_with_a_log_line(
    settings: Settings,
) -> None:
    await send_part(settings, START, last=False)
    async with WorkerProcess(settings) as worker:
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
        faults = {
            partition: damage(worker_folder(worker.settings), partition)
            for partition in range(PARTITIONS)
        }
        await worker.start()
        await worker.wait_ready()
        for partition, fault in faults.items():
            lines = [
                line
                for line in worker.log.splitlines()
                if re.search(rf"bars-{partition}\b", line) and "rebuilt from the changelog" in line
            ]
            assert len(lines) == bool(fault), worker.tail
            assert all(fault in line for line in lines)
        await send_part(settings, START + 200 * SECOND, last=True)
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    await assert_exact(settings)


async def test_readyz_is_503_until_all_partitions_are_restored(settings: Settings) -> None:
    await send_part(settings, START, last=False)
    async with WorkerProcess(settings) as worker:
        await wait_drained(settings, worker)
        await worker.kill9()
        shutil.rmtree(deployment_folder(settings))
        await worker.start()
        seen: set[tuple[int, str]] = set()

        async def ready() -> bool:
            if not worker.running:
                raise NotInTimeError(worker.tail)
            said_before = "ready with 6 partitions" in worker.log
            status, text = await worker.get("/readyz")
            if not status:
                return False
            phase = json.loads(text)["phase"]
            seen.add((status, phase))
            assert said_before or status == 503 or "ready with 6 partitions" in worker.log
            return status == 200

        await until(ready, lambda: worker.tail)
        assert seen >= {(503, "restoring"), (200, "ready")}
