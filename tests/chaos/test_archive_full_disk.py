"""The archive on a disk that is really full: all waits, and is there once when there is room."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.archive.checking import check
from app.archive.layout import archive_location
from app.archive.manifest import read_state
from app.archive.querying import query
from app.sinks.archive import ArchiveDriver
from app.sinks.driver import SinkUnavailableError
from models.predicting.registry_store import LocalStore
from tests.chaos.fleet import SmallDisk
from tests.unit.archive_feeding import FRIDAY, batch, trade
from tests.unit.archive_sink import TICKS, Kafka, settings_of

FETCH = 2_000
MEGABYTES = 8


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of some megabytes."""
    found = SmallDisk(tmp_path / "disk", MEGABYTES)
    found.mount()
    if not found.mounted:
        pytest.skip(f"no disk can be mounted here: {found.why}")
    try:
        yield found
    finally:
        found.unmount()


def fetch(number: int) -> list[bytes | None]:
    """Return trades that do not compress to nothing."""
    return [
        trade(f"S{place % 97}", FRIDAY + (number * FETCH + place) * 7_919, 1 + place / 3)
        for place in range(FETCH)
    ]


def free(disk: SmallDisk) -> int:
    return shutil.disk_usage(disk.folder).free


async def fill_up(driver: ArchiveDriver, disk: SmallDisk, begin: int) -> int:
    """Hand fetches over until a flush fails; return the offset behind the last."""
    disk.fill()
    driver.add("ticks", batch(0, begin, fetch(begin // FETCH)))
    for _ in range(3):
        with pytest.raises(SinkUnavailableError, match="no space left: free some"):
            await driver.flush(FRIDAY + begin)
        with pytest.raises(SinkUnavailableError, match="no space left: free some"):
            await driver.open()
    return begin + FETCH


async def test_nothing_is_lost_or_doubled_and_no_room_is_taken_by_what_failed(
    disk: SmallDisk,
) -> None:
    settings = settings_of(disk.folder)
    driver = ArchiveDriver(settings, logs=Kafka(TICKS))
    await driver.open()
    assert await driver.assign([TICKS]) == {TICKS: 0}
    driver.add("ticks", batch(0, 0, fetch(0)))
    assert (await driver.flush(FRIDAY)).positions == {TICKS: FETCH}
    end = await fill_up(driver, disk, FETCH)
    # Room for less than a file: more is held, and what is begun is taken away again.
    disk.free()
    disk.fill()
    with (disk.folder / "filler").open("r+b") as filler:
        filler.truncate((disk.folder / "filler").stat().st_size - 16_384)
    before = free(disk)
    driver.add("ticks", batch(0, end, fetch(end // FETCH)))
    with pytest.raises(SinkUnavailableError, match="no space left"):
        await driver.flush(FRIDAY + end)
    assert free(disk) == before
    end += FETCH
    disk.free()
    await driver.open()
    assert (await driver.flush(FRIDAY + end)).positions == {TICKS: end}
    # Full again, and the worker dies: another reads what was not written.
    reached = end
    end = await fill_up(driver, disk, end)
    await driver.close()
    disk.free()
    other = ArchiveDriver(settings, logs=Kafka(TICKS))
    assert await other.assign([TICKS]) == {TICKS: reached}
    other.add("ticks", batch(0, reached, fetch(reached // FETCH)))
    assert (await other.flush(FRIDAY + end)).positions == {TICKS: end}
    await other.close()
    store = LocalStore(Path(archive_location(settings)))
    assert check(store).faults == ()
    assert check(store).unnamed == 0
    rows = query(store, "SELECT log_offset FROM ticks").column(0).to_pylist()
    assert Counter(rows) == Counter(range(end))
    assert sum(part.rows for part in read_state(store).parts.values()) == end
