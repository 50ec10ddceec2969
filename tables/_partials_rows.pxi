# State rows of aggregates, straight from their numbers: msgpack as tables/rows.py writes it.
# Part of `_partials.pyx`; the pure twins are in tables/rows.py and tables/row_packing.py.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy

cdef extern from *:
    """
    #define candlewick_swap(value) __builtin_bswap64(value)
    """
    uint64_t swap_bytes "candlewick_swap"(uint64_t value) noexcept nogil

# Of the msgpack specification.
cdef enum:
    NIL = 0xC0
    FALSE = 0xC2
    TRUE = 0xC3
    BINARY_8 = 0xC4
    FLOAT_64 = 0xCB
    UNSIGNED_8 = 0xCC
    SIGNED_8 = 0xD0
    ARRAY_16 = 0xDC
    ARRAY_32 = 0xDD
    FIXED_ARRAY = 0x90
    #: Bytes that an aggregate without its amendment has at most.
    LONGEST_PARTIAL = 256


cdef struct Buffer:
    uint8_t *data
    Py_ssize_t at
    Py_ssize_t room


cdef inline int ensure(Buffer *buffer, Py_ssize_t more) except -1:
    cdef uint8_t *larger
    cdef Py_ssize_t room = buffer.room
    # Numbers are written eight bytes at a time, whatever they need.
    more += 8
    if buffer.at + more <= room:
        return 0
    while buffer.at + more > room:
        room = max(1024, 2 * room)
    larger = <uint8_t *>realloc(buffer.data, room)
    if larger == NULL:
        raise MemoryError
    buffer.data = larger
    buffer.room = room
    return 0


cdef inline void put_big_endian(Buffer *buffer, uint64_t value, int size) noexcept nogil:
    """The lower bytes, on a little-endian machine: 1 to 8 of them."""
    cdef uint64_t swapped = swap_bytes(value << (64 - 8 * size))
    memcpy(buffer.data + buffer.at, &swapped, 8)
    buffer.at += size


cdef inline void put_byte(Buffer *buffer, int value) noexcept nogil:
    buffer.data[buffer.at] = <uint8_t>value
    buffer.at += 1


cdef inline void put_integer(Buffer *buffer, int64_t value) noexcept nogil:
    """In the shortest form, as msgspec does."""
    cdef int power
    if 0 <= value < 128 or -32 <= value < 0:
        put_byte(buffer, <int>(value & 0xFF))
        return
    if value > 0:
        power = 0 if value < 1 << 8 else 1 if value < 1 << 16 else 2 if value < 1LL << 32 else 3
        put_byte(buffer, UNSIGNED_8 + power)
    else:
        power = (
            0 if value >= -(1 << 7) else
            1 if value >= -(1 << 15) else
            2 if value >= -(1LL << 31) else 3
        )
        put_byte(buffer, SIGNED_8 + power)
    put_big_endian(buffer, <uint64_t>value, 1 << power)


cdef inline void put_double(Buffer *buffer, double value) noexcept nogil:
    cdef uint64_t bits
    memcpy(&bits, &value, 8)
    put_byte(buffer, FLOAT_64)
    put_big_endian(buffer, bits, 8)


cdef inline void put_sum(Buffer *buffer, int128 value) noexcept nogil:
    put_byte(buffer, BINARY_8)
    put_byte(buffer, 16)
    put_big_endian(buffer, <uint64_t>(value >> 64), 8)
    put_big_endian(buffer, <uint64_t>value, 8)


cdef inline void put_array(Buffer *buffer, Py_ssize_t length) noexcept nogil:
    if length < 16:
        put_byte(buffer, FIXED_ARRAY | <int>length)
    elif length < 1 << 16:
        put_byte(buffer, ARRAY_16)
        put_big_endian(buffer, <uint64_t>length, 2)
    else:
        put_byte(buffer, ARRAY_32)
        put_big_endian(buffer, <uint64_t>length, 4)


cdef inline void put_key(Buffer *buffer, Key *key) noexcept nogil:
    put_array(buffer, 3)
    put_integer(buffer, key.time)
    put_integer(buffer, key.sequence)
    put_integer(buffer, key.offset)


cdef int put_partial(Buffer *buffer, CompiledPartial held) except -1:
    """As `Partial.to_row`."""
    ensure(buffer, LONGEST_PARTIAL)
    put_array(buffer, 14)
    put_integer(buffer, held.trades)
    put_sum(buffer, held._volume)
    put_sum(buffer, held._priced)
    put_sum(buffer, held._notional)
    put_double(buffer, held.high)
    put_double(buffer, held.low)
    put_key(buffer, &held._open_key)
    put_double(buffer, held.open)
    put_key(buffer, &held._close_key)
    put_double(buffer, held.close)
    put_integer(buffer, held.sources)
    put_integer(buffer, held.revision)
    put_byte(buffer, TRUE if held.filled else FALSE)
    if held.amendment is None:
        put_byte(buffer, NIL)
    else:
        put_partial(buffer, <CompiledPartial?>held.amendment)
    return 0


cdef inline void put_doubles(Buffer *buffer, double *values, int count) noexcept nogil:
    cdef int number
    put_array(buffer, count)
    for number in range(count):
        put_double(buffer, values[number])


cdef int put_quotes(Buffer *buffer, CompiledQuotePartial held) except -1:
    """As `QuotePartial.to_row`."""
    ensure(buffer, LONGEST_PARTIAL)
    put_array(buffer, 14)
    put_integer(buffer, held.quotes)
    put_sum(buffer, held._spread)
    put_double(buffer, held.bid_high)
    put_double(buffer, held.bid_low)
    put_double(buffer, held.ask_high)
    put_double(buffer, held.ask_low)
    put_double(buffer, held.mid_high)
    put_double(buffer, held.mid_low)
    put_key(buffer, &held._open_key)
    put_doubles(buffer, held._opening, 2)
    put_key(buffer, &held._close_key)
    put_doubles(buffer, held._closing, 4)
    put_integer(buffer, held.sources)
    put_integer(buffer, held.revision)
    return 0


cdef inline int put_held(Buffer *buffer, held) except -1:
    if isinstance(held, CompiledPartial):
        return put_partial(buffer, <CompiledPartial>held)
    return put_quotes(buffer, <CompiledQuotePartial?>held)


cdef int put_integers(Buffer *buffer, values) except -1:
    """A list or tuple of integers and None."""
    ensure(buffer, 9 * len(values) + 5)
    put_array(buffer, len(values))
    for value in values:
        if value is None:
            put_byte(buffer, NIL)
        else:
            put_integer(buffer, value)
    return 0


cdef class RowPacker:
    """Makes rows one after the other in the same memory."""

    cdef Buffer buffer

    def __dealloc__(self):
        free(self.buffer.data)

    cdef bytes taken(self):
        return PyBytes_FromStringAndSize(<char *>self.buffer.data, self.buffer.at)

    cdef bytes closed(self, int64_t start, held):
        self.buffer.at = 0
        ensure(&self.buffer, 16)
        put_array(&self.buffer, 2)
        put_integer(&self.buffer, start)
        put_held(&self.buffer, held)
        return self.taken()

    cdef bytes key(self, str name, int64_t length, uint32_t slot):
        cdef bytes encoded = name.encode()
        cdef Py_ssize_t size = PyBytes_GET_SIZE(encoded)
        self.buffer.at = 0
        ensure(&self.buffer, size + 16)
        put_byte(&self.buffer, c'c')
        memcpy(self.buffer.data + 1, PyBytes_AS_STRING(encoded), size)
        self.buffer.at += size
        put_byte(&self.buffer, 0)
        put_big_endian(&self.buffer, <uint64_t>length, 8)
        put_big_endian(&self.buffer, slot, 4)
        return self.taken()


def closed_rows(dict windows, list names, lengths, own_key):
    """As `closed_rows` of tables/row_packing.py."""
    cdef RowPacker packer = RowPacker()
    cdef list rows = []
    cdef tuple slot, entry
    for slot, entry in windows.items():
        interval, symbol, number, own = slot
        length = lengths[interval]
        if own:
            key = own_key(names[symbol], length, number * length)
        else:
            key = packer.key(names[symbol], length, number)
        rows.append((key, packer.closed(entry[0], entry[1])))
    return rows


def symbol_rows(symbols, list names, state_of, dict flushed, lengths, list opened):
    """As `symbol_rows` of tables/row_packing.py."""
    cdef RowPacker packer = RowPacker()
    cdef list rows = [], starts = []
    cdef Py_ssize_t count
    cdef Buffer *buffer = &packer.buffer
    cdef dict at_start
    cdef list held
    cdef tuple place
    for length, by_start in zip(lengths, opened):
        starts += [(length, start, windows) for start, windows in (<dict?>by_start).items()]
    for symbol in symbols:
        state = state_of(symbol)
        buffer.at = 0
        ensure(buffer, 16)
        put_array(buffer, 4)
        put_integers(buffer, state.newest)
        put_integers(buffer, state.runs)
        kept = flushed.get(symbol)
        if kept is None:
            ensure(buffer, 1)
            put_array(buffer, 0)
        else:
            pairs = sorted([(lengths[interval], start) for interval, start in kept])
            ensure(buffer, 5)
            put_array(buffer, len(pairs))
            for pair in pairs:
                put_integers(buffer, pair)
        held = [place for place in starts if symbol in <dict?>(<tuple>place)[2]]
        ensure(buffer, 5)
        put_array(buffer, len(held))
        for place in held:
            ensure(buffer, 24)
            put_array(buffer, 3)
            put_integer(buffer, place[0])
            put_integer(buffer, place[1])
            put_held(buffer, (<dict>place[2])[symbol])
        rows.append((b"s" + (<str?>names[symbol]).encode(), packer.taken()))
    return rows
