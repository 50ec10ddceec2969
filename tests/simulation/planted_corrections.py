"""Faults of cancels and corrections: what has to be remembered of them, and from where to read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

from tables.anchors import Anchors
from tables.corrections import Overrides
from tables.recall import Recall
from tables.windows import Windows
from tests.simulation.planted_tools import Deed, changed, fault


@fault()
def corrected_trades_not_in_the_rows(deed: Deed) -> Iterator[None]:
    """What a trade was corrected to is kept in memory alone: a restart makes bars with the old."""
    original = Overrides.take_changes

    def take_changes(self: Overrides) -> list[tuple[bytes, bytes | None]]:
        deed(original(self))
        return []

    with patch.object(Overrides, "take_changes", take_changes):
        yield


@fault()
def earlier_corrections_forgotten(deed: Deed) -> Iterator[None]:
    """A window that is made anew is made of the trades as they were reported."""
    with changed(
        Recall,
        "_content",
        deed,
        ("override = overrides.get(offset)", """override = overrides.get(offset)
if offset in self._overrides:
    deed()
    override = None"""),
    ):  # fmt: skip
        yield


@fault()
def a_cancelled_trade_named_again(deed: Deed) -> Iterator[None]:
    """A second cancel finds the trade that the first one has taken out."""
    with changed(
        Recall,
        "_target",
        deed,
        ("if override is not None and override.cancelled:",
         "if override is not None and override.cancelled and not deed():"),
    ):  # fmt: skip
        yield


@fault()
def corrected_windows_left_in_their_ring(deed: Deed) -> Iterator[None]:
    """A corrected bar is overwritten with its slot; later its revision is taken from the log."""

    def keep_corrected(
        self: Windows[Any], interval: int, symbol: int, start: int, each: Any
    ) -> None:
        deed()
        self.keep_closed(interval, symbol, start, each)

    with patch.object(Windows, "keep_corrected", keep_corrected):
        yield


@fault()
def reading_again_from_the_newest_anchor(deed: Deed) -> Iterator[None]:
    """The stretch begins at the newest anchor instead of before the windows' first record."""
    original = Anchors.before

    def before(self: Anchors, time: int) -> Any:
        deed(original(self, time) != self._anchors[-1])
        return self._anchors[-1]

    with patch.object(Anchors, "before", before):
        yield


@fault()
def duplicates_counted_when_read_again(deed: Deed) -> Iterator[None]:
    """Made anew, a bar holds the copies that were duplicates the first time."""
    with changed(
        Recall,
        "_count_once",
        deed,
        ("keep[own & ~left] = False", "deed(bool((own & ~left).any()))"),
    ):
        yield
