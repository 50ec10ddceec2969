"""Bars to prices and marks: nothing that a mark promises comes later, whatever is restarted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.portfolio import PriceRecord, ProgressRecord
from app.contracts.wire import BarRecord
from tables.portfolio.routing import PriceRouter, Sent
from tests.unit.portfolio_stage import BASE, MINUTE, SECOND

LENGTHS = {"1s": SECOND, "10s": 10 * SECOND, "1m": MINUTE, "5m": 5 * MINUTE}
PARTITIONS = 3
HERE = 1


def router(mark_interval: int = SECOND) -> PriceRouter:
    return PriceRouter(HERE, PARTITIONS, "1m", LENGTHS, mark_interval)


def bar(
    end: int, label: str = "1m", symbol: str = "AAA", close: float = 1.0, revision: int = 0,
    filled: bool = False,
) -> BarRecord:  # fmt: skip
    """A bar that ends so many seconds after `BASE`."""
    start = BASE + end * SECOND - LENGTHS[label]
    prices = (close, close, close, close)
    return BarRecord(symbol, label, start, *prices, 1.0, close, 1, revision, True, filled, ())


chances: st.SearchStrategy[bool] = st.booleans()


@st.composite
def published(draw: st.DrawFn) -> list[BarRecord]:
    """Bars in the order of their ends, with revisions of earlier ones among them."""
    found: list[BarRecord] = []
    for second in sorted(draw(st.sets(st.integers(1, 400)))):
        closing = [label for label in LENGTHS if second * SECOND % LENGTHS[label] == 0]
        for label in closing:
            for symbol in sorted(draw(st.sets(st.sampled_from(("AAA", "BBB"))))):
                found.append(bar(second, label, symbol, float(second)))
        if draw(chances) and found:
            revised = draw(st.sampled_from(found))
            end = (revised.start + LENGTHS[revised.interval] - BASE) // SECOND
            filled = draw(chances)
            found.append(bar(end, revised.interval, revised.symbol, 7.0, len(found), filled=filled))
    return found


def sent(router: PriceRouter, bars: list[BarRecord]) -> list[Sent]:
    return [each for offset, found in enumerate(bars) for each in router.take(found, offset)]


@given(bars=published(), interval=st.sampled_from((SECOND, 20 * SECOND, MINUTE)))
@settings(max_examples=100, deadline=None)
def test_every_partition_hears_the_same_and_no_new_bar_comes_behind_a_mark(
    bars: list[BarRecord], interval: int
) -> None:
    found = sent(router(interval), bars)
    parts = [[each[1:] for each in found if each.partition == to] for to in range(PARTITIONS)]
    assert parts[0] == parts[1] == parts[2]
    told: list[int] = []
    prices: list[PriceRecord] = []
    for _, record in parts[0]:
        if isinstance(record, ProgressRecord):
            assert (record.input, record.partition, record.idle) == ("bars", HERE, False)
            assert not told or record.watermark > told[-1]
            told.append(record.watermark)
        else:
            assert record.revision > 0 or not told or record.end >= told[-1]
            prices.append(record)
    assert [(each.symbol, each.start, each.close, each.revision) for each in prices] == [
        (each.symbol, each.start, each.close, each.revision)
        for each in bars
        if each.interval == "1m"
    ]
    assert all((each.partition, each.end - each.start) == (HERE, MINUTE) for each in prices)
    # What has ended before the last bar of up to the pricing interval is told of, about.
    ends = [each.start + LENGTHS[each.interval] for each in bars if each.interval != "5m"]
    if ends:
        assert max(ends) - interval <= told[-1] <= max(ends)


@given(bars=published(), cut=st.integers(0, 50))
@settings(max_examples=50, deadline=None)
def test_a_restart_anywhere_changes_nothing(bars: list[BarRecord], cut: int) -> None:
    first, second = router(), router()
    before = sent(first, bars[:cut])
    second.restore(first.state())
    assert before + sent(second, bars[cut:]) == sent(router(), bars)


def test_the_mark_that_lets_a_valuation_go_is_told_although_the_interval_is_long() -> None:
    # A valuation at 60 s needs a mark beyond it.
    found = sent(router(MINUTE), [bar(60), bar(60, symbol="BBB"), bar(61, "1s"), bar(62, "1s")])
    marks = [each.record for each in found if isinstance(each.record, ProgressRecord)]
    seconds = [(mark.watermark - BASE) // SECOND for mark in marks[::PARTITIONS]]
    assert seconds == [60, 61]


def test_a_bar_filled_forward_is_no_price_and_an_emptied_one_is_its_last_close() -> None:
    filled = sent(router(), [bar(60, filled=True)])
    assert [type(each.record) for each in filled] == [ProgressRecord] * PARTITIONS
    emptied = sent(router(), [bar(60, close=3.0, revision=2, filled=True)])
    prices = [each.record for each in emptied if isinstance(each.record, PriceRecord)]
    assert [(price.close, price.revision) for price in prices] == [(3.0, 2)] * PARTITIONS


def test_longer_bars_and_other_activity_say_nothing() -> None:
    # A flush ends a long bar far ahead of the data.
    assert sent(router(), [bar(300, "5m")]) == []


def test_a_state_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 9"):
        router().restore([9, None])
