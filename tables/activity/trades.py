"""The trades of a segment, symbol by symbol in log order, with running sums that are exact."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tables.sums import (
    GRID,
    GRID_BITS,
    MAX_BATCH_RECORDS,
    Float64Array,
    Int64Array,
    to_limbs,
)

_MASK = GRID - 1


class ActivityTrades(Protocol):
    """Columns of trades in log order; `symbol` are codes, `time` in ns."""

    position: Int64Array
    time: Int64Array
    symbol: npt.NDArray[np.int32]
    price: Float64Array
    size: Float64Array

    def __len__(self) -> int: ...


class Running:
    """Running sums of non-negative or signed values on the grid, shape (n + 1,), first 0.

    Kept as limbs: whole part in `_whole`, the rest in `_rest` within [0, 2^40). At most 65,536
    values of at most 1e14 each (tables/sums.py), so nothing overflows.
    """

    __slots__ = ("_rest", "_whole", "each")

    def __init__(self, each: tuple[Int64Array, Int64Array]) -> None:
        """Take the limbs of each value, shape (n,)."""
        self.each = each
        zero = np.zeros(1, dtype=np.int64)
        whole = np.concatenate((zero, np.cumsum(each[0])))
        rest = np.concatenate((zero, np.cumsum(each[1])))
        self._whole: Int64Array = whole + (rest >> GRID_BITS)
        self._rest: Int64Array = rest & _MASK

    def values(self, begin: int, end: int) -> list[int]:
        """The values of [begin, end) in grid units."""
        whole, rest = self.each
        return [
            (high << GRID_BITS) + low
            for high, low in zip(whole[begin:end].tolist(), rest[begin:end].tolist(), strict=True)
        ]

    def until(self, index: int) -> int:
        """Sum of the values before `index`, in grid units."""
        return (int(self._whole[index]) << GRID_BITS) + int(self._rest[index])

    def first_reaching(self, begin: int, end: int, total: int) -> int | None:
        """The first index in [begin, end) with `until(index + 1) >= total`, for rising sums."""
        whole, rest = total >> GRID_BITS, total & _MASK
        if whole > int(self._whole[end]):
            return None
        ends = self._whole[begin + 1 : end + 1]
        low = int(ends.searchsorted(whole, "left"))
        high = int(ends.searchsorted(whole, "right"))
        equal = self._rest[begin + 1 + low : begin + 1 + high]
        found = begin + low + int(equal.searchsorted(rest, "left"))
        return found if found < end else None


class Segment:
    """Trades sorted by symbol, each symbol's in log order; at most 65,536.

    Raises:
        ValueError: there are more.
    """

    def __init__(self, trades: ActivityTrades) -> None:
        if len(trades) > MAX_BATCH_RECORDS:
            raise ValueError(f"{len(trades)} trades: expected at most {MAX_BATCH_RECORDS}")
        order = np.argsort(trades.symbol, kind="stable")
        self._symbol = trades.symbol[order]
        self.position: Int64Array = trades.position[order]
        self.time: Int64Array = trades.time[order]
        self.price: Float64Array = trades.price[order]
        size = trades.size[order]
        self.volume = Running(to_limbs(size))
        self.notional = Running(to_limbs(self.price * size))

    @cached_property
    def absolute(self) -> Running:
        """Running sums of |price x size|; the grid is symmetrical, so they are as exact."""
        whole, rest = self.notional.each
        return Running((np.abs(whole), np.abs(rest)))

    def symbols(self) -> list[tuple[int, int, int]]:
        """Code, first index and index after the last of each symbol, by code."""
        if not len(self._symbol):
            return []
        starts = np.flatnonzero(np.diff(self._symbol)) + 1
        begins = [0, *starts.tolist()]
        ends = [*begins[1:], len(self._symbol)]
        return list(zip(self._symbol[begins].tolist(), begins, ends, strict=True))
