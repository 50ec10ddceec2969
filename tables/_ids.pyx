# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Trade ids that are remembered: numbers by prefix, texts in arenas, and a table of places.

The compiled twin of `PureStore` (tables/identifiers.py), with the same answers and rows.

Most feeds count their trades. An identity that ends in a number of up to 18 digits is held as its
prefix (symbol, venue and zeros that lead: "007" is not "7") and a bit in one of the blocks of 16
numbers: a byte or two where a prefix counts on its own, 18 where many share a counter. Blocks that
come ascending are appended to the log of their prefix; a number above all that came is new without
a look. One that is not is looked for in the log, and in the table, which takes what came late. Any
other identity is a text in the arena of its minute as msgpack writes it (so a row of a checkpoint
is a copy), and in the table with 32 bits of its hash. Either is an entry of 16 bytes with its
minute.

The table is in shards by the upper bits of the hash; each grows by a quarter when it is 80 % full,
so memory grows with the number of ids, without leaps. Places in a shard rise with the hash (linear
probing without masks), so a shard is copied from one end to the other. A hash that is found is no
answer: the bytes, or prefix and number, are compared.

Arenas are allocated in large pieces and freed as a whole when all of their minute are forgotten,
once no shard names them: shards are swept one after the other, a few with each call.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memcmp, memcpy, memset

cdef extern from *:
    """
    #define candlewick_prefetch(place) __builtin_prefetch(place)
    #define candlewick_count_bits(value) __builtin_popcount(value)
    #define candlewick_count_leading(value) __builtin_clz(value)
    """
    void prefetch "candlewick_prefetch"(const void *place) noexcept nogil
    int count_bits "candlewick_count_bits"(uint32_t value) noexcept nogil
    int count_leading "candlewick_count_leading"(uint32_t value) noexcept nogil

cdef enum:
    SHARD_BITS = 6
    SHARDS = 64
    LEAST = 64
    #: Shards that are swept with a call.
    SWEPT = 4
    #: Texts that are looked for together.
    AHEAD = 64
    #: Bytes of a text: what a head can say.
    LONGEST = 65535

cdef int64_t MINUTE = 60_000_000_000
#: Of an entry's key: numbers, not a text. No pointer has this bit.
cdef uint64_t NUMBERS = 1ULL << 63
#: A watermark at which nothing is remembered.
cdef int64_t NEVER = (1ULL << 63) - 1

include "_hashing.pxi"
include "_ids_texts.pxi"
include "_ids_prefixes.pxi"
include "_ids_rows.pxi"
include "_ids_arenas.pxi"
include "_ids_entries.pxi"


cdef class CompiledStore:
    """Identities with the minute of their first event time, over a horizon in ns."""

    cdef int64_t horizon
    cdef Shard[SHARDS] shards
    cdef Prefixes prefixes
    cdef dict arenas
    #: Arenas that are forgotten, while shards may still name them.
    cdef list leaving
    cdef int64_t forgotten
    cdef int unswept
    cdef Py_ssize_t total
    #: The arena that took an identity last, and its minute.
    cdef Arena arena
    cdef int64_t minute

    def __cinit__(self, int64_t horizon):
        self.horizon = horizon
        self.prefixes = Prefixes()
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

    cdef inline int find_prefix(
        self, Looked *looked, const uint8_t *text, Py_ssize_t length
    ) except -1 nogil:
        """Complete what is looked for, and have the cache bring where."""
        cdef Shard *shard
        cdef uint32_t tag
        looked.prefix = NULL
        if looked.size >= 0:
            looked.prefix = self.prefixes.find(text, looked.size, looked.hashed)
            if looked.prefix == NULL:
                looked.hashed = hash_of(text, length)
            else:
                prefetch(looked.prefix.log + looked.prefix.count)
                if looked.number >= looked.prefix.tabled_below:
                    return 0
        tag = tag_of_looked(looked)
        shard = &self.shards[tag >> (32 - SHARD_BITS)]
        if shard.size:
            prefetch(shard.entries + home(tag, shard.size))
        return 0

    cdef inline int look(self, const uint8_t *text, Py_ssize_t length, Looked *looked) except -1:
        begin_look(text, length, looked)
        return self.find_prefix(looked, text, length)

    cdef Entry *find_text(
        self, uint32_t tag, const uint8_t *text, Py_ssize_t length
    ) noexcept nogil:
        cdef Shard *shard = &self.shards[tag >> (32 - SHARD_BITS)]
        cdef Entry *entry
        cdef Py_ssize_t place, size
        cdef const uint8_t *other
        if shard.size == 0:
            return NULL
        place = home(tag, shard.size)
        while True:
            entry = shard.entries + place
            if entry.key == 0:
                return NULL
            if entry.mark == tag and not entry.key & NUMBERS:
                other = content_of(<uint8_t *>entry.key, &size)
                if size == length and is_same(other, text, length):
                    return entry
            place += 1
            if place == shard.size:
                place = 0

    cdef bint knows(
        self, Looked *looked, int64_t minute, int64_t watermark, Entry **same
    ) noexcept nogil:
        """Whether a number is remembered; else `same` is its entry of this minute, or NULL."""
        cdef const Prefix *prefix = looked.prefix
        cdef const Counted *logged
        cdef Py_ssize_t place
        same[0] = NULL
        if looked.number >= prefix.known_below:
            return False
        place = first_of_block(prefix, looked.number >> 4)
        while place < prefix.count and prefix.log[place].block == looked.number >> 4:
            logged = prefix.log + place
            if (logged.bits >> (looked.number & 15)) & 1 and self.remembers(
                logged.minute, watermark
            ):
                return True
            place += 1
        return looked.number < prefix.tabled_below and self.is_tabled(
            looked, minute, watermark, same
        )

    cdef bint is_tabled(
        self, Looked *looked, int64_t minute, int64_t watermark, Entry **same
    ) noexcept nogil:
        """The same of the table alone."""
        cdef uint32_t tag = tag_of_looked(looked)
        cdef Shard *shard = &self.shards[tag >> (32 - SHARD_BITS)]
        cdef uint64_t key = key_of(looked.prefix, looked.number)
        cdef uint32_t mark = looked.prefix.code << 16, bit = 1u << (looked.number & 15)
        cdef Entry *entry
        cdef Py_ssize_t place
        if shard.size == 0:
            return False
        place = home(tag, shard.size)
        while True:
            entry = shard.entries + place
            if entry.key == 0:
                return False
            if entry.key == key and (entry.mark ^ mark) <= 0xFFFF:
                if entry.mark & bit and self.remembers(entry.minute, watermark):
                    return True
                if entry.minute == minute:
                    same[0] = entry
            place += 1
            if place == shard.size:
                place = 0

    cdef int insert(
        self, uint32_t tag, uint64_t key, uint32_t mark, int64_t minute
    ) except -1 nogil:
        cdef Shard *shard = &self.shards[tag >> (32 - SHARD_BITS)]
        cdef Entry entry
        if 5 * (shard.count + 1) > 4 * shard.size:
            self.resize(shard, max(LEAST, shard.size + (shard.size >> 2)))
        entry.key, entry.mark, entry.minute = key, mark, <int32_t>minute
        place_entry(shard, tag, &entry)
        self.total += 1
        return 0

    cdef int resize(self, Shard *shard, Py_ssize_t size) except -1 nogil:
        """Move the entries that are remembered to a table of another size."""
        cdef Shard larger
        cdef Py_ssize_t place
        cdef Entry *entry
        larger.entries = <Entry *>calloc(size, sizeof(Entry))
        if larger.entries == NULL:
            out_of_memory()
        larger.size, larger.count = size, 0
        for place in range(shard.size):
            entry = shard.entries + place
            if entry.key == 0:
                continue
            if entry.minute > self.forgotten:
                place_entry(&larger, tag_of(entry), entry)
            else:
                self.total -= ids_of(entry)
        free(shard.entries)
        shard[0] = larger
        return 0

    # --- what comes ----------------------------------------------------------------------

    cdef inline int open_arena(self, int64_t minute) except -1 nogil:
        """Have the arena of a minute as `arena`."""
        if self.arena is None or minute != self.minute:
            with gil:
                self.change_arena(minute)
        return 0

    cdef int change_arena(self, int64_t minute) except -1:
        cdef Arena arena = self.arenas.get(minute)
        if arena is None:
            arena = self.arenas[minute] = Arena()
        self.arena, self.minute = arena, minute
        return 0

    cdef int judge(
        self,
        Looked *looked,
        const uint8_t *text,
        Py_ssize_t length,
        int64_t minute,
        int64_t watermark,
    ) except -1 nogil:
        """Whether an identity is remembered already; otherwise it is from now on."""
        cdef Entry *entry
        if looked.prefix != NULL:
            if self.knows(looked, minute, watermark, &entry):
                return 1
            self.open_arena(minute)
            self.arena.note_number(looked.number, looked.prefix)
            self.add_number(looked, minute, entry)
            return 0
        entry = self.find_text(tag_of_looked(looked), text, length)
        if entry != NULL and self.remembers(entry.minute, watermark):
            return 1
        self.open_arena(minute)
        self.arena.note_text(text, length)
        self.add_text(tag_of_looked(looked), self.arena.put(text, length), minute, entry)
        return 0

    cdef inline int add_number(
        self, Looked *looked, int64_t minute, Entry *same
    ) except -1 nogil:
        """Remember a number, in the entry of its block and minute if there is one."""
        cdef uint32_t bit = 1u << (looked.number & 15)
        if looked.number >= looked.prefix.known_below:
            append(looked.prefix, looked.number, minute)
            self.total += 1
        elif same == NULL:
            looked.prefix.tabled_below = max(looked.prefix.tabled_below, looked.number + 1)
            self.insert(
                tag_of_looked(looked),
                key_of(looked.prefix, looked.number),
                (looked.prefix.code << 16) | bit,
                minute,
            )
        elif not same.mark & bit:
            same.mark |= bit
            self.total += 1
        return 0

    cdef int add_text(
        self, uint32_t tag, uint8_t *kept, int64_t minute, Entry *entry
    ) except -1 nogil:
        """Remember a text, in its entry if there is one: the greatest minute counts."""
        if entry == NULL:
            self.insert(tag, <uint64_t>kept, tag, minute)
        elif minute > entry.minute:
            entry.key, entry.minute = <uint64_t>kept, <int32_t>minute
        return 0

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
        cdef Py_ssize_t row, rows = begin.shape[0], count = 0, first = 0, end
        cdef Looked looked[AHEAD]
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
        # Without the lock: a probe or a fetch goes on meanwhile. Nobody else has this store.
        with nogil:
            while first < rows:
                end = min(first + AHEAD, rows)
                # Each look misses the cache at several places; so many at a time wait together.
                for row in range(first, end):
                    if keep[row] and length[row]:
                        begin_look(&data[begin[row]], length[row], &looked[row - first])
                        self.prefixes.fetch_place(looked[row - first].hashed)
                for row in range(first, end):
                    if keep[row] and length[row] and looked[row - first].size >= 0:
                        self.prefixes.fetch(looked[row - first].hashed)
                for row in range(first, end):
                    if keep[row] and length[row]:
                        self.find_prefix(&looked[row - first], &data[begin[row]], length[row])
                for row in range(first, end):
                    if keep[row] and length[row] and self.judge(
                        &looked[row - first], &data[begin[row]], length[row], minute[row],
                        watermark[row],
                    ):
                        keep[row] = 0
                        count += 1
                first = end
        return count

    def seen(self, str identity, int64_t watermark):
        """Whether an identity is remembered at this watermark."""
        cdef bytes encoded = identity.encode()
        cdef const uint8_t *text = <const uint8_t *>PyBytes_AS_STRING(encoded)
        cdef Py_ssize_t length = PyBytes_GET_SIZE(encoded)
        cdef Looked looked
        cdef Entry *entry
        self.look(text, length, &looked)
        if looked.prefix != NULL:
            return self.knows(&looked, 0, watermark, &entry)
        entry = self.find_text(tag_of_looked(&looked), text, length)
        return entry != NULL and self.remembers(entry.minute, watermark)

    # --- rows ----------------------------------------------------------------------------

    def restore(self, int64_t minute, bytes row):
        """Take in a row of a checkpoint; a text may be in those of two minutes.

        Raises:
            ValueError: it is no row of identities.
        """
        cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(row)
        cdef const uint8_t *end = at + PyBytes_GET_SIZE(row)
        cdef NumberReader numbers
        if at < end and at[0] == NOT_MSGPACK:
            numbers = NumberReader()
            numbers.at, numbers.end = at + 1, end
            self.restore_numbers(minute, numbers)
        else:
            self.restore_texts(minute, at, end)

    cdef int restore_texts(self, int64_t minute, const uint8_t *text, const uint8_t *end) except -1:
        cdef const uint8_t *content
        cdef Py_ssize_t count, length = 0
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
            self.restore_one(minute, content, length)
            text = content + length
        if text != end:
            raise ValueError("a row of identities with something behind them")
        return 0

    cdef int restore_one(self, int64_t minute, const uint8_t *text, Py_ssize_t length) except -1:
        cdef Looked looked
        cdef Entry *entry
        self.open_arena(minute)
        self.look(text, length, &looked)
        if looked.prefix != NULL:
            self.knows(&looked, minute, NEVER, &entry)
            return self.add_number(&looked, minute, entry)
        entry = self.find_text(tag_of_looked(&looked), text, length)
        if entry == NULL or minute > entry.minute:
            self.add_text(tag_of_looked(&looked), self.arena.put(text, length), minute, entry)
        return 0

    cdef int restore_numbers(self, int64_t minute, NumberReader row) except -1:
        cdef Looked looked
        while row.next_group():
            looked.prefix = self.prefixes.find(
                row.prefix, row.length, hash_of(row.prefix, row.length)
            )
            self.restore_number(&looked, minute, row)
            while row.next_number():
                self.restore_number(&looked, minute, row)
        return 0

    cdef int restore_number(self, Looked *looked, int64_t minute, NumberReader row) except -1:
        cdef Entry *entry
        cdef bytes text
        if looked.prefix == NULL:
            text = row.prefix[:row.length] + str(row.number).encode()
            if len(text) > LONGEST:
                raise ValueError("not a row of identities: too long")
            return self.restore_one(
                minute, <const uint8_t *>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)
            )
        looked.number = row.number
        # For `forget`.
        self.open_arena(minute)
        self.knows(looked, minute, NEVER, &entry)
        return self.add_number(looked, minute, entry)

    def take_fresh(self, Py_ssize_t a_row):
        """Rows of what came since the last call, by minute: of numbers, then of texts.

        Those of texts have at most so many each.
        """
        cdef Arena arena
        cdef list found = []
        for minute in sorted(self.arenas):
            arena = self.arenas[minute]
            if arena.note_count or arena.fresh_count:
                found.append((minute, arena.take_numbers(self.prefixes) + arena.take_texts(a_row)))
        return found

    # --- what goes -----------------------------------------------------------------------

    def forget(self, int64_t watermark):
        """Release the minutes that no record can match any more, a part with each call."""
        cdef int64_t last = (watermark - self.horizon) // MINUTE - 1
        cdef Py_ssize_t number, place
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
                for place in range(
                    self.prefixes.count * number // SHARDS,
                    self.prefixes.count * (number + 1) // SHARDS,
                ):
                    self.total -= release(self.prefixes.ranked[place], self.forgotten)
            self.unswept = max(0, self.unswept - SWEPT)
            if self.unswept == 0:
                self.leaving = []

    cdef int sweep(self, Shard *shard) except -1:
        """Take out what is forgotten; the table shrinks where it is less than half full."""
        cdef Py_ssize_t place, count = 0
        for place in range(shard.size):
            count += (
                shard.entries[place].key != 0 and shard.entries[place].minute > self.forgotten
            )
        if count < shard.count:
            self.resize(shard, shard.size if 2 * count > shard.size else max(LEAST, 2 * count))
        return 0
