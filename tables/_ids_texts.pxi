# Texts: their hashes, and how msgpack writes them. Part of `_ids.pyx`, little-endian.

cdef inline uint64_t mix(uint64_t value) noexcept nogil:
    value ^= value >> 32
    value *= MULTIPLIER
    value ^= value >> 29
    return value


cdef inline uint64_t hash_of(const uint8_t *text, Py_ssize_t length) noexcept nogil:
    """By words that overlap at the end: a copy of unknown length would be a call."""
    cdef uint64_t found = SEED ^ <uint64_t>length, word = 0
    cdef uint32_t low, high
    cdef const uint8_t *last = text + length - 8
    if length >= 8:
        while text < last:
            memcpy(&word, text, 8)
            found = mix(found ^ word) * MULTIPLIER
            text += 8
        memcpy(&word, last, 8)
    elif length >= 4:
        memcpy(&low, text, 4)
        memcpy(&high, text + length - 4, 4)
        word = (<uint64_t>high << 32) | low
    elif length:
        word = text[0] | (<uint64_t>text[length >> 1] << 8) | (<uint64_t>text[length - 1] << 16)
    found = mix(found ^ word) * MULTIPLIER
    return mix(found)


cdef inline bint is_same(const uint8_t *one, const uint8_t *two, Py_ssize_t length) noexcept nogil:
    """Whether so many bytes are the same; by words, as above."""
    cdef uint64_t first, second
    cdef Py_ssize_t at = 0
    if length < 8:
        while at < length:
            if one[at] != two[at]:
                return False
            at += 1
        return True
    while at < length:
        at = min(at, length - 8)
        memcpy(&first, one + at, 8)
        memcpy(&second, two + at, 8)
        if first != second:
            return False
        at += 8
    return True


cdef inline const uint8_t *content_of(const uint8_t *text, Py_ssize_t *length) noexcept nogil:
    """The bytes of a text behind its head, and how many they are."""
    if text[0] < 0xC0:
        length[0] = text[0] & 0x1F
        return text + 1
    if text[0] == 0xD9:
        length[0] = text[1]
        return text + 2
    length[0] = (<Py_ssize_t>text[1] << 8) + text[2]
    return text + 3


cdef inline Py_ssize_t head_size(Py_ssize_t length) noexcept nogil:
    return 1 if length < 32 else 2 if length < 256 else 3


cdef inline uint8_t *write_text(uint8_t *to, const uint8_t *text, Py_ssize_t length) noexcept nogil:
    """Write a text with its head; the place behind it."""
    if length < 32:
        to[0] = 0xA0 | <uint8_t>length
    elif length < 256:
        to[0] = 0xD9
        to[1] = <uint8_t>length
    else:
        to[0] = 0xDA
        to[1] = <uint8_t>(length >> 8)
        to[2] = <uint8_t>length
    to += head_size(length)
    memcpy(to, text, length)
    return to + length


cdef bytes array_head(Py_ssize_t count):
    if count < 16:
        return bytes([0x90 | count])
    if count < 65_536:
        return b"\xdc" + int(count).to_bytes(2, "big")
    return b"\xdd" + int(count).to_bytes(4, "big")


cdef int out_of_memory() except -1 nogil:
    with gil:
        raise MemoryError
