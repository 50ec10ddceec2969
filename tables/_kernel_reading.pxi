# A trade of the usual form out of its JSON. Part of `_kernel.pyx`, little-endian.

cdef struct Text:
    const char *start
    Py_ssize_t length


cdef inline const char *skip_space(const char *at, const char *end) noexcept nogil:
    while at < end and (at[0] == c' ' or at[0] == c'\n' or at[0] == c'\r' or at[0] == c'\t'):
        at += 1
    return at


cdef inline const char *read_text(const char *at, const char *end, Text *text) noexcept nogil:
    """A string of plain ASCII; NULL otherwise. Points behind the closing quote."""
    cdef unsigned char char_
    if at >= end or at[0] != c'"':
        return NULL
    at += 1
    text.start = at
    while at < end:
        char_ = <unsigned char>at[0]
        if char_ == c'"':
            text.length = at - text.start
            return at + 1
        if char_ < 32 or char_ > 126 or char_ == c'\\':
            return NULL
        at += 1
    return NULL


cdef inline bint eight_digits(const char *at, uint64_t *value) noexcept nogil:
    """Take eight digits at once, if they are; after Lemire, "Quickly parsing eight digits"."""
    cdef uint64_t word
    memcpy(&word, at, 8)
    if (word & 0xF0F0F0F0F0F0F0F0ULL) != 0x3030303030303030ULL or (
        ((word + 0x0606060606060606ULL) & 0xF0F0F0F0F0F0F0F0ULL) != 0x3030303030303030ULL
    ):
        return False
    word = (word & 0x0F0F0F0F0F0F0F0FULL) * 2561 >> 8
    word = (word & 0x00FF00FF00FF00FFULL) * 6553601 >> 16
    word = (word & 0x0000FFFF0000FFFFULL) * 42949672960001ULL >> 32
    value[0] = value[0] * 100_000_000 + word
    return True


cdef inline const char *read_integer(const char *at, const char *end, int64_t *value) noexcept nogil:
    """A non-negative integer of at most 19 digits; NULL otherwise."""
    cdef uint64_t found = 0
    cdef const char *start = at
    while end - at >= 8 and at - start <= 8 and eight_digits(at, &found):
        at += 8
    while at < end and c'0' <= at[0] <= c'9':
        if at - start == 19:
            return NULL
        found = found * 10 + <uint64_t>(at[0] - c'0')
        at += 1
    if at == start or (start[0] == c'0' and at - start > 1) or found > MAX_INTEGER:
        return NULL
    if at < end and (at[0] == c'.' or at[0] == c'e' or at[0] == c'E'):
        return NULL
    value[0] = <int64_t>found
    return at


cdef inline const char *read_number(const char *at, const char *end, double *value) noexcept nogil:
    """A decimal that one division makes exact; NULL otherwise."""
    cdef uint64_t mantissa = 0
    cdef int digits = 0, fraction = 0
    cdef bint negative = False
    cdef const char *start
    if at < end and at[0] == c'-':
        negative = True
        at += 1
    start = at
    while at < end and c'0' <= at[0] <= c'9':
        mantissa = mantissa * 10 + <uint64_t>(at[0] - c'0')
        digits += 1
        if digits > 18:
            return NULL
        at += 1
    if at == start or (start[0] == c'0' and at - start > 1):
        return NULL
    if at < end and at[0] == c'.':
        at += 1
        while at < end and c'0' <= at[0] <= c'9':
            mantissa = mantissa * 10 + <uint64_t>(at[0] - c'0')
            digits += 1
            fraction += 1
            if digits > 18:
                return NULL
            at += 1
        if fraction == 0:
            return NULL
    if at < end and (at[0] == c'e' or at[0] == c'E'):
        return NULL
    if mantissa > MAX_MANTISSA:
        return NULL
    value[0] = <double>mantissa / POWERS[fraction]
    if negative:
        value[0] = -value[0]
    return at


cdef inline int field_of(Text *name) noexcept nogil:
    cdef const char *text = name.start
    if name.length == 5:
        if memcmp(text, b"price", 5) == 0:
            return PRICE
        if memcmp(text, b"venue", 5) == 0:
            return VENUE
    elif name.length == 6:
        if memcmp(text, b"symbol", 6) == 0:
            return SYMBOL
        if memcmp(text, b"source", 6) == 0:
            return SOURCE
    elif name.length == 4:
        if memcmp(text, b"size", 4) == 0:
            return SIZE
        if memcmp(text, b"type", 4) == 0:
            return TYPE
    elif name.length == 10:
        if memcmp(text, b"event_time", 10) == 0:
            return EVENT_TIME
        if memcmp(text, b"conditions", 10) == 0:
            return CONDITIONS
    elif name.length == 8:
        if memcmp(text, b"trade_id", 8) == 0:
            return TRADE_ID
        if memcmp(text, b"sequence", 8) == 0:
            return SEQUENCE
    return 0


cdef enum:
    FIELDS = 10

cdef struct Known:
    int field
    int length
    # Of 16 bytes; those behind the length do not count.
    uint64_t text[2]
    uint64_t mask[2]

cdef Known[FIELDS] KNOWN


def _know():
    """The names of the fields as they usually stand: in quotes, with a colon and no spaces."""
    names = {
        SYMBOL: b"symbol", PRICE: b"price", SIZE: b"size", EVENT_TIME: b"event_time",
        TRADE_ID: b"trade_id", SEQUENCE: b"sequence", VENUE: b"venue",
        CONDITIONS: b"conditions", SOURCE: b"source", TYPE: b"type",
    }
    cdef Py_ssize_t number
    for number, (field, name) in enumerate(names.items()):
        text = b'"' + name + b'":'
        KNOWN[number].field = field
        KNOWN[number].length = len(text)
        memcpy(KNOWN[number].text, PyBytes_AS_STRING(text), len(text))
        memset(KNOWN[number].mask, 0xFF, len(text))


_know()


cdef struct Order:
    # What came behind each known field last (and first, at FIELDS): feeds write one order.
    int following[FIELDS + 1]


cdef inline bint stands(const char *at, Known *known) noexcept nogil:
    """Whether the name stands here, before at least 16 bytes."""
    cdef uint64_t found[2]
    memcpy(found, at, 16)
    return not (
        ((found[0] ^ known.text[0]) & known.mask[0]) | ((found[1] ^ known.text[1]) & known.mask[1])
    )


cdef inline int number_of(int field) noexcept nogil:
    cdef int number
    for number in range(FIELDS):
        if KNOWN[number].field == field:
            return number
    return FIELDS


cdef struct Row:
    Text symbol
    Text trade_id
    Text venue
    Text source
    Text conditions
    # Where the conditions of a MessagePack map are written as JSON.
    char[MAX_CONDITIONS_TEXT] condition_text
    double price
    double size
    int64_t event_time
    int64_t sequence


cdef inline const char *read_optional(
    const char *at, const char *end, Text *text
) noexcept nogil:
    """A text of 1 to 64 characters, or null (length 0)."""
    if end - at >= 4 and memcmp(at, b"null", 4) == 0:
        text.length = 0
        return at + 4
    at = read_text(at, end, text)
    if at == NULL or text.length == 0 or text.length > MAX_TEXT:
        return NULL
    return at


cdef inline bint read_row(const char *at, const char *end, Row *row, Order *order) noexcept nogil:
    """Whether the value certainly is a trade of the usual form; then the row is filled."""
    cdef int seen = 0, field, before = FIELDS, number
    cdef Text name
    cdef Known *known
    row.trade_id.length = row.venue.length = row.source.length = row.conditions.length = 0
    row.sequence = -1
    at = skip_space(at, end)
    if at >= end or at[0] != c'{':
        return False
    at += 1
    while True:
        known = &KNOWN[order.following[before]]
        if end - at >= 16 and stands(at, known):
            field = known.field
            before = order.following[before]
            at += known.length
        else:
            at = read_text(skip_space(at, end), end, &name)
            if at == NULL:
                return False
            field = field_of(&name)
            if field == 0:
                return False
            number = number_of(field)
            order.following[before] = number
            before = number
            at = skip_space(at, end)
            if at >= end or at[0] != c':':
                return False
            at += 1
        if seen & field:
            return False
        seen |= field
        at = skip_space(at, end)
        if field == SYMBOL:
            at = read_text(at, end, &row.symbol)
            if at == NULL or row.symbol.length == 0 or row.symbol.length > MAX_SYMBOL:
                return False
        elif field == PRICE:
            at = read_number(at, end, &row.price)
            if at == NULL or row.price > MAX_PRICE or row.price < -MAX_PRICE:
                return False
        elif field == SIZE:
            at = read_number(at, end, &row.size)
            if at == NULL or row.size > MAX_PRICE or row.size < 0.0:
                return False
        elif field == EVENT_TIME:
            at = read_integer(at, end, &row.event_time)
        elif field == SEQUENCE:
            if end - at >= 4 and memcmp(at, b"null", 4) == 0:
                at += 4
            else:
                at = read_integer(at, end, &row.sequence)
        elif field == TRADE_ID:
            at = read_optional(at, end, &row.trade_id)
        elif field == VENUE:
            at = read_optional(at, end, &row.venue)
        elif field == SOURCE:
            at = read_optional(at, end, &row.source)
        elif field == CONDITIONS:
            # The whole array as it stands; each different one is decoded once, in full.
            if at >= end or at[0] != c'[':
                return False
            row.conditions.start = at
            while at < end and at[0] != c']':
                if <unsigned char>at[0] < 32 or <unsigned char>at[0] > 126 or at[0] == c'\\':
                    return False
                at += 1
            if at >= end:
                return False
            at += 1
            row.conditions.length = at - row.conditions.start
            if row.conditions.length > MAX_CONDITIONS_TEXT:
                return False
        else:
            at = read_text(at, end, &name)
            if at == NULL or name.length != 5 or memcmp(name.start, b"trade", 5) != 0:
                return False
        if at == NULL:
            return False
        at = skip_space(at, end)
        if at >= end:
            return False
        if at[0] == c',':
            at += 1
            continue
        if at[0] != c'}':
            return False
        return seen & REQUIRED == REQUIRED and skip_space(at + 1, end) == end
