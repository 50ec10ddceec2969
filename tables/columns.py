"""The trades of a segment, one array a field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tables.packed_texts import PackedTexts

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]

NO_SEQUENCE = -1


@dataclass(slots=True)
class Columns:
    """The trades of a segment, one entry a trade, in log order.

    `time`, `append_time` in ns; `symbol` are codes of `Symbols`; `condition` indexes the flag
    tables of the policy; `source` is a one-bit mask; `identifiers` are None where no trade has one.
    """

    position: Int64Array
    offset: Int64Array
    append_time: Int64Array
    time: Int64Array
    sequence: Int64Array
    symbol: npt.NDArray[np.int32]
    price: Float64Array
    size: Float64Array
    condition: npt.NDArray[np.int32]
    source: Int64Array
    identifiers: PackedTexts | None

    def __len__(self) -> int:
        return len(self.time)

    def take(self, chosen: Int64Array | npt.NDArray[np.bool_]) -> Columns:
        """The chosen trades, by mask or by index."""
        return Columns(
            self.position[chosen],
            self.offset[chosen],
            self.append_time[chosen],
            self.time[chosen],
            self.sequence[chosen],
            self.symbol[chosen],
            self.price[chosen],
            self.size[chosen],
            self.condition[chosen],
            self.source[chosen],
            None if self.identifiers is None else self.identifiers.take(chosen),
        )
