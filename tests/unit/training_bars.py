"""Bars for tests of what trains, in memory and in files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from app.contracts.wire import BarRecord
from app.run.export import LAYOUTS, write_export
from app.training.sources import Recorded
from app.training.training import Task
from models.predicting.features_registry import find_feature_set
from tables.markets import Instrument, Instruments


class Given:
    """Bars that are there; `before` happens before they are read."""

    def __init__(self, bars: list[BarRecord], before: Callable[[], object] | None = None) -> None:
        self._bars = bars
        self._before = before

    def read(self, interval: str) -> Recorded:
        if self._before is not None:
            self._before()
        return Recorded([bar for bar in self._bars if bar.interval == interval], ("given",))


def task(*, horizon: int = 1, calendar: str = "24/7") -> Task:
    """The built-in features of minutes, in a short walk."""
    instruments = Instruments(default=Instrument(symbol="*", calendar=calendar))
    return Task(find_feature_set("returns@1"), "1m", horizon, instruments, 2.0, folds=2)


def write_bars(path: Path, bars: Iterable[BarRecord]) -> Path:
    """Write bars as an export does."""
    write_export(path, [row_of(bar) for bar in bars], LAYOUTS["bars"].schema)
    return path


def row_of(bar: BarRecord) -> tuple[object, ...]:
    """A bar's columns."""
    return (
        *(bar.symbol, bar.interval, bar.start, bar.open, bar.high, bar.low, bar.close),
        *(bar.volume, bar.vwap, bar.trades, bar.revision),
    )
