"""Rows for training: features known at a time, and what came after it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class TrainingSet:
    """Rows in the order of their times; of one bar size, of any number of symbols.

    Attributes:
        names: of the features, in the order of the columns.
        features: float32, shape (rows, features); NaN where there was nothing.
        target: float64, shape (rows,): the return over the horizon after the row's bar.
        time: int64, shape (rows,), ns: the end of the row's bar, when its features are known.
        label_time: int64, shape (rows,), ns: the end of the bar at which the target is known.
        symbol: int32, shape (rows,): index into `symbols`.
        previous: float64, shape (rows,): the return over the horizon up to the row's bar, which is
            what the last-value and AR(1) baselines predict from; NaN where there is none.
        symbols: by their index.
        interval: label of the bar size, `1m`.
        horizon: of the target, in bars.
        feature_set: name, version and hash of what made the rows: `returns@1:0123456789abcdef`.
    """

    names: tuple[str, ...]
    features: npt.NDArray[np.float32]
    target: npt.NDArray[np.float64]
    time: npt.NDArray[np.int64]
    label_time: npt.NDArray[np.int64]
    symbol: npt.NDArray[np.int32]
    previous: npt.NDArray[np.float64]
    symbols: tuple[str, ...]
    interval: str
    horizon: int
    feature_set: str

    def __post_init__(self) -> None:
        """Refuse columns that do not belong together.

        Raises:
            ValueError: lengths or orders differ.
        """
        rows = len(self.target)
        columns = (self.features, self.time, self.label_time, self.symbol, self.previous)
        if any(len(column) != rows for column in columns):
            raise ValueError("columns of different lengths")
        if self.features.shape != (rows, len(self.names)):
            raise ValueError(f"features of {self.features.shape}, {len(self.names)} names")
        if rows and bool((np.diff(self.time) < 0).any()):
            raise ValueError("rows are not in the order of their times")
        if bool((self.label_time <= self.time).any()):
            raise ValueError("a target is known before its features")

    def __len__(self) -> int:
        return len(self.target)

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp] | slice) -> TrainingSet:
        """Return some of the rows, in their order."""
        return replace(
            self,
            features=self.features[rows],
            target=self.target[rows],
            time=self.time[rows],
            label_time=self.label_time[rows],
            symbol=self.symbol[rows],
            previous=self.previous[rows],
        )
