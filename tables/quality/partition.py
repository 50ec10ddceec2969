"""What trades and quotes share: days, gaps, stale feeds, order, sequences, time lags."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import KeysView
from heapq import heapify, heappop, heappush
from typing import Any, ClassVar, Final, Generic, TypeVar

from app.contracts.wire import (
    ClockRecord,
    ControlRecord,
    CorrectionRecord,
    FlushRecord,
    HistoricalRecord,
    QuoteRecord,
    TradeRecord,
)
from tables.learning import State, StateVersionError
from tables.markets import Day, Instruments
from tables.quality.configuration import QualityConfiguration
from tables.quality.counters import (
    CORRECTIONS,
    EARLIER_DAY,
    LAG_BOUNDS,
    LATE,
    LEVEL_SHIFTS,
    OUT_OF_ORDER,
    OUT_OF_SESSION,
    OUTLIERS,
    RECORDS,
    STALE,
    counter_names,
)
from tables.quality.disagreement import Disagreement
from tables.quality.events import OUTLIER, Output, QualityEvent
from tables.quality.gaps import Gaps
from tables.quality.outliers import MEAN, MEDIAN
from tables.quality.sequences import follow_sequence
from tables.quality.state import SymbolState
from tables.quality.summary import Summaries

#: Days in a row without a record after which a symbol is watched no more, until its next record.
MAX_EMPTY_DAYS: Final = 10
MAX_SUPERSEDED: Final = 1024
_TESTS: Final = {MEAN: "mean", MEDIAN: "median", MEAN | MEDIAN: "mean, median"}

Record = TypeVar("Record", bound=TradeRecord | QuoteRecord)


class QualityPartition(ABC, Generic[Record]):
    """The quality of one partition, record by record in log order.

    Outputs are put into `outputs`, in order, until `take_outputs`. Symbols are not limited here:
    the caller refuses those beyond its `max_symbols`, as it refuses bad records (`take_dead`).
    """

    VERSION: ClassVar[int] = 1

    def __init__(self, configuration: QualityConfiguration, instruments: Instruments) -> None:
        self.configuration = configuration
        self.outputs: list[Output] = []
        #: The data's clock: the greatest event time, of all symbols and clock records; -1 at first.
        self.clock = -1
        self.historical = False
        #: Bad records, by reason.
        self.dead: dict[str, int] = {}
        #: Whether the last record's price was judged, and so one of the market at its moment.
        self.judged = False
        self._instruments = instruments
        self._gaps = Gaps(configuration)
        self._summaries = Summaries(configuration, self._gaps)
        self._disagreement = Disagreement(configuration)
        self._counters = len(counter_names(configuration))
        self._consecutive = frozenset(configuration.consecutive)
        self._every_source = "*" in configuration.consecutive
        self._states: dict[str, SymbolState] = {}
        self._changed: dict[str, None] = {}
        #: (due, symbol) of each symbol that has a `due`, and entries that are superseded.
        self._due: list[tuple[int, str]] = []

    def take(self, record: Record, offset: int, append_time: int) -> int:
        """Take the next record; its flags, 0 for one that belongs to the cleaned data."""
        symbol, time = record.symbol, record.event_time
        state = self._states.get(symbol)
        if state is None:
            state = self._begin(symbol, time)
        elif time >= state.day.end:
            self._roll(state, time, offset)
        self._changed[symbol] = None
        counts, day = state.counts, state.day
        counts[RECORDS] += 1
        if not self.historical:
            state.lags[bisect_left(LAG_BOUNDS, append_time - time)] += 1
        flags = 0
        self.judged = False
        if time < self.clock - self.configuration.late_after:
            counts[LATE] += 1
        else:
            if time > state.maximum:
                was_stale = state.stale
                event = self._gaps.advance(state, time, offset)
                if was_stale:
                    self._schedule(state)
                if event is not None:
                    self.outputs.append(event)
            elif time < state.maximum:
                counts[OUT_OF_ORDER] += 1
            if time < day.start:
                counts[EARLIER_DAY] += 1
            else:
                if state.first_time is None:
                    state.first_time = time
                    self._begin_prices(state)
                state.last_time = state.maximum
                if day.open is None or day.close is None or not day.open <= time < day.close:
                    counts[OUT_OF_SESSION] += 1
            if self._every_source or record.source in self._consecutive:
                event = follow_sequence(state, record, offset)
                if event is not None:
                    self.outputs.append(event)
            flags = self._judge(state, record, offset)
        moved = min(time, append_time + self.configuration.clock_ahead)
        if moved > self.clock:
            self._move(moved, offset)
        return flags

    def take_control(self, record: ControlRecord, offset: int, append_time: int) -> None:
        """Take a control record: a clock moves time, a flush tells all days as they are."""
        if isinstance(record, ClockRecord):
            moved = min(record.event_time, append_time + self.configuration.clock_ahead)
            if moved > self.clock:
                self._move(moved, offset)
        elif isinstance(record, HistoricalRecord):
            self.historical = True
        elif isinstance(record, FlushRecord):
            self.historical = False
            for symbol in sorted(self._states):
                state = self._states[symbol]
                if state.counts[RECORDS]:
                    self._tell(state, offset, max(self.clock, state.maximum), is_final=False)
        elif isinstance(record, CorrectionRecord):
            known = self._states.get(record.symbol)
            if known is not None:
                known.counts[CORRECTIONS] += 1
                self._changed[record.symbol] = None

    def take_dead(self, reason: str) -> None:
        """Count a bad record by its reason, one of a fixed vocabulary."""
        self.dead[reason] = self.dead.get(reason, 0) + 1

    @property
    def symbols(self) -> KeysView[str]:
        """The symbols that a record was taken of."""
        return self._states.keys()

    def day(self, symbol: str) -> Day:
        """Return the day that a symbol's records are counted to now.

        Raises:
            KeyError: no record of this symbol was taken.
        """
        return self._states[symbol].day

    def take_outputs(self) -> list[Output]:
        """Return the outputs since the last time, in order, and forget them."""
        outputs, self.outputs = self.outputs, []
        return outputs

    def take_changed(self) -> list[tuple[str, State]]:
        """Return the rows of the symbols that changed since the last time, by symbol."""
        changed, self._changed = self._changed, {}
        return [(symbol, self._states[symbol].row()) for symbol in sorted(changed)]

    def rows(self) -> list[tuple[str, State]]:
        """Return all symbols' rows, by symbol."""
        return [(symbol, self._states[symbol].row()) for symbol in sorted(self._states)]

    def row(self) -> State:
        """Return the row of the partition itself, small: take it at each checkpoint."""
        return [self.VERSION, self.clock, self.historical, sorted(map(list, self.dead.items()))]

    def restore(self, row: State, rows: list[tuple[str, State]]) -> None:
        """Go on from the row of the partition and those of its symbols; outputs are forgotten.

        Raises:
            StateVersionError: a row is of another version or of other parameters.
        """
        if not row or row[0] != self.VERSION:
            held = row[0] if row else "no"
            raise StateVersionError(
                f"quality: the partition's row has version {held}, this code reads {self.VERSION}"
            )
        _, self.clock, self.historical, dead = row
        self.dead = {reason: count for reason, count in dead}
        self._states = {
            symbol: SymbolState.from_row(each, self._instruments.of(symbol), self.configuration)
            for symbol, each in rows
        }
        self._build_heap()
        self._changed, self.outputs = {}, []

    @abstractmethod
    def _judge(self, state: SymbolState, record: Record, offset: int) -> int:
        """Judge a record's own values; its flags."""

    def _judge_price(self, state: SymbolState, record: Record, price: float, offset: int) -> int:
        """Compare a price with those before and with other sources' prices; its flags."""
        self.judged = True
        detector = state.outliers
        detector.update(price)
        verdict = detector.value
        time = record.event_time
        flags = 0
        if verdict is not None and verdict.tests:
            flags = OUTLIER
            state.counts[OUTLIERS] += 1
            limit = verdict.limit
            details: dict[str, Any] = {
                "median": verdict.median,
                "tests": _TESTS[verdict.tests],
                "source": record.source,
                "venue": record.venue,
            }
            severity = "critical" if verdict.tests == MEAN | MEDIAN else "warning"
            self._event(state, "outlier", time, offset, severity, price, limit, details)
            if verdict.restarted:
                state.counts[LEVEL_SHIFTS] += 1
                self._event(state, "level_shift", time, offset, "warning", price, limit, details)
        if record.source is not None:
            event = self._disagreement.compare(state, record.source, price, time, offset)
            if event is not None:
                self.outputs.append(event)
        return flags

    def _event(
        self,
        state: SymbolState,
        kind: Any,
        time: int,
        offset: int,
        severity: Any,
        value: float | None = None,
        limit: float | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        day = state.day.identifier
        self.outputs.append(
            QualityEvent(
                state.symbol, kind, time, offset, day, severity, value, limit, details or {}
            )
        )

    def _begin(self, symbol: str, time: int) -> SymbolState:
        instrument = self._instruments.of(symbol)
        state = SymbolState(symbol, instrument, self.configuration, time)
        self._states[symbol] = state
        self._schedule(state)
        return state

    def _move(self, clock: int, offset: int) -> None:
        """Move the data's clock on, and look at the symbols that are due, by (due, symbol)."""
        self.clock = clock
        while self._due and self._due[0][0] <= clock:
            due, symbol = heappop(self._due)
            state = self._states[symbol]
            if state.due == due:
                self._look(state, offset)
                self._changed[symbol] = None

    def _look(self, state: SymbolState, offset: int) -> None:
        """Close the days that are over, tell of a stale feed, and say when to look again."""
        while state.empty_days < MAX_EMPTY_DAYS:
            deadline = self._deadline(state)
            if state.day.end <= self.clock and (deadline is None or state.day.end <= deadline):
                self._close_day(state, offset)
            elif deadline is not None and deadline <= self.clock:
                state.stale = True
                state.counts[STALE] += 1
                length = state.market.open_between(state.maximum, deadline)
                details = {"last": state.maximum, "usual": state.usual}
                self._event(state, "stale", deadline, offset, "warning", length, length, details)
            else:
                break
        self._schedule(state)

    def _deadline(self, state: SymbolState) -> int | None:
        """When the symbol is stale; None where it is so already, unknown, or its calendar ends."""
        wait = self._gaps.wait(state, self.configuration.stale_after)
        if state.stale or wait is None:
            return None
        return state.market.after_open(state.maximum, wait)

    def _schedule(self, state: SymbolState) -> None:
        if state.empty_days >= MAX_EMPTY_DAYS:
            state.due = None
            return
        deadline = self._deadline(state)
        if deadline is None and not state.stale:
            # Perhaps more is known of it then.
            moment = max(self.clock, state.maximum)
            deadline = state.market.after_open(moment, self.configuration.stale_after)
        state.due = state.day.end if deadline is None else min(deadline, state.day.end)
        heappush(self._due, (state.due, state.symbol))
        if len(self._due) > 2 * len(self._states) + MAX_SUPERSEDED:
            self._build_heap()

    def _build_heap(self) -> None:
        self._due = [
            (state.due, symbol) for symbol, state in self._states.items() if state.due is not None
        ]
        heapify(self._due)

    def _roll(self, state: SymbolState, time: int, offset: int) -> None:
        """Go on to the day of a record after the symbol's day."""
        while time >= state.day.end and state.empty_days < MAX_EMPTY_DAYS:
            self._close_day(state, offset)
        if time >= state.day.end:
            state.begin_day(state.market.day_of(time), self._counters)
        state.empty_days = 0
        if state.due is None:
            self._schedule(state)

    def _begin_prices(self, state: SymbolState) -> None:
        """Forget prices over a close, when the next may be anywhere, and over a split."""
        day, before = state.day, state.last_session
        closed = day.open is None or day.open != state.last_close
        state.last_session, state.last_close = day.identifier, day.close
        state.empty_days = 0
        if before is None:
            return
        if closed or state.instrument.split_ratio(before, day.identifier) != 1.0:
            state.outliers.clear()
            state.sources.clear()
            state.disagree_since, state.disagree_told = None, False

    def _close_day(self, state: SymbolState, offset: int) -> None:
        if self._summaries.worth_telling(state):
            self._tell(state, offset, state.day.end, is_final=True)
        if not state.counts[RECORDS]:
            state.empty_days += 1
        state.begin_day(state.market.day_of(state.day.end), self._counters)

    def _tell(self, state: SymbolState, offset: int, until: int, is_final: bool) -> None:
        summary = self._summaries.summary(state, until, is_final)
        self.outputs.append(summary)
        event = self._summaries.incomplete(state, summary, offset)
        if event is not None:
            self.outputs.append(event)
        self._changed[state.symbol] = None
