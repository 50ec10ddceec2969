"""Windows of one partition: records in the order of their event time in, features out.

A symbol's records gather in a *piece*, which lies within one pane, one session of activity and one
day; sealed, it goes into all three. A pane has the length of a slide, a sliding window is the merge
of its panes, so a symbol keeps one window's panes and two sessions.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import msgspec

from app.durations import format_duration
from models.features.aggregates import Aggregate, Entry, Values
from models.features.configuration import FeaturesConfiguration

#: After every event time.
FOREVER = 1 << 63
SLIDING, SESSION = 0, 1
SESSION_LABEL, DAY_LABEL = "session", "day"
STATE_VERSION = 1


class FeatureRecord(msgspec.Struct, gc=False):
    """Features of one symbol over `[start, end)`, in ns; (symbol, kind, window, start) names it.

    `window` is the length of the sliding window, such as `5m`; or `session`, from a symbol's first
    record to `gap` after its last one; or `day`, from its first record of a trading day to 1 ns
    after its last one. `complete`: the symbol's first record of all came before the window, or in
    its first pane; sessions are always.
    """

    symbol: str
    kind: str
    window: str
    start: int
    end: int
    complete: bool
    values: Values


class _Symbol:
    """What is kept of a symbol; `panes` by start, oldest first; `closed`: the last window's end."""

    __slots__ = ("closed", "day", "memory", "pane", "panes", "piece", "queued", "session", "since")

    def __init__(self, memory: list[Any]) -> None:
        self.memory = memory
        self.since: int | None = None
        self.closed: int | None = None
        self.pane = 0
        self.piece: Aggregate | None = None
        self.panes: list[tuple[int, Aggregate]] = []
        self.session: Aggregate | None = None
        self.day: Aggregate | None = None
        self.queued = False


def _with(held: Aggregate | None, later: Aggregate) -> Aggregate:
    if held is None:
        return later.copy()
    held.merge(later)
    return held


class FeatureWindows:
    """All windows of one kind of record.

    Args:
        kind: the aggregate.
        session_of: event time (ns) to the trading day that holds it, a number that rises with
            time; None makes no days.
    """

    def __init__(
        self,
        configuration: FeaturesConfiguration,
        kind: type[Aggregate],
        session_of: Callable[[int], int] | None,
        publish: Callable[[FeatureRecord], None],
    ) -> None:
        self._configuration = configuration
        self._kind = kind
        self._session_of = session_of
        self._publish = publish
        self._label = format_duration(configuration.window)
        self.symbols: dict[str, _Symbol] = {}
        self.changed: set[str] = set()
        #: The trading day of the symbols' open days.
        self.day: int | None = None
        #: (end, what, symbol): one of each for a symbol at most; a session may end later.
        self._due: list[tuple[int, int, str]] = []

    def take(self, entry: Entry) -> None:
        """Take the next record; it is not before those that were taken."""
        time, name = entry[0], entry[3]
        if self._due and self._due[0][0] <= time:
            self.close(time)
        if self._session_of is not None:
            self.turn(time)
        symbol = self.symbols.get(name)
        if symbol is None:
            symbol = self.symbols[name] = _Symbol(self._kind.new_memory())
        piece = symbol.piece
        if piece is not None and time < symbol.pane + self._configuration.slide:
            piece.add(entry, symbol.memory)
            return
        self._seal(symbol)
        slide = self._configuration.slide
        symbol.pane = time // slide * slide
        symbol.piece = self._kind.of(entry, symbol.memory)
        if symbol.since is None:
            symbol.since = symbol.pane
        if not symbol.queued:
            self._queue(name, symbol)
        if symbol.session is None:
            heappush(self._due, (time + self._configuration.gap, SESSION, name))

    def _seal(self, symbol: _Symbol) -> None:
        """Put the piece into its pane, session and day."""
        piece, symbol.piece = symbol.piece, None
        if piece is None:
            return
        symbol.session = _with(symbol.session, piece)
        if self._session_of is not None:
            symbol.day = _with(symbol.day, piece)
        if symbol.panes and symbol.panes[-1][0] == symbol.pane:
            symbol.panes[-1][1].merge(piece)
        else:
            symbol.panes.append((symbol.pane, piece))

    def _queue(self, name: str, symbol: _Symbol) -> None:
        """Await the end of the symbol's next window."""
        first = symbol.panes[0][0] if symbol.panes else symbol.pane
        after = first if symbol.closed is None else max(first, symbol.closed)
        heappush(self._due, (after + self._configuration.slide, SLIDING, name))
        symbol.queued = True

    def close(self, time: int) -> None:
        """Close all windows that end at or before `time`, by (end, sliding ones first, symbol)."""
        due = self._due
        while due and due[0][0] <= time:
            end, what, name = heappop(due)
            symbol = self.symbols[name]
            if what == SLIDING:
                self._slide(end, name, symbol)
            else:
                self._end_session(end, name, symbol)
            self.changed.add(name)

    def _slide(self, end: int, name: str, symbol: _Symbol) -> None:
        self._seal(symbol)
        window, slide = self._configuration.window, self._configuration.slide
        start = end - window
        symbol.closed, symbol.queued = end, False
        if symbol.panes and symbol.panes[0][0] < start:
            symbol.panes = [pane for pane in symbol.panes if pane[0] >= start]
        if not symbol.panes:
            return
        merged = symbol.panes[0][1].copy()
        for _, later in symbol.panes[1:]:
            merged.merge(later)
        by_start: dict[int, Any] = dict(symbol.panes)
        panes = [by_start.get(each) for each in range(start, end, slide)]
        trend = self._kind.trend(panes, self._configuration.recent // slide)
        values = merged.values(end) | trend
        complete = symbol.since is not None and symbol.since <= start
        self._publish(
            FeatureRecord(name, self._kind.kind, self._label, start, end, complete, values)
        )
        symbol.panes = [pane for pane in symbol.panes if pane[0] >= start + slide]
        if symbol.panes:
            self._queue(name, symbol)

    def _end_session(self, end: int, name: str, symbol: _Symbol) -> None:
        last = symbol.piece or symbol.session
        if last is None:
            raise ValueError(f"{name} has no session that ends at {end}")
        actual = last.last_time + self._configuration.gap
        if actual > end:
            heappush(self._due, (actual, SESSION, name))
            return
        self._seal(symbol)
        session, symbol.session = symbol.session, None
        if session is not None:
            self._publish_whole(name, SESSION_LABEL, session, end)

    def _publish_whole(self, name: str, label: str, whole: Aggregate, end: int) -> None:
        values = whole.values(whole.last_time)
        self._publish(
            FeatureRecord(name, self._kind.kind, label, whole.first_time, end, True, values)
        )

    def turn(self, time: int) -> None:
        """Close the days of all symbols, by name, if `time` is of a later trading day."""
        if self._session_of is None:
            return
        day = self._session_of(time)
        if self.day is not None and day <= self.day:
            return
        self.day = day
        self.end_days()

    def end_days(self) -> None:
        """Close the day of each symbol that has one open, by name."""
        for name in sorted(self.symbols):
            symbol = self.symbols[name]
            self._seal(symbol)
            whole, symbol.day = symbol.day, None
            if whole is not None:
                self._publish_whole(name, DAY_LABEL, whole, whole.last_time + 1)
                self.changed.add(name)

    def row(self, name: str) -> list[Any]:
        """A symbol's row, of plain values."""
        symbol = self.symbols.get(name)
        if symbol is None:
            return []
        return [
            list(symbol.memory), symbol.since, symbol.closed, symbol.pane,
            *(None if each is None else each.to_row()
              for each in (symbol.piece, symbol.session, symbol.day)),
            [[start, pane.to_row()] for start, pane in symbol.panes],
        ]  # fmt: skip

    def restore(self, name: str, row: list[Any]) -> None:
        """Take in a symbol's row."""
        if not row:
            return
        symbol = self.symbols[name] = _Symbol(row[0])
        symbol.since, symbol.closed, symbol.pane = row[1:4]
        read = self._kind.from_row
        symbol.piece, symbol.session, symbol.day = (
            None if each is None else read(each) for each in row[4:7]
        )
        symbol.panes = [(start, read(pane)) for start, pane in row[7]]
        last = symbol.piece or symbol.session
        if last is not None:
            heappush(self._due, (last.last_time + self._configuration.gap, SESSION, name))
        if symbol.panes or symbol.piece is not None:
            self._queue(name, symbol)
