"""The compiled aggregates of quotes are the pure ones: the same bits, in any order and split."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.grouping import sort_order
from tables.outbox import SymbolState
from tables.partial import COMPILED
from tables.quote_columns import QuoteColumns
from tables.quote_grouping import group_quotes, quote_partials, roll_up_quotes
from tables.quote_partial import PureQuotePartial, QuotePartial, make_quote_accumulator
from tables.row_packing import closed_rows, symbol_rows

pytestmark = pytest.mark.skipif(not COMPILED, reason="needs a C compiler")

SECOND = 1_000_000_000
#: One roll-up, and one that is none.
LENGTHS = (SECOND, 2 * SECOND, 3 * SECOND)
PRICES = st.one_of(st.sampled_from([0.01, 100.0, 1e12, 2.5e-13]), st.floats(1e-9, 1e12))
SIZES = st.one_of(st.sampled_from([0.0, 1.0, 0.1]), st.floats(0, 1e9))
QUOTES = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 7 * SECOND) | st.sampled_from([0, SECOND - 1, SECOND, 3 * SECOND]),
        st.integers(-1, 3),
        *(PRICES, PRICES, SIZES, SIZES),
        st.integers(0, 59).map(lambda bit: 1 << bit),
    ),
    min_size=1,
    max_size=60,
)
Windows = list[dict[int, dict[int, Any]]]
FIELDS = (
    *("quotes", "spread", "bid_high", "bid_low", "ask_high", "ask_low", "mid_high", "mid_low"),
    *("open_key", "opening", "close_key", "closing", "sources", "revision", "has_bar"),
)


def columns(quotes: list[tuple[Any, ...]]) -> QuoteColumns:
    """These quotes, at offsets that rise."""
    symbol, time, sequence, bid, ask, bid_size, ask_size, source = zip(*quotes, strict=True)
    count = len(quotes)
    return QuoteColumns(
        np.arange(count, dtype=np.int64),
        np.arange(7, 7 + count, dtype=np.int64),
        np.zeros(count, dtype=np.int64),
        np.array(time, dtype=np.int64),
        np.array(sequence, dtype=np.int64),
        np.array(symbol, dtype=np.int32),
        np.array(bid),
        np.array(ask),
        np.array(bid_size) + 0.0,
        np.array(ask_size) + 0.0,
        np.array(source, dtype=np.int64),
    )


def contents(windows: Windows) -> Any:
    """What windows hold."""
    return [
        {
            start: {
                code: repr([getattr(held, name) for name in FIELDS]) for code, held in own.items()
            }
            for start, own in each.items()
        }
        for each in windows
    ]


def pure(batches: list[QuoteColumns]) -> Windows:
    """By sorting and groups, merged by the pure class."""
    windows: Windows = [{} for _ in LENGTHS]
    absent = (0, 0, -1)
    down, up = -float("inf"), float("inf")
    for quotes in batches:
        ordered = quotes.take(sort_order(quotes))
        finest = group_quotes(ordered, LENGTHS[0])
        for number, length in enumerate(LENGTHS):
            groups = (
                group_quotes(ordered, length) if number == 2 else roll_up_quotes(finest, length)
            )
            for symbol, start, partial in quote_partials(groups, ordered):
                own = windows[number].setdefault(start, {})
                if symbol not in own:
                    own[symbol] = PureQuotePartial(
                        *(0, 0, down, up, down, up, down, up, absent, (0.0, 0.0), absent),
                        *((0.0, 0.0, 0.0, 0.0), 0),
                    )
                PureQuotePartial.merge(own[symbol], partial)
    return windows


def compiled(batches: list[QuoteColumns]) -> Windows:
    """By the compiled module."""
    windows: Windows = [{} for _ in LENGTHS]
    accumulator = make_quote_accumulator(LENGTHS)
    assert accumulator is not None
    for quotes in batches:
        accumulator.add(
            windows,
            *(quotes.symbol, quotes.time, quotes.sequence, quotes.offset, quotes.bid, quotes.ask),
            *(quotes.bid_size, quotes.ask_size, quotes.source),
            symbols=4,
            watermark=-(2**62),
            removed=0,
        )
    return windows


@given(QUOTES, st.lists(st.integers(0, 60), max_size=3), st.randoms(use_true_random=False))
def test_windows_are_those_of_sorting_and_merging_in_any_order_and_split(
    quotes: list[tuple[Any, ...]], cuts: list[int], chance: Any
) -> None:
    whole = columns(quotes)
    places = [0, *sorted(cut for cut in cuts if cut < len(quotes)), len(quotes)]
    batches = [whole.take(np.arange(first, end)) for first, end in pairwise(places) if end > first]
    expected = contents(pure(batches))
    found = compiled(batches)
    assert contents(found) == expected
    shuffled = list(range(len(quotes)))
    chance.shuffle(shuffled)
    assert contents(compiled([whole.take(np.array(shuffled))])) == expected
    merged: Windows = [{} for _ in LENGTHS]
    for each in batches:
        for number, windows in enumerate(compiled([each])):
            for start, own in windows.items():
                for code, held in own.items():
                    at_start = merged[number].setdefault(start, {})
                    at_start.setdefault(code, QuotePartial.empty()).merge(held)
    assert contents(merged) == expected


@given(QUOTES, st.integers(-1, 2**40))
def test_rows_are_those_of_msgpack_and_are_read_as_they_were(
    quotes: list[tuple[Any, ...]], revision: int
) -> None:
    opened = compiled([columns(quotes)])
    names = ["AAA", "B.é", "C", "D" * 32]
    slots = {}
    for number, windows in enumerate(opened):
        for start, own in windows.items():
            for code, held in own.items():
                held.revision = revision
                slots[number, code, start // LENGTHS[number], False] = (start, held)
                assert contents([{0: {0: QuotePartial.from_row(held.to_row())}}]) == contents(
                    [{0: {0: held}}]
                )
    assert closed_rows(slots, names, LENGTHS, QuotePartial) == closed_rows(
        slots, names, LENGTHS, PureQuotePartial
    )
    state = SymbolState([None, 1, 2], [0, 0, 0])
    arguments = (range(4), names, lambda code: state, {1: {(0, SECOND)}}, LENGTHS, opened)
    expected = symbol_rows(*arguments, PureQuotePartial)
    assert symbol_rows(*arguments, QuotePartial) == expected


def test_columns_that_do_not_fit_are_refused() -> None:
    whole = columns([(0, 1, 0, 1.0, 2.0, 1.0, 1.0, 1)])
    accumulator = make_quote_accumulator(LENGTHS)
    assert accumulator is not None
    with pytest.raises(ValueError, match="without a code"):
        accumulator.add(
            [{}, {}, {}],
            *(whole.symbol, whole.time, whole.sequence, whole.offset, whole.bid, whole.ask),
            *(whole.bid_size, whole.ask_size, whole.source),
            symbols=0,
            watermark=-(2**62),
            removed=0,
        )
    with pytest.raises(ValueError, match="different lengths"):
        accumulator.add(
            [{}, {}, {}],
            *(whole.symbol, whole.time, whole.sequence, whole.offset, whole.bid, whole.ask[:0]),
            *(whole.bid_size, whole.ask_size, whole.source),
            symbols=1,
            watermark=-(2**62),
            removed=0,
        )
