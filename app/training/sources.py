"""Where the bars of a training come from: files, or the newest days of a folder of them.

A source is asked for the bars of one interval each time anew, so that a training that is repeated
sees what has come since.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from app.contracts.wire import BarRecord
from app.durations import NANOSECONDS
from app.feeds.errors import FeedError
from app.run.export import SUFFIXES
from app.run.indicating import bars_of, read_bar_table

DAY = NANOSECONDS["d"]


@dataclass(frozen=True)
class Recorded:
    """Bars of one interval, and the names of the files they are of."""

    bars: list[BarRecord]
    names: tuple[str, ...]


class BarSource(Protocol):
    """What bars are read from."""

    def read(self, interval: str) -> Recorded:
        """Return the bars of an interval, `1m`; at least one.

        Raises:
            FeedError: a file is broken, or there are no such bars.
            OSError: a file cannot be read.
        """


class Files:
    """All bars of some files."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Take the paths, one at least."""
        self._paths = tuple(paths)

    def read(self, interval: str) -> Recorded:
        bars: list[BarRecord] = []
        others: set[str] = set()
        for path in self._paths:
            for bar in bars_of(path, read_bar_table(path)):
                if bar.interval == interval:
                    bars.append(bar)
                else:
                    others.add(bar.interval)
        if not bars:
            raise _no_bars(self._paths[0], interval, others)
        return Recorded(bars, tuple(path.name for path in self._paths))


class NewestDays:
    """The newest days of a folder's files, .csv or .parquet; other files and folders are left out.

    A day is 24 hours back from the newest bar of the interval. Exports overlap: a bar that is in
    several files counts once, in its highest revision.
    """

    def __init__(self, folder: Path, days: int | None = None) -> None:
        """Take a folder, and how many days; None for all."""
        self._folder = folder
        self._days = days

    def read(self, interval: str) -> Recorded:
        held: list[tuple[Path, pa.Table]] = []
        others: set[str] = set()
        newest: int | None = None
        for path in self._paths():
            table = read_bar_table(path)
            if table.column("interval").null_count or table.column("start_ns").null_count:
                # Says which line.
                _bars(path, table)
            others.update(pc.unique(table.column("interval")).to_pylist())
            table = table.filter(pc.equal(table.column("interval"), interval))
            if not len(table):
                continue
            last = pc.max(table.column("start_ns")).as_py()
            newest = last if newest is None else max(newest, last)
            # What is too old for the bars so far is too old for all of them.
            held.append((path, self._since(table, newest)))
        if newest is None:
            raise _no_bars(self._folder, interval, others)
        kept = [(path, self._since(table, newest)) for path, table in held]
        bars = _once((path, bar) for path, table in kept for bar in _bars(path, table))
        return Recorded(bars, tuple(path.name for path, table in kept if len(table)))

    def _paths(self) -> list[Path]:
        return sorted(
            path
            for path in self._folder.iterdir()
            if path.suffix in SUFFIXES and not path.name.startswith(".") and path.is_file()
        )

    def _since(self, table: pa.Table, newest: int) -> pa.Table:
        if self._days is None:
            return table
        return table.filter(pc.greater(table.column("start_ns"), newest - self._days * DAY))


def _bars(path: Path, table: pa.Table) -> list[BarRecord]:
    """Return the bars of a table, which is a part of a file.

    Raises:
        FeedError: with the line in the file.
    """
    try:
        return list(bars_of(path, table))
    except FeedError:
        # The line was that of the part.
        for _ in bars_of(path, read_bar_table(path)):
            pass
        raise


def _once(found: Iterable[tuple[Path, BarRecord]]) -> list[BarRecord]:
    """Return bars without those that are there already.

    Raises:
        FeedError: two that should be the same are not.
    """
    held: dict[tuple[str, int, int], BarRecord] = {}
    for path, bar in found:
        other = held.setdefault((bar.symbol, bar.start, bar.revision), bar)
        if other != bar:
            raise FeedError(
                path,
                None,
                f"another bar of {bar.symbol} at {bar.start}, revision {bar.revision}, than in a "
                "file before it",
            )
    return list(held.values())


def _no_bars(path: Path, interval: str, others: set[str]) -> FeedError:
    rest = sorted(others - {interval})
    there = f"of {', '.join(rest)} only" if rest else "of no interval"
    return FeedError(path, None, f"no bars of {interval}; there are bars {there}")
