# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Whether a batch holds nothing but ordinary trades: one pass instead of a dozen over columns.

It never judges a record: where anything is not certainly ordinary, `tables/intake.py` and
`tables/bars.py` judge all of the batch by masks, as they do without this module
(`tests/unit/test_judging.py`).
"""

from libc.math cimport fabs
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t

# As tables/policies.py has them.
cdef enum:
    CLOSING = 8


def known_trades(
    const int64_t[::1] time,
    const int64_t[::1] append_time,
    const int32_t[::1] symbol,
    const int32_t[::1] source,
    const double[::1] price,
    const double[::1] size,
    const uint8_t[::1] known,
    const int64_t[::1] bits,
    int64_t earliest,
    int64_t max_ahead,
    double max_notional,
    int64_t[::1] masks,
):
    """Whether every trade is good, its symbol registered and its source one with a bit.

    Args:
        known: by code, whether a symbol is registered and without a fault.
        bits: by code, the mask of a source; negative where it has none.
        masks: filled with those of the sources, in full only where it is true.
    """
    cdef Py_ssize_t row, rows = time.shape[0]
    if not (
        append_time.shape[0] == symbol.shape[0] == source.shape[0] == price.shape[0] == rows
        and size.shape[0] == masks.shape[0] == rows
    ):
        raise ValueError("columns of different lengths")
    for row in range(rows):
        if not (
            0 <= symbol[row] < known.shape[0]
            and known[symbol[row]]
            and 0 <= source[row] < bits.shape[0]
            and bits[source[row]] >= 0
            and earliest <= time[row] <= append_time[row] + max_ahead
            and fabs(price[row] * size[row]) <= max_notional
        ):
            return False
        masks[row] = bits[source[row]]
    return True


def in_order(
    const int64_t[::1] time,
    const int64_t[::1] append_time,
    const int32_t[::1] condition,
    list flags,
    int64_t maximum,
    int64_t clock_ahead,
    int64_t grace,
    int64_t[::1] maxima,
    int64_t[::1] watermarks,
    bint amends,
):
    """Whether no trade is behind the watermark before it, without effect, or moved elsewhere.

    Args:
        flags: for each class of intervals the policy's flags by condition.
        maximum: the maximum event time before the first trade.
        maxima: filled with the one after each, in full whatever the answer is, ...
        watermarks: and with the watermark before each.
        amends: whether closing prints may be moved.
    """
    cdef Py_ssize_t row, rows = time.shape[0], conditions = 0
    cdef int64_t seen
    cdef int8_t union
    cdef int each, classes = len(flags)
    cdef bint ordinary = True
    cdef const int8_t[::1] table
    cdef const int8_t *tables[2]
    if not 0 < classes <= 2:
        raise ValueError(f"{classes} classes of intervals, expected 1 or 2")
    for each in range(classes):
        table = flags[each]
        if each and table.shape[0] != conditions:
            raise ValueError("flags of different lengths")
        conditions = table.shape[0]
        tables[each] = &table[0] if conditions else NULL
    if not (
        append_time.shape[0] == condition.shape[0] == maxima.shape[0] == rows
        and watermarks.shape[0] == rows
    ):
        raise ValueError("columns of different lengths")
    for row in range(rows):
        if not 0 <= condition[row] < conditions:
            raise ValueError(f"row {row}: a condition without a code")
        union = tables[0][condition[row]]
        if classes == 2:
            union |= tables[1][condition[row]]
        watermarks[row] = maximum - grace
        if time[row] < watermarks[row] or union == 0 or (amends and union & CLOSING):
            ordinary = False
        seen = min(time[row], append_time[row] + clock_ahead)
        if seen > maximum:
            maximum = seen
        maxima[row] = maximum
    return ordinary
