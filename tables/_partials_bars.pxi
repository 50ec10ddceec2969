# Bars of windows that close, straight from their numbers. Part of `_partials.pyx`; the pure twin is
# `Publisher` (tables/publishing.py).

from libc.math cimport ldexp

cdef extern from *:
    """
    typedef unsigned __int128 candlewick_uint128;
    """
    ctypedef unsigned long long uint128 "candlewick_uint128"


cdef inline double to_double(int128 units) noexcept nogil:
    """As `to_double`: the conversion rounds once, half to even; the power of two is exact."""
    return ldexp(<double>units, -GRID_BITS)


cdef inline int bits_of(uint128 value) noexcept nogil:
    cdef int bits = 0
    while value >> 32:
        value >>= 32
        bits += 32
    while value:
        value >>= 1
        bits += 1
    return bits


cdef inline object quotient(int128 above, int128 below):
    """`above / below` of Python's integers: the nearest double, half to even."""
    cdef uint128 top, bottom, whole
    cdef uint64_t kept, cut, half
    cdef int shift, extra
    cdef bint negative = (above < 0) != (below < 0)
    cdef double found
    if above == 0:
        return 0.0
    top = <uint128>(-above if above < 0 else above)
    bottom = <uint128>(-below if below < 0 else below)
    # So that the quotient has 57 or 58 bits: 53 and what says how to round.
    shift = bits_of(bottom) - bits_of(top) + 57
    if shift < 0 or bits_of(top) + shift > 127:
        return to_object(above) / to_object(below)
    whole = (top << shift) / bottom
    extra = bits_of(whole) - 53
    kept = <uint64_t>(whole >> extra)
    cut = <uint64_t>(whole - (<uint128>kept << extra))
    half = <uint64_t>1 << (extra - 1)
    if cut > half or (
        cut == half and (whole * bottom != (top << shift) or kept & 1)
    ):
        kept += 1
    found = ldexp(<double>kept, extra - shift)
    return -found if negative else found


def divide(above, below):
    """The quotient of two integers of 128 bits, for tests."""
    return quotient(from_object(above), from_object(below))


def as_double(units):
    """Units of the grid as a number, for tests."""
    return to_double(from_object(units))


cdef inline object bar_of(
    CompiledPartial held, name, str label, int64_t start, make_record, sources_of, bint is_final
):
    """The bar of an aggregate that has one, as `Publisher.record` makes it."""
    cdef double high = held.high, low = held.low
    if not high >= low:
        high = held.open if held.open >= held.close else held.close
        low = held.open if held.open <= held.close else held.close
    return make_record(
        name,
        label,
        start,
        held.open,
        high,
        low,
        held.close,
        to_double(held._volume),
        quotient(held._notional, held._priced) if held._priced else None,
        held.trades,
        held.revision if held.revision > 0 else 0,
        is_final,
        False,
        sources_of(held.sources),
    )


def open_bars(
    list symbols, dict windows, int64_t start, str label, list names, make_record, sources_of
):
    """The bars of open windows of one interval and start, in the order of the symbols' codes.

    Args:
        symbols: codes of those that have a bar; the others as in `close_windows`.
    """
    return [
        bar_of(<CompiledPartial?>windows[symbol], names[symbol], label, start, make_record,
               sources_of, False)
        for symbol in symbols
    ]


def close_windows(
    list symbols,
    dict windows,
    int64_t start,
    str label,
    list names,
    dict states,
    state_of,
    Py_ssize_t interval,
    make_record,
    encode,
    sources_of,
    make_output,
    headers,
    list outputs,
):
    """Publish the windows of one interval and start; the bytes of the records.

    Args:
        symbols: codes, in the order of publication.
        windows: an aggregate by code, without amendments.
        states: `SymbolState` by code; `state_of` makes one.
        make_record: `BarRecord`; `encode`: it to JSON; `make_output`: `OutputRecord`.
        sources_of: names of a mask.
        outputs: where the records go.
    """
    cdef CompiledPartial held
    cdef Py_ssize_t size = 0
    cdef bytes value
    cdef list newest
    for symbol in symbols:
        held = <CompiledPartial?>windows[symbol]
        if held._close_key.offset == ABSENT:
            continue
        held.revision += 1
        name = names[symbol]
        record = bar_of(held, name, label, start, make_record, sources_of, True)
        value = encode(record)
        outputs.append(make_output((<str>name).encode(), value, headers))
        size += PyBytes_GET_SIZE(value) + 100
        state = states.get(symbol)
        if state is None:
            state = state_of(symbol)
        newest = state.newest
        before = newest[interval]
        if before is None or start > <int64_t>before:
            newest[interval] = start
            state.runs[interval] = 0
    return size


cdef inline object quote_bar_of(
    CompiledQuotePartial held, name, str label, int64_t start, make_record, sources_of,
    bint is_final
):
    """The bar of an aggregate of quotes, as `QuotePublisher.record` makes it."""
    return make_record(
        name,
        label,
        start,
        held._opening[0],
        held.bid_high,
        held.bid_low,
        held._closing[0],
        held._opening[1],
        held.ask_high,
        held.ask_low,
        held._closing[1],
        (held._opening[0] + held._opening[1]) * 0.5,
        held.mid_high,
        held.mid_low,
        (held._closing[0] + held._closing[1]) * 0.5,
        held._closing[2],
        held._closing[3],
        quotient(held._spread, <int128>held.quotes << GRID_BITS),
        held.quotes,
        held.revision if held.revision > 0 else 0,
        is_final,
        sources_of(held.sources),
    )


def open_quote_bars(
    list symbols, dict windows, int64_t start, str label, list names, make_record, sources_of
):
    """As `open_bars`, of quotes."""
    return [
        quote_bar_of(<CompiledQuotePartial?>windows[symbol], names[symbol], label, start,
                     make_record, sources_of, False)
        for symbol in symbols
    ]


def close_quote_windows(
    list symbols,
    dict windows,
    int64_t start,
    str label,
    list names,
    make_record,
    encode,
    sources_of,
    make_output,
    headers,
    list outputs,
):
    """As `close_windows`, of quotes; the bytes of the records."""
    cdef CompiledQuotePartial held
    cdef Py_ssize_t size = 0
    cdef bytes value
    for symbol in symbols:
        held = <CompiledQuotePartial?>windows[symbol]
        held.revision += 1
        name = names[symbol]
        record = quote_bar_of(held, name, label, start, make_record, sources_of, True)
        value = encode(record)
        outputs.append(make_output((<str>name).encode(), value, headers))
        size += PyBytes_GET_SIZE(value) + 100
    return size
