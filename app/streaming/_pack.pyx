# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Records of a Kafka record batch (message format 2), packed without an object a record.

Source of the format: Apache Kafka documentation, "Implementation: Message Format: Record". The
pure twin is aiokafka's builder (`packing.py`); `tests/unit/test_packing.py` holds them equal.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

#: Of a varint of 64 bits.
cdef enum:
    LONGEST = 10


cdef inline Py_ssize_t write_varint(uint8_t *data, Py_ssize_t at, int64_t value) noexcept nogil:
    """A zigzag varint; the position behind it."""
    cdef uint64_t left = (<uint64_t>value << 1) ^ <uint64_t>(value >> 63)
    while left >= 0x80:
        data[at] = <uint8_t>(left & 0x7F) | 0x80
        left >>= 7
        at += 1
    data[at] = <uint8_t>left
    return at + 1


cdef inline Py_ssize_t varint_size(int64_t value) noexcept nogil:
    cdef uint64_t left = (<uint64_t>value << 1) ^ <uint64_t>(value >> 63)
    cdef Py_ssize_t size = 1
    while left >= 0x80:
        left >>= 7
        size += 1
    return size


cdef inline Py_ssize_t text_size(object text) except -1:
    """Bytes of a length and what has it; None is the length -1."""
    cdef Py_ssize_t size
    if text is None:
        return 1
    size = PyBytes_GET_SIZE(<bytes?>text)
    return varint_size(size) + size


cdef inline Py_ssize_t write_text(uint8_t *data, Py_ssize_t at, object text) noexcept:
    cdef Py_ssize_t size
    if text is None:
        return write_varint(data, at, -1)
    size = PyBytes_GET_SIZE(text)
    at = write_varint(data, at, size)
    memcpy(data + at, PyBytes_AS_STRING(text), size)
    return at + size


def pack(rows, Py_ssize_t first, Py_ssize_t limit):
    """Pack rows from `first` on, until `limit` bytes: the bytes, and how many rows they are.

    At least one row is packed, however long it is.

    Args:
        rows: a list of tuples of key, value (bytes or None) and headers (pairs of str and bytes).

    Raises:
        TypeError: a key, a value or a header is of another type.
    """
    cdef list every = rows
    cdef Py_ssize_t count = len(every), number, size, at = 0, room = 65536, place
    cdef uint8_t *data = <uint8_t *>PyMem_Malloc(room)
    cdef uint8_t *larger
    cdef tuple row
    cdef list encoded
    if data is NULL:
        raise MemoryError
    try:
        number = first
        while number < count:
            found = every[number]
            if not isinstance(found, tuple) or len(found) < 3:
                raise TypeError(f"a row of type {type(found).__name__}")
            # Also of a class that derives from it.
            row = <tuple>found
            key, value, headers = row[0], row[1], row[2]
            encoded = None
            # Attributes and a time of its own: a byte each.
            size = 2 + varint_size(number - first) + text_size(key) + text_size(value)
            if headers:
                encoded = [(name.encode(), content) for name, content in headers]
                size += varint_size(len(encoded))
                for name, content in encoded:
                    size += text_size(name) + text_size(content)
            else:
                size += 1
            if number > first and at + size + LONGEST > limit:
                break
            if at + size + LONGEST > room:
                while at + size + LONGEST > room:
                    room *= 2
                larger = <uint8_t *>PyMem_Realloc(data, room)
                if larger is NULL:
                    raise MemoryError
                data = larger
            at = write_varint(data, at, size)
            data[at] = 0
            data[at + 1] = 0
            at = write_varint(data, at + 2, number - first)
            at = write_text(data, at, key)
            at = write_text(data, at, value)
            at = write_varint(data, at, 0 if encoded is None else len(encoded))
            if encoded is not None:
                for name, content in encoded:
                    at = write_text(data, at, name)
                    at = write_text(data, at, content)
            number += 1
        return PyBytes_FromStringAndSize(<char *>data, at), number - first
    finally:
        PyMem_Free(data)
