"""Faults of stages behind the bars, and of agents that share the fetch of a partition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from app.contracts.batch import RecordBatch
from app.streaming.engine import Engine
from app.streaming.runner import PartitionRunner
from tables.derived import KeyedPartition
from tables.indicators.sets import IndicatorSet
from tables.journaled import JournaledPartition
from tests.simulation.planted_tools import Deed, changed, fault


@fault(stops=True)
def foremost_position_sought(deed: Deed) -> Iterator[None]:
    """A partition goes on where the foremost of its agents is: the others miss what lies before."""

    def foremost(runners: Sequence[PartitionRunner]) -> int:
        positions = {runner.position for runner in runners}
        deed(len(positions) > 1)
        return max(positions)

    hindmost = "min(runner.position for runner in runners)"
    with changed(Engine, "positions", deed, (hindmost, "foremost(runners)"), foremost=foremost):
        yield


@fault()
def known_beginning_applied_again(deed: Deed) -> Iterator[None]:
    """A batch that is read again for another agent is applied as a whole."""

    def whole(runner: PartitionRunner, batch: RecordBatch) -> RecordBatch:
        deed()
        state: Any = runner.state
        getattr(state, "_partition", state).next = batch.base
        return batch

    known = "batch = batch.since(self.position)"
    with changed(
        PartitionRunner, "accept", deed, (known, "batch = whole(self, batch)"), whole=whole
    ):
        yield


@fault()
def entries_forgotten_before_they_are_stored(deed: Deed) -> Iterator[None]:
    """What a checkpoint has taken is dropped from memory while the store has the row before it."""
    encoded = "return [row for key in changed for row in self.rows_of(key)]"
    forgetful = f"""{encoded.replace("return", "rows =")}
self._entries = {{}} if deed(rows) else self._entries
return rows"""
    journaled = """if deed(rows):
    self._entries = {}
    for interval in getattr(self, "_intervals", {}).values():
        interval.places.clear()
return rows"""
    with (
        changed(KeyedPartition, "changed_rows", deed, (encoded, forgetful)),
        changed(JournaledPartition, "changed_rows", deed, ("return rows", journaled)),
    ):
        yield


@fault()
def revised_bar_taken_twice(deed: Deed) -> Iterator[None]:
    """A revision of the last bar is taken like another bar: nothing is undone."""
    with changed(
        IndicatorSet,
        "take",
        deed,
        ("self._kernel.revert()", "deed()"),
        ("indicator.revert()", "deed()"),
    ):
        yield


@fault()
def older_revision_taken_as_new(deed: Deed) -> Iterator[None]:
    """A revision of an older bar is taken as if it came in order."""
    newer = "if start is None or bar.start > start:"
    with changed(
        IndicatorSet,
        "take",
        deed,
        (newer, "if start is None or bar.start > start or deed(bar.start < start):"),
    ):
        yield
