"""Gaps within the session, the usual interval, and what a day lost by them."""

from __future__ import annotations

from typing import Final

from tables.quality.configuration import QualityConfiguration
from tables.quality.counters import GAP_EVENTS, NAMES
from tables.quality.events import QualityEvent, Severity
from tables.quality.state import USUAL_WARM_UP, SymbolState

#: Intervals over which the usual one is an exponential mean, once there are so many.
USUAL_MEMORY: Final = 256
_SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "critical")


class Gaps:
    """Judges the open time between two records of a symbol."""

    def __init__(self, configuration: QualityConfiguration) -> None:
        self.lengths = configuration.gaps
        self.shortest = configuration.gaps[0]
        self._event = configuration.gap_event
        self._factor = configuration.gap_factor
        self._first = len(NAMES)

    def wait(self, state: SymbolState, least: int) -> int | None:
        """Return how much open time without a record is unusual, at least `least`.

        None while too little is known of the symbol.
        """
        if not self._factor:
            return least
        if state.intervals < USUAL_WARM_UP:
            return None
        return max(least, int(self._factor * state.usual))

    def is_unusual(self, state: SymbolState, length: int) -> bool:
        """Return whether an open time without a record is one to tell of."""
        if length < self._event:
            return False
        wait = self.wait(state, self._event)
        return wait is not None and length >= wait

    def advance(self, state: SymbolState, time: int, offset: int) -> QualityEvent | None:
        """Take an event time beyond the symbol's maximum; the event, if the gap is one to tell."""
        previous = state.maximum
        state.maximum = time
        state.stale = False
        length = time - previous
        day = state.day
        opened, close = day.open, day.close
        within = opened is not None and close is not None and opened <= previous and time <= close
        if length < self.shortest:
            if within:
                self._learn(state, length)
            return None
        if not within or not state.market.continuous:
            length = state.market.open_between(previous, time)
        if not length:
            return None
        event = None
        unusual = self.is_unusual(state, length)
        reached = 0
        for rank, threshold in enumerate(self.lengths):
            if length >= threshold:
                state.counts[self._first + rank] += 1
                reached = rank
        state.longest_gap = max(state.longest_gap, length)
        if unusual:
            state.counts[GAP_EVENTS] += 1
            event = QualityEvent(
                state.symbol,
                "gap",
                time,
                offset,
                day.identifier,
                _SEVERITIES[min(reached, 2)],
                length,
                self.wait(state, self._event),
                {"start": previous, "usual": state.usual},
            )
        own = length
        if previous < day.start:
            own = state.market.open_between(max(day.start, state.watched_from), time)
        if self.is_unusual(state, own):
            state.lost += own
        self._learn(state, length)
        return event

    def tail(self, state: SymbolState, until: int) -> int:
        """Return what the day has lost since the last record, up to a moment; 0 if it is usual."""
        begin = max(state.maximum, state.day.start, state.watched_from)
        length = state.market.open_between(begin, min(until, state.day.end))
        return length if self.is_unusual(state, length) else 0

    def _learn(self, state: SymbolState, length: int) -> None:
        count = state.intervals
        if length > self.shortest:
            # An outage says nothing of what is usual: it counts as the longest usual one.
            wait = self.wait(state, self.shortest)
            if self._factor and wait is not None:
                length = min(length, wait)
        if count < USUAL_MEMORY:
            state.intervals = count = count + 1
        state.usual_mean += (length - state.usual_mean) / count
        state.usual_square += (length * length - state.usual_square) / count
