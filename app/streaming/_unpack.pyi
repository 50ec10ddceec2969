"""Types of the compiled module; its documentation is in `_unpack.pyx`."""

import numpy as np
import numpy.typing as npt

def unpack(
    records: bytes | memoryview, count: int, keyed: bool, deltas: npt.NDArray[np.int64]
) -> tuple[list[bytes | None], list[bytes | None] | None]: ...
