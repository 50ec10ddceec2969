"""Sources that do not agree on a symbol's price.

At each record that sets a price, the last prices of all sources that are fresh by event time are
compared: from the lowest to the highest, as a share of the lowest. An episode begins with the
first record above the limit, is told once it has lasted, and ends with the first one below.
"""

from __future__ import annotations

from typing import Final

from tables.quality.configuration import QualityConfiguration
from tables.quality.counters import DISAGREEMENTS
from tables.quality.events import QualityEvent
from tables.quality.state import MAX_STREAMS, SymbolState

MAX_SHARE: Final = 1e300


class Disagreement:
    """Compares the last prices of a symbol's sources."""

    def __init__(self, configuration: QualityConfiguration) -> None:
        self._share = configuration.disagreement
        self._lasting = configuration.disagreement_for
        self._fresh = configuration.disagreement_fresh

    def compare(
        self, state: SymbolState, source: str, price: float, time: int, offset: int
    ) -> QualityEvent | None:
        """Take a source's price; the event, if an episode has just lasted long enough."""
        sources = state.sources
        if source not in sources and len(sources) >= MAX_STREAMS:
            return None
        sources[source] = (price, time)
        if len(sources) == 1:
            return None
        oldest = time - self._fresh
        fresh = [(one, name) for name, (one, when) in sources.items() if when >= oldest]
        low, high = min(fresh), max(fresh)
        # Bounded: a price may be so small that the quotient is infinite.
        share = min((high[0] - low[0]) / abs(low[0]), MAX_SHARE) if low[0] else 0.0
        if share <= self._share:
            state.disagree_since, state.disagree_told = None, False
            return None
        if state.disagree_since is None:
            state.disagree_since = time
        if state.disagree_told or time - state.disagree_since < self._lasting:
            return None
        state.disagree_told = True
        state.counts[DISAGREEMENTS] += 1
        return QualityEvent(
            state.symbol,
            "disagreement",
            time,
            offset,
            state.day.identifier,
            "warning",
            share,
            self._share,
            {
                "since": state.disagree_since,
                "low": low[0],
                "low_source": low[1],
                "high": high[0],
                "high_source": high[1],
            },
        )
