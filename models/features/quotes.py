"""Features of quotes: one partition of `quotes` in, `FeatureRecord`s of kind `quotes` out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.contracts.batch import RecordBatch
from models.features.aggregates import Entry
from models.features.configuration import FeaturesConfiguration
from models.features.quote_aggregate import QuoteAggregate
from models.features.stage import FeatureStage
from tables.intake import Control, Dead
from tables.quote_columns import QuoteColumns
from tables.quote_intake import QuoteIntake


class QuoteFeatures(FeatureStage[QuoteColumns]):
    """State of one partition of `quotes`. Parsed and judged as the quotes agent does.

    A quote with a zero price (a side without a quote) or with crossed prices is ignored.
    """

    kind = QuoteAggregate

    def __init__(
        self,
        configuration: FeaturesConfiguration,
        partition: int,
        session_of: Callable[[int], int] | None = None,
        header: list[Any] | None = None,
    ) -> None:
        super().__init__(configuration, partition, session_of, header)
        self._intake = QuoteIntake(configuration.intake, self.symbols, self.sources)

    def _read(self, batch: RecordBatch) -> tuple[Sequence[QuoteColumns | Control], Dead]:
        return self._intake.read(batch)

    def _entries(self, records: QuoteColumns) -> tuple[list[Entry], npt.NDArray[np.bool_]]:
        names = self.symbols.names
        entries = zip(
            records.time.tolist(),
            records.sequence.tolist(),
            records.offset.tolist(),
            [names[code] for code in records.symbol.tolist()],
            records.append_time.tolist(),
            [None] * len(records),
            records.bid.tolist(),
            records.ask.tolist(),
            records.bid_size.tolist(),
            records.ask_size.tolist(),
            strict=True,
        )
        usable = (records.bid != 0) & (records.ask != 0) & (records.bid <= records.ask)
        return list(entries), usable
