"""What happens to closed windows, at its place in the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple

from tables.aggregate import Held

REVISE, CLOSE = 0, 1

#: Positions of the records that moved the watermark to the given window ends (ns).
Causes = Callable[[list[int]], list[int]]


class Event(NamedTuple, Generic[Held]):
    """A revision or the close of a window, caused by the record at position `cause`.

    The first five fields are the order in which events happen. `partial` is None for an empty
    window that fill-forward closes.
    """

    cause: int
    phase: int
    end: int
    length: int
    name: str
    interval: int
    symbol: int
    start: int
    partial: Held | None
    amendment: bool


def event_order(event: Event[Any]) -> tuple[int, int, int, int, str]:
    """By cause, revisions before closes, then end, interval length, symbol."""
    return event[:5]
