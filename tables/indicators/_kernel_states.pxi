# States in the bytes that msgpack makes of what `Indicator.state` returns. Part of `_kernel.pyx`.
#
# Source of the format: msgpack specification, "Formats". Integers are as short as they can be, as
# msgspec writes them.

cdef enum:
    FIXED_ARRAY = 0x90
    NIL = 0xC0
    FALSE = 0xC2
    FLOAT_32 = 0xCA
    FLOAT_64 = 0xCB
    UNSIGNED_8 = 0xCC
    SIGNED_8 = 0xD0
    ARRAY_16 = 0xDC
    ARRAY_32 = 0xDD

cdef enum:
    #: Of a number with its kind, at most.
    NUMBER_BYTES = 9
    #: Of the version and the heads of all lists of an indicator, at most.
    HEAD_BYTES = 64


cdef struct Writer:
    uint8_t *data
    Py_ssize_t at


cdef struct Reader:
    const uint8_t *data
    Py_ssize_t at
    Py_ssize_t end


# --- writing -------------------------------------------------------------------------------

cdef inline void write_byte(Writer *writer, int byte) noexcept nogil:
    writer.data[writer.at] = <uint8_t>byte
    writer.at += 1


cdef inline void write_bits(Writer *writer, uint64_t bits, int count) noexcept nogil:
    """The lowest bytes, the highest of them first."""
    cdef int place
    for place in range(count):
        writer.data[writer.at + place] = <uint8_t>(bits >> (8 * (count - 1 - place)))
    writer.at += count


cdef inline void write_double(Writer *writer, double value) noexcept nogil:
    cdef uint64_t bits
    memcpy(&bits, &value, 8)
    write_byte(writer, FLOAT_64)
    write_bits(writer, bits, 8)


cdef inline void write_integer(Writer *writer, int64_t value) noexcept nogil:
    # 8 bits, 16, 32, 64: the kinds follow one another.
    cdef int size = 0
    if -32 <= value < 128:
        write_byte(writer, <int>(value & 0xFF))
    elif value >= 0:
        while size < 3 and value >> (8 << size) != 0:
            size += 1
        write_byte(writer, UNSIGNED_8 + size)
        write_bits(writer, <uint64_t>value, 1 << size)
    else:
        while size < 3 and value >> ((8 << size) - 1) != -1:
            size += 1
        write_byte(writer, SIGNED_8 + size)
        write_bits(writer, <uint64_t>value, 1 << size)


cdef inline void write_head(Writer *writer, Py_ssize_t count) noexcept nogil:
    """Of a list."""
    if count < 16:
        write_byte(writer, FIXED_ARRAY | <int>count)
    elif count < 65536:
        write_byte(writer, ARRAY_16)
        write_bits(writer, <uint64_t>count, 2)
    else:
        write_byte(writer, ARRAY_32)
        write_bits(writer, <uint64_t>count, 4)


cdef void write_values(Writer *writer, double status, double *values, int outputs) noexcept nogil:
    cdef int place
    if status == GONE:
        write_byte(writer, FALSE)
    elif status == WAITING:
        write_byte(writer, NIL)
    elif outputs == 1:
        write_double(writer, values[0])
    else:
        write_head(writer, outputs)
        for place in range(outputs):
            if isnan(values[place]):
                write_byte(writer, NIL)
            else:
                write_double(writer, values[place])


cdef void write_window(Writer *writer, double *cells) noexcept nogil:
    cdef int count = <int>cells[0], head = <int>cells[1], kind = <int>cells[2], place
    write_head(writer, count + 1)
    if kind == VALUE:
        write_double(writer, cells[3])
    else:
        write_byte(writer, FALSE if kind == NOTHING else NIL)
    for place in range(head, count):
        write_double(writer, cells[WINDOW_HEAD + place])
    for place in range(head):
        write_double(writer, cells[WINDOW_HEAD + place])


cdef void write_average(Writer *writer, double *cells) noexcept nogil:
    cdef int kind = <int>cells[3]
    write_head(writer, 4)
    if kind == VALUE:
        write_head(writer, 3)
        write_integer(writer, <int64_t>cells[4])
        write_double(writer, cells[5])
        write_double(writer, cells[6])
    elif kind == NONE:
        write_double(writer, cells[5])
    else:
        write_byte(writer, FALSE)
    write_integer(writer, <int64_t>cells[0])
    write_double(writer, cells[1])
    write_double(writer, cells[2])


cdef void write_counter(Writer *writer, double *cells) noexcept nogil:
    write_head(writer, 2)
    if <int>cells[1] == VALUE:
        write_head(writer, 1)
        write_integer(writer, <int64_t>cells[2])
    else:
        write_byte(writer, NIL)
    write_integer(writer, <int64_t>cells[0])


cdef void write_session(Writer *writer, double *cells) noexcept nogil:
    cdef int place
    write_head(writer, 5)
    if cells[0] != 0:
        write_integer(writer, <int64_t>cells[1])
    else:
        write_byte(writer, NIL)
    for place in range(2, SESSION_CELLS):
        write_double(writer, cells[place])


cdef void write_state(
    Writer *writer, Operation *operation, double *cells, int64_t version
) noexcept nogil:
    """Version, value, value before, parts."""
    cdef int outputs = operation.outputs, place
    cdef Part *part
    cdef double *held
    write_head(writer, 3 + operation.count)
    write_integer(writer, version)
    write_values(writer, cells[0], cells + 2 + outputs, outputs)
    write_values(writer, cells[1], cells + 2, outputs)
    for place in range(operation.count):
        part = &operation.part[place]
        held = cells + operation.parts + part.at
        if part.kind == WINDOW:
            write_window(writer, held)
        elif part.kind == AVERAGE:
            write_average(writer, held)
        elif part.kind == COUNTER:
            write_counter(writer, held)
        else:
            write_session(writer, held)


# --- reading -------------------------------------------------------------------------------

cdef inline int next_byte(Reader *reader) except -1:
    """The byte that comes next, which is not taken."""
    if reader.at >= reader.end:
        raise ValueError("it ends too early")
    return reader.data[reader.at]


cdef inline bint take_if(Reader *reader, int byte) except -1:
    if next_byte(reader) != byte:
        return False
    reader.at += 1
    return True


cdef uint64_t read_bits(Reader *reader, int count) except? 0:
    cdef uint64_t bits = 0
    cdef int place
    if reader.end - reader.at < count:
        raise ValueError("it ends too early")
    for place in range(count):
        bits = bits << 8 | reader.data[reader.at + place]
    reader.at += count
    return bits


cdef int64_t read_integer(Reader *reader) except? -1:
    cdef int byte = next_byte(reader), size
    cdef uint64_t bits
    reader.at += 1
    if byte < 0x80:
        return byte
    if byte >= 0xE0:
        return byte - 0x100
    if UNSIGNED_8 <= byte < SIGNED_8:
        bits = read_bits(reader, 1 << (byte - UNSIGNED_8))
        if bits >> 63:
            raise ValueError(f"an integer of {bits}")
        return <int64_t>bits
    if SIGNED_8 <= byte < SIGNED_8 + 4:
        size = 1 << (byte - SIGNED_8)
        bits = read_bits(reader, size) << (64 - 8 * size)
        return <int64_t>bits >> (64 - 8 * size)
    raise ValueError(f"byte {byte:#x} instead of an integer")


cdef double read_double(Reader *reader) except? -1:
    """A number; it need not be written as a float."""
    cdef int byte = next_byte(reader)
    cdef uint64_t bits
    cdef uint32_t half
    cdef double value
    cdef float short_value
    if byte == FLOAT_64:
        reader.at += 1
        bits = read_bits(reader, 8)
        memcpy(&value, &bits, 8)
        return value
    if byte == FLOAT_32:
        reader.at += 1
        half = <uint32_t>read_bits(reader, 4)
        memcpy(&short_value, &half, 4)
        return short_value
    return <double>read_integer(reader)


cdef Py_ssize_t read_head(Reader *reader) except -1:
    """How many items a list has."""
    cdef int byte = next_byte(reader)
    reader.at += 1
    if byte & 0xF0 == FIXED_ARRAY:
        return byte & 0x0F
    if byte == ARRAY_16 or byte == ARRAY_32:
        return <Py_ssize_t>read_bits(reader, 2 if byte == ARRAY_16 else 4)
    raise ValueError(f"byte {byte:#x} instead of a list")


cdef int expect(Reader *reader, Py_ssize_t count) except -1:
    """The head of a list of so many items."""
    cdef Py_ssize_t found = read_head(reader)
    if found != count:
        raise ValueError(f"a list of {found} items, expected {count}")
    return 0


cdef int read_values(Reader *reader, double *status, double *values, int outputs) except -1:
    cdef int place
    for place in range(outputs):
        values[place] = NAN
    if take_if(reader, FALSE):
        status[0] = GONE
    elif take_if(reader, NIL):
        status[0] = WAITING
    else:
        status[0] = READY
        if outputs > 1:
            expect(reader, outputs)
        for place in range(outputs):
            if outputs == 1 or not take_if(reader, NIL):
                values[place] = read_double(reader)
    return 0


cdef int read_window(Reader *reader, double *cells, int length) except -1:
    cdef Py_ssize_t count = read_head(reader) - 1, place
    if not 0 <= count <= length:
        raise ValueError(f"{count} values in a window of {length}")
    cells[0] = count
    cells[1] = 0
    cells[3] = 0.0
    if take_if(reader, FALSE):
        cells[2] = NOTHING
    elif take_if(reader, NIL):
        cells[2] = NONE
        if count == 0:
            raise ValueError("nothing was taken, yet can be taken back")
    else:
        cells[2] = VALUE
        cells[3] = read_double(reader)
        if count != length:
            raise ValueError(f"a value was dropped from {count} of {length}")
    for place in range(count):
        cells[WINDOW_HEAD + place] = read_double(reader)
    return 0


cdef int read_average(Reader *reader, double *cells, int length) except -1:
    expect(reader, 4)
    if take_if(reader, FALSE):
        cells[3] = NOTHING
    elif next_byte(reader) & 0xF0 == FIXED_ARRAY:
        expect(reader, 3)
        cells[3] = VALUE
        cells[4] = <double>read_integer(reader)
        cells[5] = read_double(reader)
        cells[6] = read_double(reader)
    else:
        cells[3] = NONE
        cells[5] = read_double(reader)
    cells[0] = <double>read_integer(reader)
    if not 0 <= cells[0] <= length:
        raise ValueError(f"{cells[0]:.0f} values in an average of {length}")
    cells[1] = read_double(reader)
    cells[2] = read_double(reader)
    return 0


cdef int read_counter(Reader *reader, double *cells) except -1:
    expect(reader, 2)
    cells[1] = NOTHING
    if not take_if(reader, NIL):
        expect(reader, 1)
        cells[1] = VALUE
        cells[2] = <double>read_integer(reader)
    cells[0] = <double>read_integer(reader)
    return 0


cdef int read_session(Reader *reader, double *cells) except -1:
    cdef int place
    expect(reader, 5)
    cells[0] = 0
    cells[1] = 0
    if not take_if(reader, NIL):
        cells[0] = 1
        cells[1] = <double>read_integer(reader)
    for place in range(2, SESSION_CELLS):
        cells[place] = read_double(reader)
    return 0


cdef int read_state(
    Reader *reader, Operation *operation, double *cells, int64_t version
) except -1:
    cdef int outputs = operation.outputs, place
    cdef Py_ssize_t count = read_head(reader)
    cdef int64_t held
    cdef Part *part
    cdef double *found
    if count == 0:
        raise ValueError(f"it has no version, this code reads {version}")
    held = read_integer(reader)
    if held != version:
        raise ValueError(f"it has version {held}, this code reads {version}")
    if count != 3 + operation.count:
        raise ValueError(f"{count} items, expected {3 + operation.count}")
    read_values(reader, cells, cells + 2 + outputs, outputs)
    read_values(reader, cells + 1, cells + 2, outputs)
    if cells[0] == GONE:
        raise ValueError("no value")
    for place in range(operation.count):
        part = &operation.part[place]
        found = cells + operation.parts + part.at
        if part.kind == WINDOW:
            read_window(reader, found, part.length)
        elif part.kind == AVERAGE:
            read_average(reader, found, part.length)
        elif part.kind == COUNTER:
            read_counter(reader, found)
        else:
            read_session(reader, found)
    if reader.at != reader.end:
        raise ValueError("more follows")
    return 0
