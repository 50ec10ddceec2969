"""One symbol's day in figures.

Completeness is `seen / expected`, over the part of the day since the symbol's first record ever:

- by *sequence*, where a source's numbers are declared consecutive: expected are the numbers from
  the day's first to its last, seen are the distinct ones that came;
- else by *time*: expected is the open time of the session, seen is that without the gaps which are
  unusual for the symbol (`gap_event` long and `gap_factor` times its usual interval), from the open
  to the close; None while the usual interval is not known. A symbol that trades every ten minutes
  is complete; one that trades every second and pauses for ten minutes is not.
"""

from __future__ import annotations

from typing import Final, Literal

from tables.quality.configuration import QualityConfiguration
from tables.quality.counters import RECORDS, counter_names, percentile
from tables.quality.events import QualityEvent, QualitySummary
from tables.quality.gaps import Gaps
from tables.quality.state import SymbolState

#: Below it an incomplete day is critical.
CRITICAL: Final = 0.9


class Summaries:
    """Writes summaries of days, and the event of an incomplete one."""

    def __init__(self, configuration: QualityConfiguration, gaps: Gaps) -> None:
        self._names = counter_names(configuration)
        self._goal = configuration.completeness
        self._gaps = gaps

    def worth_telling(self, state: SymbolState) -> bool:
        """Return whether the day had records, or should have had."""
        return state.counts[RECORDS] > 0 or state.day.open is not None

    def summary(self, state: SymbolState, until: int, is_final: bool) -> QualitySummary:
        """Return the day up to a moment (event time), as its next revision."""
        day, market = state.day, state.market
        end = min(until, day.end)
        expected, seen, method = state.expected, min(state.seen, state.expected), "sequence"
        if not expected:
            method = "time"
            expected = market.open_between(max(day.start, state.watched_from), end)
            seen = max(0, expected - state.lost - self._gaps.tail(state, end))
        lags = state.lags
        revision = state.revision
        state.revision += 1
        kind: Literal["sequence", "time"] = "sequence" if method == "sequence" else "time"
        return QualitySummary(
            state.symbol,
            day.identifier,
            day.start,
            day.end,
            day.open,
            day.close,
            state.first_time,
            state.last_time,
            kind,
            expected,
            seen,
            seen / expected if expected and self._known(state, kind) else None,
            state.longest_gap,
            percentile(lags, 50),
            percentile(lags, 95),
            percentile(lags, 99),
            tuple(lags),
            dict(zip(self._names, state.counts, strict=True)),
            revision,
            is_final,
        )

    def _known(self, state: SymbolState, method: str) -> bool:
        return method == "sequence" or self._gaps.wait(state, 1) is not None

    def incomplete(
        self, state: SymbolState, summary: QualitySummary, offset: int
    ) -> QualityEvent | None:
        """Return the event of a day below the goal, once a day; None if it is not."""
        share = summary.completeness
        if share is None or share >= self._goal or state.incomplete_told:
            return None
        state.incomplete_told = True
        return QualityEvent(
            state.symbol,
            "incomplete",
            state.day.end if summary.is_final else max(state.maximum, state.day.start),
            offset,
            summary.session,
            "critical" if share < CRITICAL else "warning",
            share,
            self._goal,
            {"method": summary.method, "expected": summary.expected, "seen": summary.seen},
        )
