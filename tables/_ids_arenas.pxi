# What belongs to a minute: texts, and what no checkpoint has taken. Part of `_ids.pyx`.

cdef enum:
    #: Bytes of an arena's pieces: the first of a minute are smaller.
    SMALL_PIECE = 4096
    LARGE_PIECE = 1048576
    #: Numbers that are written together (tables/id_rows.py).
    TOGETHER = 1000


cdef struct Piece:
    Piece *before
    Py_ssize_t used
    Py_ssize_t size


cdef struct Note:
    uint64_t number
    Prefix *prefix


cdef int ascending(const void *one, const void *two) noexcept nogil:
    cdef uint64_t first = (<const uint64_t *>one)[0], second = (<const uint64_t *>two)[0]
    return (first > second) - (first < second)


cdef void put_in_order(uint64_t *numbers, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t at
    for at in range(1, count):
        if numbers[at] < numbers[at - 1]:
            qsort(numbers, count, sizeof(uint64_t), ascending)
            return


cdef class Arena:
    """The texts of one minute, and the identities that no checkpoint has taken yet."""

    cdef Piece *newest
    #: Where the next row of texts begins, in copies of them.
    cdef uint8_t *fresh
    cdef Py_ssize_t fresh_used
    cdef Py_ssize_t fresh_size
    cdef Py_ssize_t fresh_count
    #: Numbers with their prefixes.
    cdef Note *notes
    cdef Py_ssize_t note_size
    cdef Py_ssize_t note_count

    def __dealloc__(self):
        cdef Piece *piece = self.newest
        cdef Piece *before
        while piece != NULL:
            before = piece.before
            free(piece)
            piece = before
        free(self.fresh)
        free(self.notes)

    cdef uint8_t *put(self, const uint8_t *text, Py_ssize_t length) except NULL nogil:
        """Keep a text; where it lies."""
        cdef Piece *piece = self.newest
        cdef Py_ssize_t size, whole = head_size(length) + length
        cdef uint8_t *place
        if piece == NULL or piece.used + whole > piece.size:
            size = SMALL_PIECE if piece == NULL else min(2 * piece.size, <Py_ssize_t>LARGE_PIECE)
            size = max(size, whole)
            piece = <Piece *>malloc(sizeof(Piece) + size)
            if piece == NULL:
                out_of_memory()
            piece.before, piece.used, piece.size = self.newest, 0, size
            self.newest = piece
        place = <uint8_t *>piece + sizeof(Piece) + piece.used
        write_text(place, text, length)
        piece.used += whole
        return place

    cdef int note_text(self, const uint8_t *text, Py_ssize_t length) except -1 nogil:
        """Add a text to what the next checkpoint takes."""
        cdef uint8_t *larger
        cdef Py_ssize_t size, whole = head_size(length) + length
        if self.fresh_used + whole > self.fresh_size:
            size = max(2 * self.fresh_size, <Py_ssize_t>1024, self.fresh_used + whole)
            larger = <uint8_t *>realloc(self.fresh, size)
            if larger == NULL:
                out_of_memory()
            self.fresh, self.fresh_size = larger, size
        write_text(self.fresh + self.fresh_used, text, length)
        self.fresh_used += whole
        self.fresh_count += 1
        return 0

    cdef inline int note_number(self, uint64_t number, Prefix *prefix) except -1 nogil:
        """Add a number to what the next checkpoint takes."""
        cdef Note *larger
        cdef Py_ssize_t size
        if self.note_count == self.note_size:
            size = max(2 * self.note_size, <Py_ssize_t>64)
            larger = <Note *>realloc(self.notes, size * sizeof(Note))
            if larger == NULL:
                out_of_memory()
            self.notes, self.note_size = larger, size
        self.notes[self.note_count].number = number
        self.notes[self.note_count].prefix = prefix
        self.note_count += 1
        return 0

    cdef list take_texts(self, Py_ssize_t a_row):
        """Rows of at most so many texts, as msgpack writes a list of them."""
        cdef list rows = []
        cdef Py_ssize_t begin = 0, end = 0, count = 0, left = self.fresh_count, length
        cdef const uint8_t *text
        while left:
            count = min(left, a_row)
            end = begin
            for _ in range(count):
                text = content_of(self.fresh + end, &length)
                end = text + length - self.fresh
            rows.append(array_head(count) + PyBytes_FromStringAndSize(
                <char *>self.fresh + begin, end - begin
            ))
            begin = end
            left -= count
        free(self.fresh)
        self.fresh = NULL
        self.fresh_used = self.fresh_size = self.fresh_count = 0
        return rows

    cdef list take_numbers(self, Prefixes prefixes):
        """Rows of the numbers, by prefix."""
        cdef NumberRows rows = NumberRows()
        cdef Py_ssize_t count = self.note_count, at, begin = 0, end
        cdef uint32_t *ends
        cdef uint64_t *numbers
        if count == 0:
            return rows.rows
        prefixes.rank()
        ends = <uint32_t *>calloc(prefixes.count + 1, sizeof(uint32_t))
        numbers = <uint64_t *>malloc(count * sizeof(uint64_t))
        try:
            if ends == NULL or numbers == NULL:
                raise MemoryError
            # Sorted by counting: where the numbers of a prefix begin, and then where they end.
            for at in range(count):
                ends[self.notes[at].prefix.rank + 1] += 1
            for at in range(prefixes.count):
                ends[at + 1] += ends[at]
            for at in range(count):
                end = ends[self.notes[at].prefix.rank]
                ends[self.notes[at].prefix.rank] += 1
                numbers[end] = self.notes[at].number
            for at in range(prefixes.count):
                end = ends[at]
                if end > begin:
                    put_in_order(numbers + begin, end - begin)
                while begin < end:
                    rows.write(
                        prefixes.ranked[at], numbers + begin, min(end - begin, <Py_ssize_t>TOGETHER)
                    )
                    begin += min(end - begin, <Py_ssize_t>TOGETHER)
            rows.end_row()
        finally:
            free(ends)
            free(numbers)
        free(self.notes)
        self.notes = NULL
        self.note_size = self.note_count = 0
        return rows.rows
