# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Records from JSON straight to lines of line protocol: the compiled twin of `points.py`.

It reads the form in which msgspec writes a flat record and nothing else: the known fields in their
order, without spaces; ASCII strings without escapes; numbers in the digits that msgspec would write
again, so that they are copied and no float is ever made. Whatever is not certainly that is left to
the Python way, record by record, so this code never refuses a record and never differs from it
(`tests/unit/test_sink_lines_compiled.py`).

What a plan (`compiled.py`) leaves to Python at first sight is remembered in tables: measurement
and tags, arrays of texts, names of a mapping. All else runs without the interpreter's lock.
"""

cimport cython
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_CheckExact,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy

include "_lines_reading.pxi"
include "_lines_writing.pxi"
include "_lines_table.pxi"

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

# A table's keys; what is longer is left to Python.
cdef Py_ssize_t MAX_KEY = 512
cdef Py_ssize_t MAX_TAGS = 8
cdef Py_ssize_t MAX_ENTRIES = 1024
# Digits of an integer, its sign and what stands around it.
cdef Py_ssize_t NUMBER = 24


@cython.final
cdef class Encoder:
    """Writes the lines of one measurement; see `app/sinks/compiled.py` for what it is told."""

    cdef Table heads, arrays, names
    cdef Field *fields
    cdef Span *spans
    cdef Output *outputs
    cdef Entry *entries
    cdef Py_ssize_t field_count, output_count, entry_count, tag_count, remembered
    cdef int[8] tags
    # The tags of a record, a quote behind each.
    cdef char[512] key
    cdef Py_ssize_t key_length
    cdef const char *type_
    cdef const char *remainder
    cdef const char *nulls
    cdef const char *prefix
    cdef Py_ssize_t type_length, remainder_length, nulls_length, prefix_length
    # Of the fields, or what says that it is none.
    cdef int time, ordinal, revision, price, size_
    cdef uint64_t room, ahead
    cdef int64_t earliest
    cdef int notional
    cdef bint judged, busy
    cdef char *buffer
    cdef Py_ssize_t used, capacity
    # Bytes that a line may have beside its head and its record's: of any record, of this one.
    cdef Py_ssize_t constant, extra
    # Of the mapping that is read, and the time of the line that was written.
    cdef uint64_t stamp
    cdef int64_t stamped
    # Holds the texts that the pointers above point into.
    cdef list kept

    def __cinit__(self, plan, heads, arrays, names, Py_ssize_t remembered):
        cdef Py_ssize_t index
        self.kept = []
        self.heads, self.arrays, self.names = Table(heads), Table(arrays), Table(names)
        self.remembered = remembered
        self.field_count, self.output_count = len(plan.fields), len(plan.outputs)
        self.tag_count = len(plan.tags)
        if not self.field_count or not 0 < self.tag_count <= MAX_TAGS:
            raise ValueError(f"{self.field_count} fields and {self.tag_count} tags")
        self.fields = <Field *>calloc(self.field_count, sizeof(Field))
        self.spans = <Span *>calloc(self.field_count, sizeof(Span))
        self.outputs = <Output *>calloc(self.output_count + 1, sizeof(Output))
        if self.fields == NULL or self.spans == NULL or self.outputs == NULL:
            raise MemoryError
        self.type_, self.type_length = self.keep(plan.type), len(plan.type)
        self.remainder, self.remainder_length = self.keep(plan.remainder), len(plan.remainder)
        self.nulls, self.nulls_length = self.keep(plan.nulls), len(plan.nulls)
        self.prefix, self.prefix_length = self.keep(plan.prefix), len(plan.prefix)
        # Time, offset or ordinal, remainder, the nulls' quote, and some to spare.
        self.constant = 4 * NUMBER + self.remainder_length + self.nulls_length
        for index, field in enumerate(plan.fields):
            self.set_field(index, field)
        for index, output in enumerate(plan.outputs):
            self.set_output(index, output)
        for index in range(self.tag_count):
            self.tags[index] = self.place(plan.tags[index], TEXT)
        self.time, self.room = self.place(plan.time, INTEGER), plan.room
        self.ordinal = self.place(plan.ordinal, INTEGER)
        self.revision = self.place(plan.revision, INTEGER)
        self.price = self.size_ = NOTHING
        self.judged = plan.judgement is not None
        if self.judged:
            self.earliest, self.ahead = plan.judgement.earliest, plan.judgement.ahead
            self.price = self.place(plan.judgement.price, FLOAT)
            self.size_ = self.place(plan.judgement.size, FLOAT)
            self.notional = plan.judgement.whole
        if self.time < 0 or self.revision == OFFSET or self.room < 1:
            raise ValueError("a point has a time of its own, and room for an ordinal")

    def __dealloc__(self):
        free(self.fields)
        free(self.spans)
        free(self.outputs)
        free(self.entries)

    cdef const char *keep(self, bytes text) except NULL:
        self.kept.append(text)
        return PyBytes_AS_STRING(text)

    cdef int place(self, int source, int kind) except? -1:
        """A field of a kind that is never null, or `NOTHING` or `OFFSET`."""
        if source in (NOTHING, OFFSET) and kind != TEXT:
            return source
        if not 0 <= source < self.field_count:
            raise ValueError(f"{source}: there are {self.field_count} fields")
        if self.fields[source].kind != kind or self.fields[source].optional:
            raise ValueError(f"{source} is a field of another kind")
        return source

    cdef int set_field(self, Py_ssize_t index, field) except -1:
        cdef Field *to = &self.fields[index]
        cdef const char *start
        cdef const char *end
        to.key, to.key_length = self.keep(field.key), len(field.key)
        to.kind = KINDS[field.kind]
        to.optional, to.negative = field.optional, field.negative
        to.point, to.whole = field.point, field.whole
        to.low, to.high = field.low, field.high
        to.shortest, to.longest = field.shortest, field.longest
        if to.kind == MAPPING:
            if self.entries != NULL or field.standard is not None:
                raise ValueError("one mapping at most, and none by default")
            self.entries = <Entry *>calloc(MAX_ENTRIES, sizeof(Entry))
            if self.entries == NULL:
                raise MemoryError
        elif field.standard is not None:
            start = self.keep(field.standard)
            end = start + len(field.standard)
            self.constant += len(field.standard)
            if not self.read(start, end, to, &to.standard, &start) or start != end:
                raise ValueError(f"{field.key}: {field.standard} is no default")
            # The memory of a text of `arrays` is not for ever.
            if to.kind == TEXTS and to.standard.state != ABSENT:
                raise ValueError(f"{field.key}: expected no texts by default")
            to.missing = True
        return 0

    cdef int set_output(self, Py_ssize_t index, output) except -1:
        cdef Output *to = &self.outputs[index]
        cdef int source = output.source
        if source != OFFSET and not (
            0 <= source < self.field_count and self.fields[source].kind != MAPPING
        ):
            raise ValueError(f"{source} is no field with a value")
        to.prefix, to.prefix_length = self.keep(output.prefix), len(output.prefix)
        to.name, to.name_length = self.keep(output.name), len(output.name)
        to.source, to.integer = source, output.integer
        to.usual, to.usual_length = self.keep(output.usual), len(output.usual)
        # Also what stands behind a value, and a comma among the nulls.
        self.constant += to.prefix_length + to.name_length + 4
        return 0

    def encode(
        self,
        values,
        const int64_t[::1] offsets,
        const int64_t[::1] append_times,
        int64_t[::1] ends,
        int64_t[::1] times,
        int64_t[::1] rest,
    ):
        """Return the lines of the values of the usual form, each with its line end, and how many.

        `ends` and `times` get a row a line: where it ends, and its time; `rest` the rows of the
        values that are left. All arrays are as long as the values. One call at a time.

        Raises:
            ValueError: arrays of other lengths.
            RuntimeError: a second call at the same time.
        """
        cdef tuple held = tuple(values)
        cdef Py_ssize_t count = len(held), lines = 0
        cdef const char **starts = NULL
        cdef Py_ssize_t *lengths = NULL
        if not (
            offsets.shape[0] == append_times.shape[0] == ends.shape[0] == times.shape[0]
            == rest.shape[0] == count
        ):
            raise ValueError(f"arrays are not as long as {count} values")
        if count == 0:
            return b"", 0
        if self.busy:
            raise RuntimeError("an encoder encodes one batch at a time")
        self.busy = True
        self.used = self.capacity = 0
        self.buffer = NULL
        try:
            for table in (self.heads, self.arrays, self.names):
                if (<Table>table).count > self.remembered:
                    (<Table>table).forget()
            starts = <const char **>malloc(count * sizeof(char *))
            lengths = <Py_ssize_t *>malloc(count * sizeof(Py_ssize_t))
            if starts == NULL or lengths == NULL:
                raise MemoryError
            # Lines are about as long as the records.
            self.reserve(locate(held, starts, lengths) // 2 + 1024)
            with nogil:
                lines = self.run(
                    starts, lengths, count, &offsets[0], &append_times[0], &ends[0], &times[0],
                    &rest[0],
                )
            return PyBytes_FromStringAndSize(self.buffer, self.used), lines
        finally:
            free(starts)
            free(lengths)
            free(self.buffer)
            self.buffer = NULL
            self.busy = False

    cdef Py_ssize_t run(
        self,
        const char **starts,
        const Py_ssize_t *lengths,
        Py_ssize_t count,
        const int64_t *offsets,
        const int64_t *append_times,
        int64_t *ends,
        int64_t *times,
        int64_t *rest,
    ) except -1 nogil:
        cdef Py_ssize_t row, lines = 0, left = 0
        cdef const char *end
        self.used = 0
        for row in range(count):
            if starts[row] != NULL:
                end = starts[row] + lengths[row]
                if self.scan(starts[row], end) and self.line(
                    lengths[row], offsets[row], append_times[row]
                ):
                    ends[lines] = self.used
                    times[lines] = self.stamped
                    lines += 1
                    continue
            rest[left] = row
            left += 1
        return lines

    # What follows says 1 for yes and 0 for no. A NULL that may be an error would have to ask for
    # the interpreter's lock to be told from one.

    cdef int scan(self, const char *at, const char *end) except -1 nogil:
        """Whether the value is of the usual form; then the spans are filled."""
        cdef Py_ssize_t index
        cdef Field *field
        cdef char before = c'{'
        self.extra = self.entry_count = 0
        if self.type_length and begins(at, end, self.type_, self.type_length):
            at += self.type_length
            before = c','
        for index in range(self.field_count):
            field = &self.fields[index]
            if at < end and at[0] == before and begins(at + 1, end, field.key, field.key_length):
                at += 1 + field.key_length
                before = c','
                if field.kind == MAPPING:
                    self.spans[index].state = ABSENT
                    if not self.read_mapping(at, end, field, &at):
                        return 0
                elif not self.read(at, end, field, &self.spans[index], &at):
                    return 0
            elif field.missing:
                self.spans[index] = field.standard
            else:
                return 0
        return before == c',' and end - at == 1 and at[0] == c'}'

    cdef int read(
        self,
        const char *at,
        const char *end,
        const Field *field,
        Span *span,
        const char **behind,
    ) except -1 nogil:
        """Whether a value of the field's kind stands there; then `behind` points behind it."""
        cdef Slot *slot
        if field.optional and begins(at, end, b"null", 4):
            span.state = ABSENT
            behind[0] = at + 4
            return 1
        if field.kind == FLOAT:
            at = read_float(at, end, field, span)
        elif field.kind == INTEGER:
            at = read_integer(at, end, field, span)
        elif field.kind == BOOLEAN:
            at = read_boolean(at, end, span)
        elif field.kind == TEXT:
            at = read_text(at, end, span)
            # Without its quotes.
            if at != NULL and not field.shortest <= span.length - 2 <= field.longest:
                return 0
        else:
            at = read_array(at, end, span)
            if at == NULL or span.length > MAX_KEY:
                return 0
            slot = self.arrays.find(span.start, span.length)
            if slot.text == NULL:
                return 0
            span.start, span.length = slot.text, slot.text_length
            if slot.text_length == 0:
                span.state = ABSENT
            self.extra += slot.text_length
        behind[0] = at
        return at != NULL

    cdef int read_mapping(
        self, const char *at, const char *end, const Field *field, const char **behind
    ) except -1 nogil:
        """Whether there are names, none of them twice, with floats; as `read`."""
        cdef Entry *entry
        cdef Slot *slot
        cdef Span name
        if at >= end or at[0] != c'{':
            return 0
        at += 1
        self.stamp += 1
        if at < end and at[0] == c'}':
            behind[0] = at + 1
            return 1
        while self.entry_count < MAX_ENTRIES:
            entry = &self.entries[self.entry_count]
            self.entry_count += 1
            at = read_text(at, end, &name)
            if at == NULL or name.length > MAX_KEY or at >= end or at[0] != c':':
                return 0
            at += 1
            entry.name, entry.name_length = name.start + 1, name.length - 2
            slot = self.names.find(entry.name, entry.name_length)
            if slot.text == NULL or slot.stamp == self.stamp:
                return 0
            slot.stamp = self.stamp
            entry.text, entry.text_length = slot.text, slot.text_length
            self.extra += slot.text_length + entry.name_length + self.prefix_length + 4
            if field.optional and begins(at, end, b"null", 4):
                entry.value.state = ABSENT
                at += 4
            else:
                at = read_float(at, end, field, &entry.value)
            if at == NULL or at >= end:
                return 0
            if at[0] == c'}':
                behind[0] = at + 1
                return 1
            if at[0] != c',':
                return 0
            at += 1
        return 0

    cdef int line(self, Py_ssize_t length, int64_t offset, int64_t append_time) except -1 nogil:
        """Write the line of what was scanned; whether there is one."""
        cdef Span *time = &self.spans[self.time]
        cdef Slot *head
        cdef int64_t ordinal
        cdef uint64_t rest = 0, stamp = 0
        cdef char *to
        cdef char *mark
        cdef bint revised = self.revision != NOTHING and self.spans[self.revision].integer != 0
        if offset < 0 or (self.judged and not self.is_alive(time.integer, append_time)):
            return 0
        if self.ordinal == NOTHING:
            # The outermost times of 64 bits are InfluxDB's own.
            if time.integer == <int64_t>MAX_INTEGER or time.integer < 1 - <int64_t>MAX_INTEGER:
                return 0
            self.stamped = time.integer
        else:
            ordinal = offset if self.ordinal == OFFSET else self.spans[self.ordinal].integer
            if time.integer < 0 or ordinal < 0:
                return 0
            rest = <uint64_t>time.integer % self.room
            stamp = <uint64_t>time.integer - rest + <uint64_t>ordinal % self.room
            if stamp >= MAX_INTEGER:
                return 0
            self.stamped = <int64_t>stamp
        length += self.constant + self.extra
        if not self.find_key():
            return 0
        head = self.heads.find(self.key, self.key_length)
        if head.text == NULL:
            return 0
        length += head.text_length
        if self.capacity - self.used < length:
            self.reserve(length)
        to = self.buffer + self.used
        mark = to = copy(to, head.text, head.text_length)
        to = write_fields(
            to, self.outputs, self.output_count, self.spans, <uint64_t>offset, not revised
        )
        if rest:
            to = copy(to, self.remainder, self.remainder_length)
            to = write_integer(to, rest)
            to[0] = c'i'
            to += 1
        to = write_entries(to, self.entries, self.entry_count)
        if to == mark:
            return 0
        if revised:
            to = self.write_nulls(to)
        # In place of the first comma.
        mark[0] = c' '
        to[0] = c' '
        to += 1
        if self.ordinal == NOTHING:
            to = copy(to, time.start, time.length)
        else:
            to = write_integer(to, stamp)
        to[0] = c'\n'
        self.used = to + 1 - self.buffer
        return 1

    cdef char *write_nulls(self, char *to) noexcept nogil:
        """The field that names what is null in a revision, joined by commas."""
        cdef char *first
        to = first = copy(to, self.nulls, self.nulls_length)
        to = write_null_fields(to, self.outputs, self.output_count, self.spans)
        to = write_null_entries(
            to, self.entries, self.entry_count, self.prefix, self.prefix_length
        )
        # In place of the last comma.
        to = to if to == first else to - 1
        to[0] = c'"'
        return to + 1

    cdef bint find_key(self) noexcept nogil:
        """Whether the tags are short enough; then `key` has them, a quote behind each."""
        cdef Py_ssize_t index
        cdef Span *span
        self.key_length = 0
        for index in range(self.tag_count):
            span = &self.spans[self.tags[index]]
            if span.length - 1 > MAX_KEY - self.key_length:
                return False
            copy(self.key + self.key_length, span.start + 1, span.length - 1)
            self.key_length += span.length - 1
        return True

    cdef bint is_alive(self, int64_t time, int64_t append_time) noexcept nogil:
        """Whether no rule says, or may say, that the record is dead."""
        if time < self.earliest:
            return False
        # Without a sign, as the difference may have 64 bits.
        if time > append_time and <uint64_t>time - <uint64_t>append_time > self.ahead:
            return False
        # Numbers of p and s digits before the point have a product below 10^(p + s).
        return (
            self.price == NOTHING
            or self.spans[self.price].whole + self.spans[self.size_].whole <= self.notional
        )

    cdef int reserve(self, Py_ssize_t length) except -1 nogil:
        """Have room for so many more bytes."""
        cdef Py_ssize_t wanted = 2 * (self.used + length)
        cdef char *larger = <char *>realloc(self.buffer, wanted)
        if larger == NULL:
            with gil:
                raise MemoryError
        self.buffer, self.capacity = larger, wanted
        return 0
