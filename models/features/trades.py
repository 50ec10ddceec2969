"""Features of trades: one partition of `ticks` in, `FeatureRecord`s of kind `trades` out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.contracts.batch import RecordBatch
from models.features.aggregates import Entry
from models.features.configuration import FeaturesConfiguration
from models.features.stage import FeatureStage
from models.features.trade_aggregate import TradeAggregate
from tables.columns import Columns
from tables.intake import Control, Dead, Intake


class TradeFeatures(FeatureStage[Columns]):
    """State of one partition of `ticks`. Parsed and judged as the bars agent does."""

    kind = TradeAggregate

    def __init__(
        self,
        configuration: FeaturesConfiguration,
        partition: int,
        session_of: Callable[[int], int] | None = None,
        header: list[Any] | None = None,
    ) -> None:
        super().__init__(configuration, partition, session_of, header)
        intake = configuration.intake
        self._intake = Intake(intake, self.symbols, self.sources)
        self._class = intake.policy.interval_class(configuration.window)

    def _read(self, batch: RecordBatch) -> tuple[Sequence[Columns | Control], Dead]:
        return self._intake.read(batch)

    def _entries(self, records: Columns) -> tuple[list[Entry], npt.NDArray[np.bool_]]:
        flags = self._intake.conditions.tables[self._class][records.condition]
        names = self.symbols.names
        entries = zip(
            records.time.tolist(),
            records.sequence.tolist(),
            records.offset.tolist(),
            [names[code] for code in records.symbol.tolist()],
            records.append_time.tolist(),
            [None] * len(records) if records.identifiers is None else records.identifiers.texts(),
            records.price.tolist(),
            records.size.tolist(),
            flags.tolist(),
            strict=True,
        )
        return list(entries), flags != 0
