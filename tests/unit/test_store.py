"""The local store of a partition: rows and position are one, and what is torn is built anew."""

from __future__ import annotations

import logging
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.run.environment import ROOT
from app.streaming.restore import TOMBSTONE_SECONDS, Bounds, usable_position
from app.streaming.store import (
    FLUSH_SECONDS,
    PartitionStore,
    StoreDamagedError,
    StoreInUseError,
)
from app.views.store import ViewStore

CHANGELOG = "0123456789abcdef"
NOW = 1_700_000_000.0
KILLED = """
import os, sys
from pathlib import Path
from app.streaming.store import PartitionStore, StoreDamagedError
store = PartitionStore(Path(sys.argv[1]))
for number in range(100):
    store.write([(b"a%03d" % number, b"x" * 50), (b"b", b"%d" % number)], number + 1, "id")
    if number in (30, 60):
        store._db.flush()
os._exit(9)
"""
HOLDS = """
import sys
from pathlib import Path
from app.streaming.store import PartitionStore, StoreDamagedError
store = PartitionStore(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


@contextmanager
def opened(folder: Path) -> Iterator[PartitionStore]:
    store = PartitionStore(folder)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def python(code: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process


def test_rows_and_position_are_there_after_it_was_closed(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as store:
        assert store.position is None
        store.write([(b"sA", b"1"), (b"sB", b"2"), (b"tA", b"3"), (b"s\xff", b"4")], 7, CHANGELOG)
        store.write([(b"sA", None), (b"sC", b"")], 9, CHANGELOG)
    with opened(tmp_path / "s") as store:
        assert store.position is not None
        assert (store.position.changelog_next, store.position.changelog_id) == (9, CHANGELOG)
        assert list(store.rows([b"s"])) == [(b"sB", b"2"), (b"sC", b""), (b"s\xff", b"4")]
        assert list(store.rows([b"u", b"t"])) == [(b"tA", b"3")]
        assert store.get(b"sA") is None
        store.clear()
        assert store.position is None
        assert list(store.rows([b"s", b"t"])) == []


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.lists(st.tuples(st.binary(min_size=1, max_size=2), st.none() | st.binary(max_size=3)))
    )
)
def test_of_several_rows_with_one_key_the_last_one_holds(
    writes: list[list[tuple[bytes, bytes | None]]],
) -> None:
    """Rows are written in the order of their keys, whatever order they come in."""
    expected: dict[bytes, bytes | None] = {}
    with TemporaryDirectory() as folder, opened(Path(folder) / "s") as store:
        for number, rows in enumerate(writes):
            store.write(iter(rows), number, CHANGELOG)
            expected.update(rows)
        for key, value in expected.items():
            assert store.get(key) == value
        there = sorted((key, value) for key, value in expected.items() if value is not None)
        position = [(b"\0position", store.get(b"\0position"))] if writes else []
        assert list(store.rows([b""])) == sorted(position + there)


def test_a_killed_process_leaves_rows_and_position_of_the_same_write(tmp_path: Path) -> None:
    with python(KILLED, tmp_path / "s") as process:
        assert process.wait(60) == 9
    with opened(tmp_path / "s") as store:
        assert store.position is not None
        written = store.position.changelog_next
        # What was in memory alone is read from the changelog.
        assert written == 61
        assert store.get(b"b") == b"%d" % (written - 1)
        assert len(list(store.rows([b"a"]))) == written


def test_what_is_in_memory_alone_goes_to_a_file_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed process leaves little to be read from the changelog, however little it writes."""
    now = 1_000.0
    monkeypatch.setattr("app.streaming.store.time.monotonic", lambda: now)
    with opened(tmp_path / "s") as store:
        for number in range(10):
            store.write([(b"a%03d" % number, b"x")], number + 1, CHANGELOG)
            now += FLUSH_SECONDS / 3
        # The flushes are done in the background; this one waits for those before it.
        store._db.flush()
        assert len(list((tmp_path / "s").glob("*.sst"))) > 2


def test_the_store_of_another_process_is_refused(tmp_path: Path) -> None:
    with python(HOLDS, tmp_path / "s") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StoreInUseError, match="CANDLEWICK_WORKER"):
            PartitionStore(tmp_path / "s")
        process.communicate(timeout=30)
    with opened(tmp_path / "s") as store:
        assert store.position is None


@pytest.mark.parametrize("lost", ["CURRENT", "MANIFEST-*", "*.sst", "*"])
def test_a_store_that_has_lost_files_begins_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, lost: str
) -> None:
    """Rows and position go together; a log line says so where something was left."""
    folder = tmp_path / "s"
    with opened(folder) as store:
        store.write([(b"a%03d" % number, b"x" * 50) for number in range(500)], 500, CHANGELOG)
        store._db.flush()
        store.write([(b"b", b"y")], 501, CHANGELOG)
    for file in folder.glob(lost):
        file.unlink()
    with caplog.at_level(logging.WARNING), opened(folder) as store:
        assert store.position is None
        assert list(store.rows([b"a", b"b"])) == []
        store.write([(b"a", b"z")], 3, CHANGELOG)
    assert ("rebuilt from the changelog" in caplog.text) == (lost != "*")


def test_rows_of_a_damaged_file_are_never_left_out_in_silence(tmp_path: Path) -> None:
    folder, chance = tmp_path / "s", random.Random(1)
    with opened(folder) as store:
        rows = [(b"a%05d" % number, chance.randbytes(100)) for number in range(20_000)]
        store.write(rows, 500, CHANGELOG)
        store._db.flush()
    (file,) = folder.glob("*.sst")
    data = bytearray(file.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3_000] = bytes(3_000)
    file.write_bytes(data)
    with opened(folder) as store, pytest.raises(StoreDamagedError, match="s: "):
        list(store.rows([b"a"]))


@pytest.mark.parametrize("read", ["state", "forward", "backward"])
def test_a_damaged_store_begins_anew_although_the_error_is_kept(tmp_path: Path, read: str) -> None:
    """An iterator that lives on holds RocksDB's lock: the error kept it, and the worker ended."""
    folder, chance = tmp_path / "s", random.Random(1)
    with opened(folder) as store:
        rows = [(b"a%05d" % number, chance.randbytes(100)) for number in range(20_000)]
        store.write(rows, 500, CHANGELOG)
        store._db.flush()
    (file,) = folder.glob("*.sst")
    data = bytearray(file.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3_000] = bytes(3_000)
    file.write_bytes(data)
    with closing(ViewStore(folder)) as damaged:
        scans = {
            "state": damaged.rows([b"a"]),
            "forward": damaged.forward(b"a", b"a"),
            "backward": damaged.backward(b"b", b"a"),
        }
        with pytest.raises(StoreDamagedError) as kept:
            list(scans[read])
        damaged.clear()
        assert list(damaged.rows([b"a"])) == []
        assert kept.value is not None


@pytest.mark.parametrize(
    ("offset", "identity", "age", "fault"),
    [
        (50, CHANGELOG, 0.0, None),
        (10, CHANGELOG, 0.0, None),
        (90, CHANGELOG, TOMBSTONE_SECONDS - 10.0, None),
        (91, CHANGELOG, 0.0, "is ahead of its changelog (91 > 90)"),
        (9, CHANGELOG, 0.0, "ends at 9, before its changelog begins (10)"),
        (50, "another", 0.0, "belongs to another changelog topic"),
        (50, CHANGELOG, TOMBSTONE_SECONDS + 10.0, "may have missed deletions"),
    ],
)
def test_a_store_is_used_only_where_it_is_a_part_of_its_changelog(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    offset: int,
    identity: str,
    age: float,
    fault: str | None,
) -> None:
    with opened(tmp_path / "s") as store:
        monkeypatch.setattr("app.streaming.store.time.time", lambda: NOW - age)
        store.write([(b"a", b"b")], offset, identity)
        with caplog.at_level(logging.WARNING):
            found = usable_position(store, CHANGELOG, Bounds(10, 90), NOW)
    assert found == (offset if fault is None else None)
    if fault is None:
        assert not caplog.records
    else:
        assert fault in caplog.text
        assert "rebuilt from the changelog" in caplog.text


def test_a_store_whose_position_cannot_be_read_is_built_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "s"
    with opened(folder) as store:
        store.write([(b"a%03d" % number, b"x" * 50) for number in range(500)], 50, CHANGELOG)
        store._db.flush()
    (file,) = folder.glob("*.sst")
    file.write_bytes(bytes(1_000) + file.read_bytes()[1_000:])
    with caplog.at_level(logging.WARNING), opened(folder) as store:
        assert usable_position(store, CHANGELOG, Bounds(10, 90), NOW) is None
        store.clear()
        assert store.position is None
    assert "rebuilt from the changelog" in caplog.text


def test_a_new_store_is_read_from_the_beginning_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), opened(tmp_path / "s") as store:
        assert usable_position(store, CHANGELOG, Bounds(0, 90), NOW) is None
    assert not caplog.records


def _flushed(folder: Path, times: int) -> Path:
    """A store of so many files, as a crash leaves it: the list of its files."""
    with opened(folder) as store:
        for number in range(times * 100):
            store.write([(b"a%03d" % number, b"x")], number + 1, CHANGELOG)
            if number % 100 == 99:
                store._db.flush()
    return folder / (folder / "CURRENT").read_text(encoding="ascii").strip()


@pytest.mark.parametrize("harm", ["cut", "changed"])
def test_a_list_of_files_that_was_harmed_leaves_a_prefix(tmp_path: Path, harm: str) -> None:
    """RocksDB opens without the files behind a list that ends early: their rows are read again."""
    original = _flushed(tmp_path / "s", 3)
    seen = set()
    for at in range(0, original.stat().st_size, 10):
        copy = tmp_path / f"{at}"
        shutil.copytree(original.parent, copy)
        with (copy / original.name).open("r+b") as file:
            file.seek(at)
            if harm == "cut":
                file.truncate()
            else:
                file.write(b"\x5a" * 64)
        with opened(copy) as store:
            rows = [key for key, _ in store.rows([b"a"])]
            there = 0 if store.position is None else store.position.changelog_next
        shutil.rmtree(copy)
        assert rows == [b"a%03d" % number for number in range(there)]
        seen.add(there)
    assert len(seen) > 1, "the harm was always noticed, or never: the test shows nothing"
    with opened(original.parent) as store:
        assert len(list(store.rows([b"a"]))) == 300


def test_a_damaged_block_is_not_taken_for_a_lock(tmp_path: Path) -> None:
    """Its message has the word "block"; it once ended the worker as if another one were there."""
    folder = tmp_path / "s"
    with opened(folder) as store:
        store.write([(b"a%03d" % number, b"x" * 50) for number in range(500)], 500, CHANGELOG)
        store._db.flush()
    (file,) = folder.glob("*.sst")
    content = file.read_bytes()
    for at in range(0, len(content), len(content) // 20):
        file.write_bytes(content[:at] + b"\x5a" * 64 + content[at + 64 :])
        # At the latest who reads the block is told; the worker builds the store anew.
        with opened(folder) as store, suppress(StoreDamagedError):
            if store.position is None:
                break
    else:
        pytest.fail("no harm was noticed at opening")


def test_a_store_that_could_not_begin_anew_can_do_so_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that is full for a while."""

    def full(_: object) -> None:
        raise OSError("No space left on device")

    with opened(tmp_path / "s") as store:
        store.write([(b"a", b"1")], 1, CHANGELOG)
        with monkeypatch.context() as patched:
            patched.setattr(PartitionStore, "_open", full)
            for _ in range(2):
                with pytest.raises(OSError, match="No space"):
                    store.clear()
        store.clear()
        assert store.position is None
        store.write([(b"a", b"2")], 1, CHANGELOG)
        assert store.get(b"a") == b"2"
