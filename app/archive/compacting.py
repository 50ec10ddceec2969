"""What keeps an archive small: one file for many, retention by day, garbage.

All of it may run beside writers and readers, from any process; times are parameters. What takes
long is an iterator of small pieces: between two of them anybody may stop, rest, or be killed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path
from typing import Final

import pyarrow as pa

from app.archive.columns import read_parquet
from app.archive.layout import DAY, LAYOUTS
from app.archive.manifest import (
    FOLDER,
    WHOLE_EVERY,
    ArchiveConflictError,
    ArchiveError,
    Change,
    Part,
    State,
    commit,
    numbers,
    path_of,
    read_manifest,
    read_state,
    refresh,
)
from app.archive.writing import write_part
from app.durations import NANOSECONDS
from models.predicting.registry_store import LocalStore, Store

HOUR: Final = 3600 * NANOSECONDS["s"]
#: Bytes of the files that one compacted file is made of, at most; all are in memory at once.
TARGET_BYTES: Final = 128 * 1024 * 1024
#: Files that are removed in one piece.
REMOVED_AT_ONCE: Final = 100
_EPOCH: Final = date(1970, 1, 1)
_WRITER: Final = "compaction"


def compact(
    store: Store, now: int, *, settle: int = HOUR, target: int = TARGET_BYTES
) -> list[tuple[Part, list[Part]]]:
    """Put the small files of each topic's past days together, sorted by what names their rows.

    Args:
        now: the present, ns.
        settle: how long (ns) a day must be over; late rows come into files of their own, and the
            next compaction takes these.
        target: bytes of the files that become one.

    Returns: each new file, and those that it replaces; these stay until `clean` removes them.

    Raises:
        ArchiveError: a file or manifest cannot be read; ArchiveConflictError: another compaction
            runs. What was put together before stays so.
    """
    state = read_state(store)
    return [
        (compact_group(store, state, group, now), group)
        for group in groups(state, now, settle=settle, target=target)
    ]


def compact_group(store: Store, state: State, group: list[Part], now: int) -> Part:
    """Put files of one topic and day together; the state is the archive's afterwards.

    Raises:
        ArchiveError: as `compact`. Nothing is left of a file that lost against another compaction.
    """
    new = _merged(store, group, now)
    change = Change("compaction", added=[new], removed=[each.path for each in group])
    try:
        _commit(store, state, change, now)
    except ArchiveConflictError:
        store.remove(new.path)
        raise
    return new


def groups(
    state: State,
    now: int,
    *,
    settle: int = HOUR,
    target: int = TARGET_BYTES,
    rows: int | None = None,
) -> list[list[Part]]:
    """Return which files become one: those of a topic and past day, by the names of both.

    Args:
        settle: see `compact`.
        target: bytes of a group, at most; files of half of that or more are left alone.
        rows: the same of rows; None: as many as there are.
    """
    today = (now - settle) // DAY
    most = float("inf") if rows is None else rows
    small = [
        each
        for each in state.parts.values()
        if _number(each.day) < today and each.bytes < target // 2 and each.rows <= most / 2
    ]
    small.sort(key=lambda each: (each.topic, each.day, each.path))
    found = []
    for _, parts in groupby(small, key=lambda each: (each.topic, each.day)):
        group: list[Part] = []
        held_bytes = held_rows = 0
        for part in parts:
            held_bytes, held_rows = held_bytes + part.bytes, held_rows + part.rows
            if group and (held_bytes > target or held_rows > most):
                found.append(group)
                group, held_bytes, held_rows = [], part.bytes, part.rows
            group.append(part)
        found.append(group)
    return [group for group in found if len(group) > 1]


def _merged(store: Store, group: list[Part], now: int) -> Part:
    """Write the rows of several files of a topic and day into one."""
    topic = group[0].topic
    rows = pa.concat_tables([_read(store, each) for each in group])
    layout = LAYOUTS.get(topic)
    order = ("source_topic", "log_partition", "log_offset") if layout is None else layout.sorting
    rows = rows.sort_by([(name, "ascending") for name in order])
    return write_part(store, topic, _number(group[0].day), rows, now)


def _read(store: Store, part: Part) -> pa.Table:
    try:
        table = read_parquet(store.read(part.path))
    except (FileNotFoundError, pa.ArrowException) as error:
        raise ArchiveError(
            f"{store.where(part.path)}: cannot be read although a manifest names it: {error}"
        ) from None
    if table.num_rows != part.rows:
        raise ArchiveError(
            f"{store.where(part.path)}: {table.num_rows} rows, its manifest says {part.rows}"
        )
    return table


def expired(state: State, now: int, days: int) -> list[Part]:
    """Return the files of days that are over for more than so many days."""
    last = now // DAY - days
    return [each for each in state.parts.values() if _number(each.day) < last]


def outlived(state: State, now: int, days: int) -> list[Part]:
    """Return those of the expired files that were written more than so many days ago, too.

    What was replayed lately is not among them, however old its event times are.
    """
    return [each for each in expired(state, now, days) if now - _time_of(each.path) > days * DAY]


def retain(store: Store, now: int, days: int) -> list[Part]:
    """Drop the files of days that are over for more than so many days; return them.

    They stay until `clean` removes them. Positions stay: nothing is read again.
    """
    state = read_state(store)
    old = expired(state, now, days)
    drop(store, state, old, now)
    return old


def drop(store: Store, state: State, parts: list[Part], now: int) -> None:
    """Take files out of the archive by one manifest; they stay until `clean` removes them."""
    if parts:
        change = Change("retention", removed=sorted(each.path for each in parts))
        _commit(store, state, change, now)


def clean(store: Store, now: int, age: int = 24 * HOUR) -> list[str]:
    """Remove files that nobody may still need, and return their paths.

    These are files replaced or dropped more than `age` ns ago, files and drafts older than `age`
    that no manifest has ever named, and manifests that a newer one repeats, older than `age`. A
    flush or query that takes longer than `age` would lose its files; a day is far beyond.
    """
    state = read_state(store)
    pieces = (
        *removing(store, state, lambda: now, age),
        *collecting(store, state, lambda: now, age),
    )
    return [path for piece in pieces for path in piece]


def removing(
    store: Store, state: State, now: Callable[[], int], age: int = 24 * HOUR
) -> Iterator[list[str]]:
    """Remove, a few at a time, files replaced or dropped long ago, and manifests repeated since.

    The state is the archive's afterwards.
    """
    while True:
        gone = sorted(path for path, time in state.removed.items() if now() - time > age)
        gone = gone[:REMOVED_AT_ONCE]
        if not gone:
            break
        for path in gone:
            store.remove(path)
        _commit(store, state, Change("cleaning", forgotten=gone), now())
        yield gone
    base = state.number - state.number % WHOLE_EVERY
    if base and now() - read_manifest(store, base).time > age:
        old = [path_of(number) for number in numbers(store) if number < base]
        for begin in range(0, len(old), REMOVED_AT_ONCE):
            some = old[begin : begin + REMOVED_AT_ONCE]
            for path in some:
                store.remove(path)
            yield some


def collecting(
    store: Store, state: State, now: Callable[[], int], age: int = 24 * HOUR
) -> Iterator[list[str]]:
    """Remove, folder by folder, files and drafts that no manifest has ever named: it lists all."""
    for folder in _folders(store):
        garbage = [path for path in _files(store, folder) if now() - _time_of(path) > age]
        if garbage:
            # Files may have been named, replaced and forgotten since the manifests were read.
            refresh(store, state)
            named = state.parts.keys() | state.removed.keys()
            garbage = [path for path in garbage if path not in named]
        for path in garbage:
            store.remove(path)
        yield garbage
    yield _drafts(store, now(), age)


def _commit(store: Store, state: State, change: Change, now: int) -> None:
    def check(present: State) -> None:
        lost = [path for path in change.removed if path not in present.parts]
        if lost:
            raise ArchiveConflictError(
                f"{store.where(FOLDER)}: {lost[0]} was replaced meanwhile; another compaction runs"
            )

    commit(store, state, change, writer=_WRITER, time=now, check=check)


def _number(day: str) -> int:
    return (date.fromisoformat(day) - _EPOCH) // timedelta(days=1)


def part_files(store: Store) -> Iterator[str]:
    """Yield the paths of all files of rows, whoever names them."""
    for folder in _folders(store):
        yield from _files(store, folder)


def _folders(store: Store) -> Iterator[str]:
    """Yield the folders of all topics' days."""
    for topic in store.names(""):
        if topic.startswith("topic="):
            folders = [topic]
            for _ in ("year", "month", "day"):
                folders = [f"{above}/{name}" for above in folders for name in store.names(above)]
            yield from folders


def _files(store: Store, folder: str) -> list[str]:
    return [f"{folder}/{name}" for name in store.names(folder) if name.startswith("part-")]


def _time_of(path: str) -> int:
    """Return when a file was written, ns, from its name."""
    return int(path.rsplit("/", 1)[-1].split("-")[1])


def _drafts(store: Store, now: int, age: int) -> list[str]:
    """Remove what a local writer that was killed left unfinished."""
    if not isinstance(store, LocalStore):
        return []
    root = Path(store.where(""))
    old = [
        each
        for each in root.glob("topic=*/year=*/month=*/day=*/.part-*")
        if now - _time_of(each.name) > age
    ]
    for each in old:
        each.unlink(missing_ok=True)
    return [str(each.relative_to(root)) for each in old]
