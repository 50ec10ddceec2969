"""Quotes of one partition to quote bars: the state machine of app/README.md, *Quotes*.

As for trades (tables/bars.py), but for what trades alone have: no policy, no trade ids, no
fill-forward. A quote with a zero price (a side without a quote) or crossed prices is ignored, and
counted by its reason.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.contracts.batch import RecordBatch
from tables.columns import Int64Array
from tables.configuration import BarsConfiguration
from tables.events import REVISE, Causes, Event, event_order
from tables.grouping import sort_order
from tables.intake import Control, Dead
from tables.partition import WindowedPartition, causes_of
from tables.quote_columns import QuoteColumns
from tables.quote_grouping import (
    QuoteGroups,
    group_quotes,
    quote_partials,
    roll_up_quotes,
    single_quote,
)
from tables.quote_intake import QuoteIntake
from tables.quote_partial import QuotePartial, make_quote_accumulator
from tables.quote_publishing import QuotePublisher
from tables.windows import Reader

IGNORED = ("zero", "crossed")


class QuotesPartition(WindowedPartition[QuotePartial, QuoteColumns]):
    """State of one partition: `apply` a batch, then find outputs in `publisher`."""

    aggregate = QuotePartial
    publisher: QuotePublisher

    def __init__(
        self,
        configuration: BarsConfiguration,
        partition: int,
        read: Reader,
        source_names: list[str] | None = None,
    ) -> None:
        super().__init__(configuration, partition, read, source_names)
        self.details = dict.fromkeys(IGNORED, 0)
        self.publisher = QuotePublisher(
            configuration.intervals, self.symbols, self.sources, self.windows, self.changed
        )
        self._intake = QuoteIntake(configuration, self.symbols, self.sources)
        self._accumulator = make_quote_accumulator(configuration.intervals)

    def _read(self, batch: RecordBatch) -> tuple[Sequence[QuoteColumns | Control], Dead]:
        return self._intake.read(batch)

    def _take(self, records: QuoteColumns, batch: RecordBatch) -> None:
        grace = self.configuration.grace
        maxima = self._maxima(records)
        watermarks = maxima[:-1] - grace
        keep = self._in_time(records, watermarks, batch)
        self._know(records)
        keep &= self._usable(records, keep)
        closed = records.time < watermarks
        if self.windows.flushed:
            closed |= np.isin(records.symbol, list(self.windows.flushed))
        closed &= keep
        ordinary = keep & ~closed
        self.counts["applied"] += int(ordinary.sum())
        if ordinary.any():
            self._aggregate(records if ordinary.all() else records.take(ordinary))
        events: list[Event[QuotePartial]] = []
        if closed.any():
            events = self._one_by_one(records, watermarks, np.flatnonzero(closed))
        self.maximum = int(maxima[-1])
        causes = causes_of(maxima[1:], records.position, grace)
        self._close(events, causes)

    def _usable(self, quotes: QuoteColumns, keep: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Mask of the quotes with two prices that are not crossed; the others are counted."""
        zero = (quotes.bid == 0.0) | (quotes.ask == 0.0)
        crossed = (quotes.bid > quotes.ask) & ~zero
        for reason, found in (("zero", zero & keep), ("crossed", crossed & keep)):
            count = int(found.sum())
            self.details[reason] += count
            self.counts["ignored"] += count
        usable: npt.NDArray[np.bool_] = ~(zero | crossed)
        return usable

    def _aggregate(self, quotes: QuoteColumns) -> None:
        """Merge ordinary quotes, at least one, into open windows of every interval."""
        if self._accumulator is None:
            self._aggregate_groups(quotes)
        else:
            self._accumulator.add(
                self.windows.open,
                *(quotes.symbol, quotes.time, quotes.sequence, quotes.offset, quotes.bid),
                *(quotes.ask, quotes.bid_size, quotes.ask_size, quotes.source),
                symbols=len(self.symbols.names),
                watermark=self.watermark,
                removed=self.windows.removed,
            )
        self.changed.add_all(quotes.symbol)
        self.touched.add_all(quotes.symbol)

    def _aggregate_groups(self, quotes: QuoteColumns) -> None:
        """Without the compiled module: by sorting, and in groups."""
        ordered = quotes.take(sort_order(quotes))
        made: list[tuple[int, QuoteGroups]] = []
        for interval, length in enumerate(self.configuration.intervals):
            finer = [groups for other, groups in made if length % other == 0]
            groups = roll_up_quotes(finer[-1], length) if finer else group_quotes(ordered, length)
            made.append((length, groups))
            for symbol, start, partial in quote_partials(groups, ordered):
                self.windows.add(interval, symbol, start, partial)

    def _one_by_one(
        self, quotes: QuoteColumns, watermarks: Int64Array, indexes: npt.NDArray[np.intp]
    ) -> list[Event[QuotePartial]]:
        """Take quotes one by one: into windows open to them, events for the closed ones."""
        events: list[Event[QuotePartial]] = []
        for index in indexes.tolist():
            symbol, time = int(quotes.symbol[index]), int(quotes.time[index])
            name = self.symbols.names[symbol]
            flushed = self.windows.flushed.get(symbol, ())
            revised = False
            for interval, length in enumerate(self.configuration.intervals):
                start = time // length * length
                end = start + length
                partial = single_quote(quotes, index)
                if end <= int(watermarks[index]) or (interval, start) in flushed:
                    revised = True
                    events.append(
                        Event(
                            int(quotes.position[index]), REVISE, interval, end, name, interval,
                            symbol, start, partial, False,
                        )
                    )  # fmt: skip
                else:
                    self.windows.add(interval, symbol, start, partial)
            self.counts["revised" if revised else "applied"] += 1
            self.changed.add(symbol)
            self.touched.add(symbol)
        return events

    def _run(self, events: list[Event[QuotePartial]], causes: Causes) -> None:
        self.publisher.watermark = self.watermark
        events.sort(key=event_order)
        for event in events:
            self.publisher.happen(event)
