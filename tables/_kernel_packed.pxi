# A trade of the usual form out of its MessagePack map. Part of `_kernel.pyx`, little-endian.
# The format: github.com/msgpack/msgpack/blob/master/spec.md; numbers are big-endian.

cdef Known[FIELDS] PACKED_KNOWN


def _know_packed():
    """The names of the fields as short strings: a byte with the length, then the name."""
    cdef Py_ssize_t number
    for number in range(FIELDS):
        # In JSON it stands in quotes, and a colon behind it.
        name = (<char *>KNOWN[number].text)[1 : KNOWN[number].length - 2]
        text = bytes([0xA0 + len(name)]) + name
        PACKED_KNOWN[number].field = KNOWN[number].field
        PACKED_KNOWN[number].length = <int>len(text)
        memcpy(PACKED_KNOWN[number].text, PyBytes_AS_STRING(text), len(text))
        memset(PACKED_KNOWN[number].mask, 0xFF, len(text))


_know_packed()


cdef inline uint64_t big_endian(const char *at, int width) noexcept nogil:
    """The number in so many bytes, 1 to 8."""
    cdef uint64_t found = 0
    cdef int index
    for index in range(width):
        found = found << 8 | <unsigned char>at[index]
    return found


cdef inline uint64_t eight_bytes(const char *at) noexcept nogil:
    """The number in eight bytes; compilers make two instructions of it."""
    cdef const unsigned char *byte = <const unsigned char *>at
    return (
        <uint64_t>byte[0] << 56
        | <uint64_t>byte[1] << 48
        | <uint64_t>byte[2] << 40
        | <uint64_t>byte[3] << 32
        | <uint64_t>byte[4] << 24
        | <uint64_t>byte[5] << 16
        | <uint64_t>byte[6] << 8
        | <uint64_t>byte[7]
    )


cdef inline const char *read_packed_integer(
    const char *at, const char *end, int64_t *value
) noexcept nogil:
    """An integer from 0 to 2^63 - 1 as encoders usually write it; NULL otherwise."""
    cdef unsigned char first
    cdef int width
    cdef uint64_t found
    if at >= end:
        return NULL
    first = <unsigned char>at[0]
    if first < 0x80:
        value[0] = first
        return at + 1
    if first == 0xCF or first == 0xD3:
        if end - at < 9:
            return NULL
        found = eight_bytes(at + 1)
        # Of the signed kind those are the negative ones.
        if found > MAX_INTEGER:
            return NULL
        value[0] = <int64_t>found
        return at + 9
    if first < 0xCC or first > 0xCE:
        return NULL
    width = 1 << (first - 0xCC)
    if end - at < 1 + width:
        return NULL
    value[0] = <int64_t>big_endian(at + 1, width)
    return at + 1 + width


cdef inline const char *read_packed_number(
    const char *at, const char *end, double *value
) noexcept nogil:
    """A floating-point number of either width, or an integer that a double holds; else NULL."""
    cdef uint64_t bits
    cdef uint32_t half
    cdef float single
    cdef int64_t integer
    if at >= end:
        return NULL
    if <unsigned char>at[0] == 0xCB:
        if end - at < 9:
            return NULL
        bits = eight_bytes(at + 1)
        memcpy(value, &bits, 8)
        return at + 9
    if <unsigned char>at[0] == 0xCA:
        if end - at < 5:
            return NULL
        half = <uint32_t>big_endian(at + 1, 4)
        memcpy(&single, &half, 4)
        value[0] = single
        return at + 5
    at = read_packed_integer(at, end, &integer)
    if at == NULL or <uint64_t>integer > MAX_MANTISSA:
        return NULL
    value[0] = <double>integer
    return at


cdef inline bint eight_are_plain(uint64_t word) noexcept nogil:
    """Whether these are ASCII without control characters.

    Below 128 each, and not below 32: adding 96 then sets the upper bit, and carries nothing.
    """
    return not (word & 0x8080808080808080ULL) and (
        ((word + 0x6060606060606060ULL) & 0x8080808080808080ULL) == 0x8080808080808080ULL
    )


cdef inline bint is_plain(const char *at, Py_ssize_t length, const char *end) noexcept nogil:
    """Whether a text is ASCII without control characters; `end` is that of the value."""
    cdef uint64_t word, used
    while length >= 8:
        memcpy(&word, at, 8)
        if not eight_are_plain(word):
            return False
        at += 8
        length -= 8
    if not length:
        return True
    if end - at >= 8:
        memcpy(&word, at, 8)
        used = (1ULL << 8 * length) - 1
        # What stands behind it counts as spaces.
        return eight_are_plain((word & used) | (0x2020202020202020ULL & ~used))
    while length:
        if <unsigned char>at[0] < 32 or <unsigned char>at[0] > 127:
            return False
        at += 1
        length -= 1
    return True


cdef inline const char *read_packed_text(
    const char *at, const char *end, Text *text
) noexcept nogil:
    """A string of plain ASCII, at most 255 bytes; NULL otherwise. Points behind it."""
    cdef unsigned char first
    if at >= end:
        return NULL
    first = <unsigned char>at[0]
    at += 1
    if first & 0xE0 == 0xA0:
        text.length = first & 0x1F
    elif first == 0xD9 and at < end:
        text.length = <unsigned char>at[0]
        at += 1
    else:
        return NULL
    text.start = at
    if end - at < text.length or not is_plain(at, text.length, end):
        return NULL
    return at + text.length


cdef inline const char *read_packed_optional(
    const char *at, const char *end, Text *text
) noexcept nogil:
    """A text of 1 to 64 characters, or nil (length 0)."""
    if at < end and <unsigned char>at[0] == 0xC0:
        text.length = 0
        return at + 1
    at = read_packed_text(at, end, text)
    if at == NULL or text.length == 0 or text.length > MAX_TEXT:
        return NULL
    return at


cdef inline const char *read_packed_conditions(
    const char *at, const char *end, Row *row
) noexcept nogil:
    """An array of texts, written as JSON: what stands there has one code, whatever its form."""
    cdef Text name
    cdef char *to = row.condition_text
    cdef Py_ssize_t index, room = MAX_CONDITIONS_TEXT
    cdef int number, count
    if at >= end or <unsigned char>at[0] & 0xF0 != 0x90:
        return NULL
    count = <unsigned char>at[0] & 0x0F
    at += 1
    if not count:
        row.conditions.length = 0
        return at
    for number in range(count):
        at = read_packed_text(at, end, &name)
        # Two quotes, what stands before them, and the last bracket.
        if at == NULL or name.length + 4 > room:
            return NULL
        for index in range(name.length):
            if name.start[index] == c'"' or name.start[index] == c'\\':
                return NULL
        to[0] = c',' if number else c'['
        to[1] = c'"'
        memcpy(to + 2, name.start, name.length)
        to[name.length + 2] = c'"'
        to += name.length + 3
        room -= name.length + 3
    to[0] = c']'
    row.conditions.start = row.condition_text
    row.conditions.length = to + 1 - row.condition_text
    return at


cdef inline bint read_packed_row(
    const char *at, const char *end, Row *row, Order *order
) noexcept nogil:
    """Whether the value certainly is a trade of the usual form; then the row is filled.

    It begins with the byte of a short map, as it must: there are ten fields.
    """
    cdef int seen = 0, field, before = FIELDS, number, left = <unsigned char>at[0] & 0x0F
    cdef Text name
    cdef Known *known
    row.trade_id.length = row.venue.length = row.source.length = row.conditions.length = 0
    row.sequence = -1
    at += 1
    while left:
        left -= 1
        known = &PACKED_KNOWN[order.following[before]]
        if (
            stands(at, known)
            if end - at >= 16
            else end - at >= known.length and memcmp(at, known.text, known.length) == 0
        ):
            field = known.field
            before = order.following[before]
            at += known.length
        else:
            at = read_packed_text(at, end, &name)
            if at == NULL:
                return False
            field = field_of(&name)
            if field == 0:
                return False
            number = number_of(field)
            order.following[before] = number
            before = number
        if seen & field:
            return False
        seen |= field
        if field == SYMBOL:
            at = read_packed_text(at, end, &row.symbol)
            if at == NULL or row.symbol.length == 0 or row.symbol.length > MAX_SYMBOL:
                return False
        elif field == PRICE:
            at = read_packed_number(at, end, &row.price)
            # What is no number is in no bounds.
            if at == NULL or not (row.price <= MAX_PRICE and row.price >= -MAX_PRICE):
                return False
        elif field == SIZE:
            at = read_packed_number(at, end, &row.size)
            if at == NULL or not (row.size <= MAX_PRICE and row.size >= 0.0):
                return False
        elif field == EVENT_TIME:
            at = read_packed_integer(at, end, &row.event_time)
        elif field == SEQUENCE:
            if at < end and <unsigned char>at[0] == 0xC0:
                at += 1
            else:
                at = read_packed_integer(at, end, &row.sequence)
        elif field == TRADE_ID:
            at = read_packed_optional(at, end, &row.trade_id)
        elif field == VENUE:
            at = read_packed_optional(at, end, &row.venue)
        elif field == SOURCE:
            at = read_packed_optional(at, end, &row.source)
        elif field == CONDITIONS:
            at = read_packed_conditions(at, end, row)
        else:
            at = read_packed_text(at, end, &name)
            if at == NULL or name.length != 5 or memcmp(name.start, b"trade", 5) != 0:
                return False
        if at == NULL:
            return False
    return seen & REQUIRED == REQUIRED and at == end
