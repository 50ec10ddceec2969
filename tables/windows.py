"""The windows of one partition: open ones in memory, closed ones in a ring of rows.

Closed windows are read through: changed since the last checkpoint, in a checkpoint under way,
or in the store. A slot of the ring is overwritten by the window `slots` later, so the rows are
bounded without deletions. A window that a correction has changed leaves the ring for a row of its
own, so that its revision is still known when the next correction comes, hours later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic

from tables.aggregate import Held
from tables.configuration import BarsConfiguration
from tables.rows import closed_key, corrected_key, decode_closed, encode_closed
from tables.symbols import Symbols

Reader = Callable[[bytes], bytes | None]
#: Interval index, symbol code, number of the window: in its ring, or in all where `own`.
_Slot = tuple[int, int, int, bool]


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
        #: For each interval: windows closed by a flush before the watermark reached their end.
        self.flushed: dict[int, set[tuple[int, int]]] = {}
        self._changed: dict[_Slot, tuple[int, Held]] = {}
        self._under_way: dict[_Slot, tuple[int, Held]] = {}

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
        for interval, (length, windows) in enumerate(zip(self.lengths, self.open, strict=True)):
            for start in [
                start for start in windows if watermark is None or start + length <= watermark
            ]:
                for symbol, partial in windows.pop(start).items():
                    ended.append((start + length, interval, symbol, start, partial))
        return ended

    def _slot(self, interval: int, symbol: int, start: int) -> _Slot:
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
            value = self._read(self._key(slot))
            if value is None:
                return None
            entry = decode_closed(value, self._aggregate)
        return entry[1] if entry[0] == start else None

    def keep_closed(self, interval: int, symbol: int, start: int, partial: Held) -> None:
        """Keep or replace a closed window's aggregate."""
        self._changed[self._slot(interval, symbol, start)] = (start, partial)

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

    def _key(self, slot: _Slot) -> bytes:
        interval, symbol, number, own = slot
        name, length = self._symbols.names[symbol], self.lengths[interval]
        if own:
            return corrected_key(name, length, number * length)
        return closed_key(name, length, number)

    def take_changed(self) -> list[tuple[bytes, bytes | None]]:
        """Rows of the closed windows changed since the last call, which becomes under way."""
        self._under_way, self._changed = self._changed, {}
        rows: list[tuple[bytes, bytes | None]] = [
            (self._key(slot), encode_closed(start, partial))
            for slot, (start, partial) in self._under_way.items()
        ]
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
