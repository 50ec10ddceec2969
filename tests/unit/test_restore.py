"""From a changelog to a store: whatever the fetches and the crashes, the rows are the log's."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from aiokafka import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from app.streaming import restore
from app.streaming import store as store_module
from app.streaming.restore import Bounds, catch_up
from app.streaming.slim import SlimBatch
from app.streaming.store import PartitionStore, StoreDamagedError

CHANGELOG = TopicPartition("d.bars.changelog", 3)
IDENTITY = "0123456789abcdef"
Record = tuple[bytes, bytes | None]


class CrashError(Exception):
    """The process dies."""


@dataclass
class Log:
    """A changelog as a consumer gives it: `fetches` are offsets at which a fetch may end.

    An entry without a record is a commit marker, which takes an offset and is not delivered.
    """

    entries: Sequence[Record | None]
    fetches: Iterable[int]
    slim: bool = True

    def __post_init__(self) -> None:
        self.at = -1
        self.read: list[int] = []

    def assign(self, partitions: list[TopicPartition]) -> None:
        assert partitions == [CHANGELOG]

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.at = offset

    async def position(self, partition: TopicPartition) -> int:
        return self.at

    async def getmany(self, partition: TopicPartition, timeout_ms: int) -> dict[Any, list[Any]]:
        begin = self.at
        ends = [each for each in self.fetches if begin < each < len(self.entries)]
        self.at = min(ends, default=len(self.entries))
        found = [
            (offset, entry)
            for offset in range(begin, self.at)
            if (entry := self.entries[offset]) is not None
        ]
        self.read += [offset for offset, _ in found]
        if not found:
            return {}
        if not self.slim:
            return {partition: [SimpleNamespace(key=key, value=v) for _, (key, v) in found]}
        offsets = np.array([offset for offset, _ in found], dtype=np.int64)
        keys: list[bytes | None] = [key for _, (key, _) in found]
        values = [value for _, (_, value) in found]
        return {partition: [SlimBatch(begin, self.at, values, offsets, 0, keys)]}


async def restored(log: Log, store: PartitionStore) -> tuple[int, int]:
    limits = Bounds(0, len(log.entries))
    return await catch_up(cast(Any, log), store, CHANGELOG, IDENTITY, limits)


def model(entries: Iterable[Record | None]) -> dict[bytes, bytes]:
    """What the rows are after these entries."""
    rows: dict[bytes, bytes] = {}
    for entry in entries:
        if entry is not None and entry[1] is None:
            rows.pop(entry[0], None)
        elif entry is not None and entry[1] is not None:
            rows[entry[0]] = entry[1]
    return rows


def rows_of(store: PartitionStore) -> dict[bytes, bytes]:
    """All but the position."""
    found = list(store.rows([b""]))
    assert found == sorted(found)
    return {key: value for key, value in found if not key.startswith(b"\0")}


_ENTRY = st.one_of(
    st.none(),
    st.tuples(
        st.sampled_from([b"m", b"sA", b"sB", b"cA\0\0", b"cA\0\xff", b"i\xff"]),
        st.one_of(st.none(), st.binary(max_size=40)),
    ),
)


#: Each example opens stores: its time is the disk's.
@settings(deadline=None, max_examples=60)
@given(
    st.lists(_ENTRY, min_size=1, max_size=60),
    st.lists(st.integers(0, 60), max_size=12),
    st.integers(0, 80),
    st.integers(0, 6),
    st.booleans(),
)
async def test_a_crash_at_any_write_leaves_a_prefix_that_the_next_restore_goes_on_from(
    entries: list[Record | None], fetches: list[int], size: int, crash: int, slim: bool
) -> None:
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(restore, "WRITE_BYTES", size)
        store = PartitionStore(Path(name) / "s")
        try:
            write, done = store.write, 0

            def dies(*given: Any) -> None:
                nonlocal done
                if done == crash:
                    raise CrashError
                done += 1
                write(*given)

            patch.setattr(store, "write", dies)
            try:
                assert await restored(Log(entries, fetches, slim), store) == (
                    len(entries),
                    sum(entry is not None for entry in entries),
                )
            except CrashError:
                pass
            else:
                assert done <= crash
        finally:
            store.close()
        store = PartitionStore(Path(name) / "s")
        try:
            position = store.position
            written = 0 if position is None else position.changelog_next
            assert (position is None) == (done == 0)
            assert rows_of(store) == model(entries[:written])
            log = Log(entries, fetches, slim)
            assert (await restored(log, store))[0] == len(entries)
            assert all(offset >= written for offset in log.read)
            assert rows_of(store) == model(entries)
            assert store.position is not None
            assert store.position.changelog_next == len(entries)
            # Nothing is left to do, and nothing is read.
            again = Log(entries, fetches, slim)
            assert await restored(again, store) == (len(entries), 0)
            assert again.at == -1
        finally:
            store.close()


async def test_the_last_row_of_a_key_holds_and_a_row_that_comes_back_is_there(
    tmp_path: Path,
) -> None:
    entries: list[Record | None] = [
        (b"a", b"1"), (b"b", b"1"), None, (b"a", None), (b"b", None), (b"b", b"2"), (b"c", b""),
    ]  # fmt: skip
    store = PartitionStore(tmp_path / "s")
    try:
        store.write([(b"old", b"of another log")], 2, "another topic")
        assert await restored(Log(entries, [4]), store) == (7, 6)
        assert rows_of(store) == {b"b": b"2", b"c": b""}
    finally:
        store.close()


async def test_a_store_that_cannot_be_written_says_so_and_is_built_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries: list[Record | None] = [(b"a%02d" % number, b"x" * 50) for number in range(50)]
    store = PartitionStore(tmp_path / "s")
    try:
        monkeypatch.setattr(restore, "WRITE_BYTES", 500)
        store.write([], 0, IDENTITY)
        database = store._db
        # As on a full disk: the second write is refused, and all after it.
        monkeypatch.setattr(store, "_db", _FullDisk(database))
        with pytest.raises(StoreDamagedError, match="No space left"):
            await restored(Log(entries, range(0, 50, 10)), store)
        monkeypatch.setattr(store, "_db", database)
        assert rows_of(store) == model(entries[:10])
        store.clear()
        assert await restored(Log(entries, range(0, 50, 7)), store) == (50, 50)
        assert rows_of(store) == model(entries)
    finally:
        store.close()


class _FullDisk:
    def __init__(self, database: Any) -> None:
        self._database = database
        self._left = 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def write(self, batch: Any, options: Any) -> None:
        if not self._left:
            raise OSError("IO error: No space left on device")
        self._left -= 1
        self._database.write(batch, options)


_not_of_a_crash = shutil.ignore_patterns("LOCK", "LOG*")


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """Name, size and time of change of each; `FileNotFoundError` where one has just gone."""
    files = [path for path in folder.iterdir() if not path.name.startswith("LO")]
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


async def test_a_crash_in_a_rebuild_leaves_rows_and_position_of_one_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what files have is left; the rest is read from the changelog."""
    entries: list[Record | None] = [
        (b"a%03d" % (number * 7 % 300), b"%d" % number) for number in range(400)
    ]
    monkeypatch.setattr(restore, "WRITE_BYTES", 200)
    # So each write is followed by one of a file.
    monkeypatch.setattr(store_module, "FLUSH_SECONDS", 0.0)
    crashed: list[Path] = []
    targets = (tmp_path / f"crashed-{number}" for number in count())
    written = store_module.PartitionStore.write

    def write(store: PartitionStore, *rows: Any) -> None:
        written(store, *rows)
        # RocksDB's own threads write, merge and delete files meanwhile: a copy is
        # of one moment if nothing has changed from before it until after it.
        for target in islice(targets, 50):
            with suppress(shutil.Error, FileNotFoundError):
                before = _files(store.folder)
                shutil.copytree(store.folder, target, ignore=_not_of_a_crash)
                if _files(store.folder) == before:
                    crashed.append(target)
                    return

    monkeypatch.setattr(PartitionStore, "write", write)
    whole = PartitionStore(tmp_path / "whole")
    try:
        await restored(Log(entries, range(0, 400, 9)), whole)
    finally:
        whole.close()
    monkeypatch.setattr(PartitionStore, "write", written)
    seen = set()
    for folder in crashed:
        store = PartitionStore(folder)
        try:
            position = store.position
            there = 0 if position is None else position.changelog_next
            assert rows_of(store) == model(entries[:there])
            seen.add(there)
            await restored(Log(entries, [200]), store)
            assert rows_of(store) == model(entries)
        finally:
            store.close()
    assert len(seen) > 6
