"""What is kept of one symbol, and its row: plain values, bounded in number.

Bounds: `outlier_window` prices, `duplicate_window` ids, `MAX_COPIES` records of the same event
time, `MAX_STREAMS` sources and as many numbered streams; everything else is single numbers.
"""

from __future__ import annotations

from typing import Any, Final

from tables.learning import State, StateVersionError
from tables.markets import Day, Instrument, Market
from tables.quality.configuration import QualityConfiguration
from tables.quality.counters import LAG_BOUNDS, counter_names
from tables.quality.outliers import OutlierDetector

ROW_VERSION: Final = 1
#: Records of one event time that are compared for copies.
MAX_COPIES: Final = 16
#: Sources that are compared, and numbered streams that are followed, a symbol.
MAX_STREAMS: Final = 8
#: Intervals before the usual one is known; until then no gap is told and no feed is stale.
USUAL_WARM_UP: Final = 8


class SymbolState:
    """One symbol of one partition. Times and lengths in ns."""

    __slots__ = (
        "copies",
        "copies_time",
        "counts",
        "day",
        "disagree_since",
        "disagree_told",
        "due",
        "empty_days",
        "expected",
        "first_time",
        "identifiers",
        "in_duplicates",
        "in_invalid",
        "incomplete_told",
        "instrument",
        "intervals",
        "lags",
        "last_close",
        "last_session",
        "last_time",
        "longest_gap",
        "lost",
        "market",
        "maximum",
        "outliers",
        "revision",
        "seen",
        "sequences",
        "sources",
        "stale",
        "symbol",
        "usual_mean",
        "usual_square",
        "watched_from",
    )

    def __init__(
        self, symbol: str, instrument: Instrument, configuration: QualityConfiguration, time: int
    ) -> None:
        """Begin with the symbol's first record, at event time `time`."""
        self.symbol = symbol
        self.instrument = instrument
        self.market: Market = instrument.market
        #: Where its completeness is judged from: nothing is known of the time before.
        self.watched_from = time
        self.maximum = time
        #: Of the day of the last record: identifier and close of the session.
        self.last_session: int | None = None
        self.last_close: int | None = None
        self.stale = False
        #: When the symbol is looked at next though it has no record; None: never.
        self.due: int | None = None
        #: Means of the intervals (ns) between event times that move on and of their squares, and
        #: how many were learned.
        self.usual_mean = 0.0
        self.usual_square = 0.0
        self.intervals = 0
        tick = instrument.tick_size or 0.0
        self.outliers = OutlierDetector(
            configuration.outlier_window,
            configuration.outlier_warm_up,
            configuration.outlier_mean_factor,
            configuration.outlier_median_factor,
            configuration.outlier_floor,
            configuration.outlier_ticks * tick,
            configuration.outlier_run,
        )
        #: Ids in the order of their first sight (a dictionary as an ordered set).
        self.identifiers: dict[str, None] = {}
        self.in_duplicates = False
        #: Whether the last quote was crossed or zero: its flag, else 0.
        self.in_invalid = 0
        self.copies_time = -1
        self.copies: list[tuple[Any, ...]] = []
        #: Last price and its event time, by source.
        self.sources: dict[str, tuple[float, int]] = {}
        self.disagree_since: int | None = None
        self.disagree_told = False
        #: Last number, numbers that are still missing, day; by source and venue.
        self.sequences: dict[str, list[int]] = {}
        self.empty_days = 0
        self.begin_day(self.market.day_of(time), len(counter_names(configuration)))

    def begin_day(self, day: Day, counters: int) -> None:
        """Forget the day before."""
        self.day = day
        self.counts = [0] * counters
        self.lags = [0] * (len(LAG_BOUNDS) + 1)
        self.first_time: int | None = None
        self.last_time: int | None = None
        self.longest_gap = 0
        self.lost = 0
        self.expected = 0
        self.seen = 0
        self.revision = 0
        self.incomplete_told = False

    @property
    def usual(self) -> int:
        """The usual interval, ns: the mean length of the one that any moment falls into.

        That is E[x^2] / E[x] (the inspection paradox), twice the mean for independent arrivals and
        more for bursts, which the mean alone would take for the rule.
        """
        return int(self.usual_square / self.usual_mean) if self.usual_mean else 0

    def row(self) -> State:
        """Return all of it as plain values."""
        return [
            ROW_VERSION,
            self.symbol,
            self.watched_from,
            self.maximum,
            self.last_session,
            self.last_close,
            self.stale,
            self.due,
            self.usual_mean,
            self.usual_square,
            self.intervals,
            self.outliers.state(),
            list(self.identifiers),
            self.in_duplicates,
            self.in_invalid,
            self.copies_time,
            [[*one[:-1], list(one[-1])] for one in self.copies],
            [[source, *last] for source, last in self.sources.items()],
            self.disagree_since,
            self.disagree_told,
            [[name, *numbers] for name, numbers in self.sequences.items()],
            self.empty_days,
            list(self.day),
            list(self.counts),
            list(self.lags),
            self.first_time,
            self.last_time,
            self.longest_gap,
            self.lost,
            self.expected,
            self.seen,
            self.revision,
            self.incomplete_told,
        ]

    @classmethod
    def from_row(
        cls, row: State, instrument: Instrument, configuration: QualityConfiguration
    ) -> SymbolState:
        """Build the state that goes on from a row.

        Raises:
            StateVersionError: the row is of another version, or of other parameters.
        """
        if not row or row[0] != ROW_VERSION:
            held = row[0] if row else "no"
            raise StateVersionError(
                f"quality: a row has version {held}, this code reads {ROW_VERSION}"
            )
        state = cls(row[1], instrument, configuration, row[3])
        counters = len(state.counts)
        (
            state.watched_from,
            state.maximum,
            state.last_session,
            state.last_close,
            state.stale,
            state.due,
            state.usual_mean,
            state.usual_square,
            state.intervals,
            learned,
            identifiers,
            state.in_duplicates,
            state.in_invalid,
            state.copies_time,
            copies,
            sources,
            state.disagree_since,
            state.disagree_told,
            sequences,
            state.empty_days,
            day,
            state.counts,
            state.lags,
            state.first_time,
            state.last_time,
            state.longest_gap,
            state.lost,
            state.expected,
            state.seen,
            state.revision,
            state.incomplete_told,
        ) = row[2:]
        if len(state.counts) != counters:
            raise StateVersionError(
                f"quality: a row has {len(state.counts)} counters; expected {counters}"
            )
        own = state.outliers
        state.outliers = OutlierDetector.from_state(
            learned,
            own.statistics.window,
            own.statistics.warm_up,
            own.mean_factor,
            own.median_factor,
            own.floor,
            own.least,
            own.run,
        )
        state.counts, state.lags = list(state.counts), list(state.lags)
        state.identifiers = dict.fromkeys(identifiers)
        state.copies = [(*one[:-1], tuple(one[-1])) for one in copies]
        state.sources = {source: (price, time) for source, price, time in sources}
        state.sequences = {name: list(numbers) for name, *numbers in sequences}
        state.day = Day(*day)
        return state
