# Rows of numbers, as tables/id_rows.py says. Part of `_ids.pyx`.

cdef enum:
    #: The first byte of a row: no msgpack begins so.
    NOT_MSGPACK = 0xC1
    #: Bytes with which a row ends.
    FULL_ROW = 65536
    #: Bytes of a number at most, seven bits each.
    LONGEST_NUMBER = 10


cdef inline uint8_t *write_number(uint8_t *to, uint64_t value) noexcept nogil:
    while value >= 0x80:
        to[0] = <uint8_t>(value | 0x80)
        to += 1
        value >>= 7
    to[0] = <uint8_t>value
    return to + 1


cdef class NumberRows:
    """Writes rows."""

    cdef list rows
    cdef uint8_t *row
    cdef Py_ssize_t used
    cdef Py_ssize_t size
    cdef const Prefix *before
    cdef uint64_t first

    def __cinit__(self):
        self.rows = []

    def __dealloc__(self):
        free(self.row)

    cdef int write(self, const Prefix *prefix, const uint64_t *numbers, Py_ssize_t count) except -1:
        """Write numbers, at least one, ascending."""
        cdef Py_ssize_t number, most, shared = 0
        cdef uint8_t *larger
        cdef uint8_t *to
        cdef int64_t step
        most = self.used + 1 + prefix.length + LONGEST_NUMBER * (count + 3)
        if most > self.size:
            larger = <uint8_t *>realloc(self.row, 2 * most)
            if larger == NULL:
                raise MemoryError
            self.row, self.size = larger, 2 * most
        to = self.row + self.used
        if self.used == 0:
            to[0] = NOT_MSGPACK
            to += 1
        else:
            most = min(prefix.length, self.before.length)
            while shared < most and text_of(prefix)[shared] == text_of(self.before)[shared]:
                shared += 1
        to = write_number(to, shared)
        to = write_number(to, prefix.length - shared)
        memcpy(to, text_of(prefix) + shared, prefix.length - shared)
        to = write_number(to + prefix.length - shared, count)
        step = <int64_t>numbers[0] - <int64_t>self.first
        to = write_number(to, (<uint64_t>step << 1) ^ <uint64_t>(step >> 63))
        for number in range(1, count):
            to = write_number(to, numbers[number] - numbers[number - 1])
        self.before, self.first, self.used = prefix, numbers[0], to - self.row
        if self.used >= FULL_ROW:
            self.end_row()
        return 0

    cdef int end_row(self) except -1:
        if self.used:
            self.rows.append(PyBytes_FromStringAndSize(<char *>self.row, self.used))
            self.used, self.before, self.first = 0, NULL, 0
        return 0


cdef class NumberReader:
    """Reads a row: a group with its prefix, and its numbers one after the other."""

    cdef const uint8_t *at
    cdef const uint8_t *end
    cdef uint8_t prefix[LONGEST]
    cdef Py_ssize_t length
    cdef uint64_t first
    cdef uint64_t number
    #: Numbers of the group that are not read yet.
    cdef uint64_t left

    cdef bint next_group(self) except -1:
        """Go to the next group and its first number; whether there is one.

        Raises:
            ValueError: it is none.
        """
        cdef uint64_t shared, fresh, step
        if self.at == self.end:
            return False
        shared, fresh = self.read(), self.read()
        if fresh > <uint64_t>(self.end - self.at):
            raise ValueError("a row of identities that ends too early")
        if shared > <uint64_t>self.length or shared + fresh >= LONGEST:
            raise ValueError("not a row of identities: a prefix")
        memcpy(self.prefix + shared, self.at, fresh)
        self.at += fresh
        self.length = shared + fresh
        if not is_prefix(self.prefix, self.length):
            raise ValueError("not a row of identities: a prefix")
        self.left, step = self.read(), self.read()
        if self.left == 0:
            raise ValueError("not a row of identities: an empty group")
        self.first += (step >> 1) ^ (0 - (step & 1))
        self.number = self.first
        self.check()
        return True

    cdef bint next_number(self) except -1:
        """Go to the next number of the group; whether there is one.

        Raises:
            ValueError: it is none.
        """
        self.left -= 1
        if self.left == 0:
            return False
        self.number += self.read()
        self.check()
        return True

    cdef int check(self) except -1:
        if self.number >= END_OF_NUMBERS:
            raise ValueError(f"not a row of identities: {self.number}")
        return 0

    cdef uint64_t read(self) except? 0xFFFFFFFFFFFFFFFF:
        """A number of at most 63 bits."""
        cdef uint64_t value = 0
        cdef int shift = 0
        while self.at < self.end and shift < 63:
            value |= <uint64_t>(self.at[0] & 0x7F) << shift
            shift += 7
            self.at += 1
            if (self.at - 1)[0] < 0x80:
                return value
        raise ValueError("a row of identities that ends too early")
