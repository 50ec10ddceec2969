# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Values out of the records of a Kafka record batch (message format 2), without record objects.

Source of the format: Apache Kafka documentation, "Implementation: Message Format: Record". The
pure twin is aiokafka's own iteration (`slim.py`); `tests/unit/test_slim.py` holds them equal.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint64_t, uint8_t


cdef inline Py_ssize_t read_varint(
    const uint8_t *data, Py_ssize_t at, Py_ssize_t end, int64_t *value
) noexcept nogil:
    """A zigzag varint; the position behind it, or -1."""
    cdef uint64_t found = 0
    cdef int shift = 0
    cdef uint8_t byte
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        found |= <uint64_t>(byte & 0x7F) << shift
        if byte < 0x80:
            value[0] = <int64_t>(found >> 1) ^ -<int64_t>(found & 1)
            return at
        shift += 7
    return -1


def unpack(const uint8_t[::1] records, Py_ssize_t count, bint keyed, int64_t[::1] deltas):
    """Values, and keys if asked for, of `count` records; fills their offset deltas.

    Raises:
        ValueError: the bytes are not that many records.
    """
    cdef list values = [None] * count
    cdef list keys = [None] * count if keyed else None
    cdef Py_ssize_t end = records.shape[0], at = 0, stop, index
    cdef int64_t length, ignored, size
    cdef const uint8_t *data = &records[0] if end else NULL
    for index in range(count):
        at = read_varint(data, at, end, &length)
        if at < 0 or length < 0 or length > end - at:
            raise ValueError("a record is longer than its batch")
        stop = at + <Py_ssize_t>length
        # One byte of attributes, then the time's delta.
        at = read_varint(data, at + 1, stop, &ignored)
        if at >= 0:
            at = read_varint(data, at, stop, &deltas[index])
        if at >= 0:
            at = read_varint(data, at, stop, &size)
        if at < 0 or size > stop - at:
            raise ValueError("a key is longer than its record")
        if size >= 0:
            if keyed:
                keys[index] = PyBytes_FromStringAndSize(<const char *>data + at, size)
            at += <Py_ssize_t>size
        at = read_varint(data, at, stop, &size)
        if at < 0 or size > stop - at:
            raise ValueError("a value is longer than its record")
        if size >= 0:
            values[index] = PyBytes_FromStringAndSize(<const char *>data + at, size)
        # Headers are not read.
        at = stop
    if at != end:
        raise ValueError("bytes are left over behind the last record")
    return values, keys
