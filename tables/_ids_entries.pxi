# Entries of the table, and what is looked for in it. Part of `_ids.pyx`.

cdef struct Entry:
    #: A text: where it is. Numbers: `NUMBERS`, upper bits of the prefix's code (from bit 56), and
    #: the number of their block. 0: a free place.
    uint64_t key
    #: A text: its tag. Numbers: the lower 16 bits of the code, and a bit for each of the block.
    uint32_t mark
    int32_t minute


cdef struct Shard:
    Entry *entries
    Py_ssize_t size
    Py_ssize_t count


cdef struct Looked:
    #: Bytes of the prefix; -1 for a text.
    Py_ssize_t size
    #: Of the prefix, or of the text.
    uint64_t hashed
    #: NULL for a text.
    Prefix *prefix
    uint64_t number


cdef inline uint64_t key_of(const Prefix *prefix, uint64_t number) noexcept nogil:
    return NUMBERS | (<uint64_t>(prefix.code >> 16) << 56) | (number >> 4)


cdef inline uint32_t tag_of_numbers(uint64_t key, uint32_t code) noexcept nogil:
    """Of the lower 16 bits of a code."""
    return <uint32_t>(mix(mix((key ^ SEED) * MULTIPLIER) ^ (code & 0xFFFF) * MULTIPLIER) >> 32)


cdef inline uint32_t tag_of(const Entry *entry) noexcept nogil:
    return tag_of_numbers(entry.key, entry.mark >> 16) if entry.key & NUMBERS else entry.mark


cdef inline uint32_t tag_of_looked(const Looked *looked) noexcept nogil:
    if looked.prefix == NULL:
        return <uint32_t>(looked.hashed >> 32)
    return tag_of_numbers(key_of(looked.prefix, looked.number), looked.prefix.code)


cdef inline void begin_look(const uint8_t *text, Py_ssize_t length, Looked *looked) noexcept nogil:
    looked.size = split(text, length, &looked.number)
    looked.hashed = hash_of(text, length if looked.size < 0 else looked.size)


cdef inline int ids_of(const Entry *entry) noexcept nogil:
    return count_bits(entry.mark & 0xFFFF) if entry.key & NUMBERS else 1


cdef inline Py_ssize_t home(uint32_t tag, Py_ssize_t size) noexcept nogil:
    """Where the search begins. The upper bits of a tag name the shard, all others the place."""
    return <Py_ssize_t>((<uint64_t>(tag << SHARD_BITS) * <uint64_t>size) >> 32)


cdef inline void place_entry(Shard *shard, uint32_t tag, const Entry *entry) noexcept nogil:
    """Put an entry into the first free place; there is one."""
    cdef Py_ssize_t place = home(tag, shard.size)
    while shard.entries[place].key:
        place += 1
        if place == shard.size:
            place = 0
    shard.entries[place] = entry[0]
    shard.count += 1
