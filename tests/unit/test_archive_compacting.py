"""Compaction, retention and garbage of the archive."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from app.archive.columns import read_parquet
from app.archive.compacting import HOUR, clean, compact, retain
from app.archive.manifest import ArchiveConflictError, ArchiveError, numbers, read_state
from app.archive.querying import query
from app.archive.writing import ArchiveWriter
from models.predicting.registry_store import LocalStore
from tests.unit.archive_feeding import DAY, FRIDAY, BreakingStore, MemoryStore, bar, batch, held

MONDAY = FRIDAY + 3 * DAY


def filled(store: MemoryStore | LocalStore, flushes: int = 4) -> ArchiveWriter:
    """Write a file a flush into each of two days, of symbols in falling order."""
    writer = ArchiveWriter(store)
    for turn in range(flushes):
        symbol = f"S{flushes - turn}"
        values = [bar(symbol, FRIDAY), b"bad", bar(symbol, FRIDAY + DAY)]
        writer.add("bars", batch(0, 3 * turn, values), 0)
        writer.flush(FRIDAY + turn)
    return writer


def test_small_files_of_past_days_become_one_with_the_same_rows_sorted() -> None:
    store = MemoryStore()
    filled(store)
    before = held(store, "bars") + held(store, "raw")
    made = compact(store, FRIDAY + DAY + HOUR)
    assert [(new.topic, new.day, new.rows, len(old)) for new, old in made] == [
        ("bars", "2026-11-20", 4, 4),
        ("raw", "2026-11-20", 4, 4),
    ]
    table = read_parquet(store.read(made[0][0].path))
    assert table.column("symbol").to_pylist() == ["S1", "S2", "S3", "S4"]
    assert held(store, "bars") + held(store, "raw") == before
    assert compact(store, FRIDAY + DAY + HOUR) == []


def test_a_day_that_has_just_ended_is_left_until_it_has_settled() -> None:
    filled(store := MemoryStore())
    assert compact(store, FRIDAY + DAY + HOUR - 1) == []
    assert compact(store, FRIDAY + DAY - 1, settle=0) == []
    assert len(compact(store, FRIDAY + DAY, settle=0)) == 2


def test_files_are_put_together_up_to_the_target() -> None:
    filled(store := MemoryStore())
    size = max(part.bytes for part in read_state(store).parts.values())
    made = compact(store, MONDAY, target=2 * size + 2)
    assert [len(old) for new, old in made if new.topic == "bars"] == [2, 2, 2, 2]
    assert sum(held(store, "bars").values()) == 8


@pytest.mark.parametrize("after", [False, True])
def test_a_compaction_that_breaks_at_any_step_changes_no_row(after: bool) -> None:
    for step in range(1, 7):
        filled(store := MemoryStore())
        before = held(store, "bars") + held(store, "raw")
        with pytest.raises(OSError, match="the store is gone"):
            compact(BreakingStore(store.files, step, after=after), MONDAY)
        assert held(store, "bars") + held(store, "raw") == before
        compact(store, MONDAY)
        assert held(store, "bars") + held(store, "raw") == before
        assert len(read_state(store).parts) == 3


def test_who_holds_the_old_list_still_finds_its_files_until_they_are_cleaned() -> None:
    filled(store := MemoryStore())
    old = read_state(store).parts
    compact(store, MONDAY)
    assert all(path in store.files for path in old)
    assert clean(store, MONDAY + HOUR, age=HOUR) == []
    gone = clean(store, MONDAY + HOUR + 1, age=HOUR)
    assert sorted(gone) == sorted(old)
    assert not any(path in store.files for path in old)
    assert clean(store, MONDAY + 9 * HOUR, age=HOUR) == []
    assert held(store, "bars") == Counter((0, o) for o in range(12) if o % 3 != 1)


def test_a_clean_up_that_breaks_is_done_by_the_next() -> None:
    for step in range(1, 14):
        filled(store := MemoryStore())
        compact(store, MONDAY)
        with pytest.raises(OSError, match="the store is gone"):
            clean(BreakingStore(store.files, step, after=True), MONDAY + 2 * HOUR, age=HOUR)
        clean(store, MONDAY + 2 * HOUR, age=HOUR)
        state = read_state(store)
        assert state.removed == {}
        files = {path for path in store.files if path.startswith("topic=")}
        assert files == state.parts.keys()


def test_two_compactions_at_once_do_not_double_rows() -> None:
    class Racing(MemoryStore):
        """Another compaction is done before this one's first manifest."""

        raced = False

        def create(self, path: str, content: bytes) -> None:
            if path.startswith("manifests/") and not self.raced:
                self.raced = True
                rival = MemoryStore()
                rival.files = self.files
                compact(rival, MONDAY)
            super().create(path, content)

    filled(store := MemoryStore())
    before = held(store, "bars")
    racing = Racing()
    racing.files = store.files
    with pytest.raises(ArchiveConflictError, match="another compaction runs"):
        compact(racing, MONDAY)
    assert held(store, "bars") == before


def test_a_writer_goes_on_beside_compaction_and_retention() -> None:
    store = MemoryStore()
    writer = filled(store)
    writer.add("bars", batch(0, 12, [bar("Z", FRIDAY + 2 * DAY)]), 0)
    compact(store, MONDAY)
    dropped = retain(store, MONDAY, 2)
    writer.flush(MONDAY)
    assert {part.day for part in dropped} == {"2026-11-20"}
    assert held(store, "bars") == Counter([(0, 2), (0, 5), (0, 8), (0, 11), (0, 12)])
    assert ArchiveWriter(store).next_offset("bars", 0) == 13


def test_garbage_and_drafts_go_by_age_and_what_is_named_stays(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    filled(store, 1)
    folder = tmp_path / "topic=bars" / "year=2026" / "month=11" / "day=20"
    lost = folder / f"part-{FRIDAY:020d}-00.parquet"
    draft = folder / f".part-{FRIDAY:020d}-00.parquet.11"
    lost.write_bytes(b"lost")
    draft.write_bytes(b"half")
    assert clean(store, FRIDAY + HOUR, age=HOUR) == []
    assert len(clean(store, FRIDAY + HOUR + 1, age=HOUR)) == 2
    assert not lost.exists()
    assert not draft.exists()
    assert sum(held(store, "bars").values()) == 2


def test_old_manifests_go_and_a_writer_that_slept_meanwhile_cannot_commit() -> None:
    store = MemoryStore()
    sleeper = ArchiveWriter(store)
    writer = ArchiveWriter(store)
    for offset in range(130):
        writer.add("bars", batch(0, offset, [bar("A", FRIDAY)]), 0)
        writer.flush(FRIDAY)
    clean(store, FRIDAY + 2 * HOUR, age=HOUR)
    assert numbers(store) == [128, 129, 130]
    assert sum(held(store, "bars").values()) == 130

    class Asleep(MemoryStore):
        """Lists no manifest before the writer has created its own."""

        def names(self, path: str) -> tuple[str, ...]:
            awake = f"manifests/{1:020d}.json" in self.files
            return super().names(path) if awake or path != "manifests" else ()

    asleep = Asleep()
    asleep.files = store.files
    sleeper._store = asleep
    sleeper.add("bars", batch(1, 0, [bar("B", FRIDAY)]), 0)
    with pytest.raises(ArchiveConflictError, match="was asleep while others committed up to 130"):
        sleeper.flush(FRIDAY)
    assert numbers(store) == [128, 129, 130]


def test_a_file_that_lacks_is_told_by_its_name(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    filled(store)
    path = min(path for path in read_state(store).parts if "day=20" in path)
    store.remove(path)
    with pytest.raises(ArchiveError, match="cannot be read although a manifest names it"):
        compact(store, MONDAY)
    with pytest.raises(ArchiveError, match="No files found"):
        query(store, "SELECT count(*) FROM bars")
