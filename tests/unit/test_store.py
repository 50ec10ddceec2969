"""The local store of a partition: rows and position are one, and what is torn is built anew."""

from __future__ import annotations

import logging
import os
import random
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.run.environment import ROOT
from app.streaming.restore import TOMBSTONE_SECONDS, Bounds, usable_position
from app.streaming.store import PartitionStore, StoreDamagedError, StoreInUseError, _Manifest
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
        assert written == 100
        assert store.get(b"b") == b"%d" % (written - 1)
        assert len(list(store.rows([b"a"]))) == written


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


def _crashed(folder: Path, copy: Path) -> Path:
    """A store of two lives as a crash leaves it: the rows of the first one in a file, then a log.

    Its list of files; what is listed last is the file of the first life.
    """
    with opened(folder) as store:
        store.write([(b"a%03d" % number, b"x") for number in range(500)], 500, CHANGELOG)
        shutil.copytree(folder, copy / "first")
    with opened(copy / "first") as store:
        store.write([(b"b", b"y")], 501, CHANGELOG)
        shutil.copytree(copy / "first", copy / "second")
    (manifest,) = (copy / "second").glob("MANIFEST-*")
    return manifest


@pytest.mark.parametrize("harm", ["cut", "changed"])
def test_a_list_of_files_that_was_harmed_never_leaves_rows_out_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    """RocksDB itself opens with the newest rows alone where the list of its files ends early."""
    original = _crashed(tmp_path / "s", tmp_path)
    size, silent = original.stat().st_size, 0
    for at in range(0, size, 10):
        copy = tmp_path / f"{at}"
        shutil.copytree(original.parent, copy)
        with (copy / original.name).open("r+b") as file:
            file.seek(at)
            if harm == "cut":
                file.truncate()
            else:
                file.write(b"\x5a" * 64)
        with caplog.at_level(logging.WARNING), opened(copy) as store:
            whole = store.position is not None
            assert len(list(store.rows([b"a"]))) == (500 if whole else 0)
        silent += "is not as it was" in caplog.text
        caplog.clear()
    assert silent, "RocksDB has noticed each by itself: the check is not needed"
    with opened(original.parent) as store:
        assert len(list(store.rows([b"a", b"b"]))) == 501


def test_what_a_position_knows_of_the_list_of_files_is_that_of_the_whole_file(
    tmp_path: Path,
) -> None:
    """Only what was appended is read; RocksDB appends, and makes a new file now and then."""

    def listed() -> tuple[int, int, int]:
        name = (tmp_path / "CURRENT").read_text(encoding="ascii").strip()
        content = (tmp_path / name).read_bytes()
        return int(name.removeprefix("MANIFEST-")), len(content), zlib.crc32(content)

    def point(number: int) -> None:
        made = tmp_path / "new"
        made.write_text(f"MANIFEST-{number:06}\n", encoding="ascii")
        made.replace(tmp_path / "CURRENT")

    watch = _Manifest(tmp_path)
    assert watch.read() == (0, 0, 0)
    for number in (4, 5, 9):
        path = tmp_path / f"MANIFEST-{number:06}"
        path.write_bytes(b"begin")
        point(number)
        for step in range(5):
            assert watch.read() == watch.read() == listed()
            with path.open("ab") as file:
                file.write(b"edit %d" % step)
        assert watch.read() == listed()
    (tmp_path / "CURRENT").unlink()
    assert watch.read() == (0, 0, 0)


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
