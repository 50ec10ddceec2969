"""Closing and revising windows: which bar is published, as which revision, with what in it.

Called in log order (tables/bars.py). Here live the rules that tie one window to another: volume
without a price, closing prints (policy `algoseek`), and fill-forward.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.contracts.outputs import NO_HEADERS, OutputRecord
from app.contracts.wire import BarRecord, QuoteBarRecord, encoder
from tables.code_set import CodeSet
from tables.configuration import BarsConfiguration
from tables.events import REVISE, Event
from tables.partial import COMPILED, UNPUBLISHED, Partial
from tables.partition import WindowPublisher
from tables.sessions import Sessions
from tables.single import session_window
from tables.sums import to_double
from tables.symbols import Sources, Symbols
from tables.windows import Windows

if COMPILED:
    from tables import _partials as compiled


class Publisher(WindowPublisher[Partial]):
    """Publishes bars of one partition; outputs collect until a checkpoint takes them."""

    def __init__(
        self,
        configuration: BarsConfiguration,
        symbols: Symbols,
        sources: Sources,
        windows: Windows[Partial],
        sessions: Sessions,
        changed: CodeSet,
    ) -> None:
        super().__init__(configuration.intervals, symbols, sources, windows, changed)
        self._configuration = configuration
        self._sessions = sessions
        self._fills = configuration.fill_forward
        #: (interval index, symbol) whose newest bar has changed; fill-forward empties it.
        self.moved: list[tuple[int, int]] = []

    def happen(self, event: Event[Partial]) -> None:
        """Let an event happen; events come in log order."""
        if event.phase == REVISE:
            self.revise(event.interval, event.symbol, event.start, event.partial, event.amendment)
        else:
            self.close(event.interval, event.symbol, event.start, event.partial)

    @property
    def closes_at_once(self) -> bool:
        """Also without the compiled module they do not."""
        return COMPILED and not (self._fills or self._configuration.policy.amends)

    def _publish_all(
        self, interval: int, start: int, symbols: list[int], windows: dict[int, Partial]
    ) -> int:
        return compiled.close_windows(
            symbols,
            windows,
            start,
            self.labels[interval],
            self._symbols.names,
            self.states,
            self.state,
            interval,
            BarRecord,
            encoder.encode,
            self._sources.of,
            OutputRecord,
            NO_HEADERS,
            self.outputs["bars"],
        )

    def forming(
        self, interval: int, start: int, symbols: list[int], windows: dict[int, Partial]
    ) -> Sequence[BarRecord | QuoteBarRecord]:
        """The bars of open windows, by the compiled module: a fifth of the time."""
        if not COMPILED:
            return super().forming(interval, start, symbols, windows)
        label, names = self.labels[interval], self._symbols.names
        return compiled.open_bars(
            symbols, windows, start, label, names, BarRecord, self._sources.of
        )

    def close(self, interval: int, symbol: int, start: int, partial: Partial | None) -> None:
        """Close a window; None where it held no record and is to be filled."""
        if partial is None:
            self._fill(interval, symbol, start)
            return
        amendment, partial.amendment = partial.amendment, None
        if self._configuration.policy.amends:
            if amendment is not None:
                self._amend(interval, symbol, amendment)
            if not partial.has_bar and partial.trades:
                self._carry(interval, symbol, start, partial)
        if partial.has_bar:
            self._publish(interval, symbol, start, partial)
        self._windows.keep_closed(interval, symbol, start, partial)

    def revise(
        self, interval: int, symbol: int, start: int, partial: Partial | None, amendment: bool
    ) -> None:
        """Merge one record into a closed window and publish the result."""
        if partial is None:
            raise ValueError("a revision needs a record")
        if amendment:
            self._amend(interval, symbol, partial)
            return
        held = self._windows.closed(interval, symbol, start) or Partial.empty()
        carries = self._configuration.policy.amends and not (held.has_bar or partial.has_bar)
        if carries and partial.trades:
            self._carry(interval, symbol, start, partial)
        self._merge(interval, symbol, start, held, partial)

    def correct(
        self, interval: int, symbol: int, start: int, former: Partial, content: Partial
    ) -> None:
        """Publish what a correction made of a closed window, if it has, or had, a bar.

        Without a price it is published as an empty one at its last close, and stays known by
        its revision.
        """
        content.revision = former.revision
        if content.has_bar:
            self._publish(interval, symbol, start, content)
        elif former.revision != UNPUBLISHED:
            empty = Partial.empty()
            empty.revision = former.revision
            empty.close = content.close = former.close
            self._publish(interval, symbol, start, empty)
            content.revision = empty.revision

    def _merge(self, interval: int, symbol: int, start: int, held: Partial, more: Partial) -> None:
        held.merge(more)
        if held.has_bar or held.filled:
            self._publish(interval, symbol, start, held)
        self._windows.keep_closed(interval, symbol, start, held)

    def _amend(self, interval: int, symbol: int, amendment: Partial) -> None:
        """Merge closing prints into the session's last window.

        It is open only after a flush: then it publishes when it closes. Where it was never opened
        it is published, and closed from then on.
        """
        length = self._windows.lengths[interval]
        start = session_window(amendment.close_key[0], length, self._sessions)
        opened = self._windows.opened(interval, symbol, start)
        if opened is not None:
            opened.merge(amendment)
            self._changed.add(symbol)
            return
        held = self._windows.closed(interval, symbol, start)
        if held is None:
            held = Partial.empty()
            if start + length > self.watermark:
                self._windows.flushed.setdefault(symbol, set()).add((interval, start))
        self._merge(interval, symbol, start, held, amendment)

    def _carry(self, interval: int, symbol: int, start: int, partial: Partial) -> None:
        """Hand volume without a price to the newest bar before, on the same date, if any."""
        volume = Partial.empty()
        volume.trades, volume.volume = partial.trades, partial.volume
        volume.sources = partial.sources
        partial.trades = partial.volume = partial.sources = 0
        before = self._bar_before(interval, symbol, start)
        if before is None or self._sessions.date_of(before) != self._sessions.date_of(start):
            return
        held = self._windows.closed(interval, symbol, before)
        if held is not None:
            self._merge(interval, symbol, before, held, volume)

    def _bar_before(self, interval: int, symbol: int, start: int) -> int | None:
        """Start of the newest published bar before `start`, over the correction horizon."""
        earliest = start - self._configuration.correction_horizon
        newest = self.state(symbol).newest[interval]
        if newest is None:
            return None
        if newest < start:
            return newest if newest >= earliest else None
        length = self._windows.lengths[interval]
        for candidate in range(start - length, earliest - 1, -length):
            held = self._windows.closed(interval, symbol, candidate)
            if held is not None and held.revision != UNPUBLISHED:
                return candidate
        return None

    def _fill(self, interval: int, symbol: int, start: int) -> None:
        """Publish a flagged bar at the previous close, if the bar before is the newest one."""
        state = self.state(symbol)
        length = self._windows.lengths[interval]
        if state.newest[interval] != start - length:
            return
        previous = self._windows.closed(interval, symbol, start - length)
        run = state.runs[interval] + 1
        if previous is None or run > self._configuration.fill_forward_limit:
            return
        filled = self._windows.closed(interval, symbol, start) or Partial.empty()
        filled.filled = True
        filled.close = previous.close
        self._publish(interval, symbol, start, filled)
        self._windows.keep_closed(interval, symbol, start, filled)
        state.runs[interval] = run

    def _publish(self, interval: int, symbol: int, start: int, partial: Partial) -> None:
        partial.revision += 1
        record = self.record(interval, symbol, start, partial, is_final=True)
        key = record.symbol.encode()
        self.put("bars", OutputRecord(key, encoder.encode(record), NO_HEADERS))
        self._changed.add(symbol)
        state = self.state(symbol)
        newest = state.newest[interval]
        if newest is None or start > newest:
            state.newest[interval] = start
            if self._fills:
                self.moved.append((interval, symbol))
            state.runs[interval] = 0

    def record(
        self, interval: int, symbol: int, start: int, partial: Partial, *, is_final: bool
    ) -> BarRecord:
        """The bar of an aggregate that has one, as published."""
        filled = not partial.has_bar
        close = partial.close
        has_extremes = partial.high >= partial.low
        open_price = close if filled else partial.open
        return BarRecord(
            symbol=self._symbols.names[symbol],
            interval=self.labels[interval],
            start=start,
            open=open_price,
            high=partial.high if has_extremes else max(open_price, close),
            low=partial.low if has_extremes else min(open_price, close),
            close=close,
            volume=to_double(partial.volume),
            vwap=partial.notional / partial.priced if partial.priced else None,
            trades=partial.trades,
            revision=max(partial.revision, 0),
            is_final=is_final,
            filled=filled,
            sources=self._sources.of(partial.sources),
        )
