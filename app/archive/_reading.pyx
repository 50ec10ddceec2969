# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Records from JSON straight to the numbers and texts of columns: the compiled twin of msgspec.

It reads the form in which msgspec writes a flat record, or one with a mapping of floats, and
nothing else: the known fields in their order, without spaces, ASCII strings without escapes, no
name twice. Whatever is not certainly that, or has a number whose double is not certain, is left to
msgspec, record by record: so this code never refuses a record and never differs
(`tests/unit/test_archive_columns.py`). All of it but the first sight of an array, or of a name in a
mapping, runs without the interpreter's lock.
"""

cimport cython
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_CheckExact,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy

include "../sinks/_lines_reading.pxi"
include "../sinks/_lines_table.pxi"

cdef extern from *:
    """
    /* The double nearest to digits / 10^fraction, where that is certain. Up to 2^53 and 10^22 both
       are exact and a division rounds once (W. Clinger, "How to read floating point numbers
       accurately", 1990). Else the quotient is at most two units beside it, and the rest, all
       multiplied by 5^fraction and a power of two, is exact in 127 bits and tells by how many. */
    static int nearest(uint64_t digits, int fraction, double *value)
    {
        if (digits <= 9007199254740992ULL && fraction >= -22 && fraction <= 22) {
            *value = fraction < 0 ? (double)digits * powers_of_ten[-fraction]
                                  : (double)digits / powers_of_ten[fraction];
            return 1;
        }
    #ifdef __SIZEOF_INT128__
        if (fraction >= 1 && fraction <= 31 && digits < 1000000000000000000ULL) {
            __int128 power, rest;
            double near_by = (double)digits / powers_of_ten[fraction];
            uint64_t bits, mantissa;
            int shift, step;
            power = powers_of_five[fraction > 27 ? 27 : fraction];
            if (fraction > 27)
                power *= powers_of_five[fraction - 27];
            memcpy(&bits, &near_by, sizeof(bits));
            shift = 1075 - (int)(bits >> 52) - fraction;
            if (shift < 0 || shift > 66)
                return 0;
            mantissa = (bits & 0xFFFFFFFFFFFFFULL) | 0x10000000000000ULL;
            rest = (__int128)digits * ((__int128)1 << shift) - (__int128)mantissa * power;
            for (step = 0; step < 3; step++) {
                if (2 * rest > power) {
                    mantissa++;
                    rest -= power;
                } else if (2 * rest < -power) {
                    mantissa--;
                    rest += power;
                }
            }
            /* Within one power of two, and nearer to it than to its neighbours. */
            if (mantissa <= 0x10000000000000ULL || mantissa >= 0x1FFFFFFFFFFFFFULL
                || 2 * rest >= power || 2 * rest <= -power)
                return 0;
            bits = (bits & 0xFFF0000000000000ULL) | (mantissa & 0xFFFFFFFFFFFFFULL);
            memcpy(value, &bits, sizeof(bits));
            return 1;
        }
    #endif
        return 0;
    }
    """
    bint nearest(uint64_t digits, int fraction, double *value) noexcept nogil
    const double[32] powers_of_ten

cdef enum:
    TEXT = 0
    FLOAT = 1
    INTEGER = 2
    BOOLEAN = 3
    TEXTS = 4
    MAPPING = 5

KINDS = {
    "text": TEXT, "float": FLOAT, "integer": INTEGER, "boolean": BOOLEAN, "texts": TEXTS,
    "mapping": MAPPING,
}
# Characters of an array or a name; what is longer is left to msgspec.
cdef Py_ssize_t MAX_KEY = 512
cdef Py_ssize_t MAX_BYTES = (1 << 31) - 1
# In place of the number of a field.
cdef Py_ssize_t NOTHING = -1


cdef struct Cell:
    # A value: a number's 64 bits, the number of an array, or a text where it stands.
    bint valid
    int64_t bits
    const char *text
    Py_ssize_t length


cdef struct Texts:
    # The texts of a column, one behind the other.
    char *start
    Py_ssize_t used
    Py_ssize_t capacity


cdef struct Entry:
    # Of a mapping: a float's bits, where its name ends among all names, and whether it is no null.
    int64_t bits
    int32_t end
    int32_t valid


cdef const char *read_number(
    const char *at, const char *end, const Field *field, Cell *cell
) noexcept nogil:
    """A number as JSON has it, to its double; NULL where it is none, or not certain."""
    cdef uint64_t digits = 0
    cdef int fraction = 0, exponent = 0, exponent_digits = 0
    cdef bint negative = False, down = False
    cdef const char *start
    cdef const char *point
    cdef double value
    if at < end and at[0] == c'-':
        if not field.negative:
            return NULL
        negative = True
        at += 1
    start = at
    at = take_digits(start, end, &digits)
    if at == start or (start[0] == c'0' and at - start > 1):
        return NULL
    if at < end and at[0] == c'.':
        point = at + 1
        at = take_digits(point, end, &digits)
        fraction = <int>(at - point)
        if at == point:
            return NULL
    elif negative and digits == 0:
        # An integer has no sign at zero.
        return NULL
    if not digits_fit(start, at):
        return NULL
    if at < end and (at[0] == c'e' or at[0] == c'E'):
        at += 1
        if at < end and (at[0] == c'-' or at[0] == c'+'):
            down = at[0] == c'-'
            at += 1
        while at < end and c'0' <= at[0] <= c'9':
            if exponent_digits == 3:
                return NULL
            exponent = exponent * 10 + (at[0] - c'0')
            exponent_digits += 1
            at += 1
        if exponent_digits == 0:
            return NULL
        fraction += exponent if down else -exponent
    if not nearest(digits, fraction, &value):
        return NULL
    if field.whole < 32 and value >= powers_of_ten[field.whole]:
        return NULL
    if negative:
        value = -value
    memcpy(&cell.bits, &value, sizeof(value))
    cell.valid = True
    return at


cdef bint digits_fit(const char *start, const char *end) noexcept nogil:
    """Whether there are at most 18 characters behind the zeros that lead: no sum overflows."""
    while start < end and (start[0] == c'0' or start[0] == c'.'):
        start += 1
    return end - start <= 18


@cython.final
cdef class Reader:
    """Reads the records of one form (`app/contracts/record_forms.py`), once.

    Args:
        numbers: says of an array's JSON its number, as eight bytes; None: it is no such array.
    """

    cdef Table arrays, names
    cdef Field *fields
    cdef Cell *cells
    cdef Cell *standards
    cdef Texts *texts
    # `Entry` behind `Entry`; the names are the texts of the mapping, whose number this is.
    cdef Texts entries
    cdef Py_ssize_t mapping
    # Of the mapping that is read: tells a name that is there twice.
    cdef uint64_t stamp
    cdef Py_ssize_t field_count, type_length
    cdef const char *type_
    # Holds the texts that the pointers above point into.
    cdef list kept

    def __cinit__(self, form, numbers):
        cdef Py_ssize_t index
        self.kept = []
        self.arrays, self.names = Table(numbers), Table(bytes)
        self.mapping = NOTHING
        self.field_count = len(form.fields)
        if not self.field_count:
            raise ValueError("a record has fields")
        self.fields = <Field *>calloc(self.field_count, sizeof(Field))
        self.cells = <Cell *>calloc(self.field_count, sizeof(Cell))
        self.standards = <Cell *>calloc(self.field_count, sizeof(Cell))
        self.texts = <Texts *>calloc(self.field_count, sizeof(Texts))
        if NULL in (self.fields, self.cells, self.standards, self.texts):
            raise MemoryError
        self.type_, self.type_length = self.keep(form.type), len(form.type)
        for index, field in enumerate(form.fields):
            self.set_field(index, field)

    def __dealloc__(self):
        cdef Py_ssize_t index
        if self.texts != NULL:
            for index in range(self.field_count):
                free(self.texts[index].start)
        free(self.entries.start)
        free(self.fields)
        free(self.cells)
        free(self.standards)
        free(self.texts)

    cdef const char *keep(self, bytes text) except NULL:
        self.kept.append(text)
        return PyBytes_AS_STRING(text)

    cdef int set_field(self, Py_ssize_t index, field) except -1:
        cdef Field *to = &self.fields[index]
        cdef const char *start
        cdef const char *end
        to.key, to.key_length = self.keep(field.key), len(field.key)
        to.kind = KINDS[field.kind]
        to.optional, to.negative, to.whole = field.optional, field.negative, field.whole
        to.low, to.high = field.low, field.high
        to.shortest, to.longest = field.shortest, field.longest
        if to.kind == MAPPING:
            if self.mapping != NOTHING or field.standard is not None:
                raise ValueError("one mapping at most, and none by default")
            self.mapping = index
        elif field.standard is not None:
            start = self.keep(field.standard)
            end = start + len(field.standard)
            if not self.read(start, end, to, &self.standards[index], &start) or start != end:
                raise ValueError(f"{field.key}: {field.standard} is no default")
            to.missing = True
        return 0

    def columns(
        self, values, int64_t[:, ::1] numbers, uint8_t[:, ::1] valid, int64_t[::1] rest
    ):
        """Read the values of the usual form; return how many they are, and two things more.

        `numbers` and `valid` get a column a field: bits of integers and floats, 0 or 1, numbers of
        arrays, where a text ends, or with how many entries of all a mapping does; 1 where there is
        a value. `rest` gets the rows of the values that are left. All are as long as the values.

        The other two: the texts by field, of a mapping its names, empty for other fields; and the
        mapping's entries: 64 bits of a float, 32 of where its name ends, 32 that say if it is null
        (0) or not (1).

        Raises:
            OverflowError: more than 2 GiB, for places of 32 bits.
            ValueError: arrays of other shapes.
        """
        cdef tuple held = tuple(values)
        cdef Py_ssize_t count = len(held), index, made, total
        cdef const char **starts
        cdef Py_ssize_t *lengths
        if not (
            numbers.shape[0] == valid.shape[0] == self.field_count
            and numbers.shape[1] == valid.shape[1] == rest.shape[0] == count
        ):
            raise ValueError(f"arrays are not of {self.field_count} fields of {count} values")
        if count == 0:
            return 0, [b""] * self.field_count, b""
        starts = <const char **>malloc(count * sizeof(char *))
        lengths = <Py_ssize_t *>malloc(count * sizeof(Py_ssize_t))
        try:
            if starts == NULL or lengths == NULL:
                raise MemoryError
            total = locate(held, starts, lengths)
            if total > MAX_BYTES:
                raise OverflowError(f"{total} bytes at once")
            with nogil:
                made = self.run(
                    starts, lengths, count, &numbers[0, 0], &valid[0, 0], &rest[0]
                )
        finally:
            free(starts)
            free(lengths)
        return made, [
            PyBytes_FromStringAndSize(self.texts[index].start, self.texts[index].used)
            for index in range(self.field_count)
        ], PyBytes_FromStringAndSize(self.entries.start, self.entries.used)

    cdef Py_ssize_t run(
        self,
        const char **starts,
        const Py_ssize_t *lengths,
        Py_ssize_t count,
        int64_t *numbers,
        uint8_t *valid,
        int64_t *rest,
    ) except -1 nogil:
        cdef Py_ssize_t row, made = 0, left = 0, index, entries = 0, names = 0
        cdef Cell *cell
        for row in range(count):
            if starts[row] == NULL or not self.scan(starts[row], starts[row] + lengths[row]):
                rest[left] = row
                left += 1
                if self.mapping != NOTHING:
                    # Less what was read of it.
                    self.entries.used, self.texts[self.mapping].used = entries, names
                continue
            if self.mapping != NOTHING:
                entries, names = self.entries.used, self.texts[self.mapping].used
            for index in range(self.field_count):
                cell = &self.cells[index]
                valid[index * count + made] = cell.valid
                if self.fields[index].kind == TEXT:
                    if cell.valid:
                        self.append(&self.texts[index], cell.text, cell.length)
                    numbers[index * count + made] = self.texts[index].used
                else:
                    numbers[index * count + made] = cell.bits
            made += 1
        return made

    cdef int append(self, Texts *to, const char *text, Py_ssize_t length) except -1 nogil:
        cdef char *larger
        if to.capacity - to.used < length:
            larger = <char *>realloc(to.start, 2 * (to.used + length) + 4096)
            if larger == NULL:
                with gil:
                    raise MemoryError
            to.start, to.capacity = larger, 2 * (to.used + length) + 4096
        if length:
            copy(to.start + to.used, text, length)
        to.used += length
        return 0

    cdef int scan(self, const char *at, const char *end) except -1 nogil:
        """Whether the value is of the usual form; then the cells are filled."""
        cdef Py_ssize_t index
        cdef Field *field
        cdef char before = c'{'
        if self.type_length and begins(at, end, self.type_, self.type_length):
            at += self.type_length
            before = c','
        for index in range(self.field_count):
            field = &self.fields[index]
            if at < end and at[0] == before and begins(at + 1, end, field.key, field.key_length):
                at += 1 + field.key_length
                before = c','
                if field.kind == MAPPING:
                    if not self.read_mapping(at, end, field, &self.texts[index], &at):
                        return 0
                    self.cells[index].valid = True
                    self.cells[index].bits = self.entries.used // <Py_ssize_t>sizeof(Entry)
                elif not self.read(at, end, field, &self.cells[index], &at):
                    return 0
            elif field.missing:
                self.cells[index] = self.standards[index]
            else:
                return 0
        return before == c',' and end - at == 1 and at[0] == c'}'

    cdef int read(
        self, const char *at, const char *end, const Field *field, Cell *cell, const char **behind
    ) except -1 nogil:
        """Whether a value of the field's kind stands there; then `behind` points behind it."""
        cdef Span span
        cdef Slot *slot
        cell.valid = False
        cell.bits = 0
        if field.optional and begins(at, end, b"null", 4):
            behind[0] = at + 4
            return 1
        if field.kind == FLOAT:
            at = read_number(at, end, field, cell)
        elif field.kind == INTEGER:
            at = read_integer(at, end, field, &span)
            cell.bits = span.integer
        elif field.kind == BOOLEAN:
            at = read_boolean(at, end, &span)
            cell.bits = span.length == 4
        elif field.kind == TEXT:
            at = read_text(at, end, &span)
            if at == NULL or not field.shortest <= span.length - 2 <= field.longest:
                return 0
            # Without its quotes.
            cell.text, cell.length = span.start + 1, span.length - 2
        else:
            at = read_array(at, end, &span)
            if at == NULL or span.length > MAX_KEY:
                return 0
            slot = self.arrays.find(span.start, span.length)
            if slot.text == NULL:
                return 0
            memcpy(&cell.bits, slot.text, sizeof(cell.bits))
        cell.valid = True
        behind[0] = at
        return at != NULL

    cdef int read_mapping(
        self,
        const char *at,
        const char *end,
        const Field *field,
        Texts *names,
        const char **behind,
    ) except -1 nogil:
        """Whether there are names, none of them twice, with floats; as `read`."""
        cdef Cell cell
        cdef Entry entry
        cdef Slot *slot
        cdef Span name
        if at >= end or at[0] != c'{':
            return 0
        at += 1
        self.stamp += 1
        if at < end and at[0] == c'}':
            behind[0] = at + 1
            return 1
        while True:
            at = read_text(at, end, &name)
            if at == NULL or name.length > MAX_KEY or at >= end or at[0] != c':':
                return 0
            at += 1
            slot = self.names.find(name.start, name.length)
            if slot.stamp == self.stamp:
                return 0
            slot.stamp = self.stamp
            # Without its quotes.
            self.append(names, name.start + 1, name.length - 2)
            cell.valid = False
            cell.bits = 0
            if field.optional and begins(at, end, b"null", 4):
                at += 4
            else:
                at = read_number(at, end, field, &cell)
            if at == NULL or at >= end:
                return 0
            entry.bits, entry.end, entry.valid = cell.bits, <int32_t>names.used, cell.valid
            self.append(&self.entries, <const char *>&entry, sizeof(Entry))
            if at[0] == c'}':
                behind[0] = at + 1
                return 1
            if at[0] != c',':
                return 0
            at += 1
