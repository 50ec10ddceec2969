"""One partition of a view: the highest revision holds, whatever the order, and the bound holds."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.wire import BarRecord, QuoteBarRecord, encoder
from app.durations import parse_duration
from app.streaming.store import StoreDamagedError
from app.views import partition as module
from app.views import rows
from app.views.partition import ViewPartition
from app.views.store import ViewStore

SECOND = 1_000_000_000
TOPIC = "0123456789abcdef"


def bar(symbol: str, interval: str, start: int, revision: int = 0) -> bytes:
    """A bar whose close tells its revision; start in ns."""
    prices = (1.0, 2.0, 0.5, float(revision))
    return encoder.encode(
        BarRecord(symbol, interval, start, *prices, 3.0, None, 4, revision, True, False, ("a",))
    )


@contextmanager
def opened(folder: Path, keep: int = 5) -> Iterator[ViewPartition]:
    store = ViewStore(folder)
    view = ViewPartition(store, keep)
    try:
        view.count()
        yield view
    finally:
        store.close()


def feed(view: ViewPartition, values: Iterable[bytes | None], following: int = 1) -> None:
    """As the follower does."""
    changes = view.take(values)
    view.store.write(changes.rows, following, TOPIC)
    view.store.write(view.prune(changes.long), following, TOPIC)


def seen(view: ViewPartition, symbol: str, interval: str, limit: int = 1_000) -> list[Any]:
    """(start in seconds, revision) of the history."""
    found = [msgspec.json.decode(v) for v in view.history(symbol, parse_duration(interval), limit)]
    return [(each["start"] // SECOND, each["revision"]) for each in found]


_RECORD = st.tuples(
    st.sampled_from(["A", "AB", "A-B", "BTC/USD", "Z"]),
    st.sampled_from(["1s", "1m"]),
    st.integers(0, 60),
    st.integers(0, 4),
)


#: Each example opens a store: its time is the disk's.
@settings(deadline=None)
@given(
    st.lists(_RECORD, max_size=200),
    st.lists(st.integers(0, 200), max_size=6),
    st.integers(1, 6),
    st.booleans(),
)
def test_records_in_any_order_leave_the_highest_revisions_of_the_newest_windows(
    records: list[tuple[str, str, int, int]], cuts: list[int], keep: int, forget: bool
) -> None:
    newest: dict[tuple[str, str], dict[int, int]] = {}
    for symbol, interval, number, revision in records:
        windows = newest.setdefault((symbol, interval), {})
        windows[number] = max(windows.get(number, 0), revision)
    values = [
        bar(symbol, interval, number * parse_duration(interval), revision)
        for symbol, interval, number, revision in records
    ]
    bounds = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    with TemporaryDirectory() as folder:
        with opened(Path(folder) / "v", keep) as view:
            view.slack = 2
            for begin, end in itertools.pairwise(bounds):
                feed(view, values[begin:end], end)
                if forget:
                    view._series.clear()
            for name, windows in newest.items():
                step = parse_duration(name[1]) // SECOND
                kept = sorted(windows.items())[-keep:]
                assert seen(view, *name) == [(start * step, rev) for start, rev in kept]
                assert seen(view, *name, limit=2) == [(s * step, rev) for s, rev in kept[-2:]]
            there = [key for key, _ in view.store.forward(b"A", b"")]
            assert view.rows == len(there)
            assert view.rows <= len(newest) * (keep + 2)
            assert list(view.series()) == sorted((s, parse_duration(i)) for s, i in newest)
        with opened(Path(folder) / "v", keep) as again:
            assert again.rows == view.rows
            assert again.store.position is None or again.store.position.changelog_next == end


def test_rows_and_offset_are_there_after_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path / "v") as view:
        assert view.position is None
        feed(view, [bar("A", "1s", 0), bar("A", "1s", SECOND), None, b"{}"], 17)
        assert view.foreign == 2
    with opened(tmp_path / "v") as view:
        assert view.position is not None
        assert (view.position.changelog_next, view.position.changelog_id) == (17, TOPIC)
        assert view.rows == 2
        feed(view, [bar("A", "1s", SECOND, 1), bar("A", "1s", 0, 0)], 19)
        assert seen(view, "A", "1s") == [(0, 0), (1, 1)]


def test_a_killed_write_leaves_the_series_right(tmp_path: Path) -> None:
    """Rows and pruning are two writes: without the second one the bound is kept by the next."""
    with opened(tmp_path / "v", keep=3) as view:
        changes = view.take([bar("A", "1s", number * SECOND) for number in range(30)])
        view.store.write(changes.rows, 30, TOPIC)
        assert changes.long == [("A", SECOND)]
    with opened(tmp_path / "v", keep=3) as view:
        assert view.rows == 30
        assert seen(view, "A", "1s") == [(27, 0), (28, 0), (29, 0)]
        feed(view, [bar("A", "1s", 30 * SECOND)], 31)
        assert view.rows == 3
        assert seen(view, "A", "1s") == [(28, 0), (29, 0), (30, 0)]


def test_history_from_a_time_on_and_the_intervals_of_a_symbol(tmp_path: Path) -> None:
    with opened(tmp_path / "v", keep=100) as view:
        feed(view, [bar("A", "1s", number * SECOND) for number in range(10)])
        feed(view, [bar("A", "1m", 0), bar("AA", "5m", 0), bar("B", "1s", 0)])
        found = view.history("A", SECOND, 100, since=8 * SECOND)
        assert [rows.decode_head(value).start for value in found] == [8 * SECOND, 9 * SECOND]
        assert view.lengths("A") == [SECOND, 60 * SECOND]
        assert view.lengths("C") == []
        assert [each.symbol for each in view.series("A")] == ["A", "A", "AA"]
        assert [each.symbol for each in view.series("A", after="A")] == ["AA"]
        assert [each.symbol for each in view.series("", after="AA")] == ["B"]


def test_bars_of_quotes_are_bars(tmp_path: Path) -> None:
    prices = [float(number) for number in range(15)]
    value = encoder.encode(QuoteBarRecord("EURUSD", "1s", SECOND, *prices, 7, 2, True, ()))
    with opened(tmp_path / "v") as view:
        feed(view, [value])
        assert view.history("EURUSD", SECOND, 10) == [value]


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SERIES_IN_MEMORY", 10)
    with opened(tmp_path / "v") as view:
        for number in range(100):
            feed(view, [bar(f"S{number % 50}", "1s", number * SECOND)])
            assert len(view._series) <= 10
        assert view.rows == 100
        assert seen(view, "S7", "1s") == [(7, 0), (57, 0)]


def test_what_is_no_bar_is_told_once_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    strange = [b"", b"[]", b"{", bar("A", "1 fortnight", 0), bar("A", "1s", -1)]
    with opened(tmp_path / "v") as view, caplog.at_level(logging.WARNING):
        feed(view, [*strange, *strange])
        assert (view.foreign, view.rows) == (10, 0)
    assert len(caplog.records) == 1


def test_a_damaged_store_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    with opened(folder, keep=10_000) as view:
        feed(view, [bar("A", "1s", number * SECOND) for number in range(5_000)])
        view.store._db.flush()
    for path in folder.glob("*.sst"):
        data = bytearray(path.read_bytes())
        data[200 : len(data) // 2] = b"\xaa" * (len(data) // 2 - 200)
        path.write_bytes(bytes(data))
    with pytest.raises(StoreDamagedError), opened(folder, keep=10_000) as view:
        view.history("A", SECOND, 10_000)
