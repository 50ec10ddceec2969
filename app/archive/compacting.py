"""What keeps an archive small: one file for many, retention by day, garbage.

All of it may run beside writers and readers, from any process; times are parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    done = []
    for group in _groups(state, (now - settle) // DAY, target):
        new = _merged(store, group, now)
        paths = [each.path for each in group]
        change = Change("compaction", added=[new], removed=paths)
        _commit(store, state, change, now)
        done.append((new, group))
    return done


def _groups(state: State, today: int, target: int) -> list[list[Part]]:
    """Return which files become one: those of a topic and day, at most `target` bytes together."""
    groups = []
    small = [
        each
        for each in state.parts.values()
        if _number(each.day) < today and each.bytes < target // 2
    ]
    small.sort(key=lambda each: (each.topic, each.day, each.path))
    for _, parts in groupby(small, key=lambda each: (each.topic, each.day)):
        group: list[Part] = []
        for part in parts:
            if group and sum(each.bytes for each in group) + part.bytes > target:
                groups.append(group)
                group = []
            group.append(part)
        groups.append(group)
    return [group for group in groups if len(group) > 1]


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


def retain(store: Store, now: int, days: int) -> list[Part]:
    """Drop the files of days that are over for more than so many days; return them.

    They stay until `clean` removes them. Positions stay: nothing is read again.
    """
    state = read_state(store)
    old = expired(state, now, days)
    if old:
        change = Change("retention", removed=sorted(each.path for each in old))
        _commit(store, state, change, now)
    return old


def clean(store: Store, now: int, age: int = 24 * HOUR) -> list[str]:
    """Remove files that nobody may still need, and return their paths.

    These are files replaced or dropped more than `age` ns ago, files and drafts older than `age`
    that no manifest has ever named, and manifests that a newer one repeats, older than `age`. A
    flush or query that takes longer than `age` would lose its files; a day is far beyond.
    """
    state = read_state(store)
    gone = sorted(path for path, time in state.removed.items() if now - time > age)
    known = state.parts.keys() | state.removed.keys()
    garbage = [
        path for path in part_files(store) if path not in known and now - _time_of(path) > age
    ]
    # A file may have been named since the manifests were read.
    named = refresh(store, state).parts
    removed = [path for path in (*gone, *garbage) if path not in named]
    for path in removed:
        store.remove(path)
    removed += _drafts(store, now, age)
    if gone:
        _commit(store, state, Change("cleaning", forgotten=gone), now)
    base = state.number - state.number % WHOLE_EVERY
    if base and now - read_manifest(store, base).time > age:
        for number in numbers(store):
            if number < base:
                store.remove(path_of(number))
                removed.append(path_of(number))
    return removed


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
    folders = [name for name in store.names("") if name.startswith("topic=")]
    for _ in ("year", "month", "day"):
        folders = [f"{above}/{name}" for above in folders for name in store.names(above)]
    for above in folders:
        for name in store.names(above):
            if name.startswith("part-"):
                yield f"{above}/{name}"


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
