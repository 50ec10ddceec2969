"""Types of the compiled module; its documentation is in `_judging.pyx`."""

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]
Float64Array = npt.NDArray[np.float64]

def known_trades(
    time: Int64Array,
    append_time: Int64Array,
    symbol: Int32Array,
    source: Int32Array,
    price: Float64Array,
    size: Float64Array,
    known: npt.NDArray[np.uint8],
    bits: Int64Array,
    earliest: int,
    max_ahead: int,
    max_notional: float,
    masks: Int64Array,
) -> bool: ...
def in_order(
    time: Int64Array,
    append_time: Int64Array,
    condition: Int32Array,
    flags: list[npt.NDArray[np.int8]],
    maximum: int,
    clock_ahead: int,
    grace: int,
    maxima: Int64Array,
    watermarks: Int64Array,
    amends: bool,
) -> bool: ...
