"""Runs the quality checks over records and gives out the days as they end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from app.contracts.wire import FlushRecord, HistoricalRecord, QuoteRecord, TradeRecord
from app.profile.collect import DayProfile
from app.profile.reading import Item
from tables.markets import Day, Instruments
from tables.quality import (
    QualityConfiguration,
    QualityEvent,
    QuoteQuality,
    TradeQuality,
)

#: Progress is told after so many records.
_STEP = 50_000


class _Days:
    """The days that are not given out yet."""

    def __init__(self, quality: TradeQuality | QuoteQuality, instruments: Instruments) -> None:
        self._quality = quality
        self._instruments = instruments
        self._days: dict[tuple[str, int], DayProfile] = {}
        self._ended: list[tuple[str, int]] = []

    def of(self, symbol: str, day: Day) -> DayProfile:
        """Return the profile of a day, begun where there is none."""
        found = self._days.get((symbol, day.identifier))
        if found is None:
            quotes = isinstance(self._quality, QuoteQuality)
            found = DayProfile(symbol, day, self._instruments.market(symbol), quotes)
            self._days[symbol, day.identifier] = found
        return found

    def take_outputs(self) -> None:
        """Put findings and summaries to their days; a day's own summary comes before its event."""
        for output in self._quality.take_outputs():
            if isinstance(output, QualityEvent):
                known = self._days.get((output.symbol, output.session))
                day = self._quality.day(output.symbol)
                (known or self.of(output.symbol, day)).take_event(output)
                continue
            day = Day(output.session, output.start, output.end, output.open, output.close)
            self.of(output.symbol, day).summary = output
            if output.is_final:
                self._ended.append((output.symbol, output.session))

    def ended(self) -> Iterator[DayProfile]:
        """Give out the days that are over."""
        names, self._ended = self._ended, []
        return (self._days.pop(name) for name in names)

    def rest(self) -> Iterator[DayProfile]:
        """Give out all others, by symbol and day."""
        return (self._days.pop(name) for name in sorted(self._days))


def profiles(
    items: Iterable[Item],
    quotes: bool,
    instruments: Instruments,
    configuration: QualityConfiguration,
    progress: Callable[[int], None] = lambda done: None,
) -> Iterator[DayProfile]:
    """Yield the days of all symbols, each as it ends, the open ones by symbol at the end.

    The records have no append time, so time lags are not known. `progress` is told the number of
    records so far.
    """
    quality = (QuoteQuality if quotes else TradeQuality)(configuration, instruments)
    quality.take_control(HistoricalRecord(), 0, 0)
    days = _Days(quality, instruments)
    offset = -1
    for offset, item in enumerate(items):
        if isinstance(item, bytes):
            quality.take_dead("malformed")
        elif isinstance(item, TradeRecord | QuoteRecord):
            flags = quality.take(item, offset, item.event_time)  # type: ignore[arg-type]
            if quality.outputs:
                days.take_outputs()
                yield from days.ended()
            day = quality.day(item.symbol)
            if item.event_time >= day.start:
                days.of(item.symbol, day).take(item, flags, quality.judged)
        else:
            quality.take_control(item, offset, 2**62)
        if not (offset + 1) % _STEP:
            progress(offset + 1)
    progress(offset + 1)
    quality.take_control(FlushRecord(), offset + 1, 0)
    days.take_outputs()
    yield from days.rest()
