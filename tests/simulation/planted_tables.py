"""Faults of the state machine and of its rows: what depends on where a batch or a life ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np

from agents import windowed
from app.contracts.batch import RecordBatch
from app.streaming.runner import PartitionRunner
from tables import bars, identifiers, row_packing, rows, snapshot
from tables.bars import BarsPartition
from tables.partial import Partial
from tables.partition import WindowedPartition
from tables.pure_identifiers import PureStore
from tables.sums import to_double, to_units
from tables.windows import Windows
from tests.simulation.planted_tools import Deed, changed, fault

_IDENTITY = ("symbol", "interval", "start")


@fault()
def watermark_of_the_batch(deed: Deed) -> Iterator[None]:
    """All records of a batch are judged by the watermark before it."""
    judged = "maxima, watermarks, ordered = self._survey(trades)"
    once = """maxima, watermarks, ordered = self._survey(trades)
deed((watermarks != watermarks[0]).any())
watermarks, ordered = np.full(len(trades), watermarks[0]), False"""
    with changed(BarsPartition, "_segment", deed, (judged, once)):
        yield


@fault()
def two_revisions_coalesced_in_a_batch(deed: Deed) -> Iterator[None]:
    """Of a batch only the last state of each bar is published."""
    original = WindowedPartition.apply

    def apply(self: WindowedPartition[Any, Any], batch: RecordBatch) -> None:
        before = len(self.publisher.outputs["bars"])
        original(self, batch)
        bars = self.publisher.outputs["bars"]
        newest: dict[tuple[Any, ...], Any] = {}
        for record in bars[before:]:
            body = msgspec.json.decode(record.value or b"")
            newest[tuple(body[name] for name in _IDENTITY)] = record
        deed(len(newest) < len(bars) - before)
        bars[before:] = newest.values()

    with patch.object(WindowedPartition, "apply", apply):
        yield


@fault()
def events_in_the_order_of_the_code(deed: Deed) -> Iterator[None]:
    """Revisions of a batch, then its closes: the order depends on where a fetch ends."""
    with changed(
        BarsPartition, "_run", deed, ("events.sort(key=event_order)", "deed(len(events) > 1)")
    ):
        yield


@fault()
def ids_evicted_per_batch(deed: Deed) -> Iterator[None]:
    """An id is a duplicate as long as it is in memory, which ends with some batch."""
    original = PureStore._held

    def held(self: PureStore, identity: str, value: np.uint64, watermark: int) -> bool:
        found = any(each.minute_of(identity, value) is not None for each in self._spans.values())
        deed(found != original(self, identity, value, watermark))
        return found

    # The compiled store is the same otherwise, and cannot be changed.
    with patch.object(identifiers, "CompiledStore", None), patch.object(PureStore, "_held", held):
        yield


@fault()
def float_sums(deed: Deed) -> Iterator[None]:
    """Sums of doubles: their last bits depend on the order of the addends."""
    original = Partial.merge

    def merge(self: Partial, other: Partial) -> None:
        sums = [
            to_units(to_double(mine) + to_double(theirs))
            for mine, theirs in (
                (self.volume, other.volume),
                (self.priced, other.priced),
                (self.notional, other.notional),
            )
        ]
        original(self, other)
        deed(sums != [self.volume, self.priced, self.notional])
        self.volume, self.priced, self.notional = sums

    # The compiled module adds trades without merging.
    with (
        patch.object(bars, "make_accumulator", lambda lengths: None),
        patch.object(Partial, "merge", merge),
    ):
        yield


@fault()
def windows_closed_interval_by_interval(deed: Deed) -> Iterator[None]:
    """Of the windows that a batch closes, the shorter ones come first, whatever their ends."""
    ordered = "groups.sort(key=_by_end_and_length)"
    as_found = "deed(groups != sorted(groups, key=_by_end_and_length))"
    with changed(Windows, "take_groups", deed, (ordered, as_found)):
        yield


@contextmanager
def _rows_by(encode: Any) -> Iterator[None]:
    """Rows of symbols by this function; the compiled module cannot be changed."""
    with (
        patch.object(row_packing, "_is_compiled", lambda aggregate: False),
        patch.object(row_packing, "encode_symbol", encode),
    ):
        yield


@fault()
def open_windows_not_in_the_rows(deed: Deed) -> Iterator[None]:
    """Only what was published is stored: a restore begins its windows anew."""
    original = rows.encode_symbol

    def encode(newest: Any, runs: Any, flushed: Any, opened: Sequence[Any]) -> bytes:
        deed(opened)
        return original(newest, runs, flushed, ())

    with _rows_by(encode):
        yield


@fault()
def flushed_windows_not_in_the_rows(deed: Deed) -> Iterator[None]:
    """After a restore a window that a flush has closed is open again."""
    original = rows.encode_symbol

    def encode(newest: Any, runs: Any, flushed: Any, opened: Sequence[Any]) -> bytes:
        deed(flushed)
        return original(newest, runs, [], opened)

    with _rows_by(encode):
        yield


@fault()
def watermark_not_in_the_marker(deed: Deed) -> Iterator[None]:
    """After a restore the watermark is that of the next record."""
    stored = "maximum=None if state.maximum == NO_MAXIMUM else state.maximum"
    with changed(windowed, "take", deed, (stored, "maximum=None if deed() else None")):
        yield


@fault()
def sources_not_restored(deed: Deed) -> Iterator[None]:
    """The bits of the sources are given anew in the order of first sight."""
    built = "kind(configuration, partition, read, marker.sources)"
    anew = built.replace("marker.sources", "[] if deed(marker.sources) else []")
    with changed(windowed, "load", deed, (built, anew)):
        yield


@fault()
def revisions_counted_anew(deed: Deed) -> Iterator[None]:
    """The number of a bar's last revision is not stored with it."""
    original = Partial.from_row.__func__  # type: ignore[attr-defined]

    def from_row(kind: type[Partial], row: list[Any]) -> Partial:
        partial: Partial = original(kind, row)
        if deed(partial.revision > 0):
            partial.revision = 0
        return partial

    with patch.object(Partial, "from_row", classmethod(from_row)):
        yield


@fault()
def identities_overwritten(deed: Deed) -> Iterator[None]:
    """The key of a chunk of ids does not say which checkpoint: the next one takes its place."""
    original = rows.identifier_key

    def key(minute: int, offset: int, part: int) -> bytes:
        deed()
        return original(minute, 0, part)

    with patch.object(snapshot, "identifier_key", key):
        yield


@fault()
def rows_under_way_not_read(deed: Deed) -> Iterator[None]:
    """A closed window is read from the store while its newer row is on its way there."""
    original = Windows.take_changed

    def take_changed(self: Windows[Any]) -> list[tuple[bytes, bytes | None]]:
        rows = original(self)
        deed(self._under_way)
        self._under_way = {}
        return rows

    with patch.object(Windows, "take_changed", take_changed):
        yield


@fault()
def rows_forgotten_before_they_are_stored(deed: Deed) -> Iterator[None]:
    """Rows leave memory with the commit; until the store has them, an older one is read."""
    committed = "committed = time.perf_counter()"
    early = f"""{committed}
if deed(self._state is not None):
    self._state.stored()"""
    with changed(PartitionRunner, "checkpoint", deed, (committed, early)):
        yield


@fault()
def slot_of_another_window_believed(deed: Deed) -> Iterator[None]:
    """A ring's slot is taken for the window asked for, whatever window it holds."""
    checked = "return entry[1] if entry[0] == start else None"
    believed = "deed(entry[0] != start)\nreturn entry[1]"
    with changed(Windows, "closed", deed, (checked, believed)):
        yield
