# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Trade ids that are remembered, as bytes: a table of places, and arenas with the texts.

The compiled twin of `PureStore` (tables/identifiers.py), with the same answers and rows.

A text lies in the arena of its minute as msgpack writes it (so a row of a checkpoint is a copy),
and an entry of the table has 32 bits of its hash, its minute and its place: 16 bytes. The table is
in shards by the upper bits of the hash; each grows by a quarter when it is 80 % full, so memory
grows with the number of ids, without leaps. Places in a shard rise with the hash (linear probing
without masks), so a shard is copied from one end to the other. A hash that is found is no answer:
the bytes are compared.

Arenas are allocated in large pieces and freed as a whole when all of their minute are forgotten,
once no shard names them: shards are swept one after the other, a few with each call.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy

import os

cdef extern from *:
    """
    #define candlewick_prefetch(place) __builtin_prefetch(place)
    """
    void prefetch "candlewick_prefetch"(const void *place) noexcept nogil

cdef enum:
    SHARD_BITS = 6
    SHARDS = 64
    LEAST = 64
    #: Bytes of an arena's pieces: the first of a minute are smaller.
    SMALL_PIECE = 4096
    LARGE_PIECE = 1048576
    #: Shards that are swept with a call.
    SWEPT = 4
    #: Texts that are looked for together.
    AHEAD = 64
    #: Bytes of a text: what a head can say.
    LONGEST = 65535

cdef int64_t MINUTE = 60_000_000_000
cdef uint64_t MULTIPLIER = 0x9E3779B97F4A7C15ULL
#: Of this process: who writes ids cannot know which fall together.
cdef uint64_t SEED = int.from_bytes(os.urandom(8), "little")


cdef struct Entry:
    #: As msgpack writes it; NULL: a free place.
    uint8_t *text
    uint32_t tag
    int32_t minute


cdef struct Shard:
    Entry *entries
    Py_ssize_t size
    Py_ssize_t count


cdef struct Piece:
    Piece *before
    Py_ssize_t used
    Py_ssize_t size


cdef inline uint64_t mix(uint64_t value) noexcept nogil:
    value ^= value >> 32
    value *= MULTIPLIER
    value ^= value >> 29
    return value


cdef inline uint64_t hash_of(const uint8_t *text, Py_ssize_t length) noexcept nogil:
    cdef uint64_t found = SEED ^ <uint64_t>length, word
    while length >= 8:
        memcpy(&word, text, 8)
        found = mix(found ^ word) * MULTIPLIER
        text += 8
        length -= 8
    word = 0
    memcpy(&word, text, length)
    found = mix(found ^ word) * MULTIPLIER
    return mix(found)


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


cdef inline Py_ssize_t home(uint32_t tag, Py_ssize_t size) noexcept nogil:
    """Where the search begins. The upper bits of a tag name the shard, all others the place."""
    return <Py_ssize_t>((<uint64_t>(tag << SHARD_BITS) * <uint64_t>size) >> 32)


cdef class Arena:
    """The texts of one minute, and those that no checkpoint has taken yet."""

    cdef Piece *newest
    #: Where the next row of a checkpoint begins, in copies of the texts.
    cdef uint8_t *fresh
    cdef Py_ssize_t fresh_used
    cdef Py_ssize_t fresh_size
    cdef Py_ssize_t fresh_count

    def __dealloc__(self):
        cdef Piece *piece = self.newest
        cdef Piece *before
        while piece != NULL:
            before = piece.before
            free(piece)
            piece = before
        free(self.fresh)

    cdef uint8_t *put(self, const uint8_t *text, Py_ssize_t length) except NULL:
        """Keep a text; where it lies."""
        cdef Piece *piece = self.newest
        cdef Py_ssize_t size, whole = head_size(length) + length
        cdef uint8_t *place
        if piece == NULL or piece.used + whole > piece.size:
            size = SMALL_PIECE if piece == NULL else min(2 * piece.size, <Py_ssize_t>LARGE_PIECE)
            size = max(size, whole)
            piece = <Piece *>malloc(sizeof(Piece) + size)
            if piece == NULL:
                raise MemoryError
            piece.before, piece.used, piece.size = self.newest, 0, size
            self.newest = piece
        place = <uint8_t *>piece + sizeof(Piece) + piece.used
        write_text(place, text, length)
        piece.used += whole
        return place

    cdef int note(self, const uint8_t *text, Py_ssize_t length) except -1:
        """Add a text to what the next checkpoint takes."""
        cdef uint8_t *larger
        cdef Py_ssize_t size, whole = head_size(length) + length
        if self.fresh_used + whole > self.fresh_size:
            size = max(2 * self.fresh_size, <Py_ssize_t>1024, self.fresh_used + whole)
            larger = <uint8_t *>realloc(self.fresh, size)
            if larger == NULL:
                raise MemoryError
            self.fresh, self.fresh_size = larger, size
        write_text(self.fresh + self.fresh_used, text, length)
        self.fresh_used += whole
        self.fresh_count += 1
        return 0

    cdef list take_fresh(self, Py_ssize_t a_row):
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


cdef bytes array_head(Py_ssize_t count):
    if count < 16:
        return bytes([0x90 | count])
    if count < 65_536:
        return b"\xdc" + int(count).to_bytes(2, "big")
    return b"\xdd" + int(count).to_bytes(4, "big")


cdef class CompiledStore:
    """Identities with the minute of their first event time, over a horizon in ns."""

    cdef int64_t horizon
    cdef Shard[SHARDS] shards
    cdef dict arenas
    #: Arenas that are forgotten, while shards may still name them.
    cdef list leaving
    cdef int64_t forgotten
    cdef int unswept
    cdef Py_ssize_t total
    #: The arena that took a text last, and its minute.
    cdef Arena arena
    cdef int64_t minute

    def __cinit__(self, int64_t horizon):
        self.horizon = horizon
        self.arenas = {}
        self.leaving = []
        self.forgotten = -(1LL << 62)

    def __dealloc__(self):
        cdef int number
        for number in range(SHARDS):
            free(self.shards[number].entries)

    def __len__(self):
        return self.total

    # --- the table -----------------------------------------------------------------------

    cdef inline bint remembers(self, int64_t minute, int64_t watermark) noexcept nogil:
        return (minute + 1) * MINUTE + self.horizon > watermark

    cdef Entry *find(self, uint32_t tag, const uint8_t *text, Py_ssize_t length) noexcept nogil:
        cdef Shard *shard = &self.shards[tag >> (32 - SHARD_BITS)]
        cdef Entry *entry
        cdef Py_ssize_t place, size
        cdef const uint8_t *other
        if shard.size == 0:
            return NULL
        place = home(tag, shard.size)
        while True:
            entry = shard.entries + place
            if entry.text == NULL:
                return NULL
            if entry.tag == tag:
                other = content_of(entry.text, &size)
                if size == length and memcmp(other, text, length) == 0:
                    return entry
            place += 1
            if place == shard.size:
                place = 0

    cdef int insert(self, uint32_t tag, uint8_t *text, int32_t minute) except -1:
        cdef Shard *shard = &self.shards[tag >> (32 - SHARD_BITS)]
        if 5 * (shard.count + 1) > 4 * shard.size:
            self.resize(shard, max(LEAST, shard.size + (shard.size >> 2)))
        place_entry(shard, tag, text, minute)
        shard.count += 1
        self.total += 1
        return 0

    cdef int resize(self, Shard *shard, Py_ssize_t size) except -1:
        """Move the entries that are remembered to a table of another size."""
        cdef Shard larger
        cdef Py_ssize_t place
        cdef Entry *entry
        larger.entries = <Entry *>calloc(size, sizeof(Entry))
        if larger.entries == NULL:
            raise MemoryError
        larger.size, larger.count = size, 0
        for place in range(shard.size):
            entry = shard.entries + place
            if entry.text != NULL and entry.minute > self.forgotten:
                place_entry(&larger, entry.tag, entry.text, entry.minute)
                larger.count += 1
        self.total += larger.count - shard.count
        free(shard.entries)
        shard[0] = larger
        return 0

    # --- what comes ----------------------------------------------------------------------

    cdef int judge(
        self,
        uint32_t tag,
        const uint8_t *text,
        Py_ssize_t length,
        int64_t minute,
        int64_t watermark,
    ) except -1:
        """Whether a text is remembered already; otherwise it is from now on."""
        cdef Entry *entry = self.find(tag, text, length)
        cdef uint8_t *kept
        if entry != NULL and self.remembers(entry.minute, watermark):
            return 1
        kept = self.keep(text, length, minute, True)
        if entry == NULL:
            self.insert(tag, kept, <int32_t>minute)
        elif minute > entry.minute:
            entry.text, entry.minute = kept, <int32_t>minute
        return 0

    cdef uint8_t *keep(
        self, const uint8_t *text, Py_ssize_t length, int64_t minute, bint fresh
    ) except NULL:
        cdef Arena arena = self.arena
        if arena is None or minute != self.minute:
            arena = self.arenas.get(minute)
            if arena is None:
                arena = self.arenas[minute] = Arena()
            self.arena, self.minute = arena, minute
        if fresh:
            arena.note(text, length)
        return arena.put(text, length)

    def take(
        self,
        const uint8_t[::1] data,
        const int64_t[::1] begin,
        const int32_t[::1] length,
        const int64_t[::1] minute,
        const int64_t[::1] watermark,
        uint8_t[::1] keep,
    ):
        """Judge the texts of the rows that are kept, in their order; how many are duplicates.

        Those are no longer kept. A row whose length is 0 has no text, and stays as it is.
        """
        cdef Py_ssize_t row, rows = begin.shape[0], count = 0, first, end
        cdef uint32_t tags[AHEAD]
        cdef Shard *shard
        if not (
            length.shape[0] == minute.shape[0] == watermark.shape[0] == keep.shape[0] == rows
        ):
            raise ValueError("columns of different lengths")
        for row in range(rows):
            if length[row] and not (
                0 <= begin[row]
                and 0 < length[row] <= LONGEST
                and begin[row] + length[row] <= data.shape[0]
            ):
                raise ValueError(f"row {row}: no text of the data")
        for first in range(0, rows, AHEAD):
            end = min(first + AHEAD, rows)
            for row in range(first, end):
                if keep[row] and length[row]:
                    tags[row - first] = <uint32_t>(
                        hash_of(&data[begin[row]], length[row]) >> 32
                    )
                    shard = &self.shards[tags[row - first] >> (32 - SHARD_BITS)]
                    if shard.size:
                        # Each look misses all caches; so many at a time wait together.
                        prefetch(shard.entries + home(tags[row - first], shard.size))
            for row in range(first, end):
                if keep[row] and length[row] and self.judge(
                    tags[row - first], &data[begin[row]], length[row], minute[row], watermark[row]
                ):
                    keep[row] = 0
                    count += 1
        return count

    def seen(self, str identity, int64_t watermark):
        """Whether an identity is remembered at this watermark."""
        cdef bytes encoded = identity.encode()
        cdef const uint8_t *text = <const uint8_t *>PyBytes_AS_STRING(encoded)
        cdef Py_ssize_t length = PyBytes_GET_SIZE(encoded)
        cdef Entry *entry = self.find(<uint32_t>(hash_of(text, length) >> 32), text, length)
        return entry != NULL and self.remembers(entry.minute, watermark)

    def restore(self, int64_t minute, bytes row):
        """Take in a row of a checkpoint; a text may be in those of two minutes.

        Raises:
            ValueError: it is no list of texts.
        """
        cdef const uint8_t *text = <const uint8_t *>PyBytes_AS_STRING(row)
        cdef const uint8_t *end = text + PyBytes_GET_SIZE(row)
        cdef const uint8_t *content
        cdef Py_ssize_t count, length = 0
        cdef Entry *entry
        cdef uint32_t tag
        if text < end and 0x90 <= text[0] <= 0x9F:
            count = text[0] & 0x0F
            text += 1
        elif end - text >= 3 and text[0] == 0xDC:
            count = (<Py_ssize_t>text[1] << 8) + text[2]
            text += 3
        else:
            raise ValueError("not a row of identities")
        for _ in range(count):
            # Heads of one, two or three bytes.
            if text >= end or not (0xA0 <= text[0] < 0xC0 or text[0] == 0xD9 or text[0] == 0xDA):
                raise ValueError("not a row of identities")
            if end - text < (1 if text[0] < 0xC0 else text[0] - 0xD7):
                raise ValueError("a row of identities that ends too early")
            content = content_of(text, &length)
            if end - content < length:
                raise ValueError("a row of identities that ends too early")
            tag = <uint32_t>(hash_of(content, length) >> 32)
            entry = self.find(tag, content, length)
            if entry == NULL:
                self.insert(tag, self.keep(content, length, minute, False), <int32_t>minute)
            elif minute > entry.minute:
                entry.text = self.keep(content, length, minute, False)
                entry.minute = <int32_t>minute
            text = content + length
        if text != end:
            raise ValueError("a row of identities with something behind them")

    # --- what goes -----------------------------------------------------------------------

    def take_fresh(self, Py_ssize_t a_row):
        """Rows of what came since the last call, at most so many identities each, by minute."""
        cdef Arena arena
        cdef list found = []
        for minute, value in self.arenas.items():
            arena = value
            if arena.fresh_count:
                found.append((minute, arena.take_fresh(a_row)))
        return found

    def forget(self, int64_t watermark):
        """Release the minutes that no record can match any more, a part with each call."""
        cdef int64_t last = (watermark - self.horizon) // MINUTE - 1
        cdef int number
        cdef Shard *shard
        while (last + 1) * MINUTE + self.horizon <= watermark - MINUTE:
            last += 1
        while (last + 1) * MINUTE + self.horizon > watermark:
            last -= 1
        if self.unswept == 0 and last > self.forgotten:
            gone = [minute for minute in self.arenas if minute <= last]
            if gone:
                self.forgotten = last
                self.leaving = [self.arenas.pop(minute) for minute in gone]
                self.arena = None
                self.unswept = SHARDS
        if self.unswept:
            for number in range(max(0, self.unswept - SWEPT), self.unswept):
                shard = &self.shards[number]
                if shard.size:
                    self.sweep(shard)
            self.unswept = max(0, self.unswept - SWEPT)
            if self.unswept == 0:
                self.leaving = []

    cdef int sweep(self, Shard *shard) except -1:
        """Take out what is forgotten; the table shrinks where it is less than half full."""
        cdef Py_ssize_t place, count = 0
        for place in range(shard.size):
            count += (
                shard.entries[place].text != NULL
                and shard.entries[place].minute > self.forgotten
            )
        if count < shard.count:
            self.resize(shard, shard.size if 2 * count > shard.size else max(LEAST, 2 * count))
        return 0


cdef inline void place_entry(
    Shard *shard, uint32_t tag, uint8_t *text, int32_t minute
) noexcept nogil:
    """Put an entry into the first free place; there is one."""
    cdef Py_ssize_t place = home(tag, shard.size)
    while shard.entries[place].text != NULL:
        place += 1
        if place == shard.size:
            place = 0
    shard.entries[place].text = text
    shard.entries[place].tag = tag
    shard.entries[place].minute = minute
