"""Types of the compiled module; its documentation is in `_partials.pyx`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tables.partial import PurePartial

class CompiledPartial(PurePartial): ...

class Accumulator:
    def __init__(self, lengths: Sequence[int], kind: type[Any]) -> None: ...
    def add(
        self,
        opened: list[dict[int, dict[int, Any]]],
        flags: list[npt.NDArray[np.int8]],
        symbol: npt.NDArray[np.int32],
        time: npt.NDArray[np.int64],
        sequence: npt.NDArray[np.int64],
        offset: npt.NDArray[np.int64],
        price: npt.NDArray[np.float64],
        size: npt.NDArray[np.float64],
        condition: npt.NDArray[np.int32],
        source: npt.NDArray[np.int64],
        symbols: int,
    ) -> None: ...
