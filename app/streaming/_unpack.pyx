# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Values out of the records of a Kafka record batch (message format 2), without record objects.

Source of the format: Apache Kafka documentation, "Implementation: Message Format: Record". The
pure twin is aiokafka's own iteration (`slim.py`); `tests/unit/test_slim.py` holds them equal.
"""

import numpy as np

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint64_t, uint8_t

cdef enum:
    #: Length of a value that is null, as in the format.
    NULL_VALUE = -1
    LONG_RECORD = -1
    LONG_KEY = -2
    LONG_VALUE = -3


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


cdef Py_ssize_t locate(
    const uint8_t *data,
    Py_ssize_t end,
    Py_ssize_t count,
    int64_t *deltas,
    int64_t *key_begins,
    int32_t *key_lengths,
    int64_t *begins,
    int32_t *lengths,
) noexcept nogil:
    """Where keys and values are, by address; the position behind the records, or a fault."""
    cdef Py_ssize_t at = 0, stop, index
    cdef int64_t length, ignored, size
    for index in range(count):
        at = read_varint(data, at, end, &length)
        if at < 0 or length < 0 or length > end - at:
            return LONG_RECORD
        stop = at + <Py_ssize_t>length
        # One byte of attributes, then the time's delta.
        at = read_varint(data, at + 1, stop, &ignored)
        if at >= 0:
            at = read_varint(data, at, stop, &deltas[index])
        if at >= 0:
            at = read_varint(data, at, stop, &size)
        if at < 0 or size > stop - at:
            return LONG_KEY
        if key_begins != NULL:
            key_begins[index] = <int64_t>(data + at)
            key_lengths[index] = <int32_t>size if size >= 0 else NULL_VALUE
        if size >= 0:
            at += <Py_ssize_t>size
        at = read_varint(data, at, stop, &size)
        if at < 0 or size > stop - at:
            return LONG_VALUE
        begins[index] = <int64_t>(data + at)
        lengths[index] = <int32_t>size if size >= 0 else NULL_VALUE
        # Headers are not read.
        at = stop
    return at


cdef int check(Py_ssize_t at, Py_ssize_t end) except -1:
    if at == LONG_RECORD:
        raise ValueError("a record is longer than its batch")
    if at == LONG_KEY:
        raise ValueError("a key is longer than its record")
    if at == LONG_VALUE:
        raise ValueError("a value is longer than its record")
    if at != end:
        raise ValueError("bytes are left over behind the last record")
    return 0


cdef class PackedValues:
    """Values where they lie in the bytes of fetches; each is made when it is asked for.

    A sequence of bytes and None. `begins` are addresses and `lengths` bytes (-1: null), int64 and
    int32 of shape (n,), for compiled code; they are good for as long as this object is there.
    """

    cdef readonly object begins
    cdef readonly object lengths
    cdef tuple owners

    def __init__(self, begins, lengths, tuple owners):
        self.begins, self.lengths, self.owners = begins, lengths, owners

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return PackedValues(self.begins[index], self.lengths[index], self.owners)
        length = self.lengths[index]
        if length < 0:
            return None
        return PyBytes_FromStringAndSize(<const char *><int64_t>self.begins[index], length)

    def __iter__(self):
        return iter(self.tolist())

    def __contains__(self, value):
        if value is None:
            return bool((self.lengths < 0).any())
        return value in self.tolist()

    def tolist(self):
        """The values as a list."""
        cdef const int64_t[::1] begins = np.ascontiguousarray(self.begins)
        cdef const int32_t[::1] lengths = np.ascontiguousarray(self.lengths)
        cdef Py_ssize_t index, count = lengths.shape[0]
        cdef list values = [None] * count
        for index in range(count):
            if lengths[index] >= 0:
                values[index] = PyBytes_FromStringAndSize(
                    <const char *>begins[index], lengths[index]
                )
        return values

    @staticmethod
    def join(list parts):
        """Values one behind the other."""
        cdef PackedValues each
        cdef tuple owners = ()
        for each in parts:
            owners += each.owners
        return PackedValues(
            np.concatenate([each.begins for each in parts]),
            np.concatenate([each.lengths for each in parts]),
            owners,
        )


cdef PackedValues located(
    const uint8_t[::1] view,
    records,
    Py_ssize_t count,
    int64_t[::1] deltas,
    int64_t[::1] key_begins,
    int32_t[::1] key_lengths,
):
    cdef Py_ssize_t end = view.shape[0], at = 0
    begins, lengths = np.empty(count, np.int64), np.empty(count, np.int32)
    cdef int64_t[::1] begin = begins
    cdef int32_t[::1] length = lengths
    cdef int64_t *key_begin = NULL
    cdef int32_t *key_length = NULL
    if deltas.shape[0] != count:
        raise ValueError(f"{deltas.shape[0]} deltas of {count} records")
    if count and not end:
        check(LONG_RECORD, end)
    if count:
        if key_begins is not None:
            key_begin = &key_begins[0]
            key_length = &key_lengths[0]
        with nogil:
            at = locate(
                &view[0], end, count, &deltas[0], key_begin, key_length, &begin[0], &length[0]
            )
    check(at, end)
    return PackedValues(begins, lengths, (memoryview(records),))


def unpack_packed(records, Py_ssize_t count, int64_t[::1] deltas):
    """The values of `count` records, left where they are; fills their offset deltas.

    Args:
        records: bytes or a view of them, which are kept for as long as the values.

    Raises:
        ValueError: the bytes are not that many records.
    """
    return located(records, records, count, deltas, None, None)


def unpack(records, Py_ssize_t count, bint keyed, int64_t[::1] deltas):
    """Values, and keys if asked for, of `count` records; fills their offset deltas.

    Raises:
        ValueError: the bytes are not that many records.
    """
    cdef const uint8_t[::1] view = records
    cdef PackedValues values
    if not keyed:
        return unpack_packed(records, count, deltas).tolist(), None
    key_begins, key_lengths = np.empty(count, np.int64), np.empty(count, np.int32)
    values = located(view, records, count, deltas, key_begins, key_lengths)
    return values.tolist(), PackedValues(key_begins, key_lengths, values.owners).tolist()
