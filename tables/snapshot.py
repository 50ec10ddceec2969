"""A partition's state as rows: what a checkpoint takes, and how it is built again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from app.contracts.outputs import OutputRecord, Taken
from tables.configuration import BarsConfiguration
from tables.outbox import SymbolState
from tables.partition import NO_MAXIMUM, OUTCOMES, WindowedPartition
from tables.rows import (
    ACTIVITY_PREFIX,
    ANCHOR_PREFIX,
    CORRECTED_PREFIX,
    IDENTIFIER_PREFIX,
    MARKER_KEY,
    OVERRIDE_PREFIX,
    READ_VERSIONS,
    ROW_VERSION,
    SYMBOL_PREFIX,
    Marker,
    SymbolRow,
    decode_marker,
    decode_symbol,
    encode_marker,
    identifier_key,
    identifier_minute,
)
from tables.windows import Reader

#: Prefixes of the rows that are held in memory; the others are read when needed.
LOADED_PREFIXES = (
    SYMBOL_PREFIX,
    IDENTIFIER_PREFIX,
    CORRECTED_PREFIX,
    OVERRIDE_PREFIX,
    ANCHOR_PREFIX,
    ACTIVITY_PREFIX,
)


State = TypeVar("State", bound=WindowedPartition[Any, Any])


class StateRefusedError(RuntimeError):
    """Stored state that this deployment must not go on from: the message says what to do."""


def take(state: WindowedPartition[Any, Any], topic_id: str) -> Taken:
    """Freeze what has changed since the last call: outputs, rows and the marker.

    The rows are serialised here, so later batches cannot change them.
    """
    if state.next is None:
        raise ValueError("nothing was applied yet")
    publisher = state.publisher
    taken = Taken(state.next)
    taken.outputs = {name: records for name, records in publisher.outputs.items() if records}
    publisher.outputs = {name: list[OutputRecord]() for name in publisher.outputs}
    publisher.pending_bytes = 0
    rows = taken.rows
    windows = state.windows
    rows.extend(windows.changed_rows(state.changed, publisher.state))
    state.changed.clear()
    rows.extend(windows.take_changed())
    rows.extend(state.more_rows())
    fresh, forgotten = state.identifiers.take_changes()
    rows.extend((key, None) for key in forgotten)
    for minute, chunks in fresh:
        for part, chunk in enumerate(chunks):
            key = identifier_key(minute, state.next, part)
            rows.append((key, chunk))
            state.identifiers.stored(minute, key)
    marker = Marker(
        version=ROW_VERSION,
        next=state.next,
        maximum=None if state.maximum == NO_MAXIMUM else state.maximum,
        historical=state.historical,
        counts=dict(state.counts),
        results_hash=state.configuration.results_hash,
        topic_id=topic_id,
        sources=list(state.sources.names),
        details=dict(state.details),
    )
    rows.append((MARKER_KEY, encode_marker(marker)))
    return taken


def check_marker(
    marker: Marker, results_hash: str, topic_id: str, versions: Sequence[int], settings: str
) -> None:
    """Refuse state of other results.

    Args:
        versions: of the rows, that this code reads, ascending.
        settings: those in the hash, in words.

    Raises:
        StateRefusedError: another row version, settings hash or source topic.
    """
    action = "use --reset or another deployment name"
    if marker.version not in versions:
        age = "newer" if marker.version > versions[-1] else "older"
        raise StateRefusedError(
            f"stored state has row version {marker.version}, {age} than this code reads "
            f"({versions[0]} to {versions[-1]}): use the version that wrote it, or {action}"
        )
    if marker.results_hash != results_hash:
        raise StateRefusedError(
            f"stored state was computed with settings {marker.results_hash}, "
            f"these are {results_hash} ({settings} differ): {action}"
        )
    if marker.topic_id != topic_id:
        raise StateRefusedError(
            f"stored state was computed from source topic {marker.topic_id}, "
            f"the topic of that name is now {topic_id}: {action}"
        )


def load(
    kind: type[State],
    configuration: BarsConfiguration,
    partition: int,
    topic_id: str,
    read: Reader,
    rows: Iterable[tuple[bytes, bytes]],
) -> State:
    """Build the state from its store; `next` is None where there is no marker.

    Args:
        kind: the class of the state.
        read: one row by key.
        rows: all rows whose key begins with one of `LOADED_PREFIXES`.

    Raises:
        StateRefusedError: the state must not be used (`check_marker`).
    """
    value = read(MARKER_KEY)
    if value is None:
        return kind(configuration, partition, read)
    marker = decode_marker(value)
    check_marker(
        marker,
        configuration.results_hash,
        topic_id,
        READ_VERSIONS,
        "intervals, grace, horizon, policy, partitions or bounds",
    )
    state = kind(configuration, partition, read, marker.sources)
    state.next = marker.next
    state.maximum = NO_MAXIMUM if marker.maximum is None else marker.maximum
    state.historical = marker.historical
    state.details = dict(marker.details)
    state.counts = {outcome: marker.counts.get(outcome, 0) for outcome in OUTCOMES}
    for key, row in rows:
        if key[:1] == SYMBOL_PREFIX:
            _load_symbol(state, key[1:].decode(), decode_symbol(row, kind.aggregate))
        elif key[:1] == IDENTIFIER_PREFIX:
            state.identifiers.restore(identifier_minute(key), key, row)
        else:
            state.restore_row(key, row)
    state.restored(marker.version)
    return state


def _load_symbol(state: WindowedPartition[Any, Any], name: str, row: SymbolRow[Any]) -> None:
    symbol = state.symbols.restore(name)
    state.publisher.states[symbol] = SymbolState(row.newest, row.runs)
    interval_of = {length: interval for interval, length in enumerate(state.windows.lengths)}
    if row.flushed:
        state.windows.flushed[symbol] = {
            (interval_of[length], start) for length, start in row.flushed
        }
    for length, start, partial in row.windows:
        state.windows.add(interval_of[length], symbol, start, partial)
