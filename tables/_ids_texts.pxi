# Texts as msgpack writes them. Part of `_ids.pyx`, little-endian.

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
