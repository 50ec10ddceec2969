"""A view made anew in large steps comes to the same as one written bar by bar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from app.views.partition import Changes, ViewPartition
from app.views.store import ViewStore
from tests.unit.test_views_partition import SECOND, TOPIC, bar

_RECORD = st.tuples(
    st.sampled_from(["A", "AB", "Z"]), st.sampled_from(["1s", "1m", "60s"]), st.integers(0, 30),
    st.integers(0, 3),
)  # fmt: skip


@contextmanager
def opened(folder: Path, keep: int) -> Iterator[ViewPartition]:
    store = ViewStore(folder)
    view = ViewPartition(store, keep)
    view.slack = 2
    try:
        view.count()
        yield view
    finally:
        store.close()


def write(view: ViewPartition, changes: Changes, following: int) -> None:
    long = changes.long
    view.store.write(changes.rows, following, TOPIC)
    view.store.write(view.prune(long), following, TOPIC)


#: Each example opens stores: its time is the disk's.
@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(_RECORD, st.booleans()), max_size=120), st.integers(1, 40))
def test_bars_of_one_write_come_to_the_same_as_bars_written_one_by_one(
    records: list[tuple[tuple[str, str, int, int], bool]], keep: int
) -> None:
    """After each record a step may end; the bound is kept whatever the steps."""
    values = [
        bar(symbol, interval, number * (SECOND if interval == "1s" else 60 * SECOND), revision)
        for (symbol, interval, number, revision), _ in records
    ]
    with TemporaryDirectory() as name:
        folder = Path(name)
        with (
            opened(folder / "single", 1_000) as single,
            opened(folder / "many", 1_000) as many,
            opened(folder / "pruned", keep) as pruned,
        ):
            part: list[bytes | None] = []
            for value, (_, ends) in zip(values, records, strict=True):
                write(single, single.take([value]), 1)
                part.append(value)
                if ends:
                    write(many, many.take(part), 1)
                    part = []
            write(many, many.take(part), 2)
            write(pruned, pruned.take(values), 1)
            rows = [list(view.store.rows([b"A", b"Z", b"\1"])) for view in (single, many)]
            assert rows[0] == rows[1]
            assert single.rows == many.rows
            assert len(rows[0]) == many.rows + len(list(many.series()))
            for series in many.series():
                wanted = many.history(series.symbol, series.length, 1_000)[-keep:]
                assert pruned.history(series.symbol, series.length, 1_000) == wanted
            assert pruned.rows <= len(list(pruned.series())) * (keep + 2)


def test_changes_that_were_never_written_leave_nothing_behind(tmp_path: Path) -> None:
    """The process dies between taking and writing: the store is as of the last write."""
    values = [bar("A", "1s", number * SECOND) for number in range(10)]
    with opened(tmp_path / "v", 100) as view:
        write(view, view.take(values[:4]), 4)
        assert len(view.take(values[4:8]).bars) == 4
    with opened(tmp_path / "v", 100) as view:
        assert view.rows == 4
        assert view.position is not None
        assert view.position.changelog_next == 4
        write(view, view.take(values[4:]), 10)
        assert view.history("A", SECOND, 100) == values
