# What stands before the number of an identity, each once. Part of `_ids.pyx`, little-endian.

cdef enum:
    #: Prefixes of a store, which stay; identities with others are held, and stored, as texts.
    MOST_PREFIXES = 262144
    #: Digits of a number, behind leading zeros.
    DIGITS = 18
    #: Bytes of the cache's lines: most prefixes take one.
    LINE = 64

cdef uint64_t END_OF_NUMBERS = 1_000_000_000_000_000_000ULL


cdef extern from "stdlib.h":
    void *aligned_alloc(size_t alignment, size_t size) nogil


cdef struct Counted:
    uint64_t block
    #: One for each number of the block.
    uint32_t bits
    int32_t minute


cdef struct Prefix:
    uint32_t tag
    #: Of the text, which lies behind.
    uint32_t length
    uint32_t code
    #: Its place among all, by their bytes.
    uint32_t rank
    #: Above all numbers that are known, and above all in the table.
    uint64_t known_below
    uint64_t tabled_below
    #: Blocks as they came, ascending; numbers that came later than greater ones are in the table.
    Counted *log
    uint32_t count
    uint32_t size


cdef inline uint8_t *text_of(const Prefix *prefix) noexcept nogil:
    return <uint8_t *>prefix + sizeof(Prefix)


cdef inline bint eight_digits(const uint8_t *at, uint64_t *value) noexcept nogil:
    """Read eight digits at once, if they are; after Lemire, "Quickly parsing eight digits"."""
    cdef uint64_t word
    memcpy(&word, at, 8)
    if (word & 0xF0F0F0F0F0F0F0F0ULL) != 0x3030303030303030ULL or (
        ((word + 0x0606060606060606ULL) & 0xF0F0F0F0F0F0F0F0ULL) != 0x3030303030303030ULL
    ):
        return False
    word = (word & 0x0F0F0F0F0F0F0F0FULL) * 2561 >> 8
    word = (word & 0x00FF00FF00FF00FFULL) * 6553601 >> 16
    value[0] = (word & 0x0000FFFF0000FFFFULL) * 42949672960001ULL >> 32
    return True


cdef inline Py_ssize_t split(
    const uint8_t *text, Py_ssize_t length, uint64_t *number
) noexcept nogil:
    """The length of the prefix of an identity that ends in a number; -1 where it does not.

    The same as `split` of tables/id_rows.py: the prefix ends behind the last NUL and the zeros
    that lead, so that it and the number say which text it was.
    """
    cdef const uint8_t *at = text + length
    cdef uint64_t value = 0, scale = 1, word
    while at - text >= 8 and eight_digits(at - 8, &word):
        # Beyond 18 digits this is right where only zeros lead; nothing else is used.
        value += scale * word
        scale *= 100_000_000
        at -= 8
    while at > text and c'0' <= (at - 1)[0] <= c'9':
        value += scale * <uint64_t>((at - 1)[0] - c'0')
        scale *= 10
        at -= 1
    if at == text + length or (at > text and (at - 1)[0] != 0):
        return -1
    while at[0] == c'0' and at < text + length - 1:
        at += 1
    if text + length - at > DIGITS:
        return -1
    number[0] = value
    return at - text


cdef int append(Prefix *prefix, uint64_t number, int64_t minute) except -1 nogil:
    """Log a number of which nothing is known."""
    cdef Counted *last = prefix.log + prefix.count - 1
    cdef Counted *larger
    cdef uint32_t bit = 1u << (number & 15)
    cdef Py_ssize_t size
    prefix.known_below = number + 1
    if prefix.count and last.block == number >> 4 and last.minute == minute:
        last.bits |= bit
        return 0
    if prefix.count == prefix.size:
        size = <Py_ssize_t>prefix.size + max(4, prefix.size >> 2)
        larger = <Counted *>realloc(prefix.log, size * sizeof(Counted))
        if larger == NULL:
            return out_of_memory()
        prefix.log, prefix.size = larger, <uint32_t>size
    last = prefix.log + prefix.count
    last.block, last.bits, last.minute = number >> 4, bit, <int32_t>minute
    prefix.count += 1
    return 0


cdef Py_ssize_t first_of_block(const Prefix *prefix, uint64_t block) noexcept nogil:
    """The first place of the log with this block or a later one; near the end it is near."""
    cdef Py_ssize_t high = prefix.count, step = 1, low = high - 1, middle
    while low >= 0 and prefix.log[low].block >= block:
        high = low
        step *= 2
        low = high - step
    low = max(low, <Py_ssize_t>-1)
    while high - low > 1:
        middle = (low + high) >> 1
        if prefix.log[middle].block >= block:
            high = middle
        else:
            low = middle
    return high


cdef int release(Prefix *prefix, int64_t forgotten) noexcept:
    """Take what is forgotten out of the log; how many numbers."""
    cdef Py_ssize_t place, kept = 0
    cdef int found = 0
    cdef Counted *smaller
    for place in range(<Py_ssize_t>prefix.count):
        if prefix.log[place].minute > forgotten:
            prefix.log[kept] = prefix.log[place]
            kept += 1
        else:
            found += count_bits(prefix.log[place].bits)
    prefix.count = <uint32_t>kept
    prefix.known_below = prefix.tabled_below
    if kept:
        smaller = prefix.log + kept - 1
        prefix.known_below = max(
            prefix.known_below, (smaller.block << 4) + 32 - count_leading(smaller.bits)
        )
    if 2 * kept < <Py_ssize_t>prefix.size:
        smaller = NULL if kept == 0 else <Counted *>realloc(prefix.log, kept * sizeof(Counted))
        if kept == 0:
            free(prefix.log)
        if kept == 0 or smaller != NULL:
            prefix.log, prefix.size = smaller, <uint32_t>kept
    return found


cdef bint is_prefix(const uint8_t *text, Py_ssize_t length) except -1:
    """Whether `split` can find such a prefix."""
    try:
        text[:length].decode()
    except UnicodeDecodeError:
        return False
    while length and text[length - 1] == c'0':
        length -= 1
    return length == 0 or text[length - 1] == 0


cdef int compare(const void *one, const void *two) noexcept nogil:
    """By bytes, for `qsort` of pointers."""
    cdef const Prefix *first = (<const Prefix **>one)[0]
    cdef const Prefix *second = (<const Prefix **>two)[0]
    cdef int found = memcmp(text_of(first), text_of(second), min(first.length, second.length))
    return found if found else (1 if first.length > second.length else -1)


cdef class Prefixes:
    """A table of them, half full at most."""

    cdef Prefix **slots
    cdef Py_ssize_t mask
    cdef Py_ssize_t count
    #: By their bytes; behind the first `in_order` as they came.
    cdef Prefix **ranked
    cdef Py_ssize_t room
    cdef Py_ssize_t in_order

    def __cinit__(self):
        self.mask = -1

    def __dealloc__(self):
        cdef Py_ssize_t number
        for number in range(self.count):
            free(self.ranked[number].log)
            free(self.ranked[number])
        free(self.ranked)
        free(self.slots)

    cdef inline void fetch_place(self, uint64_t hashed) noexcept nogil:
        """Have the cache bring what `find` reads first."""
        if self.slots != NULL:
            prefetch(self.slots + (hashed & <uint64_t>self.mask))

    cdef inline void fetch(self, uint64_t hashed) noexcept nogil:
        """Have the cache bring what `find` reads then."""
        if self.slots != NULL:
            prefetch(self.slots[hashed & <uint64_t>self.mask])

    cdef inline Prefix *find(
        self, const uint8_t *text, Py_ssize_t length, uint64_t hashed
    ) except? NULL nogil:
        """That of a text, from now on if it was not; NULL where there are too many."""
        cdef uint32_t tag = <uint32_t>(hashed >> 32)
        cdef Py_ssize_t place = <Py_ssize_t>(hashed & <uint64_t>self.mask)
        cdef Prefix *prefix
        if self.slots != NULL:
            while self.slots[place] != NULL:
                prefix = self.slots[place]
                if (
                    prefix.tag == tag
                    and prefix.length == length
                    and is_same(text_of(prefix), text, length)
                ):
                    return prefix
                place = (place + 1) & self.mask
        return self.add(text, length, tag)

    cdef Prefix *add(self, const uint8_t *text, Py_ssize_t length, uint32_t tag) except? NULL nogil:
        cdef Prefix *fresh
        cdef Prefix **larger
        if self.count == MOST_PREFIXES:
            return NULL
        if self.count == self.room:
            larger = <Prefix **>realloc(self.ranked, max(64, 2 * self.room) * sizeof(Prefix *))
            if larger == NULL:
                out_of_memory()
            self.ranked, self.room = larger, max(64, 2 * self.room)
        if 2 * (self.count + 1) > self.mask:
            self.grow()
        fresh = <Prefix *>aligned_alloc(LINE, (sizeof(Prefix) + length + LINE - 1) // LINE * LINE)
        if fresh == NULL:
            out_of_memory()
        memset(fresh, 0, sizeof(Prefix))
        fresh.code, fresh.tag, fresh.length = <uint32_t>self.count, tag, <uint32_t>length
        memcpy(text_of(fresh), text, length)
        self.put(fresh)
        self.ranked[self.count] = fresh
        self.count += 1
        return fresh

    cdef void put(self, Prefix *prefix) noexcept nogil:
        cdef Py_ssize_t place = <Py_ssize_t>(
            hash_of(text_of(prefix), prefix.length) & <uint64_t>self.mask
        )
        while self.slots[place] != NULL:
            place = (place + 1) & self.mask
        self.slots[place] = prefix

    cdef int grow(self) except -1 nogil:
        cdef Py_ssize_t number, size = max(128, 2 * (self.mask + 1))
        cdef Prefix **larger = <Prefix **>calloc(size, sizeof(Prefix *))
        if larger == NULL:
            out_of_memory()
        free(self.slots)
        self.slots, self.mask = larger, size - 1
        for number in range(self.count):
            self.put(self.ranked[number])
        return 0

    cdef int rank(self) except -1:
        """Put those that came since the last call into their order."""
        cdef Py_ssize_t old = self.in_order, fresh = self.count - self.in_order, at = self.count
        cdef Prefix **came
        if fresh == 0:
            return 0
        came = <Prefix **>malloc(fresh * sizeof(Prefix *))
        if came == NULL:
            raise MemoryError
        memcpy(came, self.ranked + old, fresh * sizeof(Prefix *))
        qsort(came, fresh, sizeof(Prefix *), compare)
        while fresh:
            at -= 1
            if old and compare(&self.ranked[old - 1], &came[fresh - 1]) > 0:
                old -= 1
                self.ranked[at] = self.ranked[old]
            else:
                fresh -= 1
                self.ranked[at] = came[fresh]
        free(came)
        self.in_order = self.count
        for at in range(self.count):
            self.ranked[at].rank = <uint32_t>at
        return 0
