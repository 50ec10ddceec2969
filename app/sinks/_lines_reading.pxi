# Part of `_lines.pyx`: values as msgspec writes them, read without being made.

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* Pieces of a line are short: a call of memcmp or memcpy takes longer than its work. None of
       these reads or writes a byte beside the n. */
    static inline int is_same(const char *one, const char *other, size_t n)
    {
        uint64_t a, b, c, d;
        uint32_t e, f, g, h;
        if (n > 16)
            return memcmp(one, other, n) == 0;
        if (n >= 8) {
            memcpy(&a, one, 8);
            memcpy(&b, other, 8);
            memcpy(&c, one + n - 8, 8);
            memcpy(&d, other + n - 8, 8);
            return ((a ^ b) | (c ^ d)) == 0;
        }
        if (n >= 4) {
            memcpy(&e, one, 4);
            memcpy(&f, other, 4);
            memcpy(&g, one + n - 4, 4);
            memcpy(&h, other + n - 4, 4);
            return ((e ^ f) | (g ^ h)) == 0;
        }
        while (n--)
            if (one[n] != other[n])
                return 0;
        return 1;
    }

    static inline char *copy(char *to, const char *from, size_t n)
    {
        uint64_t a, b;
        uint32_t c, d;
        if (n > 16) {
            memcpy(to, from, n);
        } else if (n >= 8) {
            memcpy(&a, from, 8);
            memcpy(&b, from + n - 8, 8);
            memcpy(to, &a, 8);
            memcpy(to + n - 8, &b, 8);
        } else if (n >= 4) {
            memcpy(&c, from, 4);
            memcpy(&d, from + n - 4, 4);
            memcpy(to, &c, 4);
            memcpy(to + n - 4, &d, 4);
        } else {
            for (c = 0; c < n; c++)
                to[c] = from[c];
        }
        return to + n;
    }

    /* Take digits, eight at a time where the bytes of a word lie that way; the digits so far are
       multiplied, and overflow where there are more than 19, which is for the caller to see.
       Source: D. Lemire, "Quickly parsing eight digits", 2018. */
    static inline const char *take_digits(const char *at, const char *end, uint64_t *digits)
    {
        uint64_t found = *digits, word;
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        while (end - at >= 8) {
            memcpy(&word, at, 8);
            if (((word & 0xF0F0F0F0F0F0F0F0ULL)
                 | (((word + 0x0606060606060606ULL) & 0xF0F0F0F0F0F0F0F0ULL) >> 4))
                != 0x3333333333333333ULL)
                break;
            word -= 0x3030303030303030ULL;
            word = word * 10 + (word >> 8);
            word = ((word & 0x000000FF000000FFULL) * 0x000F424000000064ULL
                    + ((word >> 16) & 0x000000FF000000FFULL) * 0x0000271000000001ULL) >> 32;
            found = found * 100000000ULL + (uint32_t)word;
            at += 8;
        }
    #endif
        while (at < end && (unsigned char)(*at - '0') < 10)
            found = found * 10 + (uint64_t)(*at++ - '0');
        *digits = found;
        return at;
    }
    """
    bint is_same(const char *one, const char *other, size_t n) noexcept nogil
    char *copy(char *to, const char *text, size_t n) noexcept nogil
    const char *take_digits(const char *at, const char *end, uint64_t *digits) noexcept nogil

cdef extern from *:
    """
    static const double powers_of_ten[32] = {
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
        1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22, 1e23, 1e24, 1e25, 1e26, 1e27, 1e28, 1e29, 1e30,
        1e31};
    static const uint64_t powers_of_five[28] = {
        1ULL, 5ULL, 25ULL, 125ULL,
        625ULL, 3125ULL, 15625ULL, 78125ULL,
        390625ULL, 1953125ULL, 9765625ULL, 48828125ULL,
        244140625ULL, 1220703125ULL, 6103515625ULL, 30517578125ULL,
        152587890625ULL, 762939453125ULL, 3814697265625ULL, 19073486328125ULL,
        95367431640625ULL, 476837158203125ULL, 2384185791015625ULL, 11920928955078125ULL,
        59604644775390625ULL, 298023223876953125ULL, 1490116119384765625ULL,
        7450580596923828125ULL};

    /* Whether digits / 10^fraction, of 16 or 17 digits and no zero at the end, is what the shortest
       form of its double is, certainly: it lies within the double's rounding interval, no decimal
       of one digit less does, and none of as many digits is nearer. Exact: all of it is multiplied
       by 5^fraction and a power of two, below 2^127. Where two sides are equal, or the double is a
       power of two (whose interval is lopsided), it says no. */
    static int is_shortest(uint64_t digits, int fraction)
    {
    #ifdef __SIZEOF_INT128__
        __int128 power, unit, rest, twice;
        double near_by;
        uint64_t bits, mantissa;
        int shift, last = (int)(digits % 10), step;
        if (fraction < 1 || fraction > 31 || last == 0)
            return 0;
        power = powers_of_five[fraction > 27 ? 27 : fraction];
        if (fraction > 27)
            power *= powers_of_five[fraction - 27];
        near_by = (double)digits / powers_of_ten[fraction];
        memcpy(&bits, &near_by, sizeof(bits));
        /* Both are in units of 1 / (5^fraction 2^(shift + fraction)) from here on. */
        shift = 1075 - (int)(bits >> 52) - fraction;
        if (shift < 0 || shift > 76)
            return 0;
        mantissa = (bits & 0xFFFFFFFFFFFFFULL) | 0x10000000000000ULL;
        unit = (__int128)1 << shift;
        rest = (__int128)digits * unit - (__int128)mantissa * power;
        /* Three roundings: at most two units beside the nearest double. */
        for (step = 0; step < 2; step++) {
            if (2 * rest > power) {
                mantissa++;
                rest -= power;
            } else if (2 * rest < -power) {
                mantissa--;
                rest += power;
            }
        }
        if (mantissa <= 0x10000000000000ULL || mantissa >= 0x20000000000000ULL)
            return 0;
        twice = rest < 0 ? -2 * rest : 2 * rest;
        return twice < power && twice < unit && 2 * (last * unit - rest) > power
            && 2 * ((10 - last) * unit + rest) > power;
    #else
        return 0;
    #endif
    }
    """
    bint is_shortest(uint64_t digits, int fraction) noexcept nogil

cdef enum:
    # No value, a value that is copied as it stands, a float that lacks its `.0`.
    ABSENT = 0
    PLAIN = 1
    WHOLE = 2

cdef uint64_t MAX_INTEGER = (1ULL << 63) - 1


cdef struct Span:
    # A value as it stands in the record; `whole` digits before its point.
    const char *start
    Py_ssize_t length
    int state
    int whole
    int64_t integer


cdef struct Field:
    # `"price":`, and what its value may be.
    const char *key
    Py_ssize_t key_length
    int kind
    bint optional
    bint negative
    # Whether a whole number gets a `.0`: it is none where integers are told from floats.
    bint point
    int whole
    int64_t low
    int64_t high
    Py_ssize_t shortest
    Py_ssize_t longest
    bint missing
    Span standard


cdef inline bint begins(
    const char *at, const char *end, const char *text, Py_ssize_t length
) noexcept nogil:
    return end - at >= length and is_same(at, text, length)


cdef inline const char *read_text(const char *at, const char *end, Span *span) noexcept nogil:
    """A string of plain ASCII, its quotes with it; NULL otherwise. Points behind it."""
    cdef unsigned char char_
    if at >= end or at[0] != c'"':
        return NULL
    span.start = at
    at += 1
    while at < end:
        char_ = <unsigned char>at[0]
        at += 1
        if char_ == c'"':
            span.length = at - span.start
            span.state = PLAIN
            return at
        if char_ < 32 or char_ > 126 or char_ == c'\\':
            return NULL
    return NULL


cdef inline const char *read_array(const char *at, const char *end, Span *span) noexcept nogil:
    """Up to the next closing bracket, plain ASCII; what is an array, Python says."""
    cdef unsigned char char_
    if at >= end or at[0] != c'[':
        return NULL
    span.start = at
    while at < end:
        char_ = <unsigned char>at[0]
        at += 1
        if char_ == c']':
            span.length = at - span.start
            span.state = PLAIN
            return at
        if char_ < 32 or char_ > 126 or char_ == c'\\':
            return NULL
    return NULL


cdef inline const char *read_boolean(const char *at, const char *end, Span *span) noexcept nogil:
    span.start = at
    span.state = PLAIN
    if begins(at, end, b"true", 4):
        span.length = 4
    elif begins(at, end, b"false", 5):
        span.length = 5
    else:
        return NULL
    return at + span.length


cdef inline const char *read_integer(
    const char *at, const char *end, const Field *field, Span *span
) noexcept nogil:
    """An integer of 64 bits as msgspec writes it, within the field's bounds; NULL otherwise."""
    cdef uint64_t found = 0
    cdef bint negative = False
    cdef const char *start
    span.start = at
    if at < end and at[0] == c'-':
        negative = True
        at += 1
    start = at
    at = take_digits(start, end, &found)
    if at == start or at - start > 19 or found > MAX_INTEGER:
        return NULL
    if start[0] == c'0' and (negative or at - start > 1):
        return NULL
    span.integer = -<int64_t>found if negative else <int64_t>found
    if span.integer < field.low or span.integer > field.high:
        return NULL
    span.length = at - span.start
    span.state = PLAIN
    return at


cdef inline const char *read_float(
    const char *at, const char *end, const Field *field, Span *span
) noexcept nogil:
    """A number as msgspec writes its double, or a whole one without its point; NULL otherwise.

    Up to 15 digits every decimal has a double of its own, so it is the shortest form if it has no
    zeros to spare and stands where msgspec writes no exponent (from 1e-5 to below 1e16), or with
    one where it does.
    """
    cdef uint64_t digits = 0
    cdef int whole, fraction = 0, significant = 0, exponent = 0, exponent_digits = 0
    cdef bint negative = False, down = False
    cdef const char *start
    cdef const char *point
    span.start = at
    if at < end and at[0] == c'-':
        if not field.negative:
            return NULL
        negative = True
        at += 1
    start = at
    at = take_digits(start, end, &digits)
    if at == start or at - start > 17 or (start[0] == c'0' and at - start > 1):
        return NULL
    whole = <int>(at - start)
    significant = 0 if start[0] == c'0' else whole
    span.state = PLAIN
    span.whole = whole
    if at < end and at[0] == c'.':
        at += 1
        point = at
        if significant == 0:
            # Zeros right behind the point count for nothing; five are an exponent's.
            while at < end and at[0] == c'0' and at - point < 5:
                at += 1
            significant = <int>(point - at)
        at = take_digits(at, end, &digits)
        if at == point or at - point > 21:
            return NULL
        fraction = <int>(at - point)
        if (at - 1)[0] == c'0':
            # `.0` alone, and then of a number that is whole.
            if fraction > 1 or (at < end and at[0] == c'e') or significant > 15:
                return NULL
            span.length = at - span.start
            return at if whole <= field.whole else NULL
        significant += fraction
        if significant > 17 or fraction - significant > 4:
            return NULL
    if at < end and at[0] == c'e':
        at += 1
        if start[0] == c'0' or whole != 1:
            return NULL
        if at < end and at[0] == c'-':
            down = True
            at += 1
        while at < end and c'0' <= at[0] <= c'9':
            if exponent_digits == 3 or (exponent_digits > 0 and exponent == 0):
                return NULL
            exponent = exponent * 10 + (at[0] - c'0')
            exponent_digits += 1
            at += 1
        # Far from what is no normal double.
        if exponent_digits == 0 or exponent > 290 or exponent < (6 if down else 16):
            return NULL
        if significant > 15 and not (down and is_shortest(digits, fraction + exponent)):
            return NULL
        if not down:
            span.whole = exponent + 1
    elif fraction == 0:
        if significant > 15 or (negative and digits == 0):
            return NULL
        span.state = WHOLE if field.point else PLAIN
    elif significant > 15 and not is_shortest(digits, fraction):
        return NULL
    span.length = at - span.start
    return at if span.whole <= field.whole else NULL


cdef Py_ssize_t locate(tuple values, const char **starts, Py_ssize_t *lengths) except -1:
    """Fill in where the values lie, NULL for what is no bytes; return all their bytes."""
    cdef Py_ssize_t row, total = 0
    for row in range(len(values)):
        value = values[row]
        starts[row] = NULL
        lengths[row] = 0
        if PyBytes_CheckExact(value):
            starts[row] = PyBytes_AS_STRING(value)
            lengths[row] = PyBytes_GET_SIZE(value)
            total += lengths[row]
    return total
