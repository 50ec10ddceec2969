# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Aggregates of windows as plain numbers, and trades straight into them: no sort, no groups.

The compiled twins of `PurePartial` (tables/partial.py) and of `_aggregate_pure` (tables/bars.py,
by tables/grouping.py), of its rows and of its bars. Sums are integers, open and close go by (time, sequence, offset), so the
order in which trades are added changes no bit (`tests/unit/test_partials_compiled.py`).
"""

from cpython.ref cimport PyObject
from libc.math cimport INFINITY, rint, trunc
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free

import sys

if sys.byteorder != "little":
    raise ImportError("the compiled aggregates are for little-endian machines")

cdef extern from *:
    """
    typedef __int128 candlewick_int128;
    """
    ctypedef long long int128 "candlewick_int128"

cdef extern from *:
    """
    #define candlewick_prefetch(place) __builtin_prefetch(place)
    """
    void prefetch "candlewick_prefetch"(const void *place) noexcept nogil

# As tables/policies.py and tables/sums.py have them.
cdef enum:
    EXTREMES = 1
    LAST = 2
    VOLUME = 4
    GRID_BITS = 40
    ABSENT = -1
    UNPUBLISHED = -1
    #: Bytes that the processor's cache fetches together.
    LINE = 64
    #: Symbols whose windows are not in its inner cache all the time: 1.1 KB a symbol.
    MANY_SYMBOLS = 256
    #: Rows ahead of which places are fetched, and what is at them.
    PLACES_AHEAD = 16
    WINDOWS_AHEAD = 8

cdef double GRID = <double>(1LL << GRID_BITS)
cdef object LOW_MASK = (1 << 64) - 1


cdef inline int128 to_units(double value) noexcept nogil:
    """As `to_units`: rounded once, half to even."""
    cdef double whole = trunc(value)
    return (<int128><int64_t>whole << GRID_BITS) + <int64_t>rint((value - whole) * GRID)


cdef inline object to_object(int128 value):
    cdef int64_t high = <int64_t>(value >> 64)
    if (high == 0 and <int64_t>value >= 0) or (high == -1 and <int64_t>value < 0):
        return <int64_t>value
    return (<object>high << 64) | <uint64_t>value


cdef inline int128 from_object(object value) except? -1:
    cdef int64_t high = value >> 64
    cdef uint64_t low = value & LOW_MASK
    return (<int128>high << 64) | low


cdef struct Key:
    int64_t time
    int64_t sequence
    int64_t offset


cdef inline bint is_before(Key *one, Key *other) noexcept nogil:
    if one.time != other.time:
        return one.time < other.time
    if one.sequence != other.sequence:
        return one.sequence < other.sequence
    return one.offset < other.offset


cdef class CompiledPartial:
    """The fields and the arithmetic of a `Partial`; see there."""

    cdef public int64_t trades
    cdef public double high
    cdef public double low
    cdef public double open
    cdef public double close
    cdef public int64_t sources
    cdef public int64_t revision
    cdef public bint filled
    cdef public object amendment
    cdef int128 _volume
    cdef int128 _priced
    cdef int128 _notional
    cdef Key _open_key
    cdef Key _close_key

    def __cinit__(self):
        """The neutral element."""
        self.high = -INFINITY
        self.low = INFINITY
        self._open_key.offset = self._close_key.offset = ABSENT
        self.revision = UNPUBLISHED

    def __init__(
        self,
        trades,
        volume,
        priced,
        notional,
        high,
        low,
        open_key,
        open_price,
        close_key,
        close_price,
        sources,
    ):
        self.trades = trades
        self._volume = from_object(volume)
        self._priced = from_object(priced)
        self._notional = from_object(notional)
        self.high = high
        self.low = low
        self.open_key = open_key
        self.open = open_price
        self.close_key = close_key
        self.close = close_price
        self.sources = sources

    @property
    def volume(self):
        return to_object(self._volume)

    @volume.setter
    def volume(self, value):
        self._volume = from_object(value)

    @property
    def priced(self):
        return to_object(self._priced)

    @priced.setter
    def priced(self, value):
        self._priced = from_object(value)

    @property
    def notional(self):
        return to_object(self._notional)

    @notional.setter
    def notional(self, value):
        self._notional = from_object(value)

    @property
    def open_key(self):
        return self._open_key.time, self._open_key.sequence, self._open_key.offset

    @open_key.setter
    def open_key(self, value):
        self._open_key.time, self._open_key.sequence, self._open_key.offset = value

    @property
    def close_key(self):
        return self._close_key.time, self._close_key.sequence, self._close_key.offset

    @close_key.setter
    def close_key(self, value):
        self._close_key.time, self._close_key.sequence, self._close_key.offset = value

    @property
    def has_bar(self):
        """Whether a record set open and close."""
        return self._close_key.offset != ABSENT

    def merge(self, CompiledPartial other not None):
        """Add the records of `other`; neither its revision nor its amendment."""
        cdef bint has_bar
        self.trades += other.trades
        self._volume += other._volume
        self._priced += other._priced
        self._notional += other._notional
        self.sources |= other.sources
        if other.high > self.high:
            self.high = other.high
        if other.low < self.low:
            self.low = other.low
        if other._close_key.offset != ABSENT:
            has_bar = self._close_key.offset != ABSENT
            if not has_bar or is_before(&other._open_key, &self._open_key):
                self._open_key = other._open_key
                self.open = other.open
            if not has_bar or is_before(&self._close_key, &other._close_key):
                self._close_key = other._close_key
                self.close = other.close


cdef inline void add_trade(
    CompiledPartial held,
    int8_t flags,
    Key *key,
    double price,
    int128 size,
    int128 notional,
    int64_t source,
) noexcept:
    cdef bint has_bar
    held.sources |= source
    if flags & VOLUME:
        held.trades += 1
        held._volume += size
    if flags & EXTREMES:
        held._priced += size
        held._notional += notional
        if price > held.high:
            held.high = price
        if price < held.low:
            held.low = price
    if flags & LAST:
        has_bar = held._close_key.offset != ABSENT
        if not has_bar or is_before(key, &held._open_key):
            held._open_key = key[0]
            held.open = price
        if not has_bar or is_before(&held._close_key, key):
            held._close_key = key[0]
            held.close = price


cdef struct Found:
    # Since which removal of windows it is known.
    uint64_t since
    int64_t start
    PyObject *held


cdef class Windowing:
    """What finds the open windows of one partition.

    It remembers the window of each interval and symbol that was found last, as most records fall
    into the same one as the record before. The reference is borrowed from the dictionary: what the
    watermark has passed may be gone from there, and everything where `removed` has changed.
    """

    cdef list lengths
    cdef int count
    cdef object kind
    cdef Found *found
    cdef Py_ssize_t symbols
    cdef uint64_t since
    cdef int64_t removed

    def __cinit__(self, lengths, kind):
        """Begin.

        Args:
            lengths: of the intervals in ns.
            kind: the class of the aggregates, derived from the compiled one.
        """
        self.since = 1
        self.lengths = [int(length) for length in lengths]
        self.count = len(self.lengths)
        self.kind = kind

    def __dealloc__(self):
        free(self.found)

    cdef int reserve(self, Py_ssize_t symbols) except -1:
        if symbols <= self.symbols:
            return 0
        free(self.found)
        self.symbols = 0
        symbols = max(1024, 2 * symbols)
        self.found = <Found *>calloc(symbols * self.count, sizeof(Found))
        if self.found == NULL:
            raise MemoryError
        self.symbols = symbols
        return 0

    cdef int begin(self, Py_ssize_t symbols, int64_t removed) except -1:
        """Begin a call: forget what is not known any more."""
        self.reserve(symbols)
        if removed != self.removed:
            self.removed = removed
            self.since += 1
        return 0

    cdef inline void fetch_place(self, int32_t symbol) noexcept nogil:
        """Have the cache bring where the windows of a symbol are."""
        cdef const char *place = <const char *>(self.found + symbol * self.count)
        cdef const char *end = place + self.count * sizeof(Found)
        while place < end:
            prefetch(place)
            place += LINE

    cdef inline void fetch_windows(self, int32_t symbol, Py_ssize_t size) noexcept nogil:
        """Have it bring the windows themselves; one that is gone by now costs a fetch in vain."""
        cdef Found *place = self.found + symbol * self.count
        cdef Py_ssize_t interval, at
        for interval in range(self.count):
            if place.since == self.since:
                at = 0
                while at < size:
                    prefetch(<const char *>place.held + at)
                    at += LINE
            place += 1

    cdef object window(self, dict windows, int64_t start, int32_t symbol):
        """The aggregate of a window, made where there is none."""
        at_start = windows.get(start)
        if at_start is None:
            at_start = windows[start] = {}
        held = (<dict?>at_start).get(symbol)
        if held is None:
            held = self.kind.__new__(self.kind)
            (<dict>at_start)[symbol] = held
        return held


cdef Py_ssize_t sizeof_partial = (<type>CompiledPartial).__basicsize__


cdef class Accumulator(Windowing):
    """Adds trades to the open windows of one partition."""

    def add(
        self,
        list opened,
        list flags,
        const int32_t[::1] symbol,
        const int64_t[::1] time,
        const int64_t[::1] sequence,
        const int64_t[::1] offset,
        const double[::1] price,
        const double[::1] size,
        const int32_t[::1] condition,
        const int64_t[::1] source,
        Py_ssize_t symbols,
        int64_t watermark,
        int64_t removed,
        uint8_t[::1] changed,
        uint8_t[::1] touched,
    ):
        """Add trades to the open windows; those that are not there are opened.

        Args:
            opened: for each interval start -> symbol code -> aggregate (`Windows.open`).
            flags: for each interval the policy's flags by condition.
            symbol, time, ...: columns, an entry a trade, in any order.
            symbols: above every symbol code.
            watermark: no window that ends behind it was removed since the last call, ...
            removed: unless this number is another one than then.
            changed, touched: by code, set for the symbols of the trades.
        """
        cdef Py_ssize_t trades = time.shape[0], row, interval, conditions
        cdef bint many = symbols > MANY_SYMBOLS
        cdef Found *place
        cdef CompiledPartial held
        cdef Key key
        cdef int128 units, notional
        cdef int64_t start, length
        cdef double shares, cost
        cdef const int8_t[::1] table
        cdef const int8_t *tables[64]
        cdef int64_t lengths[64]
        if self.count > 64 or len(opened) != self.count or len(flags) != self.count:
            raise ValueError(f"{len(opened)} intervals, expected {self.count}, at most 64")
        if not (
            symbol.shape[0] == sequence.shape[0] == offset.shape[0] == price.shape[0] == trades
            and size.shape[0] == condition.shape[0] == source.shape[0] == trades
        ):
            raise ValueError("columns of different lengths")
        if changed.shape[0] < symbols or touched.shape[0] < symbols:
            raise ValueError(f"marks of fewer than {symbols} symbols")
        conditions = 0
        for interval in range(self.count):
            table = flags[interval]
            if interval and table.shape[0] != conditions:
                raise ValueError("flags of different lengths")
            conditions = table.shape[0]
            tables[interval] = &table[0] if conditions else NULL
            lengths[interval] = self.lengths[interval]
        for row in range(trades):
            if not 0 <= symbol[row] < symbols or not 0 <= condition[row] < conditions:
                raise ValueError(f"row {row}: a symbol or condition without a code")
        self.begin(symbols, removed)
        for row in range(trades):
            if many:
                if row + PLACES_AHEAD < trades:
                    self.fetch_place(symbol[row + PLACES_AHEAD])
                if row + WINDOWS_AHEAD < trades:
                    self.fetch_windows(symbol[row + WINDOWS_AHEAD], sizeof_partial)
            shares = size[row]
            cost = price[row] * shares
            units = to_units(shares)
            notional = to_units(cost)
            key.time = time[row]
            key.sequence = sequence[row]
            key.offset = offset[row]
            changed[symbol[row]] = touched[symbol[row]] = 1
            place = self.found + symbol[row] * self.count
            for interval in range(self.count):
                length = lengths[interval]
                if (
                    place.since != self.since
                    or key.time < place.start
                    or key.time - place.start >= length
                    or place.start + length <= watermark
                ):
                    start = key.time - key.time % length
                    held = <CompiledPartial?>self.window(opened[interval], start, symbol[row])
                    place.since = self.since
                    place.start = start
                    # Borrowed: the dictionary has it, and nothing leaves it in here.
                    place.held = <PyObject *>held
                else:
                    held = <CompiledPartial>place.held
                add_trade(
                    held,
                    tables[interval][condition[row]],
                    &key,
                    price[row],
                    units,
                    notional,
                    source[row],
                )
                place += 1

include "_partials_quotes.pxi"
include "_partials_rows.pxi"
include "_partials_bars.pxi"
