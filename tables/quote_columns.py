"""The quotes of a segment, one array a field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tables.columns import Float64Array, Int64Array


@dataclass(slots=True)
class QuoteColumns:
    """The quotes of a segment, one entry a quote, in log order; as `tables.columns.Columns`."""

    position: Int64Array
    offset: Int64Array
    append_time: Int64Array
    time: Int64Array
    sequence: Int64Array
    symbol: npt.NDArray[np.int32]
    bid: Float64Array
    ask: Float64Array
    bid_size: Float64Array
    ask_size: Float64Array
    source: Int64Array

    def __len__(self) -> int:
        return len(self.time)

    def take(self, chosen: Int64Array | npt.NDArray[np.bool_]) -> QuoteColumns:
        """The chosen quotes, by mask or by index."""
        return QuoteColumns(
            self.position[chosen],
            self.offset[chosen],
            self.append_time[chosen],
            self.time[chosen],
            self.sequence[chosen],
            self.symbol[chosen],
            self.bid[chosen],
            self.ask[chosen],
            self.bid_size[chosen],
            self.ask_size[chosen],
            self.source[chosen],
        )
