"""Trades of one partition to bars: the state machine that app/README.md describes.

A batch is taken in segments of trades between control records. Within a segment, trades whose
windows were all open before them (judged each by the watermark before it) are aggregated at
once; the few others are taken one by one. Closes and revisions then happen as *events* in log
order, so their order and content do not depend on where a batch begins or ends:

1. aggregate the ordinary trades into open windows;
2. the others, one by one: into the windows that are open to them, an event for each closed one;
3. an event for each window whose end the watermark has reached;
4. events by (position in the log, revisions before closes, end, interval, symbol).

Where windows do nothing but close, they do so in that order without an event each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.contracts.batch import RecordBatch
from app.contracts.outputs import OutputRecord
from app.contracts.wire import encoder
from tables.activity import ActivityBars
from tables.columns import Columns, Int64Array
from tables.configuration import BarsConfiguration
from tables.correcting import CorrectablePartition
from tables.events import REVISE, Causes, Event, event_order
from tables.filling import run_filling
from tables.grouping import Groups, group, roll_up, sort_order, to_partials
from tables.identifiers import MINUTE
from tables.intake import Control, Dead, Intake
from tables.judging import compiled_judging
from tables.partial import Partial, make_accumulator
from tables.partition import causes_of
from tables.policies import CLOSING, EXTREMES
from tables.publishing import Publisher
from tables.rows import ACTIVITY_PREFIX, activity_key, decode_activity, encode_activity
from tables.sessions import Sessions
from tables.single import is_amendment, single_partial
from tables.windows import Reader


class BarsPartition(CorrectablePartition):
    """State of one partition: `apply` a batch, then find outputs in `publisher`."""

    aggregate = Partial
    publisher: Publisher

    def __init__(
        self,
        configuration: BarsConfiguration,
        partition: int,
        read: Reader | None,
        source_names: list[str] | None = None,
    ) -> None:
        super().__init__(configuration, partition, read, source_names)
        self.sessions = Sessions(configuration.session_timezone, configuration.session_end)
        self.publisher = Publisher(
            configuration, self.symbols, self.sources, self.windows, self.sessions, self.changed
        )
        self._intake = Intake(configuration, self.symbols, self.sources)
        policy = configuration.policy
        self._classes = [policy.interval_class(length) for length in configuration.intervals]
        self._accumulator = make_accumulator(configuration.intervals)
        #: None where there are no bars by activity.
        self.activity: ActivityBars | None = None
        if configuration.activity:
            self.activity = ActivityBars(configuration.activity, carry=configuration.activity_carry)
            self.publisher.outputs["activity"] = []

    def _read(self, batch: RecordBatch) -> tuple[Sequence[Columns | Control], Dead]:
        return self._intake.read(batch)

    def _take(self, records: Columns, batch: RecordBatch) -> None:
        """Take trades in as few segments as may be.

        After a flush, an amendment may close a window that another trade of the same segment
        would have opened: then they are taken one by one, until the watermark has passed.
        """
        done = 0
        if self.configuration.policy.amends:
            while done < len(records) and self.windows.flushed:
                self._segment(records.take(np.arange(done, done + 1)), batch)
                self.windows.prune_flushed(self.watermark)
                done += 1
        if done < len(records):
            rest = records if done == 0 else records.take(np.arange(done, len(records)))
            self._segment(rest, batch)

    def _segment(self, trades: Columns, batch: RecordBatch) -> None:
        grace = self.configuration.grace
        maxima, watermarks, ordered = self._survey(trades)
        plain = ordered and not self.windows.flushed
        keep = self._judge(trades, watermarks, batch, plain=plain)
        trades.identifiers = None
        if self.activity is not None:
            self._measure(self.activity, trades, keep)
        others = None if plain else self._others(trades, watermarks, keep)
        if others is None:
            chosen = trades if keep.all() else trades.take(keep)
            self.counts["applied"] += len(chosen)
            events: list[Event[Partial]] = []
            if len(chosen):
                self._aggregate(chosen)
        else:
            ordinary = keep & ~others
            self.counts["applied"] += int(ordinary.sum())
            if ordinary.any():
                self._aggregate(trades.take(ordinary))
            events = self._one_by_one(trades, watermarks, np.flatnonzero(keep & others))
        self.maximum = int(maxima[-1])
        self._close(events, causes_of(maxima, trades.position, grace))

    def _survey(self, trades: Columns) -> tuple[Int64Array, Int64Array, bool]:
        """The maximum event time after each trade, and the watermark before it.

        Also whether it is certain that none is late, behind the watermark, ignored or moved.
        """
        configuration = self.configuration
        if compiled_judging is None:
            known = self._maxima(trades)
            return known[1:], known[:-1] - configuration.grace, False
        maxima, watermarks = np.empty_like(trades.time), np.empty_like(trades.time)
        ordered = compiled_judging.in_order(
            *(trades.time, trades.append_time, trades.condition, self._flag_tables()),
            *(self.maximum, configuration.clock_ahead, configuration.grace, maxima, watermarks),
            configuration.policy.amends,
        )
        return maxima, watermarks, ordered

    def _judge(
        self, trades: Columns, watermarks: Int64Array, batch: RecordBatch, *, plain: bool
    ) -> npt.NDArray[np.bool_]:
        """Which trades are applied; the outcomes of the others are counted and sent.

        Args:
            plain: whether only their ids are to be judged.
        """
        if plain:
            keep = np.ones(len(trades), dtype=np.bool_)
        else:
            keep = self._in_time(trades, watermarks, batch)
        if trades.identifiers is not None:
            minutes = trades.time // MINUTE
            duplicates = self.identifiers.take(trades.identifiers, minutes, watermarks, keep)
            self.counts["duplicate"] += duplicates
        if not plain:
            ignored = keep & (self._flag_union(trades) == 0)
            if ignored.any():
                self.counts["ignored"] += int(ignored.sum())
                keep &= ~ignored
        self._know(trades)
        return keep

    def _flag_tables(self) -> list[npt.NDArray[np.int8]]:
        """Of each class of intervals that there are."""
        tables = self._intake.conditions.tables
        return [tables[each] for each in sorted(set(self._classes))]

    def _flag_union(self, trades: Columns) -> npt.NDArray[np.int8]:
        union, *others = (table[trades.condition] for table in self._flag_tables())
        for flags in others:
            union = union | flags
        return union

    def _measure(
        self, activity: ActivityBars, trades: Columns, keep: npt.NDArray[np.bool_]
    ) -> None:
        """Put the kept trades that set a price, in log order, into the bars of activity."""
        table = self._intake.conditions.tables[self._classes[-1]]
        chosen = keep & ((table[trades.condition] & EXTREMES) != 0)
        if chosen.any():
            for _, record in activity.take(trades.take(chosen), self.symbols.names):
                key = record.symbol.encode()
                self.publisher.put("activity", OutputRecord(key, encoder.encode(record), []))

    def more_rows(self) -> list[tuple[bytes, bytes | None]]:
        """Also the open bars of activity changed since the last call."""
        rows = super().more_rows()
        if self.activity is not None:
            for name, row in self.activity.take_changes():
                rows.append((activity_key(name), encode_activity(row)))
        return rows

    def restore_row(self, key: bytes, value: bytes) -> None:
        """Take in a stored row of open bars of activity, too."""
        if key[:1] == ACTIVITY_PREFIX and self.activity is not None:
            self.activity.restore(key[1:].decode(), decode_activity(value))
        else:
            super().restore_row(key, value)

    def _others(
        self, trades: Columns, watermarks: Int64Array, keep: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_] | None:
        """Trades to take one by one: behind the watermark, after a flush, amendments; or None."""
        others = trades.time < watermarks
        if self.windows.flushed:
            others |= np.isin(trades.symbol, list(self.windows.flushed))
        if self.configuration.policy.amends:
            others |= (self._flag_union(trades) & CLOSING) != 0
        others &= keep
        return others if others.any() else None

    def _aggregate(self, trades: Columns) -> None:
        """Merge ordinary trades, at least one, into open windows of every interval."""
        if self._accumulator is None:
            self._aggregate_groups(trades)
            self.changed.add_all(trades.symbol)
            self.touched.add_all(trades.symbol)
        else:
            symbols = len(self.symbols.names)
            tables = self._intake.conditions.tables
            self._accumulator.add(
                self.windows.open,
                [tables[each] for each in self._classes],
                *(trades.symbol, trades.time, trades.sequence, trades.offset, trades.price),
                *(trades.size, trades.condition, trades.source),
                symbols=symbols,
                watermark=self.watermark,
                removed=self.windows.removed,
                changed=self.changed.marks(symbols),
                touched=self.touched.marks(symbols),
            )

    def _aggregate_groups(self, trades: Columns) -> None:
        """Without the compiled module: by sorting, and in groups."""
        ordered = trades.take(sort_order(trades))
        tables = self._intake.conditions.tables
        made: list[tuple[int, int, Groups]] = []
        for interval, length in enumerate(self.configuration.intervals):
            interval_class = self._classes[interval]
            finer = [
                groups
                for other, other_class, groups in made
                if other_class == interval_class and length % other == 0
            ]
            if finer:
                groups = roll_up(finer[-1], length)
            else:
                groups = group(ordered, tables[interval_class][ordered.condition], length)
            made.append((length, interval_class, groups))
            add = self.windows.add
            for symbol, start, partial in to_partials(groups, ordered):
                add(interval, symbol, start, partial)

    def _one_by_one(
        self, trades: Columns, watermarks: Int64Array, indexes: npt.NDArray[np.intp]
    ) -> list[Event[Partial]]:
        """Take trades one by one: into windows open to them, events for the closed ones."""
        events: list[Event[Partial]] = []
        horizon = self.configuration.correction_horizon
        for index in indexes.tolist():
            watermark = int(watermarks[index])
            symbol = int(trades.symbol[index])
            name = self.symbols.names[symbol]
            flushed = self.windows.flushed.get(symbol, ())
            time = int(trades.time[index])
            revised = False
            for interval, length in enumerate(self.configuration.intervals):
                table = self._intake.conditions.tables[self._classes[interval]]
                flags = int(table[trades.condition[index]])
                partial = single_partial(trades, index, flags)
                start = time // length * length
                amendment = is_amendment(flags, time, length, self.sessions, horizon)
                if start + length <= watermark or (interval, start) in flushed:
                    revised = True
                    end = start + length
                    events.append(
                        Event(
                            int(trades.position[index]), REVISE, interval, end, name, interval,
                            symbol, start, partial, amendment,
                        )
                    )  # fmt: skip
                elif amendment:
                    own = self.windows.opened(interval, symbol, start)
                    if own is None:
                        own = Partial.empty()
                        self.windows.add(interval, symbol, start, own)
                    own.amend(partial)
                else:
                    self.windows.add(interval, symbol, start, partial)
            self.counts["revised" if revised else "applied"] += 1
            self.changed.add(symbol)
            self.touched.add(symbol)
        return events

    def _run(self, events: list[Event[Partial]], causes: Causes) -> None:
        self.publisher.watermark = self.watermark
        if self.configuration.fill_forward:
            run_filling(self.publisher, self.symbols, events, self.watermark, causes)
            return
        events.sort(key=event_order)
        for event in events:
            self.publisher.happen(event)
