# Aggregates of quotes, and quotes straight into them. Part of `_partials.pyx`; the pure twins are
# `PureQuotePartial` (tables/quote_partial.py) and tables/quote_grouping.py.


cdef class CompiledQuotePartial:
    """The fields and the arithmetic of a `QuotePartial`; see there."""

    cdef public int64_t quotes
    cdef public double bid_high
    cdef public double bid_low
    cdef public double ask_high
    cdef public double ask_low
    cdef public double mid_high
    cdef public double mid_low
    cdef public int64_t sources
    cdef public int64_t revision
    cdef int128 _spread
    cdef Key _open_key
    cdef Key _close_key
    cdef double[2] _opening
    cdef double[4] _closing

    def __cinit__(self):
        """The neutral element."""
        self.bid_high = self.ask_high = self.mid_high = -INFINITY
        self.bid_low = self.ask_low = self.mid_low = INFINITY
        self._open_key.offset = self._close_key.offset = ABSENT
        self.revision = UNPUBLISHED

    def __init__(
        self,
        quotes,
        spread,
        bid_high,
        bid_low,
        ask_high,
        ask_low,
        mid_high,
        mid_low,
        open_key,
        opening,
        close_key,
        closing,
        sources,
    ):
        self.quotes = quotes
        self._spread = from_object(spread)
        self.bid_high, self.bid_low = bid_high, bid_low
        self.ask_high, self.ask_low = ask_high, ask_low
        self.mid_high, self.mid_low = mid_high, mid_low
        self.open_key, self.opening = open_key, opening
        self.close_key, self.closing = close_key, closing
        self.sources = sources

    @property
    def spread(self):
        return to_object(self._spread)

    @spread.setter
    def spread(self, value):
        self._spread = from_object(value)

    @property
    def open_key(self):
        return self._open_key.time, self._open_key.sequence, self._open_key.offset

    @open_key.setter
    def open_key(self, value):
        self._open_key.time, self._open_key.sequence, self._open_key.offset = value

    @property
    def close_key(self):
        return self._close_key.time, self._close_key.sequence, self._close_key.offset

    @close_key.setter
    def close_key(self, value):
        self._close_key.time, self._close_key.sequence, self._close_key.offset = value

    @property
    def opening(self):
        return self._opening[0], self._opening[1]

    @opening.setter
    def opening(self, value):
        self._opening[0], self._opening[1] = value

    @property
    def closing(self):
        return self._closing[0], self._closing[1], self._closing[2], self._closing[3]

    @closing.setter
    def closing(self, value):
        self._closing[0], self._closing[1], self._closing[2], self._closing[3] = value

    @property
    def has_bar(self):
        """Whether it holds a quote."""
        return self.quotes > 0

    def merge(self, CompiledQuotePartial other not None):
        """Add the quotes of `other`, not its revision."""
        if not other.quotes:
            return
        if not self.quotes or is_before(&other._open_key, &self._open_key):
            self._open_key = other._open_key
            self._opening = other._opening
        if not self.quotes or is_before(&self._close_key, &other._close_key):
            self._close_key = other._close_key
            self._closing = other._closing
        self.quotes += other.quotes
        self._spread += other._spread
        self.sources |= other.sources
        self.bid_high = max(self.bid_high, other.bid_high)
        self.bid_low = min(self.bid_low, other.bid_low)
        self.ask_high = max(self.ask_high, other.ask_high)
        self.ask_low = min(self.ask_low, other.ask_low)
        self.mid_high = max(self.mid_high, other.mid_high)
        self.mid_low = min(self.mid_low, other.mid_low)


cdef struct Quote:
    Key key
    double bid
    double ask
    double mid
    double bid_size
    double ask_size
    int128 spread
    int64_t source


cdef inline void add_quote(CompiledQuotePartial held, Quote *quote) noexcept:
    if not held.quotes or is_before(&quote.key, &held._open_key):
        held._open_key = quote.key
        held._opening[0] = quote.bid
        held._opening[1] = quote.ask
    if not held.quotes or is_before(&held._close_key, &quote.key):
        held._close_key = quote.key
        held._closing[0] = quote.bid
        held._closing[1] = quote.ask
        held._closing[2] = quote.bid_size
        held._closing[3] = quote.ask_size
    held.quotes += 1
    held._spread += quote.spread
    held.sources |= quote.source
    held.bid_high = max(held.bid_high, quote.bid)
    held.bid_low = min(held.bid_low, quote.bid)
    held.ask_high = max(held.ask_high, quote.ask)
    held.ask_low = min(held.ask_low, quote.ask)
    held.mid_high = max(held.mid_high, quote.mid)
    held.mid_low = min(held.mid_low, quote.mid)


cdef class QuoteAccumulator(Windowing):
    """Adds quotes to the open windows of one partition."""

    def add(
        self,
        list opened,
        const int32_t[::1] symbol,
        const int64_t[::1] time,
        const int64_t[::1] sequence,
        const int64_t[::1] offset,
        const double[::1] bid,
        const double[::1] ask,
        const double[::1] bid_size,
        const double[::1] ask_size,
        const int64_t[::1] source,
        Py_ssize_t symbols,
        int64_t watermark,
        int64_t removed,
    ):
        """Add quotes to the open windows; those that are not there are opened.

        Args:
            opened: for each interval start -> symbol code -> aggregate (`Windows.open`).
            symbol, time, ...: columns, an entry a quote, in any order.
            symbols, watermark, removed: as `Accumulator` has them.
        """
        cdef Py_ssize_t quotes = time.shape[0], row, interval
        cdef Found *place
        cdef CompiledQuotePartial held
        cdef Quote quote
        cdef int64_t start, length
        cdef int64_t lengths[64]
        if self.count > 64 or len(opened) != self.count:
            raise ValueError(f"{len(opened)} intervals, expected {self.count}, at most 64")
        if not (
            symbol.shape[0] == sequence.shape[0] == offset.shape[0] == bid.shape[0] == quotes
            and ask.shape[0] == bid_size.shape[0] == ask_size.shape[0] == quotes
            and source.shape[0] == quotes
        ):
            raise ValueError("columns of different lengths")
        for interval in range(self.count):
            lengths[interval] = self.lengths[interval]
        for row in range(quotes):
            if not 0 <= symbol[row] < symbols:
                raise ValueError(f"row {row}: a symbol without a code")
        self.begin(symbols, removed)
        for row in range(quotes):
            quote.key.time = time[row]
            quote.key.sequence = sequence[row]
            quote.key.offset = offset[row]
            quote.bid, quote.ask = bid[row], ask[row]
            quote.bid_size, quote.ask_size = bid_size[row], ask_size[row]
            quote.mid = (quote.bid + quote.ask) * 0.5
            quote.spread = to_units(quote.ask - quote.bid)
            quote.source = source[row]
            place = self.found + symbol[row] * self.count
            for interval in range(self.count):
                length = lengths[interval]
                if (
                    place.since != self.since
                    or quote.key.time < place.start
                    or quote.key.time - place.start >= length
                    or place.start + length <= watermark
                ):
                    start = quote.key.time - quote.key.time % length
                    held = <CompiledQuotePartial?>self.window(
                        opened[interval], start, symbol[row]
                    )
                    place.since = self.since
                    place.start = start
                    # Borrowed: the dictionary has it, and nothing leaves it in here.
                    place.held = <PyObject *>held
                else:
                    held = <CompiledQuotePartial>place.held
                add_quote(held, &quote)
                place += 1
