# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Trades from JSON straight into columns: the compiled twin of `tables/parsing.py`.

It reads the usual form of a trade and nothing else: one flat object of known fields, ASCII strings
without escapes, numbers that are exact in a double by one division (at most 2^53 over at
most 10^22, after Clinger 1990), within the contract's bounds. Whatever is not certainly that is
left to the full decoder, so this code never refuses a record and never differs from it
(`tests/unit/test_parsing.py`).
"""

from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_CheckExact,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy

cdef enum:
    SYMBOL = 1
    PRICE = 2
    SIZE = 4
    EVENT_TIME = 8
    TRADE_ID = 16
    SEQUENCE = 32
    VENUE = 64
    CONDITIONS = 128
    SOURCE = 256
    TYPE = 512
    REQUIRED = 15

cdef double[23] POWERS
cdef int _power
cdef double _value = 1.0
for _power in range(23):
    POWERS[_power] = _value
    _value *= 10.0

cdef uint64_t MAX_MANTISSA = 1ULL << 53
cdef uint64_t MAX_INTEGER = (1ULL << 63) - 1
cdef double MAX_PRICE = 1e12
cdef Py_ssize_t MAX_SYMBOL = 32
cdef Py_ssize_t MAX_TEXT = 64
cdef Py_ssize_t MAX_CONDITIONS_TEXT = 512


cdef struct Slot:
    uint64_t hash
    char *text
    int32_t length
    int32_t code


cdef class TextTable:
    """Texts to codes 0, 1, 2, ... in order of first sight."""

    cdef Slot *slots
    cdef Py_ssize_t mask
    cdef Py_ssize_t count
    cdef readonly list names

    def __cinit__(self):
        self.mask = 1023
        self.count = 0
        self.slots = <Slot *>calloc(self.mask + 1, sizeof(Slot))
        if self.slots == NULL:
            raise MemoryError
        self.names = []

    def __dealloc__(self):
        cdef Py_ssize_t index
        if self.slots != NULL:
            for index in range(self.mask + 1):
                free(self.slots[index].text)
            free(self.slots)

    def __len__(self):
        return self.count

    def intern(self, str name):
        """Code of a text, given at first sight."""
        cdef bytes encoded = name.encode()
        return self.find(PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded))

    cdef int32_t find(self, const char *text, Py_ssize_t length) except -1:
        cdef uint64_t hashed = 14695981039346656037ULL
        cdef Py_ssize_t index
        for index in range(length):
            hashed = (hashed ^ <uint8_t>text[index]) * 1099511628211ULL
        hashed ^= hashed >> 29
        index = <Py_ssize_t>(hashed & <uint64_t>self.mask)
        cdef Slot *slot
        while True:
            slot = &self.slots[index]
            if slot.text == NULL:
                return self.add(text, length, hashed)
            if (
                slot.hash == hashed
                and slot.length == length
                and memcmp(slot.text, text, length) == 0
            ):
                return slot.code
            index = (index + 1) & self.mask

    cdef int32_t add(self, const char *text, Py_ssize_t length, uint64_t hashed) except -1:
        cdef Slot fresh
        if 2 * (self.count + 1) > self.mask:
            self.grow()
        fresh.hash = hashed
        fresh.length = <int32_t>length
        fresh.code = <int32_t>self.count
        name = text[:length].decode("utf-8")
        fresh.text = <char *>malloc(length + 1)
        if fresh.text == NULL:
            raise MemoryError
        memcpy(fresh.text, text, length)
        self.put(fresh)
        self.names.append(name)
        self.count += 1
        return fresh.code

    cdef void put(self, Slot slot) noexcept:
        cdef Py_ssize_t index = <Py_ssize_t>(slot.hash & <uint64_t>self.mask)
        while self.slots[index].text != NULL:
            index = (index + 1) & self.mask
        self.slots[index] = slot

    cdef int grow(self) except -1:
        cdef Slot *old = self.slots
        cdef Py_ssize_t old_mask = self.mask
        cdef Slot *larger = <Slot *>calloc(2 * (old_mask + 1), sizeof(Slot))
        cdef Py_ssize_t index
        if larger == NULL:
            raise MemoryError
        self.slots = larger
        self.mask = 2 * (old_mask + 1) - 1
        for index in range(old_mask + 1):
            if old[index].text != NULL:
                self.put(old[index])
        free(old)
        return 0


cdef struct Text:
    const char *start
    Py_ssize_t length


cdef inline const char *skip_space(const char *at, const char *end) noexcept nogil:
    while at < end and (at[0] == c' ' or at[0] == c'\n' or at[0] == c'\r' or at[0] == c'\t'):
        at += 1
    return at


cdef inline const char *read_text(const char *at, const char *end, Text *text) noexcept nogil:
    """A string of plain ASCII; NULL otherwise. Points behind the closing quote."""
    cdef unsigned char char_
    if at >= end or at[0] != c'"':
        return NULL
    at += 1
    text.start = at
    while at < end:
        char_ = <unsigned char>at[0]
        if char_ == c'"':
            text.length = at - text.start
            return at + 1
        if char_ < 32 or char_ > 126 or char_ == c'\\':
            return NULL
        at += 1
    return NULL


cdef inline const char *read_integer(const char *at, const char *end, int64_t *value) noexcept nogil:
    """A non-negative integer of at most 19 digits; NULL otherwise."""
    cdef uint64_t found = 0
    cdef const char *start = at
    while at < end and c'0' <= at[0] <= c'9':
        if at - start == 19:
            return NULL
        found = found * 10 + <uint64_t>(at[0] - c'0')
        at += 1
    if at == start or (start[0] == c'0' and at - start > 1) or found > MAX_INTEGER:
        return NULL
    if at < end and (at[0] == c'.' or at[0] == c'e' or at[0] == c'E'):
        return NULL
    value[0] = <int64_t>found
    return at


cdef inline const char *read_number(const char *at, const char *end, double *value) noexcept nogil:
    """A decimal that one division makes exact; NULL otherwise."""
    cdef uint64_t mantissa = 0
    cdef int digits = 0, fraction = 0
    cdef bint negative = False
    cdef const char *start
    if at < end and at[0] == c'-':
        negative = True
        at += 1
    start = at
    while at < end and c'0' <= at[0] <= c'9':
        mantissa = mantissa * 10 + <uint64_t>(at[0] - c'0')
        digits += 1
        if digits > 18:
            return NULL
        at += 1
    if at == start or (start[0] == c'0' and at - start > 1):
        return NULL
    if at < end and at[0] == c'.':
        at += 1
        while at < end and c'0' <= at[0] <= c'9':
            mantissa = mantissa * 10 + <uint64_t>(at[0] - c'0')
            digits += 1
            fraction += 1
            if digits > 18:
                return NULL
            at += 1
        if fraction == 0:
            return NULL
    if at < end and (at[0] == c'e' or at[0] == c'E'):
        return NULL
    if mantissa > MAX_MANTISSA:
        return NULL
    value[0] = <double>mantissa / POWERS[fraction]
    if negative:
        value[0] = -value[0]
    return at


cdef inline int field_of(Text *name) noexcept nogil:
    cdef const char *text = name.start
    if name.length == 5:
        if memcmp(text, b"price", 5) == 0:
            return PRICE
        if memcmp(text, b"venue", 5) == 0:
            return VENUE
    elif name.length == 6:
        if memcmp(text, b"symbol", 6) == 0:
            return SYMBOL
        if memcmp(text, b"source", 6) == 0:
            return SOURCE
    elif name.length == 4:
        if memcmp(text, b"size", 4) == 0:
            return SIZE
        if memcmp(text, b"type", 4) == 0:
            return TYPE
    elif name.length == 10:
        if memcmp(text, b"event_time", 10) == 0:
            return EVENT_TIME
        if memcmp(text, b"conditions", 10) == 0:
            return CONDITIONS
    elif name.length == 8:
        if memcmp(text, b"trade_id", 8) == 0:
            return TRADE_ID
        if memcmp(text, b"sequence", 8) == 0:
            return SEQUENCE
    return 0


cdef struct Row:
    Text symbol
    Text trade_id
    Text venue
    Text source
    Text conditions
    double price
    double size
    int64_t event_time
    int64_t sequence


cdef inline const char *read_optional(
    const char *at, const char *end, Text *text
) noexcept nogil:
    """A text of 1 to 64 characters, or null (length 0)."""
    if end - at >= 4 and memcmp(at, b"null", 4) == 0:
        text.length = 0
        return at + 4
    at = read_text(at, end, text)
    if at == NULL or text.length == 0 or text.length > MAX_TEXT:
        return NULL
    return at


cdef inline bint read_row(const char *at, const char *end, Row *row) noexcept nogil:
    """Whether the value certainly is a trade of the usual form; then the row is filled."""
    cdef int seen = 0, field
    cdef Text name
    row.trade_id.length = row.venue.length = row.source.length = row.conditions.length = 0
    row.sequence = -1
    at = skip_space(at, end)
    if at >= end or at[0] != c'{':
        return False
    at += 1
    while True:
        at = read_text(skip_space(at, end), end, &name)
        if at == NULL:
            return False
        field = field_of(&name)
        if field == 0 or seen & field:
            return False
        seen |= field
        at = skip_space(at, end)
        if at >= end or at[0] != c':':
            return False
        at = skip_space(at + 1, end)
        if field == SYMBOL:
            at = read_text(at, end, &row.symbol)
            if at == NULL or row.symbol.length == 0 or row.symbol.length > MAX_SYMBOL:
                return False
        elif field == PRICE:
            at = read_number(at, end, &row.price)
            if at == NULL or row.price > MAX_PRICE or row.price < -MAX_PRICE:
                return False
        elif field == SIZE:
            at = read_number(at, end, &row.size)
            if at == NULL or row.size > MAX_PRICE or row.size < 0.0:
                return False
        elif field == EVENT_TIME:
            at = read_integer(at, end, &row.event_time)
        elif field == SEQUENCE:
            if end - at >= 4 and memcmp(at, b"null", 4) == 0:
                at += 4
            else:
                at = read_integer(at, end, &row.sequence)
        elif field == TRADE_ID:
            at = read_optional(at, end, &row.trade_id)
        elif field == VENUE:
            at = read_optional(at, end, &row.venue)
        elif field == SOURCE:
            at = read_optional(at, end, &row.source)
        elif field == CONDITIONS:
            # The whole array as it stands; each different one is decoded once, in full.
            if at >= end or at[0] != c'[':
                return False
            row.conditions.start = at
            while at < end and at[0] != c']':
                if <unsigned char>at[0] < 32 or <unsigned char>at[0] > 126 or at[0] == c'\\':
                    return False
                at += 1
            if at >= end:
                return False
            at += 1
            row.conditions.length = at - row.conditions.start
            if row.conditions.length > MAX_CONDITIONS_TEXT:
                return False
        else:
            at = read_text(at, end, &name)
            if at == NULL or name.length != 5 or memcmp(name.start, b"trade", 5) != 0:
                return False
        if at == NULL:
            return False
        at = skip_space(at, end)
        if at >= end:
            return False
        if at[0] == c',':
            at += 1
            continue
        if at[0] != c'}':
            return False
        return seen & REQUIRED == REQUIRED and skip_space(at + 1, end) == end


cdef inline char *write_identity(Row *row, char *to) noexcept nogil:
    """symbol NUL venue NUL id, as `join_identity` makes it; the place behind it."""
    memcpy(to, row.symbol.start, row.symbol.length)
    to += row.symbol.length
    to[0] = 0
    to += 1
    memcpy(to, row.venue.start, row.venue.length)
    to += row.venue.length
    to[0] = 0
    to += 1
    memcpy(to, row.trade_id.start, row.trade_id.length)
    return to + row.trade_id.length


cdef enum:
    #: More than an identity of the bounds above can have.
    LONGEST_IDENTITY = 256


def parse(
    list values,
    Py_ssize_t max_value_bytes,
    TextTable symbols,
    TextTable sources,
    TextTable conditions,
    uint8_t[::1] good,
    int64_t[::1] time,
    double[::1] price,
    double[::1] size,
    int64_t[::1] sequence,
    int32_t[::1] symbol,
    int32_t[::1] source,
    int32_t[::1] condition,
    int64_t[::1] identity_begin,
    int32_t[::1] identity_length,
):
    """Fill a row of each array for each value of the usual form; how many, and their identities.

    `good` tells which; the others are untouched. The identities of trades with an id are one behind
    the other in the bytes that are returned. Codes: `source` and `condition` are 0 for none, else the
    table's code plus one.
    """
    cdef Py_ssize_t index, length, count = len(values)
    cdef Py_ssize_t found = 0
    cdef Row row
    cdef const char *start
    cdef Py_ssize_t room = 32 * count + LONGEST_IDENTITY, at = 0
    cdef char *identities = <char *>malloc(room)
    cdef char *larger
    if identities == NULL:
        raise MemoryError
    try:
        for index in range(count):
            value = values[index]
            if not PyBytes_CheckExact(value):
                continue
            length = PyBytes_GET_SIZE(value)
            if length > max_value_bytes:
                continue
            start = PyBytes_AS_STRING(value)
            if not read_row(start, start + length, &row):
                continue
            time[index] = row.event_time
            # 0.0 for -0.0, so that high and low do not depend on the order.
            price[index] = row.price + 0.0
            size[index] = row.size + 0.0
            sequence[index] = row.sequence
            symbol[index] = symbols.find(row.symbol.start, row.symbol.length)
            source[index] = (
                0 if row.source.length == 0 else sources.find(row.source.start, row.source.length) + 1
            )
            condition[index] = (
                0
                if row.conditions.length == 0
                else conditions.find(row.conditions.start, row.conditions.length) + 1
            )
            if row.trade_id.length:
                if at + LONGEST_IDENTITY > room:
                    room *= 2
                    larger = <char *>realloc(identities, room)
                    if larger == NULL:
                        raise MemoryError
                    identities = larger
                identity_begin[index] = at
                at = write_identity(&row, identities + at) - identities
                identity_length[index] = <int32_t>(at - identity_begin[index])
            good[index] = 1
            found += 1
        return found, PyBytes_FromStringAndSize(identities, at)
    finally:
        free(identities)
