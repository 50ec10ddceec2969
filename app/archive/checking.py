"""Whether an archive is whole: what its manifests say, against each other and against the files.

What is known of each record is its (partition, offset, append time): a topic that was made anew has
the same offsets again, later. Manifests that `clean` has removed are taken at the word of the one
that repeats them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from app.archive.compacting import part_files
from app.archive.layout import LAYOUTS, RAW, view_name
from app.archive.manifest import (
    WHOLE_EVERY,
    Manifest,
    Part,
    State,
    numbers,
    path_of,
    read_manifest,
)
from app.archive.querying import query
from models.predicting.registry_store import Store

#: Examples of one fault.
EXAMPLES: Final = 5


@dataclass(frozen=True)
class Findings:
    """What a check has found.

    Attributes:
        faults: one line each; none: the archive is whole.
        manifests, files, rows: that were looked at.
        unnamed: files that no manifest names (any more): of flushes that failed, or replaced.
        lost: offsets that Kafka had removed before they were archived, by topic.
    """

    faults: tuple[str, ...]
    manifests: int
    files: int
    rows: int
    unnamed: int
    lost: dict[str, int]


def check(store: Store) -> Findings:
    """Read all manifests and files of an archive, and say what does not fit.

    It may run beside writers; beside a compaction followed by a clean-up, files may seem to lack.

    Raises:
        ArchiveError: a manifest cannot be read.
        OSError: the store does not answer.
    """
    state, faults, manifests = _replay(store)
    for part in state.parts.values():
        faults += _file_faults(store, part)
    if not faults:
        # DuckDB stops at the first file that lacks.
        faults += _doubles(store, state)
    named = state.parts.keys() | state.removed.keys()
    lost: Counter[str] = Counter()
    for (topic, _), position in state.positions.items():
        lost[topic] += position.lost
    return Findings(
        tuple(faults),
        manifests,
        len(state.parts),
        sum(part.rows for part in state.parts.values()),
        sum(path not in named for path in part_files(store)),
        {topic: count for topic, count in sorted(lost.items()) if count},
    )


def _replay(store: Store) -> tuple[State, list[str], int]:
    """Return the state that the manifests amount to, what does not fit, and how many there are."""
    found = numbers(store)
    state, faults = State(), []
    begin = next((number for number in found if number % WHOLE_EVERY == 0), 1)
    if found and found[0] == 1:
        begin = 1
    for number in range(begin, found[-1] + 1 if found else begin):
        manifest = read_manifest(store, number)
        if number == begin and manifest.whole is not None:
            state.set(number, manifest.whole)
            continue
        where = store.where(path_of(number))
        faults += [f"{where}: {fault}" for fault in _step_faults(state, manifest)]
        state.apply(manifest)
        if manifest.whole is not None and manifest.whole != state.whole():
            faults.append(f"{where}: tells another state than the manifests before it")
    return state, faults, len(found)


def _step_faults(state: State, manifest: Manifest) -> Iterator[str]:
    """Yield what of a manifest does not follow from the state before it."""
    change = manifest.change
    added = sum(part.rows for part in change.added)
    for span in change.spans:
        held = state.positions.get((span.topic, span.partition))
        if held is None or not held.goes_on(span.log):
            continue
        name = f"{span.topic} partition {span.partition}"
        if span.begin < held.next:
            yield f"{name}: offsets {span.begin} to {held.next - 1} are held twice"
        elif span.begin - held.next > span.lost:
            yield f"{name}: offsets {held.next} to {span.begin - 1} are missing"
    if change.kind == "flush":
        taken = sum(span.rows for span in change.spans)
        if taken != added:
            yield f"{taken} records were taken, {added} rows written"
    if change.kind == "compaction":
        removed = sum(state.parts[path].rows for path in change.removed if path in state.parts)
        if removed != added:
            yield f"{removed} rows were put together, {added} rows written"
    yield from (
        f"{path}: removed, and was not there" for path in change.removed if path not in state.parts
    )


def _file_faults(store: Store, part: Part) -> Iterator[str]:
    """Yield what of a file is not as its manifest says."""
    where = store.where(part.path)
    try:
        size = store.size(part.path)
        if size != part.bytes:
            yield f"{where}: {size} bytes, its manifest says {part.bytes}"
            return
        rows = pq.read_metadata(pa.BufferReader(store.read(part.path))).num_rows
    except FileNotFoundError:
        yield f"{where}: the file is missing"
    except pa.ArrowException as error:
        yield f"{where}: not a Parquet file: {' '.join(str(error).split())}"
    else:
        if rows != part.rows:
            yield f"{where}: {rows} rows, its manifest says {part.rows}"


def _doubles(store: Store, state: State) -> Iterator[str]:
    """Yield records that are in the files more than once, and files with unreadable columns."""
    named = {part.topic for part in state.parts.values()}
    for topic in sorted({topic for topic, _ in state.positions} | (named - {RAW})):
        columns = "log_partition, log_offset, append_time"
        source = topic.replace("'", "''")
        # Only here: names of views come from names of topics, which have no quotation marks.
        rows = [f"SELECT {columns} FROM {RAW} WHERE source_topic = '{source}'"]
        if topic in named:
            identity = LAYOUTS[topic].identity if topic in LAYOUTS else ()
            view = view_name(topic) + ("_versions" if identity else "")
            rows.append(f'SELECT {columns} FROM "{view}"')
        sql = (
            f"SELECT log_partition, log_offset, count(*) AS times FROM ({' UNION ALL '.join(rows)})"
            f" GROUP BY {columns} HAVING count(*) > 1 ORDER BY ALL LIMIT {EXAMPLES}"
        )
        for row in query(store, sql).to_pylist():
            yield (
                f"{topic} partition {row['log_partition']}: offset {row['log_offset']} is "
                f"{row['times']} rows"
            )
