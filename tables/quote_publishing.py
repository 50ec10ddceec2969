"""Closing and revising quote windows: which quote bar is published, as which revision."""

from __future__ import annotations

from collections.abc import Sequence

from app.contracts.outputs import NO_HEADERS, OutputRecord
from app.contracts.wire import BarRecord, QuoteBarRecord, encoder
from tables.events import REVISE, Event
from tables.partial import COMPILED
from tables.partition import WindowPublisher
from tables.quote_partial import QuotePartial, mid_of
from tables.sums import GRID

if COMPILED:
    from tables import _partials as compiled


class QuotePublisher(WindowPublisher[QuotePartial]):
    """Publishes quote bars of one partition; outputs collect until a checkpoint takes them."""

    @property
    def closes_at_once(self) -> bool:
        """By the compiled module."""
        return COMPILED

    def _publish_all(
        self, interval: int, start: int, symbols: list[int], windows: dict[int, QuotePartial]
    ) -> int:
        return compiled.close_quote_windows(
            symbols,
            windows,
            start,
            self.labels[interval],
            self._symbols.names,
            QuoteBarRecord,
            encoder.encode,
            self._sources.of,
            OutputRecord,
            NO_HEADERS,
            self.outputs["bars"],
        )

    def forming(
        self, interval: int, start: int, symbols: list[int], windows: dict[int, QuotePartial]
    ) -> Sequence[BarRecord | QuoteBarRecord]:
        """The bars of open windows, by the compiled module: a fifth of the time."""
        if not COMPILED:
            return super().forming(interval, start, symbols, windows)
        label, names = self.labels[interval], self._symbols.names
        return compiled.open_quote_bars(
            symbols, windows, start, label, names, QuoteBarRecord, self._sources.of
        )

    def happen(self, event: Event[QuotePartial]) -> None:
        """Close a window, or merge one quote into a closed one; events come in log order."""
        partial = event.partial
        if partial is None:
            raise ValueError("an event of quotes needs a quote")
        if event.phase == REVISE:
            held = self._windows.closed(event.interval, event.symbol, event.start)
            if held is not None:
                held.merge(partial)
                partial = held
        partial.revision += 1
        record = self.record(event.interval, event.symbol, event.start, partial, is_final=True)
        self.put("bars", OutputRecord(record.symbol.encode(), encoder.encode(record), NO_HEADERS))
        self._changed.add(event.symbol)
        self._windows.keep_closed(event.interval, event.symbol, event.start, partial)

    def record(
        self, interval: int, symbol: int, start: int, partial: QuotePartial, *, is_final: bool
    ) -> QuoteBarRecord:
        """The quote bar of an aggregate that has one, as published."""
        bid_open, ask_open = partial.opening
        bid_close, ask_close, bid_size, ask_size = partial.closing
        return QuoteBarRecord(
            symbol=self._symbols.names[symbol],
            interval=self.labels[interval],
            start=start,
            bid_open=bid_open,
            bid_high=partial.bid_high,
            bid_low=partial.bid_low,
            bid_close=bid_close,
            ask_open=ask_open,
            ask_high=partial.ask_high,
            ask_low=partial.ask_low,
            ask_close=ask_close,
            mid_open=mid_of(bid_open, ask_open),
            mid_high=partial.mid_high,
            mid_low=partial.mid_low,
            mid_close=mid_of(bid_close, ask_close),
            bid_size=bid_size,
            ask_size=ask_size,
            # One division of integers: rounded once.
            spread=partial.spread / (partial.quotes * GRID),
            quotes=partial.quotes,
            revision=max(partial.revision, 0),
            is_final=is_final,
            sources=self._sources.of(partial.sources),
        )
