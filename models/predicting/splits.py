"""Walk-forward splits: always trained on what was known, tested on what came after.

Three ways by which a test would know its answers are closed. Rows of one time stay together, so no
symbol is tested on what trained another. *Purge*: the label of each training row is known before
the first time of the test. *Embargo*: for so long before it nothing is trained on at all, because
neighbouring rows share most of their features (Lopez de Prado, "Advances in Financial Machine
Learning", 2018, ch. 7; there the embargo lies behind the test, for here nothing behind it is
trained on).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.intp]
Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """Rows of one step of the walk, by their positions, ascending.

    Attributes:
        number: from 1.
        training: rows whose labels are known before the test, embargo included.
        testing: rows that come after; those of all folds are contiguous and do not overlap.
    """

    number: int
    training: Rows
    testing: Rows


def purged(label_time: Times, rows: Rows, before: int, embargo: int = 0) -> Rows:
    """Return those of the rows whose labels are known before a time (ns), less the embargo."""
    return rows[label_time[rows] < before - embargo]


def hold_out(
    time: Times, label_time: Times, rows: Rows, share: float, embargo: int = 0
) -> tuple[Rows, Rows]:
    """Return the earlier rows, purged, and the last ones: about `share` of all, whole times.

    Args:
        time: of all rows, ns, ascending.
        label_time: of all rows, ns.
        rows: positions, ascending, of the rows to part.
        share: of `rows` that is held out, above 0 and below 1.
        embargo: ns.

    Raises:
        ValueError: the share is none.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; expected above 0 and below 1")
    if not len(rows):
        return rows, rows
    first = int(time[rows[_cut(len(rows), 1 - share)]])
    last = rows[time[rows] >= first]
    earlier = rows[time[rows] < first]
    return purged(label_time, earlier, first, embargo), last


def walk_forward(
    time: Times, label_time: Times, folds: int, first_share: float = 0.5, embargo: int = 0
) -> list[Fold]:
    """Return the folds: tests of about equal size, each trained on all rows before it.

    Args:
        time: ns, ascending.
        label_time: ns.
        folds: how many.
        first_share: of the rows that come before the first test.
        embargo: ns.

    Raises:
        ValueError: a number is out of its bounds, or there are fewer times than folds.
    """
    if folds < 1 or not 0 < first_share < 1 or embargo < 0:
        raise ValueError(
            f"folds {folds}, first share {first_share}, embargo {embargo}; expected at least 1, "
            "above 0 and below 1, at least 0"
        )
    count = len(time)
    if not count:
        raise ValueError("no rows to split")
    tested = 1 - first_share
    shares = [first_share + tested * number / folds for number in range(folds)]
    # A cut inside a time moves to the time's first row.
    cuts = [int(np.searchsorted(time, time[_cut(count, share)])) for share in shares] + [count]
    if cuts[0] == 0 or any(end <= begin for begin, end in pairwise(cuts)):
        raise ValueError(f"too few different times for {folds} folds")
    every = np.arange(count, dtype=np.intp)
    return [
        Fold(
            number,
            purged(label_time, every[:begin], int(time[begin]), embargo),
            every[begin:end],
        )
        for number, (begin, end) in enumerate(pairwise(cuts), 1)
    ]


def _cut(count: int, share: float) -> int:
    return min(count - 1, max(0, round(count * share)))
