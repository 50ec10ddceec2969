"""Types of the compiled module; its documentation is in `_kernel.pyx`."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

class TextTable:
    names: list[str]
    def __len__(self) -> int: ...
    def intern(self, name: str) -> int: ...

def parse(
    values: Sequence[bytes | None],
    max_value_bytes: int,
    symbols: TextTable,
    sources: TextTable,
    conditions: TextTable,
    good: npt.NDArray[np.uint8],
    time: npt.NDArray[np.int64],
    price: npt.NDArray[np.float64],
    size: npt.NDArray[np.float64],
    sequence: npt.NDArray[np.int64],
    symbol: npt.NDArray[np.int32],
    source: npt.NDArray[np.int32],
    condition: npt.NDArray[np.int32],
    identity_begin: npt.NDArray[np.int64],
    identity_length: npt.NDArray[np.int32],
) -> tuple[int, bytes]: ...
