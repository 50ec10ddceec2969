"""A second reading of a stretch of the log, for one correction: which trade it names, and what the
windows of that trade hold now.

The stretch begins at an anchor (tables/anchors.py) early enough for every record of the windows,
and for every id that one of them could repeat; each record is judged as it was the first time, by
the same code. A decision that an id of before the stretch might change is *doubtful*: then the
stretch is read again from further back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.contracts.batch import RecordBatch
from app.contracts.outputs import OutputRecord
from app.contracts.records import MAX_NOTIONAL
from app.contracts.wire import trade_decoder
from tables.anchors import Anchor
from tables.bars import BarsPartition
from tables.columns import NO_SEQUENCE, Columns, Int64Array
from tables.corrections import Answer, Correction, Override, Question, oldest_record
from tables.grouping import group, sort_order, to_partials
from tables.identifiers import MINUTE, join_identity
from tables.intake import Control, Dead
from tables.partial import Partial
from tables.partition import NO_MAXIMUM

_FOREVER = 1 << 62


@dataclass(slots=True)
class _Found:
    """Trades of the symbol that are neither late nor ignored; one entry a trade.

    `kept` are those that were applied or revised, `doubtful` those where that is not certain;
    `named` are those that the correction may mean, whatever their price and size.
    """

    trades: Columns
    flags: npt.NDArray[np.int8]
    kept: npt.NDArray[np.bool_]
    doubtful: npt.NDArray[np.bool_]
    named: npt.NDArray[np.bool_]


class Recall(BarsPartition):
    """Reads a stretch of the log again: `take` its batches from `first` to before `end`."""

    def __init__(self, live: BarsPartition, question: Question, anchor: Anchor) -> None:
        # Names are given in the order of the log, so bits and limits are those of the first time.
        super().__init__(live.configuration, live.partition, None, list(live.sources.names))
        # Bars of activity are not made anew.
        self.activity = None
        self.begin(anchor.offset)
        self.maximum = NO_MAXIMUM if anchor.maximum is None else anchor.maximum
        for name, registered in zip(live.symbols.names, live.symbols.registered, strict=True):
            if registered:
                self.symbols.restore(name)
        self.symbols.limit = self.symbols.count
        record = question.record
        code = self.symbols.code_of(record.symbol)
        if code is None:
            raise ValueError(f"no record of {record.symbol} was ever taken")
        self._code = code
        self._live = live
        self._asked = question
        self._anchor = anchor
        self._overrides: Mapping[int, Override] = live.overrides.of(record.symbol)
        self._identity = join_identity(record.symbol, record.venue, record.trade_id or "")
        self._begin, self._stop = _span(question, self.configuration.intervals)
        self.end = self._find_end()
        reach = live.anchors.reach(anchor)
        kept_for = self.configuration.grace + self.configuration.correction_horizon
        #: The watermark (ns) from which no id of before the stretch is remembered.
        self._certain_at = (
            2 * NO_MAXIMUM if reach is None else (reach // MINUTE + 1) * MINUTE + kept_for
        )
        self._unsure: set[str] = set()
        self._found: list[_Found] = []

    @classmethod
    def shortest(cls, live: BarsPartition, question: Question) -> Recall:
        """The shortest stretch that may do."""
        first, _ = _span(question, live.configuration.intervals)
        anchor = live.anchors.before(first)
        if anchor.maximum is not None:
            first = min(first, oldest_record(live.configuration, anchor.maximum))
        return cls(live, question, live.anchors.before(first))

    def _find_end(self) -> int:
        """The offset before which all records of the windows lie: later ones are late."""
        end = self._asked.offset
        if self._stop == _FOREVER:
            return end
        horizon = self.configuration.grace + self.configuration.correction_horizon
        passed = self._live.anchors.passed(self._stop + horizon)
        return end if passed is None else min(end, max(passed.offset, self._anchor.offset))

    @property
    def first(self) -> int:
        """The offset to begin at, or to go on from."""
        return self._anchor.offset if self.next is None else self.next

    def take(self, batch: RecordBatch) -> None:
        """Take the next batch of the stretch; records from `end` on are left out."""
        if batch.base >= self.end:
            return
        self.apply(batch.until(self.end))
        # What is published here was published the first time.
        self.publisher.outputs = {name: list[OutputRecord]() for name in self.publisher.outputs}
        self.publisher.pending_bytes = 0

    def _correction(self, step: Control, batch: RecordBatch, dead: Dead) -> bool:
        """Earlier corrections are known by what they made of trades."""
        return True

    def _judge(
        self, trades: Columns, watermarks: Int64Array, batch: RecordBatch, *, plain: bool
    ) -> npt.NDArray[np.bool_]:
        keep: npt.NDArray[np.bool_] = trades.symbol == self._code
        keep &= trades.time >= watermarks - self.configuration.correction_horizon
        chosen = np.flatnonzero(keep)
        if not len(chosen):
            return keep
        self._know(trades.take(chosen))
        doubtful = self._count_once(trades, chosen, watermarks, keep)
        # Codes of conditions live for a batch.
        flags = self._intake.conditions.tables[0][trades.condition]
        inside = (flags != 0) & (trades.time >= self._begin) & (trades.time < self._stop)
        keep &= inside
        rows = chosen[inside[chosen]]
        if len(rows):
            taken = trades.take(rows)
            named = self._named(taken, batch)
            self._found.append(_Found(taken, flags[rows], keep[rows], doubtful[rows], named))
        return keep

    def _count_once(
        self,
        trades: Columns,
        chosen: npt.NDArray[np.intp],
        watermarks: Int64Array,
        keep: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.bool_]:
        """Clear `keep` of duplicates among `chosen`; mask of those that may be judged wrongly."""
        doubtful = np.zeros(len(trades), dtype=np.bool_)
        if trades.identifiers is None:
            return doubtful
        every = trades.identifiers.texts()
        for index, watermark in zip(chosen.tolist(), watermarks[chosen].tolist(), strict=True):
            identity = every[index]
            if identity is not None:
                if watermark < self._certain_at:
                    self._unsure.add(identity)
                doubtful[index] = identity in self._unsure
        own = np.zeros(len(trades), dtype=np.bool_)
        own[chosen] = True
        left = own.copy()
        self.identifiers.take(trades.identifiers, trades.time // MINUTE, watermarks, left)
        keep[own & ~left] = False
        return doubtful

    def _named(self, trades: Columns, batch: RecordBatch) -> npt.NDArray[np.bool_]:
        """Mask of the trades with the correction's id, or its time, sequence and venue."""
        record = self._asked.record
        named: npt.NDArray[np.bool_] = trades.time >= self._asked.earliest
        if record.original_event_time is not None:
            named &= trades.time == record.original_event_time
        if record.trade_id is not None:
            known = [] if trades.identifiers is None else trades.identifiers.texts()
            named &= np.fromiter((each == self._identity for each in known), np.bool_, len(trades))
            return named
        sequence = record.original_sequence
        named &= trades.sequence == (NO_SEQUENCE if sequence is None else sequence)
        for index in np.flatnonzero(named).tolist():
            value = batch.values[int(trades.position[index])]
            named[index] = trade_decoder.decode(value or b"").venue == record.venue
        return named

    # --- the answer ------------------------------------------------------------------------

    def result(self) -> Answer | Recall:
        """What the log says; or a longer stretch to read, where that is not certain.

        Raises:
            ValueError: the stretch was not read to its end.
        """
        if self.first < self.end:
            raise ValueError(f"read to {self.first} of {self.end}")
        offset, record = self._asked.offset, self._asked.record
        target = self._target()
        if self._in_doubt(target):
            return Recall(self._live, self._asked, self._live.anchors.earlier(self._anchor))
        if target is None:
            return Answer(offset, reason="unknown_trade")
        found, index = target
        time, place = int(found.trades.time[index]), int(found.trades.offset[index])
        override = Override(time, None, None)
        if record.action == "correct":
            price, size = self._counts_as(found, index)
            # Adding 0.0 turns -0.0 into 0.0, as for trades.
            price = price if record.new_price is None else record.new_price + 0.0
            size = size if record.new_size is None else record.new_size + 0.0
            if abs(price * size) > MAX_NOTIONAL:
                return Answer(offset, reason="notional_too_large")
            override = Override(time, price, size)
        overrides = {**self._overrides, place: override}
        contents, former = [], []
        for interval, length in enumerate(self.configuration.intervals):
            start = time // length * length
            contents.append((start, self._content(start, length, overrides)))
            former.append(self.windows.closed(interval, self._code, start))
        correction = Correction(place, override, tuple(contents), tuple(former))
        return Answer(offset, correction)

    def _target(self) -> tuple[_Found, int] | None:
        """The last trade that the correction means."""
        record = self._asked.record
        for found in reversed(self._found):
            for index in reversed(np.flatnonzero(found.named & found.kept).tolist()):
                override = self._overrides.get(int(found.trades.offset[index]))
                if override is not None and override.cancelled:
                    continue
                price, size = self._counts_as(found, index)
                if record.original_price in (None, price) and record.original_size in (None, size):
                    return found, index
        return None

    def _counts_as(self, found: _Found, index: int) -> tuple[float, float]:
        """Price and size of a trade that is not cancelled."""
        override = self._overrides.get(int(found.trades.offset[index]))
        if override is None or override.price is None or override.size is None:
            return float(found.trades.price[index]), float(found.trades.size[index])
        return override.price, override.size

    def _in_doubt(self, target: tuple[_Found, int] | None) -> bool:
        """Whether ids of before the stretch might change the answer."""
        begin = stop = 0
        if target is not None:
            found, index = target
            time = int(found.trades.time[index])
            lengths = self.configuration.intervals
            begin = min(time // length * length for length in lengths)
            stop = max(time // length * length + length for length in lengths)
        return any(
            bool((each.doubtful & (each.named | _within(each.trades, begin, stop))).any())
            for each in self._found
        )

    def _content(
        self, start: int, length: int, overrides: Mapping[int, Override]
    ) -> Partial | None:
        """What the records of a window add up to; None where each is cancelled."""
        content: Partial | None = None
        for found in self._found:
            keep = found.kept & _within(found.trades, start, start + length)
            if not keep.any():
                continue
            trades, flags = found.trades.take(keep), found.flags[keep]
            counts = np.ones(len(trades), dtype=np.bool_)
            for index, offset in enumerate(trades.offset.tolist()):
                override = overrides.get(offset)
                if override is None:
                    continue
                if override.price is None or override.size is None:
                    counts[index] = False
                else:
                    trades.price[index], trades.size[index] = override.price, override.size
            if counts.any():
                trades, flags = trades.take(counts), flags[counts]
                order = sort_order(trades)
                ordered = trades.take(order)
                groups = group(ordered, flags[order], length)
                ((_, _, partial),) = to_partials(groups, ordered)
                if content is None:
                    content = partial
                else:
                    content.merge(partial)
        return content


def _span(question: Question, lengths: tuple[int, ...]) -> tuple[int, int]:
    """Event times (ns) of what may share a window with the trade that is asked for."""
    time = question.record.original_event_time
    if time is None:
        return min(question.earliest // length * length for length in lengths), _FOREVER
    return (
        min(time // length * length for length in lengths),
        max(time // length * length + length for length in lengths),
    )


def _within(trades: Columns, begin: int, stop: int) -> npt.NDArray[np.bool_]:
    """Mask of the trades from `begin` to before `stop` (ns)."""
    inside: npt.NDArray[np.bool_] = (trades.time >= begin) & (trades.time < stop)
    return inside
