"""The windows of one partition: open ones in memory, closed ones in a ring of rows.

Closed windows are read through: changed since the last checkpoint, in a checkpoint under way,
or in the store. A slot of the ring is overwritten by the window `slots` later, so the rows are
bounded without deletions. A window that a correction has changed leaves the ring for a row of its
own, so that its revision is still known when the next correction comes, hours later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import gcd
from operator import itemgetter
from typing import Generic

from tables.aggregate import Held
from tables.configuration import BarsConfiguration
from tables.outbox import SymbolState
from tables.row_packing import Slot, closed_rows, slot_key, symbol_rows
from tables.rows import corrected_key, decode_closed
from tables.symbols import Symbols

Reader = Callable[[bytes], bytes | None]
#: Before every end.
_ALWAYS = -(2**63)
_by_end_and_length = itemgetter(0, 1)


class Windows(Generic[Held]):
    """Open and closed windows by interval index, symbol code and start (ns).

    Args:
        read: one row by key; None keeps all closed windows in memory instead of rings.
    """

    def __init__(
        self,
        configuration: BarsConfiguration,
        symbols: Symbols,
        read: Reader | None,
        aggregate: type[Held],
    ) -> None:
        self._aggregate = aggregate
        self.lengths = configuration.intervals
        self._symbols = symbols
        self._read = read
        self._slots = [configuration.slots(length) for length in self.lengths]
        #: (interval index, symbol code, start) of the corrected windows.
        self.corrected: set[tuple[int, int, int]] = set()
        self._forgotten: list[bytes] = []
        #: For each interval: start -> symbol code -> aggregate.
        self.open: list[dict[int, dict[int, Held]]] = [{} for _ in self.lengths]
        #: Ends are multiples of it; none of an open window lies before `_next_end`.
        self._divisor = gcd(*self.lengths)
        self._next_end = _ALWAYS
        #: How often open windows were removed that the watermark had not passed.
        self.removed = 0
        #: For each interval: windows closed by a flush before the watermark reached their end.
        self.flushed: dict[int, set[tuple[int, int]]] = {}
        self._changed: dict[Slot, tuple[int, Held]] = {}
        self._under_way: dict[Slot, tuple[int, Held]] = {}

    def add(self, interval: int, symbol: int, start: int, partial: Held) -> None:
        """Merge records into an open window."""
        windows = self.open[interval]
        at_start = windows.get(start)
        if at_start is None:
            at_start = windows[start] = {}
        held = at_start.get(symbol)
        if held is None:
            at_start[symbol] = partial
        else:
            held.merge(partial)

    def opened(self, interval: int, symbol: int, start: int) -> Held | None:
        """An open window's aggregate."""
        return self.open[interval].get(start, {}).get(symbol)

    def replace_open(self, interval: int, symbol: int, start: int, partial: Held | None) -> None:
        """Replace an open window's aggregate; without one it is as if it was never opened."""
        self.removed += 1
        at_start = self.open[interval][start]
        if partial is not None:
            at_start[symbol] = partial
            return
        del at_start[symbol]
        if not at_start:
            del self.open[interval][start]

    def first_end(self) -> int | None:
        """The earliest end of an open window, in ns."""
        ends = [
            min(windows) + length
            for length, windows in zip(self.lengths, self.open, strict=True)
            if windows
        ]
        return min(ends, default=None)

    def take_ended(self, watermark: int | None) -> list[tuple[int, int, int, int, Held]]:
        """Remove and give the open windows that end at or before the watermark (None: all).

        As (end, interval index, symbol code, start, aggregate), in no order.
        """
        ended = []
        self.removed += watermark is None
        for interval, (length, windows) in enumerate(zip(self.lengths, self.open, strict=True)):
            for start in [
                start for start in windows if watermark is None or start + length <= watermark
            ]:
                for symbol, partial in windows.pop(start).items():
                    ended.append((start + length, interval, symbol, start, partial))
        return ended

    def take_groups(self, watermark: int | None) -> list[tuple[int, int, int, dict[int, Held]]]:
        """Remove and give what `take_ended` does, by window: in the order of ends and lengths.

        As (end, interval index, start, aggregates by symbol code). Windows that are opened later
        end behind the watermark of now.
        """
        if watermark is not None:
            if watermark < self._next_end:
                return []
            self._next_end = (watermark // self._divisor + 1) * self._divisor
        self.removed += watermark is None
        groups = []
        for interval, (length, windows) in enumerate(zip(self.lengths, self.open, strict=True)):
            for start in [
                start for start in windows if watermark is None or start + length <= watermark
            ]:
                groups.append((start + length, length, interval, start, windows.pop(start)))
        groups.sort(key=_by_end_and_length)
        return [(end, interval, start, held) for end, _, interval, start, held in groups]

    def changed_rows(
        self, symbols: Iterable[int], state_of: Callable[[int], SymbolState]
    ) -> list[tuple[bytes, bytes | None]]:
        """Rows of symbols with their open windows."""
        return symbol_rows(
            symbols,
            self._symbols.names,
            state_of,
            self.flushed,
            self.lengths,
            self.open,
            self._aggregate,
        )

    def _slot(self, interval: int, symbol: int, start: int) -> Slot:
        number = start // self.lengths[interval]
        if self._read is None or (self.corrected and (interval, symbol, start) in self.corrected):
            return interval, symbol, number, True
        return interval, symbol, number % self._slots[interval], False

    def closed(self, interval: int, symbol: int, start: int) -> Held | None:
        """A closed window's aggregate, None where nothing is kept of it."""
        slot = self._slot(interval, symbol, start)
        entry = self._changed.get(slot) or self._under_way.get(slot)
        if entry is None:
            if self._read is None:
                return None
            value = self._read(slot_key(slot, self._symbols.names, self.lengths))
            if value is None:
                return None
            entry = decode_closed(value, self._aggregate)
        return entry[1] if entry[0] == start else None

    def keep_closed(self, interval: int, symbol: int, start: int, partial: Held) -> None:
        """Keep or replace a closed window's aggregate."""
        self._changed[self._slot(interval, symbol, start)] = (start, partial)

    def keep_all_closed(
        self, interval: int, start: int, symbols: list[int], windows: dict[int, Held]
    ) -> None:
        """Keep the aggregates of symbols for one window."""
        if self.corrected:
            for symbol in symbols:
                self.keep_closed(interval, symbol, start, windows[symbol])
            return
        _, _, number, own = self._slot(interval, 0, start)
        for symbol in symbols:
            self._changed[interval, symbol, number, own] = (start, windows[symbol])

    def keep_corrected(self, interval: int, symbol: int, start: int, partial: Held) -> None:
        """Keep what a correction made of a closed window, from now on in a row of its own."""
        self.corrected.add((interval, symbol, start))
        self.keep_closed(interval, symbol, start, partial)

    def forget_corrected(self, before: int) -> None:
        """Forget the corrected windows that end at or before `before` (ns)."""
        for window in list(self.corrected):
            interval, symbol, start = window
            length = self.lengths[interval]
            if start + length <= before:
                self._changed.pop(self._slot(*window), None)
                self.corrected.discard(window)
                self._forgotten.append(corrected_key(self._symbols.names[symbol], length, start))

    def take_changed(self) -> list[tuple[bytes, bytes | None]]:
        """Rows of the closed windows changed since the last call, which becomes under way."""
        self._under_way, self._changed = self._changed, {}
        names, lengths = self._symbols.names, self.lengths
        rows = closed_rows(self._under_way, names, lengths, self._aggregate)
        forgotten, self._forgotten = self._forgotten, []
        return rows + [(key, None) for key in forgotten]

    def stored(self) -> None:
        """The rows last taken can be read from the store."""
        self._under_way = {}

    def prune_flushed(self, watermark: int) -> None:
        """Forget flushed windows that the watermark closes by itself."""
        for symbol in list(self.flushed):
            kept = {
                (interval, start)
                for interval, start in self.flushed[symbol]
                if start + self.lengths[interval] > watermark
            }
            if kept:
                self.flushed[symbol] = kept
            else:
                del self.flushed[symbol]
