"""The windows of a partition's log: sums of the records that count, and which windows are closed.

Where the watermark has got to in the end, and where the flushes are, decide which are closed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from app.contracts.batch import RecordBatch
from app.durations import format_duration
from app.reconcile.batch import (
    Sums,
    Values,
    bar_values,
    in_order,
    no_bar_values,
    quote_bar_values,
    quote_sums,
    trade_sums,
)
from app.reconcile.corrections import Change
from app.reconcile.judging import FOREVER, NEVER, Correction, Judge, Key, Span
from tables.columns import Columns
from tables.configuration import BarsConfiguration
from tables.quote_columns import QuoteColumns

#: Interval index, symbol, start.
_Window = tuple[int, str, int]


@dataclass(slots=True)
class Recomputed:
    """What a log says of the bars in a span.

    Attributes:
        bars: values of the closed windows that have a bar, or had one before their trades were
            cancelled.
        left_out: windows by why: `open`, `moving` (changed while the bars were read), `cut` (the
            log may have lost a record of it).
        moving: their keys.
    """

    bars: dict[Key, Values] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=lambda: {"open": 0, "moving": 0, "cut": 0})
    moving: set[Key] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Moment:
    """How far a log was read: the watermark in ns, and the offset that flushes must be before."""

    watermark: int
    offset: int


class LogPartition:
    """One partition's log, taken chunk by chunk in its order.

    Args:
        configuration: of the deployment; policies that amend and fill-forward are not known here.
        agent: `bars` or `quotes`.
        partition: its number.
        span: the bars that are wanted.
        whole: whether the log begins with its first record, offset 0.
        changes: what corrections have made of its trades, by offset.

    Attributes:
        corrections: all of the log so far.
    """

    def __init__(
        self,
        configuration: BarsConfiguration,
        agent: str,
        partition: int,
        span: Span,
        *,
        whole: bool = True,
        changes: Mapping[int, Change] | None = None,
    ) -> None:
        self._configuration = configuration
        self._agent = agent
        self._span = span
        self.whole = whole
        self._judge = Judge(configuration, agent, partition)
        self._windows: dict[_Window, Sums] = {}
        self._marked: _Moment | None = None
        self._border = FOREVER
        self._touched: set[_Window] = set()
        self._changes = dict(changes or {})
        self._changed = np.array(sorted(self._changes), dtype=np.int64)
        #: The changes of each window that has any.
        self._corrected: dict[_Window, list[Change]] = {}
        for change in self._changes.values():
            for window in self._windows_of(change):
                self._corrected.setdefault(window, []).append(change)
        self.corrections: list[Correction] = []
        #: Bars that start at or before it may lack records.
        self.known_after = NEVER if whole else FOREVER

    def take(self, batch: RecordBatch) -> None:
        """Take the next chunk, at most `MAX_BATCH_RECORDS` records."""
        if not len(batch):
            return
        if self.known_after == FOREVER:
            self.known_after = int(batch.append_times[0]) + self._configuration.max_ahead
        if self._marked is not None:
            self._border = min(self._border, int(batch.offsets[0]))
        for step in self._judge.take(batch):
            if isinstance(step, Correction):
                self.corrections.append(step)
            else:
                self._sum(step)

    def mark(self) -> None:
        """From here on windows are moving: what they change may be published already or not."""
        if self._marked is None:
            flushes = self._judge.flushes
            self._marked = _Moment(self._judge.watermark, flushes[-1] + 1 if flushes else 0)

    def result(self) -> Recomputed:
        """Return the bars of all that was taken; the changes must be those of its corrections."""
        found = Recomputed()
        now = _Moment(self._judge.watermark, FOREVER)
        marked = now if self._marked is None else self._marked
        labels = [format_duration(length) for length in self._configuration.intervals]
        moved = self._moved()
        for window in [*self._windows, *(each for each in self._corrected if self._is_bare(each))]:
            interval, symbol, start = window
            if start <= self.known_after:
                found.left_out["cut"] += 1
            elif not self._is_closed(window, now):
                # Where every record was cancelled there is no open window.
                found.left_out["open"] += not self._is_bare(window)
            elif window in moved or not self._is_closed(window, marked):
                found.left_out["moving"] += 1
                found.moving.add((symbol, labels[interval], start))
            elif (bar := self._values(window)) is not None:
                found.bars[symbol, labels[interval], start] = bar
        return found

    def _windows_of(self, change: Change) -> Iterator[_Window]:
        """Yield the windows of the span that a trade falls into."""
        for interval, length in enumerate(self._configuration.intervals):
            start = change.time // length * length
            if self._span.holds(start):
                yield interval, change.symbol, start

    def _is_bare(self, window: _Window) -> bool:
        """Whether no record of a window is left."""
        return window not in self._windows

    def _moved(self) -> set[_Window]:
        """Return the windows that have changed since the mark."""
        late = (each for each in self._changes.values() if each.corrected_at >= self._border)
        return self._touched.union(window for change in late for window in self._windows_of(change))

    def _is_closed(self, window: _Window, at: _Moment) -> bool:
        """Whether a watermark has reached a window's end, or a flush has come while it was open."""
        interval, _, start = window
        if start + self._configuration.intervals[interval] <= at.watermark:
            return True
        flushes = self._judge.flushes
        before = bisect_left(flushes, at.offset)
        if not before:
            return False
        sums = self._windows.get(window)
        if sums is not None and sums.first < flushes[before - 1]:
            return True
        # A trade that is cancelled by now has kept it open until then.
        return any(
            bisect_right(flushes, each.offset)
            < bisect_left(flushes, min(at.offset, each.cancelled_at))
            for each in self._corrected.get(window, ())
            if each.cancelled_at is not None
        )

    def _values(self, window: _Window) -> Values | None:
        """Return the fields of a closed window's bar, None where none was ever published."""
        sums = self._windows.get(window)
        values = bar_values if self._agent == "bars" else quote_bar_values
        bar = None if sums is None else values(sums)
        if bar is not None:
            return bar
        cancels = [
            (each.cancelled_at, each)
            for each in self._corrected.get(window, ())
            if each.cancelled_at is not None and each.sets
        ]
        if not cancels:
            return None
        # The last to be cancelled was the bar's only one that set its open and close by then.
        offset, last = max(cancels, key=lambda each: each[0])
        if not self._is_closed(window, _Moment(last.watermark, offset)):
            return None
        return no_bar_values(last.price)

    def _sum(self, records: Columns | QuoteColumns) -> None:
        if isinstance(records, Columns) and len(self._changed):
            records = self._as_corrected(records)
        span = self._span
        ordered = in_order(records)
        for interval, length in enumerate(self._configuration.intervals):
            start = ordered.time // length * length
            wanted = (start >= span.begin) & (start < span.end)
            if not wanted.any():
                continue
            part = ordered if wanted.all() else ordered.take(wanted)
            for code, begin, sums in self._reduced(part, length):
                window = (interval, self._judge.symbols[code], begin)
                held = self._windows.get(window)
                if held is None:
                    self._windows[window] = sums
                else:
                    held.add(sums)
                if self._marked is not None:
                    self._touched.add(window)

    def _reduced(
        self, records: Columns | QuoteColumns, length: int
    ) -> Iterator[tuple[int, int, Sums]]:
        if isinstance(records, Columns):
            return trade_sums(records, self._judge.flags(records), length)
        return quote_sums(records, length)

    def _as_corrected(self, trades: Columns) -> Columns:
        """Return the trades without the cancelled ones, with their corrected prices and sizes."""
        found = np.flatnonzero(np.isin(trades.offset, self._changed)).tolist()
        if not found:
            return trades
        keep = np.ones(len(trades), dtype=np.bool_)
        trades = trades.take(keep)  # A copy.
        for index in found:
            change = self._changes[int(trades.offset[index])]
            keep[index] = change.cancelled_at is None
            trades.price[index], trades.size[index] = change.price, change.size
        return trades.take(keep)
