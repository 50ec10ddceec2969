"""The archive's upkeep by workers: the same rows whatever breaks, by one worker, with rests."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from app.archive.compacting import HOUR, compact, groups, retain
from app.archive.manifest import Part, State, read_state
from app.archive.upkeep import Duties, Piece, upkeep
from app.archive.writing import ArchiveWriter
from app.sinks.archive_upkeep import COLLECT_SECONDS, FIRST_SECONDS, REST, Upkeep
from app.sinks.driver import Place
from app.sinks.settings import ArchiveSettings
from tests.metric_table import DOCUMENT
from tests.unit.archive_feeding import (
    DAY,
    FRIDAY,
    BreakingStore,
    MemoryStore,
    bar,
    batch,
    held,
    trade,
)
from tests.unit.archive_sink import BARS, OTHER, TICKS, Kafka, driver_of

ALL = Duties(compacts=lambda topic: True, rest=lambda: True)
MONDAY = FRIDAY + 3 * DAY
#: Days after which the rows of Friday are dropped where retention is two days.
LATER = FRIDAY + 9 * DAY


def filled(files: dict[str, bytes] | None = None, flushes: int = 3) -> MemoryStore:
    """Bars of two days, trades of one, and what is neither; a file each a flush."""
    store = MemoryStore()
    store.files = {} if files is None else files
    writer = ArchiveWriter(store)
    for turn in range(flushes):
        values = [bar(f"S{turn}", FRIDAY), b"bad", bar(f"S{turn}", FRIDAY + DAY)]
        writer.add("bars", batch(0, 3 * turn, values), 0)
        writer.add("ticks", batch(1, turn, [trade("A", FRIDAY + turn)]), 0)
        writer.flush(FRIDAY + turn)
    return store


def rows_of(store: MemoryStore) -> Counter[tuple[str, int, int]]:
    """Return how often each record is a row, by where it stands now."""
    return Counter(
        {
            (topic, *place): count
            for topic in ("bars", "ticks", "raw")
            for place, count in held(store, topic).items()
        }
    )


def pieces(store: MemoryStore, now: int, duties: Duties = ALL, **changes: Any) -> Iterator[Piece]:
    chosen: dict[str, Any] = {"rows": 500_000, "retention": 0, "collects": True} | changes
    return upkeep(store, lambda: now, duties, **chosen)


def test_a_round_compacts_drops_and_removes_in_pieces() -> None:
    store = filled()
    before = rows_of(store)
    assert list(pieces(store, MONDAY))[:3] == [
        Piece("compact", 3, 3),
        Piece("compact", 3, 3),
        Piece("compact", 3, 3),
    ]
    assert rows_of(store) == before
    old = {path for path in store.files if path.startswith("topic=")}
    assert len(old) == 16
    later = MONDAY + 3 * DAY
    assert next(pieces(store, later, retention=2 * DAY)) == Piece("retain", 4, 12)
    assert sum(1 for each in pieces(store, later) if each.files) == 1
    assert {path for path in store.files if path.startswith("topic=")} < old
    assert sum(rows_of(store).values()) == 0


@settings(max_examples=15, deadline=None)
@given(
    breaks=st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=4),
    target=st.integers(1, 20_000),
    rows=st.integers(1, 8),
)
def test_whatever_step_breaks_no_row_changes_and_the_next_rounds_end_it(
    breaks: list[tuple[int, bool]], target: int, rows: int
) -> None:
    store = filled()
    before = rows_of(store)
    for turn, (step, after) in enumerate(breaks):
        broken = BreakingStore(store.files, step, after=after)
        now = MONDAY + turn * 26 * HOUR
        with suppress(OSError):
            list(pieces(broken, now, rows=rows, target=target))
        assert rows_of(store) == before
    # What comes of small files may be small itself, and is put together again a round later.
    for turn in range(len(breaks), len(breaks) + 8):
        done = list(pieces(store, MONDAY + turn * 26 * HOUR, rows=rows, target=target))
        state = read_state(store)
        if not state.removed and not any(each.step == "compact" for each in done):
            break
    else:
        pytest.fail("it does not come to an end")
    assert rows_of(store) == before
    assert {path for path in store.files if path.startswith("topic=")} == state.parts.keys()


@settings(max_examples=15, deadline=None)
@given(order=st.lists(st.integers(0, 2), max_size=15), late=st.integers(0, 12))
def test_of_rounds_beside_each_other_and_beside_a_writer_each_row_stays_once(
    order: list[int], late: int
) -> None:
    store = filled()
    writer = ArchiveWriter(store)
    writer.begin("bars", 0, "")
    expected = rows_of(store)
    rounds = [pieces(store, MONDAY, rows=5, target=9_000) for _ in range(3)]
    for turn, number in enumerate(order):
        if turn == late:
            writer.add("bars", batch(0, 9, [bar("late", FRIDAY)]), 0)
            writer.flush(MONDAY)
            expected["bars", 0, 9] += 1
        piece = next(rounds[number], None)
        assert piece is None or piece.outcome != "failed"
        assert rows_of(store) == expected
    for each in rounds:
        list(each)
    assert rows_of(store) == expected


def test_a_damaged_file_holds_up_no_other_day(caplog: pytest.LogCaptureFixture) -> None:
    store = filled()
    damaged = min(path for path in store.files if path.startswith("topic=bars"))
    store.files[damaged] = b"not Parquet"
    done = [each for each in pieces(store, MONDAY) if each.step == "compact"]
    assert [each.outcome for each in done] == ["failed", "done", "done", "done"]
    assert damaged in caplog.text


def test_only_what_is_ones_own_is_done_and_that_is_asked_before_each_piece() -> None:
    store = filled()
    owned = {"bars"}
    duties = Duties(compacts=owned.__contains__, rest=lambda: False)
    done = pieces(store, MONDAY, duties)
    assert next(done).rows == 3
    owned.clear()
    assert list(done) == []
    by_topic = Counter(each.topic for each in read_state(store).parts.values())
    assert by_topic == {"bars": 4, "ticks": 3, "raw": 3}


def test_what_was_replayed_lately_stays_however_old_it_is() -> None:
    store = filled()
    assert sum(rows_of(store).values()) == 12
    writer = ArchiveWriter(store)
    writer.add("ticks", batch(2, 0, [trade("old", FRIDAY - 400 * DAY)]), 0)
    writer.flush(LATER - DAY)
    (dropped,) = [e for e in pieces(store, LATER, retention=2 * DAY) if e.step == "retain"]
    assert dropped.rows == 12
    assert rows_of(store) == {("ticks", 2, 0): 1}
    (dropped,) = [
        e for e in pieces(store, LATER + 2 * DAY, retention=2 * DAY) if e.step == "retain"
    ]
    assert dropped.rows == 1
    # By command the event time alone counts.
    again = filled()
    assert sum(part.rows for part in retain(again, FRIDAY + 2 * DAY, 0)) == 12


@given(
    sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=30),
    rows=st.integers(1, 100),
    target=st.integers(1, 100),
)
def test_groups_keep_to_their_bounds_and_end(
    sizes: list[tuple[int, int]], rows: int, target: int
) -> None:
    state = State()
    for number, (count, size) in enumerate(sizes):
        part = Part(f"{number:04d}", "bars", "2026-11-20", count, size)
        state.parts[part.path] = part
    for turn in range(20):
        found = groups(state, MONDAY, target=target, rows=rows)
        for number, group in enumerate(found):
            merged = Part(
                f"{turn}-{number}",
                "bars",
                "2026-11-20",
                sum(each.rows for each in group),
                sum(each.bytes for each in group),
            )
            assert merged.rows <= rows
            assert merged.bytes <= target
            for each in group:
                del state.parts[each.path]
            state.parts[merged.path] = merged
        if not found:
            break
    assert groups(state, MONDAY, target=target, rows=rows) == []
    assert sum(each.rows for each in state.parts.values()) == sum(count for count, _ in sizes)


# --- in a worker -------------------------------------------------------------------------------


class World:
    """An upkeep whose clock only pauses move."""

    def __init__(self, store: MemoryStore, owned: set[Place], **changes: Any) -> None:
        self.seconds = 0.0
        self.pauses: list[float] = []
        #: Called before each pause with its seconds; returns whether to go on.
        self.wait: Callable[[float], bool] = lambda seconds: True
        self.owned = owned
        self.upkeep = Upkeep(
            ArchiveSettings(**changes),
            lambda: store,
            {"bars", "ticks"},
            "bars",
            lambda: self.owned,
            now=lambda: MONDAY + round(self.seconds * 1e9),
            monotonic=lambda: self.seconds,
            pause=self._pause,
        )

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.seconds += seconds
        if not self.wait(seconds):
            await asyncio.Event().wait()
        await asyncio.sleep(0)


async def run_until(world: World, enough: Callable[[], bool]) -> None:
    """Let it run until something holds at the beginning of a pause."""
    reached = asyncio.Event()

    def wait(seconds: float) -> bool:
        if enough():
            reached.set()
        return not reached.is_set()

    world.wait = wait
    world.upkeep.start()
    await reached.wait()
    await world.upkeep.stop()


async def test_rounds_come_on_schedule_and_keep_it_over_a_stop() -> None:
    world = World(MemoryStore(), {BARS}, upkeep_every="20m")
    await run_until(world, lambda: world.upkeep.status.rounds["done"] == 1)
    assert world.pauses[0] == FIRST_SECONDS
    assert world.pauses[-1] == 1_200.0
    seen = len(world.pauses)
    await run_until(world, lambda: world.upkeep.status.rounds["done"] == 2)
    # What had been waited of it counts.
    assert world.pauses[seen] == 0.0


async def test_by_command_only_means_no_round() -> None:
    world = World(MemoryStore(), {BARS}, upkeep_every="0s")
    world.upkeep.start()
    await asyncio.sleep(0)
    await world.upkeep.stop()
    assert world.pauses == []


async def test_the_owner_of_a_first_partition_compacts_that_topic_and_one_of_them_the_rest() -> (
    None
):
    store = filled()
    await World(store, {Place("bars", 1), OTHER}).upkeep.round()
    assert len(read_state(store).parts) == 12
    await World(store, {TICKS}).upkeep.round()
    kinds = Counter(each.topic for each in read_state(store).parts.values())
    assert kinds == {"bars": 6, "ticks": 1, "raw": 3}
    world = World(store, {BARS})
    await world.upkeep.round()
    kinds = Counter(each.topic for each in read_state(store).parts.values())
    assert kinds == {"bars": 2, "ticks": 1, "raw": 1}
    assert world.upkeep.status.files["compact"] == 9
    assert sum(rows_of(store).values()) == 12


async def test_it_rests_four_times_as_long_as_it_works() -> None:
    world = World(filled(), {BARS})

    def take_time() -> int:
        world.seconds += 0.5
        return MONDAY

    world.upkeep._now = take_time
    await world.upkeep.round()
    worked = world.upkeep.status.seconds
    assert worked > 0
    assert sum(world.pauses) == pytest.approx(REST * worked)


async def test_every_folder_is_looked_at_once_a_day_only() -> None:
    listed: list[str] = []

    class Listing(MemoryStore):
        def names(self, path: str) -> tuple[str, ...]:
            listed.append(path)
            return super().names(path)

    store = Listing()
    store.files = filled().files
    world = World(store, {BARS})
    await world.upkeep.round()
    assert "" in listed
    listed.clear()
    await world.upkeep.round()
    assert "" not in listed
    world.seconds += COLLECT_SECONDS
    await world.upkeep.round()
    assert "" in listed


async def test_a_store_that_is_away_fails_a_round_and_not_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = filled()
    broken = BreakingStore(store.files, 1, after=False)
    world = World(broken, {BARS, TICKS})
    await world.upkeep.round()
    assert "the store is gone" in caplog.text
    assert world.upkeep.status.rounds == {"failed": 1}
    await world.upkeep.round()
    assert world.upkeep.status.rounds == {"failed": 1, "done": 1}
    assert len(read_state(store).parts) == 4


async def test_what_another_compacts_meanwhile_is_a_conflict_and_no_failure() -> None:
    store = filled()
    world = World(store, {BARS, TICKS})
    world.wait = lambda seconds: bool(compact(store, MONDAY)) or True
    await world.upkeep.round()
    assert world.upkeep.status.rounds == {"done": 1}
    assert world.upkeep.status.troubles == {("compact", "conflict"): 4}
    assert sum(rows_of(store).values()) == 12


async def test_a_driver_keeps_what_it_is_assigned(tmp_path: Path) -> None:
    kafka = Kafka(TICKS, BARS)
    driver = driver_of(filled(), kafka)
    duties = driver.upkeep._duties
    await driver.open()
    await driver.assign([BARS])
    assert duties.compacts("bars")
    assert not duties.compacts("ticks")
    driver.revoke([BARS])
    assert not duties.compacts("bars")
    registry = CollectorRegistry()
    driver.watch(registry)
    assert "candlewick_archive_upkeep_rounds_total" in generate_latest(registry).decode()
    await driver.close()
    assert driver.upkeep._task is None


async def test_a_driver_writes_on_while_its_archive_is_compacted() -> None:
    store = filled()
    before = rows_of(store)
    driver = driver_of(store, Kafka(TICKS, BARS), archive={"upkeep_every": "1ms"})
    done = asyncio.Event()

    async def pause(seconds: float) -> None:
        if driver.upkeep.status.rounds["done"]:
            done.set()
        await asyncio.sleep(seconds)

    driver.upkeep._pause, driver.upkeep._now = pause, lambda: MONDAY
    await driver.open()
    await driver.assign([TICKS, BARS])
    for offset in range(5):
        driver.add("ticks", batch(0, offset, [trade("B", FRIDAY + offset)]))
        await driver.flush(MONDAY)
    await done.wait()
    await driver.close()
    written: Counter[tuple[str, int, int]] = Counter(("ticks", 0, offset) for offset in range(5))
    assert rows_of(store) == before + written
    assert driver.upkeep.status.files["compact"] >= 12


async def test_metrics_are_those_of_the_documented_table() -> None:
    world = World(filled(), {BARS, TICKS})
    assert not list(world.upkeep.collect())[-1].samples
    await world.upkeep.round()
    world.seconds += 7
    registry = CollectorRegistry()
    registry.register(world.upkeep)
    text = generate_latest(registry).decode()
    for line in (
        'candlewick_archive_upkeep_rounds_total{result="done"} 1.0',
        'candlewick_archive_upkeep_rounds_total{result="failed"} 0.0',
        'candlewick_archive_upkeep_files_total{step="compact"} 12.0',
        'candlewick_archive_upkeep_rows_total{step="compact"} 12.0',
        'candlewick_archive_upkeep_troubles_total{outcome="failed",step="compact"} 0.0',
        "candlewick_archive_upkeep_age_seconds 7.0",
    ):
        assert line in text.splitlines()
    found = {}
    for family in world.upkeep.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels}
        found[name] = (family.type, ", ".join(sorted(labels)) or "-")
    section = DOCUMENT.read_text(encoding="utf-8").split("### The archive's upkeep\n")[1]
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:4]]
        for line in section.split("\n### ")[0].splitlines()
        if line.startswith("| `candlewick_")
    ]
    assert found == {
        name: (kind, ", ".join(sorted(labels.split(", ")))) for name, kind, labels in rows
    }
