"""The archive's writer: each record once, whatever breaks, whoever writes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.archive.columns import read_parquet
from app.archive.manifest import ArchiveConflictError, ArchiveError, read_state
from app.archive.writing import ArchiveWriter, Limits
from models.predicting.registry_store import LocalStore, RemoteStore, Store
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

#: What a topic of trades may carry: trades of three days, and what is none.
VALUES = (
    trade("A", FRIDAY + 1),
    trade("B", FRIDAY + DAY - 1),
    trade("A", FRIDAY + DAY),
    b'{"type":"clock","event_time":5}',
    b"not json",
    None,
)
#: A partition's log: which value stands at which distance from the one before.
LOGS = st.lists(st.tuples(st.sampled_from(VALUES), st.integers(1, 3)), min_size=1, max_size=12)


def log_of(parts: list[tuple[bytes | None, int]]) -> list[tuple[int, bytes | None]]:
    found, offset = [], -1
    for value, step in parts:
        offset += step
        found.append((offset, value))
    return found


def feed(
    writer: ArchiveWriter,
    log: list[tuple[int, bytes | None]],
    partition: int,
    begin: int,
    size: int,
) -> None:
    """Send the log from an offset on in fetches of so many offsets, with a flush after each."""
    end = log[-1][0] + 1
    for base in range(begin, end, size):
        following = min(base + size, end)
        chosen = [(offset, value) for offset, value in log if base <= offset < following]
        fetch = batch(
            partition,
            base,
            [value for _, value in chosen],
            offsets=[offset for offset, _ in chosen],
            following=following,
        )
        writer.add("ticks", fetch, 0)
        writer.flush(FRIDAY)


@settings(max_examples=100, deadline=None)
@given(
    logs=st.lists(LOGS, min_size=1, max_size=2),
    breaks=st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=4),
    size=st.integers(1, 8),
    again=st.integers(0, 5),
    same=st.booleans(),
)
def test_whatever_step_breaks_the_archive_holds_each_record_once(
    logs: list[list[tuple[bytes | None, int]]],
    breaks: list[tuple[int, bool]],
    size: int,
    again: int,
    same: bool,
) -> None:
    files: dict[str, bytes] = {}
    sent = [log_of(parts) for parts in logs]
    writer: ArchiveWriter | None = None
    for step, after in [*breaks, (0, False)]:
        store = BreakingStore(files, step, after=after)
        if writer is None or not same:
            # A new process; else the same one goes on with what it has buffered.
            writer = ArchiveWriter(store)
        else:
            writer._store = store
        try:
            for partition, log in enumerate(sent):
                reached = writer.next_offset("ticks", partition) or 0
                feed(writer, log, partition, max(0, reached - again), size)
        except OSError:
            assert step > 0
    whole = MemoryStore()
    whole.files = files
    expected = Counter((p, offset) for p, log in enumerate(sent) for offset, _ in log)
    trades = Counter(
        (p, offset) for p, log in enumerate(sent) for offset, value in log if value in VALUES[:3]
    )
    assert held(whole, "ticks") == trades
    assert held(whole, "raw") == expected - trades
    state = read_state(whole)
    ends = {("ticks", p): log[-1][0] + 1 for p, log in enumerate(sent)}
    assert {place: position.next for place, position in state.positions.items()} == ends


@pytest.mark.parametrize("kind", ["folder", "address"])
def test_rows_lie_by_topic_and_day_and_say_where_they_come_from(kind: str, tmp_path: Path) -> None:
    store: Store = (
        LocalStore(tmp_path) if kind == "folder" else RemoteStore(f"memory://{tmp_path.name}/a")
    )
    writer = ArchiveWriter(store)
    assert writer.next_offset("bars", 3) is None
    values = [bar("A", FRIDAY), bar("B", FRIDAY + DAY), bar("C", FRIDAY + 60)]
    writer.add("bars", batch(3, 7, values), 0)
    manifest = writer.flush(FRIDAY)
    assert manifest is not None
    assert [part.path.rsplit("/", 1)[0] for part in manifest.change.added] == [
        "topic=bars/year=2026/month=11/day=20",
        "topic=bars/year=2026/month=11/day=21",
    ]
    first = read_parquet(store.read(manifest.change.added[0].path))
    assert first.to_pylist()[1] == {
        "symbol": "C",
        "interval": "1m",
        "start": FRIDAY + 60,
        "open": 1.0,
        "high": 2.0,
        "low": 0.5,
        "close": 1.5,
        "volume": 10.0,
        "vwap": None,
        "trades": 3,
        "revision": 0,
        "is_final": True,
        "filled": False,
        "sources": ["sip"],
        "log_partition": 3,
        "log_offset": 9,
        "append_time": FRIDAY + 9_000,
    }
    assert writer.next_offset("bars", 3) == ArchiveWriter(store).next_offset("bars", 3) == 10


def test_of_two_writers_of_a_partition_one_loses_and_leaves_nothing() -> None:
    store = MemoryStore()
    zombie, owner = ArchiveWriter(store), ArchiveWriter(store)
    zombie.add("bars", batch(0, 0, [bar("A", FRIDAY)]), 0)
    owner.add("bars", batch(0, 0, [bar("A", FRIDAY), bar("B", FRIDAY)]), 0)
    owner.flush(FRIDAY)
    with pytest.raises(ArchiveConflictError, match="another writer has written bars partition 0"):
        zombie.flush(FRIDAY)
    assert held(store, "bars") == Counter([(0, 0), (0, 1)])


def test_a_writer_that_loses_the_number_between_reading_and_committing_has_a_conflict() -> None:
    class Racing(MemoryStore):
        def create(self, path: str, content: bytes) -> None:
            if path.startswith("manifests/") and not self.names("manifests"):
                rival = MemoryStore()
                rival.files = self.files
                other = ArchiveWriter(rival)
                other.add("bars", batch(0, 0, [bar("A", FRIDAY)]), 0)
                other.flush(FRIDAY)
            super().create(path, content)

    writer = ArchiveWriter(store := Racing())
    writer.add("bars", batch(0, 0, [bar("A", FRIDAY), bar("B", FRIDAY)]), 0)
    with pytest.raises(ArchiveConflictError, match="only one may run"):
        writer.flush(FRIDAY)
    assert held(store, "bars") == Counter([(0, 0)])


def test_writers_of_different_partitions_go_on_beside_each_other() -> None:
    store = MemoryStore()
    writers = [ArchiveWriter(store), ArchiveWriter(store)]
    for turn in range(70):
        for partition, writer in enumerate(writers):
            writer.add("bars", batch(partition, turn, [bar("A", FRIDAY)]), 0)
            writer.flush(FRIDAY)
    assert held(store, "bars") == Counter((p, o) for p in range(2) for o in range(70))
    assert read_state(store).number == 140


def test_records_that_lack_are_an_error_unless_agreed() -> None:
    writer = ArchiveWriter(store := MemoryStore())
    writer.add("bars", batch(0, 0, [bar("A", FRIDAY)]), 0)
    with pytest.raises(ArchiveError, match="goes on at offset 1, the records begin at 5"):
        writer.add("bars", batch(0, 5, [bar("A", FRIDAY)]), 0)
    writer.skip("bars", 0, 5)
    writer.add("bars", batch(0, 5, [bar("A", FRIDAY)]), 0)
    writer.flush(FRIDAY)
    assert held(store, "bars") == Counter([(0, 0), (0, 5)])


VALUE = bar("A", FRIDAY)


@pytest.mark.parametrize(
    ("limits", "due"),
    [
        (Limits(rows=2), [False, True]),
        (Limits(bytes=2 * len(VALUE)), [False, True]),
        (Limits(age=50), [False, False, True]),
    ],
)
def test_a_flush_is_due_by_rows_bytes_or_age(limits: Limits, due: list[bool]) -> None:
    writer = ArchiveWriter(MemoryStore(), limits)
    assert not writer.due(10**18)
    for turn, expected in enumerate(due):
        now = 100 + 25 * turn
        writer.add("bars", batch(0, turn, [VALUE]), now)
        assert writer.due(now) is expected
    writer.flush(FRIDAY)
    assert not writer.due(10**18)


def test_nothing_to_flush_is_no_manifest() -> None:
    writer = ArchiveWriter(store := MemoryStore())
    assert writer.flush(FRIDAY) is None
    assert store.files == {}


def test_a_manifest_that_lacks_or_is_none_is_told() -> None:
    writer = ArchiveWriter(store := MemoryStore())
    for offset in range(3):
        writer.add("bars", batch(0, offset, [bar("A", FRIDAY)]), 0)
        writer.flush(FRIDAY)
    second = f"manifests/{2:020d}.json"
    content = store.files[second]
    store.files[second] = b"{}"
    with pytest.raises(ArchiveError, match="not a manifest"):
        read_state(store)
    store.files[second] = content.replace(b'"version":1', b'"version":2')
    with pytest.raises(ArchiveError, match="version 2 of the archive; this engine knows 1"):
        read_state(store)
    del store.files[second]
    with pytest.raises(ArchiveError, match="the manifest is missing"):
        read_state(store)
