# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Trades from JSON or MessagePack straight into columns: the compiled twin of `tables/parsing.py`.

It reads the usual form of a trade and nothing else: one flat object of known fields, ASCII strings
without escapes, numbers that are exact in a double by one division (at most 2^53 over at
most 10^22, after Clinger 1990), within the contract's bounds; or one map of the same. Whatever is
not certainly that is left to the full decoder, so this code never refuses a record and never
differs from it (`tests/unit/test_parsing.py`, `tests/unit/test_parsing_packed.py`).
"""

from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_CheckExact,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

import sys

import numpy as np

if sys.byteorder != "little":
    raise ImportError("the compiled parser is for little-endian machines")

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

cdef enum:
    MAX_CONDITIONS_TEXT = 512


include "_hashing.pxi"


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

    cdef int32_t find(self, const char *text, Py_ssize_t length) except -1 nogil:
        cdef uint64_t hashed = hash_of(<const uint8_t *>text, length)
        cdef Py_ssize_t index = <Py_ssize_t>(hashed & <uint64_t>self.mask)
        cdef Slot *slot
        while True:
            slot = &self.slots[index]
            if slot.text == NULL:
                return self.add(text, length, hashed)
            if (
                slot.hash == hashed
                and slot.length == length
                and is_same(<const uint8_t *>slot.text, <const uint8_t *>text, length)
            ):
                return slot.code
            index = (index + 1) & self.mask

    cdef int32_t add(
        self, const char *text, Py_ssize_t length, uint64_t hashed
    ) except -1 with gil:
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


include "_kernel_reading.pxi"
include "_kernel_packed.pxi"


cdef inline uint8_t *write_identity(Row *row, uint8_t *to) noexcept nogil:
    """symbol NUL venue NUL id, as `join_identity` makes it; the place behind it."""
    copy_text(to, <const uint8_t *>row.symbol.start, row.symbol.length)
    to += row.symbol.length
    to[0] = 0
    to += 1
    copy_text(to, <const uint8_t *>row.venue.start, row.venue.length)
    to += row.venue.length
    to[0] = 0
    to += 1
    copy_text(to, <const uint8_t *>row.trade_id.start, row.trade_id.length)
    return to + row.trade_id.length


cdef enum:
    #: More than an identity of the bounds above can have.
    LONGEST_IDENTITY = 256


cdef place(list values, int64_t[::1] begins, int32_t[::1] lengths):
    """Where the values are; those that are no bytes have the length -1."""
    cdef Py_ssize_t index
    for index in range(len(values)):
        value = values[index]
        if PyBytes_CheckExact(value) and PyBytes_GET_SIZE(value) <= 0x7FFFFFFF:
            begins[index] = <int64_t>PyBytes_AS_STRING(value)
            lengths[index] = <int32_t>PyBytes_GET_SIZE(value)
        else:
            lengths[index] = -1


def parse(
    values,
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

    Args:
        values: a list of bytes and None, or `PackedValues` (app/streaming/_unpack.pyx).
    """
    cdef Py_ssize_t index, length, count = len(values)
    cdef Py_ssize_t found = 0
    if isinstance(values, list):
        begins, lengths = np.empty(count, np.int64), np.empty(count, np.int32)
        place(values, begins, lengths)
    else:
        begins, lengths = map(np.ascontiguousarray, (values.begins, values.lengths))
    cdef const int64_t[::1] begin_of = begins
    cdef const int32_t[::1] length_of = lengths
    if not (
        good.shape[0] == time.shape[0] == price.shape[0] == size.shape[0] == count
        and sequence.shape[0] == symbol.shape[0] == source.shape[0] == count
        and condition.shape[0] == identity_begin.shape[0] == identity_length.shape[0] == count
        and begin_of.shape[0] == length_of.shape[0] == count
    ):
        raise ValueError("columns of different lengths")
    cdef Row row
    cdef Order order, packed_order
    cdef bint usual
    memset(&order, 0, sizeof(Order))
    memset(&packed_order, 0, sizeof(Order))
    cdef const char *start
    cdef Py_ssize_t room = 32 * count + LONGEST_IDENTITY, at = 0
    cdef uint8_t *identities = <uint8_t *>malloc(room)
    cdef uint8_t *larger
    if identities == NULL:
        raise MemoryError
    try:
        with nogil:
            for index in range(count):
                length = length_of[index]
                if length < 0 or length > max_value_bytes:
                    continue
                start = <const char *>begin_of[index]
                if length and <unsigned char>start[0] & 0xF0 == 0x80:
                    usual = read_packed_row(start, start + length, &row, &packed_order)
                else:
                    usual = read_row(start, start + length, &row, &order)
                if not usual:
                    continue
                time[index] = row.event_time
                # 0.0 for -0.0, so that high and low do not depend on the order.
                price[index] = row.price + 0.0
                size[index] = row.size + 0.0
                sequence[index] = row.sequence
                symbol[index] = symbols.find(row.symbol.start, row.symbol.length)
                source[index] = (
                    0
                    if row.source.length == 0
                    else sources.find(row.source.start, row.source.length) + 1
                )
                condition[index] = (
                    0
                    if row.conditions.length == 0
                    else conditions.find(row.conditions.start, row.conditions.length) + 1
                )
                if row.trade_id.length:
                    if at + LONGEST_IDENTITY > room:
                        room *= 2
                        larger = <uint8_t *>realloc(identities, room)
                        if larger == NULL:
                            with gil:
                                raise MemoryError
                        identities = larger
                    identity_begin[index] = at
                    at = write_identity(&row, identities + at) - identities
                    identity_length[index] = <int32_t>(at - identity_begin[index])
                good[index] = 1
                found += 1
        return found, PyBytes_FromStringAndSize(<char *>identities, at)
    finally:
        free(identities)
