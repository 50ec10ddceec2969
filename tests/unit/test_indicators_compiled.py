"""The compiled indicators are their classes: the same bits, values and states, whatever comes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.wire import BarRecord
from tables.indicators import compiled
from tables.indicators.base import Context, sample_bars
from tables.indicators.compiled import OPERATIONS, plan_of
from tables.indicators.registry import DEFAULT_INDICATORS, Request, parse_indicators
from tables.indicators.sets import IndicatorSet, Outcome
from tables.indicators.windows import mean_and_deviation, pure_mean_and_deviation
from tables.learning import State, StateVersionError

pytestmark = pytest.mark.skipif(compiled.kernel is None, reason="needs a C compiler")

#: Every option of every compiled indicator, short and long.
EVERY = (
    "SMA(1),SMA(3),EMA(1),EMA(4),EMA(4,seed=first),RSI(1),RSI(3),RSI(3,flat=none),"
    "RSI(4,flat=0),RSI(4,flat=100,seed=first),MACD(2,5,3),MACD(2,5,3,seed=first),"
    "MACD(2,5,3,seed=talib),MACD(1,2,1),BOLLINGER(1),BOLLINGER(4,1.5),ATR(1),ATR(4),"
    "ATR(4,first=previous_close),ATR(4,average=sma),ATR(3,first=previous_close,average=sma),"
    "VWAP(1),VWAP(3),VWAP(3,price=typical),SESSION_VWAP,MOMENTUM(1),MOMENTUM(3),VOLATILITY(1),"
    "VOLATILITY(4),VOLATILITY(4,deviation=population)"
)
#: Among others that are not compiled.
MIXED = "STOCHASTIC,SMA(4),OBV,MACD(2,5,3),CCI(5),BOLLINGER(4),ADX(3),SESSION_VWAP,DONCHIAN(4)"

PRICES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 100.0, 100.01, -3.5, 1e-300, 1e12, -1e12]),
    st.floats(-1e12, 1e12, allow_nan=False),
)
VOLUMES = st.one_of(st.sampled_from([0.0, 1.0, 100.0, 1e12]), st.floats(0, 1e12))
HOUR = 3_600_000_000_000


@st.composite
def sequences(draw: st.DrawFn) -> list[BarRecord]:
    """Bars as they may come: new ones, revisions, emptied ones, late ones, repeated ones."""
    bars: list[BarRecord] = []
    start, revision = 0, 0
    for _ in range(draw(st.integers(1, 40))):
        kind = draw(st.sampled_from(["new", "new", "new", "revised", "emptied", "late", "same"]))
        if kind == "new" or not bars:
            start, revision = start + draw(st.sampled_from([1, 1, 1, 9])) * HOUR, 0
        elif kind in ("revised", "emptied"):
            revision += 1
        prices = [draw(PRICES) for _ in range(4)]
        bars.append(
            BarRecord(
                symbol="A",
                interval="1h",
                start=start - 5 * HOUR if kind == "late" else start,
                open=prices[0],
                high=prices[1],
                low=prices[2],
                close=prices[3],
                volume=draw(VOLUMES),
                vwap=draw(st.none() | PRICES),
                trades=0 if kind == "emptied" else 1,
                revision=revision,
                is_final=True,
                filled=kind == "emptied",
                sources=(),
            )
        )
    return bars


def bits(value: object) -> str:
    """Text that differs wherever a bit does."""
    return repr(value)


def both(
    requests: Sequence[Request], context: Context | None = None
) -> tuple[IndicatorSet, IndicatorSet]:
    """A set with the compiled module and one without."""
    fast = IndicatorSet(requests, context)
    assert fast._kernel is not None
    slow = IndicatorSet(requests, context, use_kernel=False)
    assert slow._kernel is None
    return fast, slow


def plain(state: State) -> State:
    """A state as a row holds it."""
    found: State = msgspec.msgpack.decode(msgspec.msgpack.encode(state))
    return found


@pytest.mark.parametrize("text", [DEFAULT_INDICATORS, EVERY, MIXED])
@settings(max_examples=60)
@given(bars=sequences(), chance=st.randoms(use_true_random=False))
def test_values_and_states_have_the_same_bits_through_revisions_and_restarts(
    text: str, bars: list[BarRecord], chance: random.Random
) -> None:
    requests = parse_indicators(text)
    context = Context(lambda start: start // (7 * HOUR))
    fast, slow = both(requests, context)
    for bar in bars:
        assert fast.take(bar) is slow.take(bar)
        assert bits(fast.values()) == bits(slow.values())
        assert fast.exact == slow.exact
        assert bits(fast.state()) == bits(slow.state())
        assert fast.packed() == slow.packed() == msgspec.msgpack.encode(slow.state())
        if chance.random() < 0.2:
            # Each goes on from the state of the other, as values or in bytes.
            if chance.random() < 0.5:
                state, row = plain(slow.state()), fast.packed()
                fast = IndicatorSet.from_state(state, requests, context)
                slow = IndicatorSet.from_packed(row, requests, context, use_kernel=False)
            else:
                state, row = plain(fast.state()), slow.packed()
                fast = IndicatorSet.from_packed(row, requests, context)
                slow = IndicatorSet.from_state(state, requests, context, use_kernel=False)


def test_a_long_series_of_the_default_set_has_the_same_bits() -> None:
    requests = parse_indicators(DEFAULT_INDICATORS)
    fast, slow = both(requests)
    for number, bar in enumerate(sample_bars(7, 5_000)):
        assert fast.take(bar) is slow.take(bar) is Outcome.NEW
        if number % 3 == 0:
            revised = msgspec.structs.replace(bar, revision=1, close=bar.close + 0.01)
            assert fast.take(revised) is slow.take(revised) is Outcome.REVISED
        assert bits(fast.outputs()) == bits(slow.outputs())
    assert bits(fast.state()) == bits(slow.state())


def test_outputs_come_in_the_order_asked_for() -> None:
    requests = parse_indicators(MIXED)
    fast, slow = both(requests)
    assert plan_of(requests).places is not None
    for bar in sample_bars(3, 60):
        fast.take(bar)
        slow.take(bar)
    names = [name for each in requests for name in each.names]
    assert list(fast.names) == list(fast.values()) == names
    assert bits(fast.outputs()) == bits(slow.outputs())


def test_a_class_of_ones_own_that_derives_from_a_compiled_one_is_not_compiled() -> None:
    base = parse_indicators("SMA(3)")[0]

    class Other(base.kind):  # type: ignore[misc, name-defined]
        NAME = "OTHER"

        def _step(self, bar: BarRecord) -> float | None:
            return 1.0

    request = Request("OTHER(3)", Other, base.parameters)
    assert Other not in OPERATIONS
    made = IndicatorSet([request])
    made.take(sample_bars(1, 1)[0])
    assert made.values() == {"OTHER(3)": 1.0}


@pytest.mark.parametrize(
    "broken",
    [
        lambda states: states[0].__setitem__(0, 99),
        lambda states: states[0].append([1.0]),
        lambda states: states[0].pop(),
        lambda states: states[0].__setitem__(-1, [None] + [1.0] * 60),
        lambda states: states[0].__setitem__(-1, [1.0, 2.0]),
        lambda states: states[0].__setitem__(-1, [None, "text"]),
        lambda states: states[0].__setitem__(1, False),
        lambda states: states.__setitem__(0, []),
    ],
)
def test_a_state_that_does_not_fit_is_refused(broken: object) -> None:
    requests = parse_indicators("SMA(20),EMA(12)")
    made = IndicatorSet(requests)
    for bar in sample_bars(1, 30):
        made.take(bar)
    state = plain(made.state())
    broken(state[7])  # type: ignore[operator]
    with pytest.raises(StateVersionError):
        IndicatorSet.from_state(state, requests)


@given(
    st.lists(
        st.one_of(
            st.integers(-(2**53), 2**53),
            # Where an integer gets longer.
            st.tuples(st.sampled_from([0, 5, 7, 8, 15, 16, 31, 32, 40]), st.integers(-1, 1)).map(
                lambda one: 2 ** one[0] + one[1]
            ),
        ).flatmap(lambda one: st.sampled_from([one, -one])),
        min_size=1,
        max_size=8,
    )
)
def test_any_session_is_packed_and_unpacked(sessions: list[int]) -> None:
    requests = parse_indicators("SESSION_VWAP")
    context = Context(lambda start: sessions[start // HOUR])
    fast, slow = both(requests, context)
    for number in range(len(sessions)):
        bar = msgspec.structs.replace(sample_bars(1, 1)[0], start=number * HOUR)
        fast.take(bar)
        slow.take(bar)
        assert fast.packed() == slow.packed()
        fast = IndicatorSet.from_packed(fast.packed(), requests, context)


@pytest.fixture(scope="module")
def every_packed() -> list[bytes]:
    """States of one set with every option, early and late, new and taken back."""
    made, found = IndicatorSet(parse_indicators(EVERY)), []
    for number, bar in enumerate(sample_bars(2, 12)):
        made.take(bar)
        if number % 2:
            made.take(msgspec.structs.replace(bar, revision=1, filled=True, trades=0))
        found.append(made.packed())
    return found


@settings(max_examples=300)
@given(data=st.data())
def test_bytes_that_are_no_state_are_refused_or_do_no_harm(
    every_packed: list[bytes], data: st.DataObject
) -> None:
    requests = parse_indicators(EVERY)
    whole = data.draw(st.sampled_from(every_packed))
    row = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(row) - 1))
        row[place] = data.draw(
            st.integers(0, 255) | st.sampled_from([0x90, 0xC0, 0xC2, 0xCB, 0xDC, 0xDD])
        )
    del row[data.draw(st.just(len(row)) | st.integers(1, len(row))) :]
    try:
        made = IndicatorSet.from_packed(bytes(row), requests)
    except (StateVersionError, UnicodeDecodeError, msgspec.DecodeError):
        assert bytes(row) != whole
        return
    # A number may be another one; all that follows keeps within its cells.
    assert made._kernel is not None
    with suppress(RuntimeError):
        made._kernel.revert()
    for bar in sample_bars(3, 12):
        made._kernel.update(bar, 0)
        if bar.trades % 3 == 0:
            made._kernel.revert()
    assert IndicatorSet.from_packed(whole, requests).packed() == whole


def test_a_state_is_refused_wherever_it_ends_too_early() -> None:
    requests = parse_indicators(EVERY)
    made = IndicatorSet(requests)
    for bar in sample_bars(1, 20):
        made.take(bar)
    plan = plan_of(requests)
    assert made._kernel is not None
    for number, packed in enumerate(made._kernel.packed(plan.versions)):
        fresh = compiled.kernel.Kernel(plan.program)
        for end in range(len(packed)):
            with pytest.raises(ValueError, match="it ends too early"):
                fresh.unpack(number, packed[:end], plan.versions[number])
        with pytest.raises(ValueError, match="more follows"):
            fresh.unpack(number, packed + b"\0", plan.versions[number])
        with pytest.raises(ValueError, match="it has version 1, this code reads 2"):
            fresh.unpack(number, packed, 2)
        fresh.unpack(number, packed, plan.versions[number])
        assert fresh.packed(plan.versions)[number] == packed


@given(
    st.lists(PRICES, min_size=1, max_size=60)
    | st.tuples(PRICES, st.integers(1, 60)).map(lambda one: [one[0]] * one[1])
)
def test_means_and_deviations_have_the_same_bits(values: list[float]) -> None:
    count = len(values)
    assert bits(mean_and_deviation(values, count)) == bits(pure_mean_and_deviation(values, count))


def test_what_was_not_taken_cannot_be_taken_back() -> None:
    plan = plan_of(parse_indicators("SMA(3)"))
    kernel = compiled.kernel.Kernel(plan.program)
    with pytest.raises(RuntimeError, match="no update to revert"):
        kernel.revert()
    kernel.update(sample_bars(1, 1)[0], 0)
    kernel.revert()
    with pytest.raises(RuntimeError, match="no update to revert"):
        kernel.revert()
