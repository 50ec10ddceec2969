# Texts by words: hashes, comparing, copying. Part of `_ids.pyx` and `_kernel.pyx`.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

import os

cdef uint64_t MULTIPLIER = 0x9E3779B97F4A7C15ULL
#: Of this process: who writes texts cannot know which fall together.
cdef uint64_t SEED = int.from_bytes(os.urandom(8), "little")


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


cdef inline void copy_text(uint8_t *to, const uint8_t *text, Py_ssize_t length) noexcept nogil:
    """Copy a short text; by words, as above."""
    cdef uint64_t word
    cdef uint32_t half
    cdef Py_ssize_t at = 0
    if length >= 8:
        while at < length:
            at = min(at, length - 8)
            memcpy(&word, text + at, 8)
            memcpy(to + at, &word, 8)
            at += 8
    elif length >= 4:
        memcpy(&half, text, 4)
        memcpy(to, &half, 4)
        memcpy(&half, text + length - 4, 4)
        memcpy(to + length - 4, &half, 4)
    else:
        for at in range(length):
            to[at] = text[at]
