"""One partition of a view: which version of a bar holds, and how many are kept.

The value of a bar's key is its highest revision, in whatever order records come; the newest
`keep` windows of each symbol and interval are seen, a few more lie on disk until they are pruned.
Memory: a bounded number of `Series`, the others are read from the store when they are needed.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable, Iterator, Mapping
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
_pack_start = struct.Struct(">Q").pack
#: Below every start.
_NO_START = -1


@dataclass(slots=True, eq=False)
class Known:
    """A series in memory: its rows as they are once all changes are written; times in ns."""

    name: SeriesKey
    prefix: bytes
    count: int
    oldest: int
    newest: int

    def add(self, start: int) -> None:
        """Count a row that was not there."""
        if self.count == 0:
            self.oldest = self.newest = start
        elif start > self.newest:
            self.newest = start
        elif start < self.oldest:
            self.oldest = start
        self.count += 1

    def row(self) -> Row:
        """The row that describes the series."""
        series = Series(self.count, self.oldest, self.newest)
        return rows.series_key(*self.name), rows.encode_series(series)


@dataclass(slots=True)
class Changes:
    """What some records come to; `most` is how many rows a series may have, unpruned."""

    most: int
    #: Published bars by the keys of their rows.
    bars: dict[bytes, bytes] = field(default_factory=dict)
    #: The series that they have changed, as an ordered set.
    series: dict[Known, None] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        """What to write."""
        return [*self.bars.items(), *(series.row() for series in self.series)]

    @property
    def long(self) -> list[SeriesKey]:
        """Series that have grown too long: to be pruned once the rows are written."""
        return [series.name for series in self.series if series.count > self.most]


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
        self._series: dict[tuple[str, int], Known] = {}

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
        """What published bars come to, on top of what is in the store.

        Raises:
            StoreDamagedError: the store cannot be read.
        """
        self._forget()
        changes = Changes(self.keep + self.slack)
        bars, touched, known = changes.bars, changes.series, self._series
        decode_head, interval_length = rows.decode_head, rows.interval_length
        #: Bars that may be in the store: by key the highest revision of each.
        older: dict[bytes, tuple[int, int, Known, bytes]] = {}
        for value in values:
            try:
                head = decode_head(value or b"")
                start, name = head.start, (head.symbol, interval_length(head.interval))
                packed = _pack_start(start)
                series = known.get(name) or self._load(*name)
            except (msgspec.DecodeError, ValueError, RecursionError, struct.error) as error:
                self._note_foreign(error)
                continue
            key = series.prefix + packed
            if start > series.newest:
                # Nearly all: newer than the whole series, so it is nowhere yet.
                series.add(start)
                self.rows += 1
                touched[series] = None
                bars[key] = bytes(value or b"")
            elif (there := bars.get(key)) is not None:
                if decode_head(there).revision < head.revision:
                    bars[key] = bytes(value or b"")
            elif (found := older.get(key)) is None or found[0] < head.revision:
                older[key] = (head.revision, start, series, bytes(value or b""))
        self._merge(changes, older)
        return changes

    def _merge(
        self, changes: Changes, older: Mapping[bytes, tuple[int, int, Known, bytes]]
    ) -> None:
        """Take in bars that may be in the store, where they are the higher revision."""
        stored = self.store.get_many(list(older))
        for (key, found), there in zip(older.items(), stored, strict=True):
            revision, start, series, value = found
            if there is None:
                series.add(start)
                self.rows += 1
                changes.series[series] = None
            elif rows.decode_head(there).revision >= revision:
                continue
            changes.bars[key] = value

    def _note_foreign(self, error: Exception) -> None:
        self.foreign += 1
        if self.foreign == 1:
            logger.warning("%s: a record is no bar: %s", self.store.folder, error)

    def _load(self, symbol: str, length: int) -> Known:
        """A series as the store has it; without rows, a new one."""
        name = SeriesKey(symbol, length)
        stored = self.store.get(rows.series_key(symbol, length))
        series = Series(0, 0, _NO_START) if stored is None else rows.decode_series(stored)
        known = Known(
            name,
            rows.series_prefix(symbol, length),
            series.count,
            series.oldest,
            series.newest,
        )
        self._series[name] = known
        return known

    def _forget(self) -> None:
        """Keep memory bounded; all that is forgotten is in the store."""
        if len(self._series) >= SERIES_IN_MEMORY:
            for name in list(islice(self._series, SERIES_IN_MEMORY // 2)):
                del self._series[name]

    def prune(self, names: Iterable[SeriesKey]) -> list[Row]:
        """Deletions that bring series back to their bound; what `take` gave is written before.

        Raises:
            StoreDamagedError: the store cannot be read.
        """
        changes: list[Row] = []
        for name in names:
            series = self._series.get(name) or self._load(*name)
            if series.count <= self.keep:
                continue
            surplus = series.count - self.keep
            # From the oldest one, so that earlier deletions are not walked over again.
            first = rows.row_key(name.symbol, name.length, series.oldest)
            keys = [key for key, _ in islice(self.store.forward(first, series.prefix), surplus + 1)]
            changes += [(key, None) for key in keys[:surplus]]
            removed = min(len(keys), surplus)
            series.count -= removed
            self.rows -= removed
            if len(keys) > surplus:
                series.oldest = rows.start_of(keys[surplus])
            changes.append(series.row())
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
