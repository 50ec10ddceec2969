"""A market of its own: seeded random walks with trades and quotes, bursts and sessions.

For demonstrations, load and tests; not a model of a market. Events come in blocks of event time
(`BLOCK`, 50 ms), each drawn whole with numpy. A block depends on the options, the seed and the
blocks before it alone, so the same options and the same start give the same records, however
fast they are asked for and sent.

Each event moves its symbol's mid price, a geometric random walk that is pulled back to its anchor
(an Ornstein-Uhlenbeck process, so an endless run stays in bounds). A quote is the mid less and
plus half a spread; a trade prints at the bid or at the ask. Popular symbols trade more (Zipf).

So returns can be foretold a little: prices are pulled back, and bounce between bid and ask. Where
it must be known how much, a signal (signal.py) moves the mid prices instead, by time, not by event.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from app.feeds.columns import Origin, QuoteColumns, TradeColumns, Vocabulary
from app.feeds.signal import HALF_SPREAD, HEAVY, LOWEST_PRICE, Signal, SignalPath

SOURCE: Final = "simulator"
VENUE: Final = "SIM"
#: Nanoseconds of event time that are drawn at once.
BLOCK: Final = 50_000_000
SECOND: Final = 1_000_000_000
#: Standard deviation of the logarithm of price between two events of a symbol.
VOLATILITY: Final = 2e-4
#: Part of the way back to the anchor, a second.
PULL: Final = 0.002
TICK: Final = 0.01
LOT: Final = 25
#: Share of trades of less than a round lot, which carry the condition.
ODD_LOTS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Session:
    """Trading hours of a time zone, in minutes since local midnight, on weekdays.

    Within it the rate is U-shaped: three times the middle's at both ends, the same in the mean.
    """

    begin: int
    end: int
    zone: str

    def factor(self, time: int) -> float:
        """What the rate is multiplied by at an event time in ns; 0 outside the hours."""
        local = datetime.fromtimestamp(time / SECOND, ZoneInfo(self.zone))
        minutes = local.hour * 60 + local.minute + local.second / 60
        if local.weekday() >= 5 or not self.begin <= minutes < self.end:
            return 0.0
        place = 2 * (minutes - self.begin) / (self.end - self.begin) - 1
        return 0.6 + 1.2 * place * place


def parse_session(text: str, zone: str) -> Session:
    """A session of `09:30-16:00`.

    Raises:
        ValueError: it is none, or the time zone is unknown.
    """
    try:
        begin, end = (datetime.strptime(part, "%H:%M") for part in text.split("-"))
        ZoneInfo(zone)
    except (ValueError, KeyError, OSError) as error:
        raise ValueError(f"{text!r} {zone!r}: expected 09:30-16:00 and a time zone") from error
    first, last = (each.hour * 60 + each.minute for each in (begin, end))
    if first >= last:
        raise ValueError(f"{text!r}: the end is not after the begin")
    return Session(first, last, zone)


@dataclass(frozen=True, slots=True)
class MarketOptions:
    """What the market is like.

    Attributes:
        symbols: SIM-01, SIM-02, ...; at most 100,000.
        rate: events a second of event time, in the mean, bursts left out.
        quotes_per_trade: quotes for each trade, in the mean.
        burst_factor: the rate in a burst is so many times the rate.
        burst_every: seconds between bursts, in the mean.
        burst_seconds: of a burst, in the mean.
        session: trading hours; None: always.
        seed: of all random choices.
        signal: moves the mid prices; None: the walk that is pulled back.
    """

    symbols: int = 8
    rate: float = 200.0
    quotes_per_trade: float = 0.0
    burst_factor: float = 1.0
    burst_every: float = 30.0
    burst_seconds: float = 2.0
    session: Session | None = None
    seed: int = 0
    signal: Signal | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.symbols <= 100_000:
            raise ValueError(f"{self.symbols} symbols; expected 1 to 100,000")
        if self.rate <= 0 or self.burst_factor < 1 or self.quotes_per_trade < 0:
            raise ValueError("expected rate > 0, burst_factor >= 1, quotes_per_trade >= 0")
        if self.burst_every <= 0 or self.burst_seconds <= 0:
            raise ValueError("expected burst_every and burst_seconds above 0")


class Market:
    """The market of some options from an event time on; `block` after `block`.

    Args:
        options: what it is like.
        start: event time of the first block, ns.
        vocabulary: symbols and origins of the columns.
    """

    def __init__(self, options: MarketOptions, start: int, vocabulary: Vocabulary) -> None:
        self.options = options
        #: Event time of the next block, ns.
        self.time = start
        self._random = np.random.default_rng(options.seed)
        count = options.symbols
        width = max(2, len(str(count)))
        self._codes = np.array(
            [vocabulary.symbols.number(f"SIM-{each:0{width}}") for each in range(1, count + 1)],
            dtype=np.int32,
        )
        weight = 1 / np.arange(1, count + 1) ** 0.8
        self._shares = np.cumsum(weight / weight.sum())
        lowest, widest = (10.0, 3) if options.signal is None else (LOWEST_PRICE, HALF_SPREAD)
        self._anchor = self._random.uniform(np.log(lowest), np.log(500), count)
        self._log = self._anchor.copy()
        self._path: SignalPath | None = None
        if options.signal is not None:
            self._path = SignalPath(options.signal, self._anchor, BLOCK, options.seed)
        #: Half a spread of each symbol, in ticks.
        self._half = self._random.integers(1, widest + 1, count)
        origins = vocabulary.origins
        self._regular = origins.number(Origin(VENUE, (), SOURCE))
        self._odd = origins.number(Origin(VENUE, ("odd_lot",), SOURCE))
        self._sequence = 0
        self._burst = False

    def block(self) -> tuple[TradeColumns, QuoteColumns]:
        """The events of the next block in event-time order; either may be empty."""
        begin, self.time = self.time, self.time + BLOCK
        count = int(self._random.poisson(self._intensity(begin)))
        time = begin + np.sort(self._random.integers(0, BLOCK, count))
        symbol = np.searchsorted(self._shares, self._random.random(count), side="right")
        symbol = np.minimum(symbol, self.options.symbols - 1)
        mid = self._walk(symbol) if self._path is None else self._follow(self._path, begin, symbol)
        trades = self._random.random(count) * (1 + self.options.quotes_per_trade) < 1
        sequence = self._sequence + np.arange(count, dtype=np.int64)
        self._sequence += count
        half = self._half[symbol]
        ticks = np.maximum(np.rint(mid / TICK), half + 1)
        bid, ask = (ticks - half) * TICK, (ticks + half) * TICK
        lots = self._random.geometric(0.2, (2, count)) * LOT
        side = self._random.random(count) < 0.5
        odd = self._random.random(count) < ODD_LOTS
        round_size = lots[0] * 4
        if self._path is not None:
            round_size = round_size * np.where(self._path.heavy[symbol], HEAVY, 1)
        size = np.where(odd, lots[0] % 100 + 1, round_size).astype(np.float64)
        price = np.round(np.where(side, bid, ask), 2).astype(np.float64)
        rows = np.flatnonzero(trades)
        quotes = np.flatnonzero(~trades)
        return (
            TradeColumns(
                self._codes[symbol[rows]],
                price[rows],
                size[rows],
                time[rows],
                sequence[rows],
                np.where(odd[rows], self._odd, self._regular).astype(np.int32),
                np.array([f"{number}" for number in sequence[rows].tolist()], dtype=object),
            ),
            QuoteColumns(
                self._codes[symbol[quotes]],
                np.round(bid[quotes], 2),
                np.round(ask[quotes], 2),
                lots[0][quotes].astype(np.float64),
                lots[1][quotes].astype(np.float64),
                time[quotes],
                sequence[quotes],
                np.full(len(quotes), self._regular, dtype=np.int32),
            ),
        )

    def _intensity(self, begin: int) -> float:
        """Expected events of a block."""
        options = self.options
        seconds = BLOCK / SECOND
        expected = options.rate * seconds
        if options.session is not None:
            expected *= options.session.factor(begin)
        if options.burst_factor > 1:
            mean = options.burst_seconds if self._burst else options.burst_every
            if self._random.random() < seconds / mean:
                self._burst = not self._burst
            if self._burst:
                expected *= options.burst_factor
        return expected

    def _follow(
        self, path: SignalPath, begin: int, symbol: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float64]:
        """The mid price at each event, from the path of the signal."""
        path.advance(begin)
        return np.asarray(np.exp(path.log)[symbol], dtype=np.float64)

    def _walk(self, symbol: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """The mid price after each event; the symbols' walks go on from block to block."""
        self._log += (self._anchor - self._log) * (PULL * BLOCK / SECOND)
        steps = self._random.normal(0.0, VOLATILITY, len(symbol))
        order = np.argsort(symbol, kind="stable")
        ordered = symbol[order]
        moved = np.cumsum(steps[order])
        first = np.flatnonzero(np.diff(ordered, prepend=-1))
        counts = np.diff(np.append(first, len(ordered)))
        before = np.repeat(moved[first] - steps[order][first], counts)
        log = self._log[ordered] + moved - before
        if len(first):
            last = first + counts - 1
            self._log[ordered[last]] = log[last]
        mid = np.empty(len(symbol))
        mid[order] = np.exp(log)
        return mid


def repeated(
    columns: TradeColumns, share: float, random: np.random.Generator, within: int = 50
) -> TradeColumns:
    """The trades with about `share` of them a second time, up to `within` records later.

    As after a reconnect: the same trade id, so the engine counts a duplicate.
    """
    chosen = np.flatnonzero(random.random(len(columns)) < share)
    if not len(chosen):
        return columns
    places = np.concatenate(
        [np.arange(len(columns)), chosen + random.integers(1, within + 1, len(chosen)) + 0.5]
    )
    rows = np.concatenate([np.arange(len(columns)), chosen])
    return columns.take(rows[np.argsort(places, kind="stable")])
