"""Exact sums: sizes and price x size on a fixed binary grid, added as integers.

A value is rounded once, half to even, to a multiple of 2^-40; sums of such multiples are
integers, so no order, split or merge of the addends changes a bit. Arrays hold a value as two
int64 limbs (whole part and grid units below one); open bars hold one Python integer.

Bounds: a value is at most 1e14 (`MAX_NOTIONAL`) and a batch at most 65,536 records, so that the
whole limbs of a batch add up to less than 6.6e18 < 2^63, the others to less than 2^56.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]

GRID_BITS = 40
GRID = 1 << GRID_BITS
MAX_BATCH_RECORDS = 65_536


def to_limbs(values: Float64Array) -> tuple[Int64Array, Int64Array]:
    """Split finite values, shape (n,), into whole limbs and grid limbs within (-2^40, 2^40).

    Cut towards zero the fraction is exact in a double, and so is its product with a power of
    two; `rint` rounds half to even, which is the only rounding.
    """
    whole = np.trunc(values)
    return whole.astype(np.int64), np.rint((values - whole) * GRID).astype(np.int64)


def to_units(value: float) -> int:
    """One finite value in grid units, rounded as `to_limbs` does."""
    whole = int(value)
    return (whole << GRID_BITS) + round((value - whole) * GRID)


def to_double(units: int) -> float:
    """Grid units as the nearest double."""
    return units / GRID
