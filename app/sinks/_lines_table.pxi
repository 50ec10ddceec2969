# Part of `_lines.pyx`: texts to texts, as Python says at first sight.


cdef struct Slot:
    uint64_t hash
    char *key
    # Behind the key in the same memory; NULL where Python has to write the line.
    char *text
    int32_t key_length
    int32_t text_length
    uint64_t stamp


cdef inline uint64_t hash_of(const char *text, Py_ssize_t length) noexcept nogil:
    cdef uint64_t found = 0x9E3779B97F4A7C15ULL ^ <uint64_t>length, word
    while length >= 8:
        memcpy(&word, text, 8)
        found = (found ^ word) * 0xFF51AFD7ED558CCDULL
        found ^= found >> 32
        text += 8
        length -= 8
    word = 0
    while length:
        length -= 1
        word = (word << 8) | <unsigned char>text[length]
    found = (found ^ word) * 0xFF51AFD7ED558CCDULL
    return found ^ (found >> 32)


@cython.final
cdef class Table:
    """Parts of records to what a line has for them, which Python says at first sight."""

    cdef Slot *slots
    cdef Py_ssize_t mask
    cdef Py_ssize_t count
    cdef object resolve

    def __cinit__(self, resolve):
        self.mask = 63
        self.count = 0
        self.resolve = resolve
        self.slots = <Slot *>calloc(self.mask + 1, sizeof(Slot))
        if self.slots == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.slots != NULL:
            self.forget()
            free(self.slots)

    cdef void forget(self) noexcept:
        cdef Py_ssize_t index
        for index in range(self.mask + 1):
            free(self.slots[index].key)
            self.slots[index].key = NULL
        self.count = 0

    cdef Slot *find(self, const char *key, Py_ssize_t length) except NULL nogil:
        """The slot of a key; good until the next call, its memory until `forget`."""
        cdef uint64_t hashed = hash_of(key, length)
        cdef Py_ssize_t index = <Py_ssize_t>(hashed & <uint64_t>self.mask)
        cdef Slot *slot
        while True:
            slot = &self.slots[index]
            if slot.key == NULL:
                return self.add(key, length, hashed)
            if (
                slot.hash == hashed
                and slot.key_length == length
                and is_same(slot.key, key, length)
            ):
                return slot
            index = (index + 1) & self.mask

    cdef Slot *add(self, const char *key, Py_ssize_t length, uint64_t hashed) except NULL with gil:
        cdef bytes name = PyBytes_FromStringAndSize(key, length)
        said = self.resolve(name)
        cdef bytes text = b"" if said is None else said
        cdef Py_ssize_t size = PyBytes_GET_SIZE(text)
        cdef Slot fresh
        if size > 1 << 20:
            raise ValueError("a part of a line is longer than a megabyte")
        if 2 * (self.count + 1) > self.mask:
            self.grow()
        fresh.hash = hashed
        fresh.stamp = 0
        fresh.key_length = <int32_t>length
        fresh.text_length = <int32_t>size
        fresh.key = <char *>malloc(length + size + 1)
        if fresh.key == NULL:
            raise MemoryError
        memcpy(fresh.key, key, length)
        memcpy(fresh.key + length, PyBytes_AS_STRING(text), size)
        fresh.text = NULL if said is None else fresh.key + length
        self.count += 1
        return self.put(fresh)

    cdef Slot *put(self, Slot slot) noexcept:
        cdef Py_ssize_t index = <Py_ssize_t>(slot.hash & <uint64_t>self.mask)
        while self.slots[index].key != NULL:
            index = (index + 1) & self.mask
        self.slots[index] = slot
        return &self.slots[index]

    cdef int grow(self) except -1:
        cdef Slot *old = self.slots
        cdef Py_ssize_t old_mask = self.mask, index
        cdef Slot *larger = <Slot *>calloc(2 * (old_mask + 1), sizeof(Slot))
        if larger == NULL:
            raise MemoryError
        self.slots = larger
        self.mask = 2 * (old_mask + 1) - 1
        for index in range(old_mask + 1):
            if old[index].key != NULL:
                self.put(old[index])
        free(old)
        return 0
