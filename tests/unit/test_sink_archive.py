"""The archive's driver alone: each record a row once, whatever breaks, and whoever else writes."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import tempfile
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.archive.checking import Findings, check
from app.archive.manifest import read_state
from app.sinks import archive as module
from app.sinks.archive import EXPIRED, ArchiveDriver
from app.sinks.archive_logs import Log
from app.sinks.driver import (
    Flushed,
    Place,
    SinkConflictError,
    SinkRefusesError,
    SinkUnavailableError,
)
from tests.unit.archive_feeding import (
    DAY,
    FRIDAY,
    BreakingStore,
    MemoryStore,
    bar,
    batch,
    held,
    on_disk,
    trade,
)
from tests.unit.archive_sink import BARS, OTHER, TICKS, Kafka, driver_of, settings_of

A, B = trade("A", FRIDAY + 1), trade("B", FRIDAY + DAY)
#: What a topic of trades may carry: trades of two days, and what is none.
VALUES = (A, B, b'{"type":"clock","event_time":5}', b"not json", None)
LOGS = st.lists(st.tuples(st.sampled_from(VALUES), st.integers(1, 3)), min_size=1, max_size=10)


def findings(store: MemoryStore) -> Findings:
    with tempfile.TemporaryDirectory() as folder:
        return check(on_disk(store, Path(folder)))


def faults_of(store: MemoryStore) -> tuple[str, ...]:
    return findings(store).faults


async def ready(driver: ArchiveDriver, *places: Place) -> dict[Place, int]:
    await driver.open()
    return dict(await driver.assign(places))


async def test_a_partition_begins_where_its_log_begins_and_goes_on_where_the_archive_ends() -> None:
    store, kafka = MemoryStore(), Kafka(TICKS)
    kafka.logs[TICKS] = Log("id", 7, 100)
    first = driver_of(store, kafka)
    assert await ready(first, TICKS) == {TICKS: 7}
    first.add("ticks", batch(0, 7, [A, B, b"bad"], following=12))
    assert first.held_bytes > len(A) + len(B)
    assert await first.flush(FRIDAY) == Flushed({TICKS: 12}, 3)
    assert first.held_bytes == 0
    await first.close()
    assert await ready(driver_of(store, kafka), TICKS) == {TICKS: 12}
    assert held(store, "ticks") + held(store, "raw") == Counter([(0, 7), (0, 8), (0, 9)])


class Reader:
    """Reads logs as the loop does: on behind what was handed over, or where the driver says."""

    def __init__(self, driver: ArchiveDriver, logs: list[list[tuple[int, bytes | None]]]) -> None:
        self.driver = driver
        self._logs = {Place("ticks", number): log for number, log in enumerate(logs)}
        self._handed: dict[Place, int] = {}

    async def read(self, size: int, again: int) -> None:
        await self.driver.open()
        if not self._handed:
            self._handed = dict(await self.driver.assign(list(self._logs)))
        for place, log in self._logs.items():
            end = log[-1][0] + 1
            for base in range(max(0, self._handed[place] - again), end, size):
                following = min(base + size, end)
                chosen = [(offset, value) for offset, value in log if base <= offset < following]
                self.driver.add(
                    "ticks",
                    batch(
                        place.partition,
                        base,
                        [value for _, value in chosen],
                        offsets=[offset for offset, _ in chosen],
                        following=following,
                    ),
                )
                self._handed[place] = max(self._handed[place], following)
                await self.driver.flush(FRIDAY)
        await self.driver.flush(FRIDAY)


@settings(max_examples=60, deadline=None)
@given(
    logs=st.lists(LOGS, min_size=1, max_size=2),
    breaks=st.lists(st.tuples(st.integers(1, 12), st.booleans(), st.booleans()), max_size=4),
    size=st.integers(1, 8),
    again=st.integers(0, 5),
)
def test_whatever_step_breaks_each_record_is_a_row_once(
    logs: list[list[tuple[bytes | None, int]]],
    breaks: list[tuple[int, bool, bool]],
    size: int,
    again: int,
) -> None:
    sent = []
    for parts in logs:
        offset, log = -1, []
        for value, step in parts:
            offset += step
            log.append((offset, value))
        sent.append(log)
    files: dict[str, bytes] = {}
    kafka = Kafka(*(Place("ticks", number) for number in range(len(sent))))

    async def history() -> None:
        stores = [BreakingStore(files, 0, after=False)]
        reader = Reader(driver_of(stores[0], kafka), sent)
        for step, after, crash in [*breaks, (0, False, False)]:
            stores[0].step, stores[0].after = step, after
            if crash:
                # Another process; what the old one holds is lost.
                stores[0] = BreakingStore(files, step, after=after)
                reader = Reader(driver_of(stores[0], kafka), sent)
            try:
                await reader.read(size, again)
            except SinkUnavailableError:
                assert step > 0

    asyncio.run(history())
    whole = MemoryStore()
    whole.files = files
    assert held(whole, "ticks") + held(whole, "raw") == Counter(
        (partition, offset) for partition, log in enumerate(sent) for offset, _ in log
    )
    assert faults_of(whole) == ()


async def test_a_flush_that_fails_keeps_everything_and_leaves_no_file_on_a_full_disk() -> None:
    class Full(MemoryStore):
        """Has room for so many files of rows."""

        room = 1

        def create(self, path: str, content: bytes) -> None:
            taken = sum(each.startswith("topic=") for each in self.files)
            if path.startswith("topic=") and taken >= self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().create(path, content)

    store = Full()
    driver = driver_of(store, Kafka(TICKS))
    await ready(driver, TICKS)
    driver.add("ticks", batch(0, 0, [A, B]))
    waiting = driver.held_bytes
    for _ in range(3):
        with pytest.raises(SinkUnavailableError, match="archive/mine: no space left: free some"):
            await driver.flush(FRIDAY)
        assert driver.held_bytes == waiting
        assert store.files == {}
    driver.add("ticks", batch(0, 2, [A]))
    store.room = 100
    await driver.open()
    assert await driver.flush(FRIDAY) == Flushed({TICKS: 3}, 3)
    assert held(store, "ticks") == Counter([(0, 0), (0, 1), (0, 2)])


@pytest.mark.parametrize("after", [False, True])
async def test_files_of_a_commit_that_failed_go_once_it_is_known_that_it_did(after: bool) -> None:
    store, kafka = BreakingStore({}, 0, after=after), Kafka(TICKS)
    driver = driver_of(store, kafka)
    await ready(driver, TICKS)
    driver.add("ticks", batch(0, 0, [A]))
    # A file, then the manifest.
    store.step = 2
    with pytest.raises(SinkUnavailableError, match="the store is gone; Kafka keeps the records"):
        await driver.flush(FRIDAY)
    assert sum(path.startswith("topic=") for path in store.files) == 1
    driver.add("ticks", batch(0, 1, [A]))
    flushed = await driver.flush(FRIDAY)
    assert flushed.positions == {TICKS: 2}
    state = read_state(store)
    assert {path for path in store.files if path.startswith("topic=")} == state.parts.keys()
    assert held(store, "ticks") == Counter([(0, 0), (0, 1)])


async def test_of_two_writers_one_loses_its_partition_and_keeps_the_others() -> None:
    store, kafka = MemoryStore(), Kafka(TICKS, OTHER)
    zombie, owner = driver_of(store, kafka), driver_of(store, kafka)
    await ready(zombie, TICKS, OTHER)
    await ready(owner, TICKS)
    zombie.add("ticks", batch(0, 0, [A]))
    zombie.add("ticks", batch(1, 0, [B]))
    owner.add("ticks", batch(0, 0, [A, A]))
    await owner.flush(FRIDAY)
    with pytest.raises(SinkConflictError, match="another writer has written ticks partition 0"):
        await zombie.flush(FRIDAY)
    zombie.add("ticks", batch(0, 1, [A]))  # not its own any more
    assert (await zombie.flush(FRIDAY)).positions == {OTHER: 1}
    assert await zombie.assign([TICKS]) == {TICKS: 2}
    zombie.add("ticks", batch(0, 2, [A]))
    assert (await zombie.flush(FRIDAY)).positions == {TICKS: 3, OTHER: 1}
    assert held(store, "ticks") == Counter([(0, 0), (0, 1), (0, 2), (1, 0)])
    assert faults_of(store) == ()


async def test_what_is_revoked_during_a_flush_is_not_told_and_goes_on_where_it_was_written() -> (
    None
):
    entered, go_on = threading.Event(), threading.Event()

    class Slow(MemoryStore):
        def create(self, path: str, content: bytes) -> None:
            if path.startswith("topic="):
                entered.set()
                assert go_on.wait(30)
            super().create(path, content)

    store = Slow()
    driver = driver_of(store, Kafka(TICKS, OTHER))
    await ready(driver, TICKS, OTHER)
    driver.add("ticks", batch(0, 0, [A]))
    driver.add("ticks", batch(1, 0, [A]))
    flush = asyncio.create_task(driver.flush(FRIDAY))
    await asyncio.to_thread(entered.wait, 30)
    driver.revoke([TICKS])
    driver.add("ticks", batch(0, 1, [A]))
    driver.add("ticks", batch(1, 1, [A]))
    go_on.set()
    assert (await flush).positions == {OTHER: 1}
    assert await driver.assign([TICKS]) == {TICKS: 1}
    assert (await driver.flush(FRIDAY)).positions == {TICKS: 1, OTHER: 2}
    assert held(store, "ticks") == Counter([(0, 0), (1, 0), (1, 1)])


async def test_a_cancelled_flush_is_finished_or_repeated_and_nothing_is_doubled() -> None:
    entered, go_on = threading.Event(), threading.Event()

    class Slow(MemoryStore):
        def create(self, path: str, content: bytes) -> None:
            if path.startswith("manifests/"):
                entered.set()
                assert go_on.wait(30)
            super().create(path, content)

    store = Slow()
    driver = driver_of(store, Kafka(TICKS))
    await ready(driver, TICKS)
    driver.add("ticks", batch(0, 0, [A]))
    flush = asyncio.create_task(driver.flush(FRIDAY))
    await asyncio.to_thread(entered.wait, 30)
    flush.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flush
    driver.add("ticks", batch(0, 1, [A]))
    go_on.set()
    assert (await driver.flush(FRIDAY)).positions == {TICKS: 2}
    assert held(store, "ticks") == Counter([(0, 0), (0, 1)])


async def test_what_kafka_had_removed_before_is_said_once_counted_and_passed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, kafka = MemoryStore(), Kafka(TICKS)
    driver = driver_of(store, kafka)
    await ready(driver, TICKS)
    driver.add("ticks", batch(0, 0, [A]))
    await driver.flush(FRIDAY)
    kafka.logs[TICKS] = Log("first ticks", 50, 100)
    with caplog.at_level(logging.WARNING):
        assert await driver.assign([TICKS]) == {TICKS: 50}
    driver.add("ticks", batch(0, 50, [A]))
    assert await driver.flush(FRIDAY) == Flushed({TICKS: 51}, 1, passed={EXPIRED: 49})
    # While it reads: the consumer is sent to the log's new beginning.
    kafka.logs[TICKS] = Log("first ticks", 70, 100)
    driver.add("ticks", batch(0, 70, [A]))
    assert driver.due(0.0)
    with caplog.at_level(logging.WARNING):
        assert await driver.flush(FRIDAY) == Flushed({TICKS: 71}, 1, passed={EXPIRED: 19})
    driver.add("ticks", batch(0, 71, [A]))
    assert await driver.flush(FRIDAY) == Flushed({TICKS: 72}, 1)
    said = [record.getMessage() for record in caplog.records]
    assert [text.split(": ")[2] for text in said] == [
        "up to 49 records are lost to it, offsets 1 to 49",
        "up to 19 records are lost to it, offsets 51 to 69",
    ]
    found = findings(store)
    assert found.faults == ()
    assert found.lost == {"ticks": 68}


async def test_records_that_were_passed_over_and_are_still_there_are_read_again() -> None:
    store, kafka = MemoryStore(), Kafka(TICKS)
    driver = driver_of(store, kafka)
    await ready(driver, TICKS)
    driver.add("ticks", batch(0, 0, [A]))
    driver.add("ticks", batch(0, 5, [A]))
    kafka.away = True
    with pytest.raises(SinkUnavailableError, match="Kafka does not tell its logs"):
        await driver.flush(FRIDAY)
    kafka.away = False
    with pytest.raises(SinkConflictError, match="read on at offset 5, the archive goes on at 1"):
        await driver.flush(FRIDAY)
    assert await driver.assign([TICKS]) == {TICKS: 0}
    driver.add("ticks", batch(0, 0, [A] * 6))
    await driver.flush(FRIDAY)
    assert held(store, "ticks") == Counter((0, offset) for offset in range(6))


async def test_a_topic_that_was_made_anew_is_archived_from_its_beginning() -> None:
    store, kafka = MemoryStore(), Kafka(BARS)
    driver = driver_of(store, kafka)
    await ready(driver, BARS)
    driver.add("bars", batch(0, 0, [bar("A", FRIDAY), bar("B", FRIDAY)]))
    await driver.flush(FRIDAY)
    kafka.logs[BARS] = Log("second", 0, 100)
    anew = batch(0, 0, [bar("C", FRIDAY)])
    anew = replace(anew, append_times=anew.append_times + DAY)
    # By a reader that was not told: sent to the beginning, it brings newer records.
    driver.add("bars", anew)
    assert driver.held_bytes
    assert driver.due(0.0)
    with pytest.raises(SinkConflictError, match="bars partition 0: the topic was made anew"):
        await driver.flush(FRIDAY)
    assert await driver.assign([BARS]) == {BARS: 0}
    driver.add("bars", anew)
    assert (await driver.flush(FRIDAY)).positions == {BARS: 1}
    assert held(store, "bars") == Counter([(0, 0), (0, 0), (0, 1)])
    assert faults_of(store) == ()
    assert await ready(driver_of(store, kafka), BARS) == {BARS: 1}


async def test_a_log_that_has_lost_what_it_acknowledged_is_refused() -> None:
    store, kafka = MemoryStore(), Kafka(TICKS)
    driver = driver_of(store, kafka)
    await ready(driver, TICKS)
    driver.add("ticks", batch(0, 0, [A, A]))
    await driver.flush(FRIDAY)
    kafka.logs[TICKS] = Log("first ticks", 0, 1)
    with pytest.raises(SinkRefusesError, match=r"ends at offset 1, .* holds it up to 2"):
        await driver.assign([TICKS])


async def test_a_partition_that_kafka_does_not_have_waits() -> None:
    driver = driver_of(MemoryStore(), Kafka(TICKS))
    with pytest.raises(SinkUnavailableError, match="Kafka has no bars partition 0"):
        await driver.assign([BARS])


@pytest.mark.parametrize(
    ("groups", "due"),
    [
        ({"archive": {"rows": 2}}, [False, True]),
        ({"sinks": {"max_held_bytes": 1024 * 1024}}, [False, False, True]),
        ({"archive": {"age": "50s"}}, [False, False, True]),
    ],
)
async def test_a_flush_is_due_by_rows_bytes_or_age(groups: dict[str, Any], due: list[bool]) -> None:
    driver = driver_of(MemoryStore(), Kafka(TICKS), **groups)
    await ready(driver, TICKS)
    assert not driver.due(10**9)
    for turn, expected in enumerate(due):
        driver.add("ticks", batch(0, turn, [b"x" * 180_000]))
        assert driver.due(100.0 + 25 * turn) is expected
    await driver.flush(FRIDAY)
    assert not driver.due(10**9)


async def test_what_cannot_be_written_is_told_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("a file where a folder should be")
    with pytest.raises(SinkRefusesError, match=r"archive/mine: .*the worker cannot write there"):
        await ArchiveDriver(settings_of(tmp_path), logs=Kafka()).open()
    nothing = settings_of(tmp_path, archive={"location": "nosuch://bucket"})
    with pytest.raises(SinkRefusesError, match=r"nosuch://bucket/mine: .*[Pp]rotocol"):
        await ArchiveDriver(nothing, logs=Kafka()).open()


async def test_manifests_that_cannot_be_read_are_an_operators_matter() -> None:
    store = MemoryStore()
    store.files["manifests/00000000000000000001.json"] = b"{}"
    with pytest.raises(SinkRefusesError, match="not a manifest of an archive"):
        await driver_of(store, Kafka()).open()


async def test_a_fault_of_ours_is_no_sinks_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = driver_of(MemoryStore(), Kafka(TICKS))
    await ready(driver, TICKS)
    driver.add("ticks", batch(0, 0, [A]))

    def broken(*given: object) -> None:
        raise KeyError("a fault")

    with monkeypatch.context() as patch:
        patch.setattr("app.archive.writing.write_part", broken)
        with pytest.raises(KeyError):
            await driver.flush(FRIDAY)
    assert (await driver.flush(FRIDAY)).rows == 1


async def test_a_driver_says_what_is_there_and_is_closed_although_its_store_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    class Hanging(MemoryStore):
        def create(self, path: str, content: bytes) -> None:
            if path.startswith("topic="):
                entered.set()
                assert go_on.wait(30)
            super().create(path, content)

    store = Hanging()
    driver = driver_of(store, Kafka(TICKS))
    await ready(driver, TICKS)
    driver.add("ticks", batch(0, 0, [A]))
    flush = asyncio.create_task(driver.flush(FRIDAY))
    await asyncio.to_thread(entered.wait, 30)
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.01)
    await driver.close()
    assert "still writing" in caplog.text
    go_on.set()
    await flush
    assert driver.held_bytes == 0
    # It was in time after all.
    assert await ready(driver, TICKS) == {TICKS: 1}


async def test_the_lines_of_a_check_name_the_place_and_what_it_holds() -> None:
    driver = driver_of(MemoryStore(), Kafka(TICKS))
    await ready(driver, TICKS)
    driver.add("ticks", batch(0, 0, [A, B]))
    await driver.flush(FRIDAY)
    (line,) = await driver.check()
    assert line.endswith("archive/mine: 2 files, 2 rows, 1 partitions, manifests up to 1")


def test_topics_are_all_but_those_that_others_hold() -> None:
    driver = driver_of(MemoryStore(), Kafka())
    assert {"ticks", "quotes", "bars", "bars.dead", "bars.late", "alerts.events"} < set(
        driver.topics
    )
    assert not {"ticks.clean", "pairs.input", "bars.forming", "bars.changelog"} & set(driver.topics)
    without = driver_of(MemoryStore(), Kafka(), sinks={"ticks": False})
    assert set(driver.topics) - set(without.topics) == {"ticks", "quotes"}
