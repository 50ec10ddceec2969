"""The compiled aggregates and windows are the pure ones: the same bits, in any order of trades."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.code_set import CodeSet
from tables.columns import Columns
from tables.grouping import group, roll_up, sort_order, to_partials
from tables.outbox import SymbolState
from tables.partial import COMPILED, Partial, PurePartial, make_accumulator
from tables.row_packing import closed_rows, slot_key, symbol_rows
from tables.rows import encode_closed
from tables.single import single_partial
from tables.sums import to_double

if COMPILED:
    from tables import _partials

pytestmark = pytest.mark.skipif(not COMPILED, reason="needs a C compiler")

SECOND = 1_000_000_000
#: One roll-up, and one that is none.
LENGTHS = (SECOND, 2 * SECOND, 3 * SECOND)
#: Nothing; high, low; last; all; and so on.
FLAGS = np.array([0, 1, 2, 4, 7, 3, 6, 5], dtype=np.int8)
#: Another class of intervals.
OTHER_FLAGS = FLAGS[::-1].copy()
PRICES = st.one_of(
    st.sampled_from([0.0, 0.01, 100.0, -37.63, 1e12, -1e12, 2.5e-13]), st.floats(-1e12, 1e12)
)
SIZES = st.one_of(st.sampled_from([0.0, 1.0, 0.1, 1e-9]), st.floats(0, 100))

TRADES = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 7 * SECOND) | st.sampled_from([0, SECOND - 1, SECOND, 3 * SECOND]),
        st.integers(-1, 3),
        PRICES,
        SIZES,
        st.integers(0, len(FLAGS) - 1),
        st.integers(0, 59).map(lambda bit: 1 << bit),
    ),
    min_size=1,
    max_size=60,
)


def columns(trades: list[tuple[Any, ...]]) -> Columns:
    """These trades, at offsets that rise."""
    symbol, time, sequence, price, size, condition, source = zip(*trades, strict=True)
    count = len(trades)
    return Columns(
        np.arange(count, dtype=np.int64),
        np.arange(7, 7 + count, dtype=np.int64),
        np.zeros(count, dtype=np.int64),
        np.array(time, dtype=np.int64),
        np.array(sequence, dtype=np.int64),
        np.array(symbol, dtype=np.int32),
        np.array(price) + 0.0,
        np.array(size) + 0.0,
        np.array(condition, dtype=np.int32),
        np.array(source, dtype=np.int64),
        None,
    )


def content(partial: Any) -> list[Any]:
    """All of an aggregate; keys and prices of open and close only where there are any."""
    keys = [partial.open_key, partial.open, partial.close_key, partial.close]
    return [
        *(partial.trades, partial.volume, partial.priced, partial.notional),
        *(repr(partial.high), repr(partial.low), partial.sources, partial.revision),
        *(partial.filled, partial.has_bar, repr(keys) if partial.has_bar else None),
    ]


Windows = list[dict[int, dict[int, Any]]]
#: Of symbols, where nobody asks for them.
MARKS = np.zeros(8, dtype=np.uint8)


def contents(windows: Windows) -> Any:
    """What windows hold."""
    return [
        {start: {code: content(held) for code, held in own.items()} for start, own in each.items()}
        for each in windows
    ]


def pure(batches: list[Columns]) -> Windows:
    """By sorting and groups, merged by the pure class."""
    windows: Windows = [{} for _ in LENGTHS]
    for trades in batches:
        ordered = trades.take(sort_order(trades))
        finest = group(ordered, FLAGS[ordered.condition], LENGTHS[0])
        for number, length in enumerate(LENGTHS):
            groups = (
                group(ordered, OTHER_FLAGS[ordered.condition], length)
                if number == 2
                else roll_up(finest, length)
            )
            for symbol, start, partial in to_partials(groups, ordered):
                own = windows[number].setdefault(start, {})
                held = own.setdefault(symbol, PurePartial.__new__(PurePartial))
                if not hasattr(held, "trades"):
                    PurePartial.__init__(held, 0, 0, 0, 0, *NEUTRAL)
                PurePartial.merge(held, partial)
    return windows


NEUTRAL = (-float("inf"), float("inf"), (0, 0, -1), 0.0, (0, 0, -1), 0.0, 0)


def compiled(batches: list[Columns], symbols: int = 4) -> Windows:
    """By the compiled module."""
    windows: Windows = [{} for _ in LENGTHS]
    accumulator = make_accumulator(LENGTHS)
    assert accumulator is not None
    changed, touched = CodeSet(), CodeSet()
    for trades in batches:
        accumulator.add(
            windows,
            [FLAGS, FLAGS, OTHER_FLAGS],
            *(trades.symbol, trades.time, trades.sequence, trades.offset, trades.price),
            *(trades.size, trades.condition, trades.source),
            symbols=symbols,
            watermark=-(2**62),
            removed=0,
            changed=changed.marks(symbols),
            touched=touched.marks(symbols),
        )
    assert set(changed) == set(touched) == {code for each in batches for code in each.symbol}
    return windows


@given(TRADES, st.lists(st.integers(0, 60), max_size=3), st.randoms(use_true_random=False))
def test_windows_are_those_of_sorting_and_merging_in_any_order_and_split(
    trades: list[tuple[Any, ...]], cuts: list[int], chance: Any
) -> None:
    whole = columns(trades)
    places = [0, *sorted(cut for cut in cuts if cut < len(trades)), len(trades)]
    batches = [whole.take(np.arange(first, end)) for first, end in pairwise(places) if end > first]
    expected = contents(pure(batches))
    assert contents(compiled(batches)) == expected
    order = list(range(len(trades)))
    chance.shuffle(order)
    assert contents(compiled([whole.take(np.array(order))])) == expected
    # So many that windows are fetched ahead.
    assert contents(compiled(batches, symbols=5_000)) == expected


@given(TRADES, st.data())
def test_merging_and_rows_are_those_of_the_pure_class(
    trades: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    whole = columns(trades)
    ours, theirs = Partial.empty(), PurePartial(0, 0, 0, 0, *NEUTRAL)
    for index in range(len(trades)):
        flags = data.draw(st.integers(0, 7))
        one = single_partial(whole, index, flags)
        ours.merge(one)
        PurePartial.merge(theirs, one)
        assert content(ours) == content(theirs)
        if data.draw(st.booleans()):
            ours.revision = index
            theirs.revision = index
            ours = Partial.from_row(ours.to_row())
    assert isinstance(ours, Partial)


def test_sums_beyond_64_bits_are_exact_both_ways() -> None:
    for number in (0, 1, -1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**120 + 3, -(2**120) - 3):
        partial = Partial.empty()
        partial.volume = partial.priced = partial.notional = number
        assert (partial.volume, partial.priced, partial.notional) == (number,) * 3
        partial.merge(partial)
        assert partial.volume == 2 * number


def test_codes_without_a_place_are_refused() -> None:
    accumulator = make_accumulator(LENGTHS)
    assert accumulator is not None
    trades = columns([(3, 5, 0, 1.0, 1.0, 2, 1)])
    rest = (trades.time, trades.sequence, trades.offset, trades.price, trades.size)
    for symbols, condition in ((3, trades.condition), (4, trades.condition + 6)):
        with pytest.raises(ValueError, match="without a code"):
            accumulator.add(
                [{} for _ in LENGTHS],
                [FLAGS] * 3,
                trades.symbol,
                *rest,
                condition,
                trades.source,
                symbols=symbols,
                watermark=-(2**62),
                removed=0,
                changed=MARKS,
                touched=MARKS,
            )


@given(TRADES, st.lists(st.integers(1, 9), min_size=1), st.randoms(use_true_random=False))
def test_windows_that_were_removed_are_not_known_any_more(
    trades: list[tuple[Any, ...]], sizes: list[int], chance: Any
) -> None:
    """By the watermark, as they close; or otherwise, as a flush and a correction do it."""
    whole = columns(trades)
    accumulator = make_accumulator(LENGTHS)
    assert accumulator is not None
    windows: Windows = [{} for _ in LENGTHS]
    expected: Windows = [{} for _ in LENGTHS]
    watermark, removed, done = -1, 0, 0
    gone: list[Any] = []
    while done < len(trades):
        end = done + sizes[done % len(sizes)]
        part = whole.take(np.arange(done, min(end, len(trades))))
        done = end
        part = part.take(part.time >= watermark)
        if len(part):
            accumulator.add(
                windows,
                [FLAGS, FLAGS, OTHER_FLAGS],
                *(part.symbol, part.time, part.sequence, part.offset, part.price),
                *(part.size, part.condition, part.source),
                symbols=4,
                watermark=watermark,
                removed=removed,
                changed=MARKS,
                touched=MARKS,
            )
            for number, each in enumerate(pure([part])):
                for start, own in each.items():
                    for code, held in own.items():
                        known = expected[number].setdefault(start, {})
                        if code in known:
                            PurePartial.merge(known[code], held)
                        else:
                            known[code] = held
        assert contents(windows) == contents(expected)
        dice = chance.random()
        if dice < 0.5:
            watermark = max(watermark, chance.randrange(8 * SECOND))
            for held in (windows, expected):
                for length, each in zip(LENGTHS, held, strict=True):
                    for start in [start for start in each if start + length <= watermark]:
                        gone.append(each.pop(start))
        elif dice < 0.7 and any(windows):
            removed += 1
            for held in (windows, expected):
                for each in held:
                    gone += [each.pop(start) for start in sorted(each)[:1]]
            # What is borrowed must not be what takes its place in memory.
            gone.clear()


SUMS = st.integers(-(2**63), 2**63 - 1) | st.integers(-(2**100), 2**100) | st.integers(-9, 9)


@given(st.integers(-(2**127), 2**127 - 1) | SUMS, SUMS.filter(bool))
def test_quotients_and_sums_are_rounded_as_pythons_integers_are(above: int, below: int) -> None:
    assert _partials.divide(above, below) == above / below
    assert _partials.as_double(above) == to_double(above)


INTEGERS = st.sampled_from(
    [sign * (1 << bits) + step for sign in (1, -1) for bits in range(63) for step in (-1, 0, 1)]
) | st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.floats(allow_nan=False)


@st.composite
def partials(draw: st.DrawFn, amendment: bool = True) -> Partial:
    """An aggregate that holds anything."""
    key = st.tuples(INTEGERS, INTEGERS, INTEGERS)
    held = Partial(
        *(draw(INTEGERS), draw(SUMS), draw(SUMS), draw(SUMS), draw(NUMBERS), draw(NUMBERS)),
        *(draw(key), draw(NUMBERS), draw(key), draw(NUMBERS), draw(INTEGERS)),
    )
    held.revision, held.filled = draw(INTEGERS), draw(st.booleans())
    if amendment and draw(st.booleans()):
        held.amendment = draw(partials(amendment=False))
    return held


NAMES = ["AAA", "B.\u00e9", "C", "D" * 32]
STARTS = INTEGERS


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 2**32 - 1), st.booleans()),
        st.tuples(STARTS, partials()),
        max_size=8,
    )
)
def test_rows_of_closed_windows_are_those_of_msgpack(
    windows: dict[tuple[int, int, int, bool], tuple[int, Partial]],
) -> None:
    # Windows in a row of their own are numbered from 1970 on.
    windows = {
        (slot[0], slot[1], slot[2] % 2**31 if slot[3] else slot[2], slot[3]): found
        for slot, found in windows.items()
    }
    expected = [
        (slot_key(slot, NAMES, LENGTHS), encode_closed(start, held))
        for slot, (start, held) in windows.items()
    ]
    assert closed_rows(windows, NAMES, LENGTHS, Partial) == expected


@given(
    st.lists(
        st.dictionaries(
            STARTS, st.dictionaries(st.integers(0, 3), partials(), max_size=3), max_size=9
        ),
        min_size=3,
        max_size=3,
    ),
    st.lists(
        st.builds(
            SymbolState,
            st.lists(st.none() | STARTS, min_size=3, max_size=3),
            st.lists(st.integers(0, 2**40), min_size=3, max_size=3),
        ),
        min_size=4,
        max_size=4,
    ),
    st.dictionaries(
        st.integers(0, 3), st.sets(st.tuples(st.integers(0, 2), STARTS), max_size=20), max_size=3
    ),
)
def test_rows_of_symbols_are_those_of_msgpack(
    opened: Windows, states: list[SymbolState], flushed: dict[int, set[tuple[int, int]]]
) -> None:
    arguments = (range(4), NAMES, states.__getitem__, flushed, LENGTHS, opened)
    expected = symbol_rows(*arguments, PurePartial)
    assert symbol_rows(*arguments, Partial) == expected
