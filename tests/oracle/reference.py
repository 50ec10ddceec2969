"""The semantics of app/README.md, followed literally, one record at a time.

It imports nothing of the engine and is built to be read, not to be fast: about 100,000 records
a second. Windows and their records are never forgotten, so its memory grows with the log.
Fill-forward bars are not part of it. It has the whole log, so no correction is `log_gone`.

Readings of the page that it had to choose are marked with *Reading* below.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.oracle.corrections import Applied, corrected, newest_named
from tests.oracle.parsing import (
    MAX_NOTIONAL,
    SYMBOL,
    Control,
    Correction,
    DeadRecordError,
    Trade,
    read_value,
)
from tests.oracle.rules import (
    DAY,
    MINUTE,
    SECOND,
    VOLUME_ONLY,
    Flags,
    Policy,
    Sessions,
    partition_of,
    policy_algoseek,
    policy_all,
    policy_sip,
)
from tests.oracle.window import Publication, Window

MILLISECOND = 1_000_000
MAX_SOURCES = 60


@dataclass(frozen=True)
class Settings:
    """What a deployment's results depend on; defaults as those of the project. Times in ns.

    `sip_matrix` (condition -> flags) is needed by the policy `sip` alone.
    """

    intervals: tuple[int, ...] = (
        SECOND,
        10 * SECOND,
        MINUTE,
        5 * MINUTE,
        15 * MINUTE,
    )
    policy: str = "all"
    grace: int = SECOND
    correction_horizon: int = 15 * MINUTE
    recall_horizon: int = DAY
    session_end: int = 16 * 60 * MINUTE
    session_timezone: str = "America/New_York"
    earliest_event_time: int = 631_152_000 * SECOND
    clock_ahead: int = SECOND
    max_ahead: int = 10 * SECOND
    max_symbols: int = 100_000
    max_message_bytes: int = 1024 * 1024
    sip_matrix: dict[str, Flags] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Late:
    """A record for the late topic; its key there is the symbol."""

    offset: int
    symbol: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Dead:
    """A record for the dead topic."""

    offset: int
    reason: str
    value: bytes | None


def _sources_of(trade: Trade) -> set[str]:
    return set() if trade.source is None else {trade.source}


class Reference:
    """One partition of ticks. Feed records in log order, then read the lists.

    Attributes:
        bars: every publication, in order.
        late, dead: in log order.
        outcomes: records by outcome; they add up to the records fed.
    """

    def __init__(self, partition: int, partitions: int, settings: Settings) -> None:
        self.partition = partition
        self.partitions = partitions
        self.settings = settings
        self.bars: list[Publication] = []
        self.late: list[Late] = []
        self.dead: list[Dead] = []
        self.outcomes: Counter[str] = Counter()
        self.historical = False
        self.maximum: int | None = None
        self._amends = settings.policy == "algoseek"
        self._policy = self._policy_named(settings.policy)
        self._flags: dict[tuple[frozenset[str], int], Flags] = {}
        self._sessions = Sessions(settings.session_timezone, settings.session_end)
        self._symbols: set[str] = set()
        self._sources: set[str] = set()
        #: (symbol, venue, trade id) -> event time of its first sight.
        self._identifiers: dict[tuple[str, str | None, str], int] = {}
        self._windows: dict[tuple[str, int, int], Window] = {}
        #: Symbol -> its applied records in log order, where the policy knows corrections.
        self._applied: dict[str, list[Applied]] = {}
        #: Open windows by (end, length, symbol).
        self._open: list[tuple[int, int, str]] = []
        #: (symbol, length) -> sorted starts of the published bars.
        self._published: dict[tuple[str, int], list[int]] = {}

    def _policy_named(self, name: str) -> Policy:
        if name == "sip":
            return policy_sip(self.settings.sip_matrix)
        return {"all": policy_all, "algoseek": policy_algoseek}[name]

    @property
    def watermark(self) -> int | None:
        """Maximum minus grace; None stands for minus infinity."""
        return None if self.maximum is None else self.maximum - self.settings.grace

    def feed_all(self, records: Iterable[tuple[int, int, bytes | None]]) -> None:
        """Feed (offset, append time in ms, value) in log order."""
        for offset, append_time_ms, value in records:
            self.feed(offset, append_time_ms, value)

    def feed(self, offset: int, append_time_ms: int, value: bytes | None) -> str:
        """Take the next record of the log and give its outcome."""
        append_time = append_time_ms * MILLISECOND
        try:
            if value is None:
                raise DeadRecordError("null")
            record = self._parse(offset, append_time, value)
            if isinstance(record, Correction):
                outcome = self._correct(record)
            elif isinstance(record, Control):
                outcome = self._control(record, append_time)
            else:
                outcome = self._trade(record, offset, append_time, value)
        except DeadRecordError as fault:
            self.dead.append(Dead(offset, fault.reason, value))
            outcome = "dead"
        self.outcomes[outcome] += 1
        return outcome

    # 1. Parse ---------------------------------------------------------------------------------

    def _parse(self, offset: int, append_time: int, value: bytes) -> Trade | Control | Correction:
        settings = self.settings
        if not value:
            raise DeadRecordError("empty")
        if 2 * len(value) > settings.max_message_bytes:
            raise DeadRecordError("too_large")
        record = read_value(offset, value)
        if isinstance(record, Correction):
            # Reading: its own event time has no bound: nothing depends on it.
            return record
        # Reading: the bounds of event time hold for clock records as for trades.
        if record.event_time is not None:
            if record.event_time < settings.earliest_event_time:
                raise DeadRecordError("event_time_too_early")
            if record.event_time > append_time + settings.max_ahead:
                raise DeadRecordError("event_time_too_late")
        if isinstance(record, Control):
            return record
        if abs(record.price * record.size) > MAX_NOTIONAL:
            raise DeadRecordError("notional_too_large")
        if partition_of(record.symbol.encode(), self.partitions) != self.partition:
            raise DeadRecordError("wrong_partition")
        if record.symbol not in self._symbols and len(self._symbols) >= settings.max_symbols:
            raise DeadRecordError("too_many_symbols")
        new_source = record.source is not None and record.source not in self._sources
        if new_source and len(self._sources) >= MAX_SOURCES:
            raise DeadRecordError("too_many_sources")
        # Reading: every record that is not dead, a late or duplicate one too, counts its symbol
        # and source.
        self._symbols.add(record.symbol)
        if record.source is not None:
            self._sources.add(record.source)
        return record

    # 2. Control -------------------------------------------------------------------------------

    def _control(self, control: Control, append_time: int) -> str:
        if control.kind == "clock":
            assert control.event_time is not None
            self._advance(control.event_time, append_time)
            self._close_ended()
        elif control.kind == "historical":
            self.historical = True
        else:
            while self._open:
                self._close_first()
            self.historical = False
        return "control"

    # 3. Judge ---------------------------------------------------------------------------------

    def _trade(self, trade: Trade, offset: int, append_time: int, value: bytes) -> str:
        watermark = self.watermark
        if (
            watermark is not None
            and trade.event_time < watermark - self.settings.correction_horizon
        ):
            self.late.append(Late(offset, trade.symbol, value))
            return "late"
        if self._is_duplicate(trade):
            outcome = "duplicate"
        else:
            flags = {length: self._flags_of(trade, length) for length in self.settings.intervals}
            if not any(each.any for each in flags.values()):
                outcome = "ignored"
            else:
                applied = Applied(trade)
                if not self._amends:
                    self._applied.setdefault(trade.symbol, []).append(applied)
                closed = [
                    self._apply(applied, length, flags[length])
                    for length in sorted(self.settings.intervals)
                ]
                outcome = "revised" if any(closed) else "applied"
        self._advance(trade.event_time, append_time)
        self._close_ended()
        return outcome

    def _is_duplicate(self, trade: Trade) -> bool:
        """Whether the trade's id is remembered; if not, it is from now on."""
        if trade.trade_id is None:
            return False
        identity = (trade.symbol, trade.venue, trade.trade_id)
        seen = self._identifiers.get(identity)
        if seen is not None:
            settings = self.settings
            forgotten_at = (
                (seen // MINUTE + 1) * MINUTE + settings.grace + settings.correction_horizon
            )
            if self.watermark is None or forgotten_at > self.watermark:
                return True
        self._identifiers[identity] = trade.event_time
        return False

    def _flags_of(self, trade: Trade, length: int) -> Flags:
        key = (trade.conditions, length)
        if key not in self._flags:
            self._flags[key] = self._policy(trade.conditions, length)
        return self._flags[key]

    # 4. Windows -------------------------------------------------------------------------------

    def _window(self, symbol: str, length: int, start: int) -> Window:
        key = (symbol, length, start)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = Window(symbol, length, start)
        if self.watermark is not None and window.end <= self.watermark:
            window.is_closed = True
        return window

    def _apply(self, applied: Applied, length: int, flags: Flags) -> bool:
        """Apply a record to one interval; whether its window was closed before it."""
        trade = applied.trade
        start = trade.event_time // length * length
        window = self._window(trade.symbol, length, start)
        if not self._amends:
            window.members.append((applied, flags))
        if window.is_closed:
            self._revise(window, trade, flags)
            return True
        # Reading: "applied to every interval" holds also where the interval's class uses neither
        # price nor size of the record: it opens the window, revises the bar, counts as a source.
        self._open_window(window)
        if self._amended_start(trade, length, flags) is None:
            window.add(trade, flags)
        else:
            window.amendments.append((trade, flags))
        return False

    def _open_window(self, window: Window) -> None:
        if not window.is_open:
            window.is_open = True
            heapq.heappush(self._open, (window.end, window.length, window.symbol))

    def _revise(self, window: Window, trade: Trade, flags: Flags) -> None:
        target_start = self._amended_start(trade, window.length, flags)
        if target_start is not None:
            self._amend(window, target_start, [(trade, flags)])
        elif self._amends and flags == VOLUME_ONLY and not window.has_bar:
            oldest = window.start - self.settings.correction_horizon
            self._carry(window, [trade], oldest, _sources_of(trade))
        else:
            window.add(trade, flags)
            if window.has_bar:
                self._publish(window)

    def _publish(self, window: Window) -> None:
        if not window.published:
            insort(self._published.setdefault((window.symbol, window.length), []), window.start)
        window.is_closed = True
        self.bars.append(window.publish())

    # Corrections ------------------------------------------------------------------------------

    def _correct(self, correction: Correction) -> str:
        """Judge and apply a correction, in the order of the page's section of that name."""
        if self._amends:
            raise DeadRecordError("policy_without_corrections")
        if SYMBOL.match(correction.symbol) is None:
            raise DeadRecordError("bad_symbol")
        if partition_of(correction.symbol.encode(), self.partitions) != self.partition:
            raise DeadRecordError("wrong_partition")
        watermark = self.watermark
        applied = newest_named(
            reversed(self._applied.get(correction.symbol, [])),
            correction,
            None if watermark is None else watermark - self.settings.recall_horizon,
        )
        if applied is None:
            raise DeadRecordError("unknown_trade")
        if correction.is_cancel:
            # Reading: `new_price` and `new_size` of a cancel mean nothing.
            applied.is_cancelled = True
        else:
            trade = corrected(applied.trade, correction)
            if abs(trade.price * trade.size) > MAX_NOTIONAL:
                raise DeadRecordError("notional_too_large")
            applied.trade = trade
        for length in sorted(self.settings.intervals):
            self._remake(applied.trade, length)
        return "control"

    def _remake(self, trade: Trade, length: int) -> None:
        """Make the window that a record falls into anew.

        Reading: a correction that changes nothing (no new value, or the old one) is published too.
        """
        window = self._window(trade.symbol, length, trade.event_time // length * length)
        window.remake()
        if not window.is_closed:
            self._forget_if_empty(window)
        elif window.has_bar:
            self._publish(window)
        elif window.published:
            # Reading: it "had one" if one was ever published, also where what was published last
            # says that there is none.
            self.bars.append(window.publish_without_bar())

    def _forget_if_empty(self, window: Window) -> None:
        """Leave an open window whose every record is cancelled unopened.

        Reading: such a window is as if those records were not there, so a flush does not close it.
        """
        if all(member.is_cancelled for member, _ in window.members):
            window.is_open = False
            self._open.remove((window.end, window.length, window.symbol))
            heapq.heapify(self._open)

    # Amendments of the policy `algoseek` ------------------------------------------------------

    def _amended_start(self, trade: Trade, length: int, flags: Flags) -> int | None:
        """Start of the window that a closing print belongs to, if that is not its own."""
        if (
            not self._amends
            or length < MINUTE
            or "closing_print" not in trade.conditions
            or not flags.any
        ):
            return None
        session_end = self._sessions.end_of_date(trade.event_time)
        horizon = self.settings.correction_horizon
        if not session_end <= trade.event_time < session_end + horizon:
            return None
        start = (session_end - 1) // length * length
        return None if start == trade.event_time // length * length else start

    def _amend(self, window: Window, start: int, prints: list[tuple[Trade, Flags]]) -> None:
        """Merge closing prints into the window before the session end: one publication."""
        target = self._window(window.symbol, window.length, start)
        for trade, flags in prints:
            target.add(trade, flags)
        # Reading: an open target (only after a flush) publishes when it closes.
        if target.is_closed or not target.is_open:
            self._publish(target)

    def _carry(self, window: Window, trades: list[Trade], oldest: int, sources: set[str]) -> None:
        """Give volume without a price to the newest published bar before the window.

        `oldest`: the earliest start that is looked at.
        Reading: the sources of the window go with its volume.
        """
        starts = self._published.get((window.symbol, window.length), [])
        place = bisect_left(starts, window.start)
        if place == 0:
            return
        start = starts[place - 1]
        # Reading: the dates are those of the two windows' starts.
        if self._sessions.date_of(start) != self._sessions.date_of(window.start):
            return
        if start < oldest:
            return
        target = self._window(window.symbol, window.length, start)
        for trade in trades:
            target.add(trade, VOLUME_ONLY)
        target.sources |= sources
        self._publish(target)

    # 5. After, 6. Close -----------------------------------------------------------------------

    def _advance(self, event_time: int, append_time: int) -> None:
        moment = min(event_time, append_time + self.settings.clock_ahead)
        self.maximum = moment if self.maximum is None else max(self.maximum, moment)

    def _close_ended(self) -> None:
        watermark = self.watermark
        assert watermark is not None
        while self._open and self._open[0][0] <= watermark:
            self._close_first()

    def _close_first(self) -> None:
        end, length, symbol = heapq.heappop(self._open)
        window = self._window(symbol, length, end - length)
        window.is_open = False
        window.is_closed = True
        if window.amendments:
            trade, flags = window.amendments[0]
            start = self._amended_start(trade, length, flags)
            assert start is not None
            self._amend(window, start, window.amendments)
            window.amendments = []
        if self._amends and not window.has_bar and window.without_price:
            oldest = window.start - self.settings.correction_horizon
            self._carry(window, window.without_price, oldest, window.sources)
            window.clear()
        if window.has_bar:
            self._publish(window)
