# Part of `_lines.pyx`: fields and their values into a buffer that has room for them.

cdef enum:
    # A source that is no field of the record.
    NOTHING = -1
    OFFSET = -2


cdef struct Output:
    # `,price=`, the name alone, and where the value comes from.
    const char *prefix
    Py_ssize_t prefix_length
    const char *name
    Py_ssize_t name_length
    int source
    bint integer
    # What a first version's point does not have; of no length where it has all.
    const char *usual
    Py_ssize_t usual_length


cdef struct Entry:
    # One of a mapping: its name, `,name=` and the value.
    const char *name
    Py_ssize_t name_length
    const char *text
    Py_ssize_t text_length
    Span value


cdef inline char *write_integer(char *to, uint64_t value) noexcept nogil:
    cdef char[20] reversed_
    cdef int count = 0
    while True:
        reversed_[count] = <char>(c'0' + <int>(value % 10))
        count += 1
        value //= 10
        if value == 0:
            break
    while count:
        count -= 1
        to[0] = reversed_[count]
        to += 1
    return to


cdef inline char *write_fields(
    char *to, const Output *outputs, Py_ssize_t count, const Span *spans, uint64_t offset,
    bint first
) noexcept nogil:
    """Those that are not null, and not usual in a first version, a comma before each."""
    cdef Py_ssize_t index
    cdef const Output *output
    cdef const Span *span
    for index in range(count):
        output = &outputs[index]
        if output.source == OFFSET:
            to = copy(to, output.prefix, output.prefix_length)
            to = write_integer(to, offset)
        else:
            span = &spans[output.source]
            if span.state == ABSENT:
                continue
            if (
                first
                and output.usual_length
                and span.length == output.usual_length
                and is_same(span.start, output.usual, span.length)
            ):
                continue
            to = copy(to, output.prefix, output.prefix_length)
            to = copy(to, span.start, span.length)
            if span.state == WHOLE:
                to = copy(to, b".0", 2)
        if output.integer:
            to[0] = c'i'
            to += 1
    return to


cdef inline char *write_entries(char *to, const Entry *entries, Py_ssize_t count) noexcept nogil:
    """Those that are not null, a comma before each."""
    cdef Py_ssize_t index
    cdef const Entry *entry
    for index in range(count):
        entry = &entries[index]
        if entry.value.state == ABSENT:
            continue
        to = copy(to, entry.text, entry.text_length)
        to = copy(to, entry.value.start, entry.value.length)
        if entry.value.state == WHOLE:
            to = copy(to, b".0", 2)
    return to


cdef inline char *write_null_fields(
    char *to, const Output *outputs, Py_ssize_t count, const Span *spans
) noexcept nogil:
    """The names of those that are null, a comma behind each."""
    cdef Py_ssize_t index
    cdef const Output *output
    for index in range(count):
        output = &outputs[index]
        if output.source != OFFSET and spans[output.source].state == ABSENT:
            to = copy(to, output.name, output.name_length)
            to[0] = c','
            to += 1
    return to


cdef inline char *write_null_entries(
    char *to, const Entry *entries, Py_ssize_t count, const char *prefix, Py_ssize_t length
) noexcept nogil:
    """As those of the fields, `prefix` before each name."""
    cdef Py_ssize_t index
    cdef const Entry *entry
    for index in range(count):
        entry = &entries[index]
        if entry.value.state == ABSENT:
            to = copy(to, prefix, length)
            to = copy(to, entry.name, entry.name_length)
            to[0] = c','
            to += 1
    return to
