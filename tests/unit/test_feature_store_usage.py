"""Counts of look-ups: bounded, added up over writers, none lost and none twice."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from models.predicting.registry_errors import CorruptModelError
from models.predicting.registry_store import LocalStore, open_store
from models.store.usage import FOLDER, KEPT, OTHER, Usage, Use, merge, read_usage

LABEL = "small@1:0123456789abcdef"
WRITER = """
import sys
from models.predicting.registry_store import open_store
from models.store.usage import Usage
for number in range(int(sys.argv[2])):
    usage = Usage()
    usage.count("small@1:0123456789abcdef", "online", sys.argv[3], rows=2, served=1, time=number)
    usage.flush(open_store(sys.argv[1]), number)
"""


def count(usage: Usage, caller: str = "desk", time: int = 5, label: str = LABEL) -> None:
    usage.count(label, "online", caller, rows=3, served=2, time=time)


def test_counts_are_by_version_verb_and_caller() -> None:
    usage = Usage()
    for time in (5, 3, 9):
        count(usage, time=time)
    count(usage, "other")
    usage.count(LABEL, "historical", "desk", rows=1, served=0, time=1)
    assert usage.uses() == (
        Use(LABEL, "historical", "desk", 1, 1, 0, 1, 1),
        Use(LABEL, "online", "desk", 3, 9, 6, 3, 9),
        Use(LABEL, "online", "other", 1, 3, 2, 5, 5),
    )


def test_callers_without_number_take_bounded_memory() -> None:
    usage = Usage(cells=10)
    for number in range(1_000):
        count(usage, f"caller {number}" + "x" * 1_000)
    uses = usage.uses()
    assert len(uses) == 11
    assert sum(each.lookups for each in uses) == 1_000
    assert next(each.lookups for each in uses if each.caller == OTHER) == 990
    assert all(len(each.caller) <= 200 for each in uses)


def test_a_merge_is_bounded_and_keeps_those_used_last() -> None:
    uses = [Use(LABEL, "online", f"{number}", 1, 2, 1, number, number) for number in range(9)]
    merged = merge([*uses, *uses], cells=3)
    assert sum(each.lookups for each in merged) == 18
    assert sorted(each.caller for each in merged) == [OTHER, "6", "7", "8"]
    (rest,) = (each for each in merged if each.caller == OTHER)
    assert (rest.rows, rest.first, rest.last) == (24, 0, 5)
    assert merge(merged, cells=3) == merged


def test_a_flush_adds_to_the_totals_and_begins_anew(tmp_path: Path) -> None:
    store, one, two = open_store(tmp_path), Usage(), Usage()
    assert read_usage(store).uses == ()
    count(one, time=5)
    one.flush(store, 10)
    count(two, time=3)
    count(one, time=7)
    one.flush(store, 12)
    two.flush(store, 11)
    totals = read_usage(store)
    assert totals.uses == (Use(LABEL, "online", "desk", 3, 9, 6, 3, 7),)
    assert totals.flushed == 12
    assert one.uses() == ()


def test_a_flush_of_nothing_writes_nothing(tmp_path: Path) -> None:
    Usage().flush(open_store(tmp_path), 1)
    assert not (tmp_path / FOLDER).exists()


def test_old_files_do_not_pile_up(tmp_path: Path) -> None:
    store, usage = open_store(tmp_path), Usage()
    for number in range(3 * KEPT):
        count(usage)
        usage.flush(store, number)
    assert len(store.names(FOLDER)) == KEPT
    assert read_usage(store).uses[0].lookups == 3 * KEPT


@pytest.mark.parametrize("location", ["folder", "memory://usage-of-a-test"])
def test_writers_at_once_lose_nothing_and_count_nothing_twice(
    tmp_path: Path, location: str
) -> None:
    place = str(tmp_path) if location == "folder" else location
    start = threading.Barrier(4)

    def write() -> None:
        store, usage = open_store(place), Usage()
        start.wait()
        for number in range(25):
            count(usage)
            usage.flush(store, number)

    threads = [threading.Thread(target=write) for _ in range(4)]
    if "memory" in location:
        # Its create is a look, then a write: for one writer at a time.
        start = threading.Barrier(1)
        for each in threads:
            each.start()
            each.join()
    else:
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    (use,) = read_usage(open_store(place)).uses
    assert (use.lookups, use.rows, use.served) == (100, 300, 200)


def test_processes_at_once_add_up(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), "20", caller])
        for caller in ("a", "b")
    ]
    assert [each.wait() for each in processes] == [0, 0]
    uses = read_usage(open_store(tmp_path)).uses
    assert [(each.caller, each.lookups, each.rows) for each in uses] == [
        ("a", 20, 40),
        ("b", 20, 40),
    ]


def test_a_slow_writer_whose_place_is_gone_begins_again(tmp_path: Path) -> None:
    class Slow(LocalStore):
        """Lets others flush between reading the totals and writing its own."""

        others = 2 * KEPT

        def create(self, path: str, content: bytes) -> None:
            if self.others:
                usage, self.others = Usage(), 0
                for number in range(2 * KEPT):
                    count(usage, "other")
                    usage.flush(LocalStore(tmp_path), number)
            super().create(path, content)

    first, usage = Usage(), Usage()
    count(first, "other")
    first.flush(LocalStore(tmp_path), 0)
    count(usage, "slow")
    usage.flush(Slow(tmp_path), 99)
    counts = {each.caller: each.lookups for each in read_usage(LocalStore(tmp_path)).uses}
    assert counts == {"other": 2 * KEPT + 1, "slow": 1}
    assert len(LocalStore(tmp_path).names(FOLDER)) == KEPT


def test_counts_of_a_flush_that_failed_stay_for_the_next(tmp_path: Path) -> None:
    class Full(LocalStore):
        def create(self, path: str, content: bytes) -> None:
            raise OSError("no space left")

    usage = Usage()
    count(usage, time=5)
    with pytest.raises(OSError, match="no space"):
        usage.flush(Full(tmp_path), 1)
    count(usage, time=6)
    usage.flush(LocalStore(tmp_path), 2)
    assert read_usage(LocalStore(tmp_path)).uses == (Use(LABEL, "online", "desk", 2, 6, 4, 5, 6),)


def test_broken_totals_are_refused_and_no_count_is_lost(tmp_path: Path) -> None:
    store, usage = open_store(tmp_path), Usage()
    count(usage)
    usage.flush(store, 1)
    (tmp_path / FOLDER / "000002.json").write_text("{}")
    count(usage)
    with pytest.raises(Exception, match=r"000002\.json"):
        usage.flush(store, 2)
    assert usage.uses()[0].lookups == 1
    (tmp_path / FOLDER / "000002.json").write_text("nothing")
    with pytest.raises(CorruptModelError):
        read_usage(store)


def test_no_cells_are_refused() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        Usage(0)
