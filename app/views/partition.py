"""One partition of a view: which version of a bar holds, and how many are kept.

The value of a bar's key is its highest revision, in whatever order records come; the newest
`keep` windows of each symbol and interval are seen, a few more lie on disk until they are pruned.
Memory: a bounded number of `Series`, the others are read from the store when they are needed.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from app.streaming.store import Position
from app.views import rows
from app.views.rows import Series, SeriesKey
from app.views.store import ViewStore

logger = logging.getLogger(__name__)

#: Series held in memory for each partition: some 20 MB.
SERIES_IN_MEMORY = 50_000

Row = tuple[bytes, bytes | None]


@dataclass(slots=True)
class Changes:
    """What some records come to: rows to write, and series that have grown too long."""

    rows: list[Row] = field(default_factory=list)
    long: list[SeriesKey] = field(default_factory=list)


class ViewPartition:
    """Closed bars of one partition; the caller writes what `take` and `prune` return.

    Args:
        store: open; closed by the caller.
        keep: newest windows kept of each symbol and interval.
    """

    def __init__(self, store: ViewStore, keep: int) -> None:
        self.store = store
        self.keep = keep
        #: How much longer a series may get before it is pruned: pruning one by one costs more.
        self.slack = max(16, keep // 8)
        self.rows = 0
        #: Records that are no bars: none, unless another program writes to the topic.
        self.foreign = 0
        self._series: dict[SeriesKey, Series] = {}

    @property
    def position(self) -> Position | None:
        """The next offset of the topic, None for a new store."""
        return self.store.position

    def count(self) -> None:
        """Count the rows, after the store was opened.

        Raises:
            StoreDamagedError: the store cannot be read.
        """
        described = self.store.rows([rows.SERIES_PREFIX])
        self.rows = sum(rows.decode_series(value).count for _, value in described)

    # --- writing ---------------------------------------------------------------------------

    def take(self, values: Iterable[bytes | None]) -> Changes:
        """The rows that published bars come to, on top of what is in the store.

        Raises:
            StoreDamagedError: the store cannot be read.
        """
        highest = self._highest(values)
        older = [
            key
            for key, (series, head, _) in highest.items()
            if (known := self._known(series)) is not None and head.start <= known.newest
        ]
        held = dict(zip(older, self.store.get_many(older), strict=True))
        changes = Changes()
        changed: dict[SeriesKey, Series] = {}
        for key, (name, head, value) in highest.items():
            there = held.get(key)
            if there is not None and rows.decode_head(there).revision >= head.revision:
                continue
            changes.rows.append((key, value))
            if there is None:
                changed[name] = self._grown(name, head.start)
        for name, series in changed.items():
            changes.rows.append((rows.series_key(*name), rows.encode_series(series)))
            if series.count > self.keep + self.slack:
                changes.long.append(name)
        self._forget()
        return changes

    def _highest(
        self, values: Iterable[bytes | None]
    ) -> dict[bytes, tuple[SeriesKey, rows.Head, bytes]]:
        """Of each key the record of the highest revision."""
        found: dict[bytes, tuple[SeriesKey, rows.Head, bytes]] = {}
        for value in values:
            try:
                head = rows.decode_head(value or b"")
                name = SeriesKey(head.symbol, rows.interval_length(head.interval))
                key = rows.row_key(name.symbol, name.length, head.start)
            except (msgspec.DecodeError, ValueError, struct.error) as error:
                self.foreign += 1
                if self.foreign == 1:
                    logger.warning("%s: a record is no bar: %s", self.store.folder, error)
                continue
            there = found.get(key)
            if there is None or there[1].revision < head.revision:
                found[key] = (name, head, bytes(value or b""))
        return found

    def _known(self, name: SeriesKey) -> Series | None:
        series = self._series.get(name)
        if series is None:
            stored = self.store.get(rows.series_key(*name))
            if stored is not None:
                series = self._series[name] = rows.decode_series(stored)
        return series

    def _grown(self, name: SeriesKey, start: int) -> Series:
        self.rows += 1
        series = self._known(name)
        if series is None:
            series = self._series[name] = Series(1, start, start)
        else:
            series.count += 1
            series.oldest = min(series.oldest, start)
            series.newest = max(series.newest, start)
        return series

    def _forget(self) -> None:
        """Keep memory bounded; what is forgotten is in the store once the rows are written."""
        if len(self._series) > SERIES_IN_MEMORY:
            for name in list(islice(self._series, SERIES_IN_MEMORY // 2)):
                del self._series[name]

    def prune(self, names: Iterable[SeriesKey]) -> list[Row]:
        """Deletions that bring series back to their bound; what `take` gave is written before.

        Raises:
            StoreDamagedError: the store cannot be read.
        """
        changes: list[Row] = []
        for name in names:
            series = self._known(name)
            if series is None or series.count <= self.keep:
                continue
            surplus = series.count - self.keep
            prefix = rows.series_prefix(*name)
            # From the oldest one, so that earlier deletions are not walked over again.
            first = rows.row_key(name.symbol, name.length, series.oldest)
            keys = [key for key, _ in islice(self.store.forward(first, prefix), surplus + 1)]
            changes += [(key, None) for key in keys[:surplus]]
            removed = min(len(keys), surplus)
            series.count -= removed
            self.rows -= removed
            if len(keys) > surplus:
                series.oldest = rows.start_of(keys[surplus])
            changes.append((rows.series_key(*name), rows.encode_series(series)))
        return changes

    # --- reading ---------------------------------------------------------------------------

    def history(self, symbol: str, length: int, limit: int, since: int = 0) -> list[bytes]:
        """The newest bars of a symbol and interval as JSON, oldest first; times in ns.

        Raises:
            StoreDamagedError: the store cannot be read.
        """
        prefix = rows.series_prefix(symbol, length)
        found: list[bytes] = []
        for key, value in self.store.backward(rows.last_key(prefix), prefix):
            if len(found) >= min(limit, self.keep) or rows.start_of(key) < since:
                break
            found.append(value)
        return found[::-1]

    def lengths(self, symbol: str) -> list[int]:
        """The intervals (ns) that there are bars of, shortest first; none of an unknown symbol."""
        prefix = rows.SERIES_PREFIX + symbol.encode() + b"\0"
        return [rows.parse_series_key(key).length for key, _ in self.store.forward(prefix, prefix)]

    def series(self, prefix: str = "", after: str = "") -> Iterator[SeriesKey]:
        """Symbols and intervals in their order, those of symbols with a prefix and after one.

        Raises:
            StoreDamagedError: the store cannot be read.
        """
        begin = rows.SERIES_PREFIX + prefix.encode()
        past = rows.SERIES_PREFIX + after.encode() + b"\1"
        for key, _ in self.store.forward(max(begin, past) if after else begin, begin):
            yield rows.parse_series_key(key)
