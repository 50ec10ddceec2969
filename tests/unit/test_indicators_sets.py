"""The indicators of one symbol and interval: what becomes of revised, emptied and older bars."""

from __future__ import annotations

import json

import msgspec
import pytest

from app.contracts.wire import BarRecord
from tables.indicators.base import DAY, Context, sample_bars
from tables.indicators.registry import DEFAULT_INDICATORS, parse_indicators
from tables.indicators.sets import IndicatorSet, Outcome
from tables.learning import StateVersionError

REQUESTS = parse_indicators(DEFAULT_INDICATORS)
BARS = sample_bars(21, 200)
OTHERS = sample_bars(22, 200)


def fed(bars: list[BarRecord]) -> IndicatorSet:
    made = IndicatorSet(REQUESTS)
    for each in bars:
        made.take(each)
    return made


def revision(bar: BarRecord, number: int) -> BarRecord:
    return msgspec.structs.replace(bar, revision=number)


def emptied(bar: BarRecord, number: int) -> BarRecord:
    return msgspec.structs.replace(
        bar, revision=number, filled=True, trades=0, volume=0.0, vwap=None
    )


def restored(made: IndicatorSet) -> IndicatorSet:
    return IndicatorSet.from_state(json.loads(json.dumps(made.state())), REQUESTS)


def test_outputs_come_in_the_order_asked_for_and_none_in_the_warm_up() -> None:
    made = fed(BARS[:1])
    values = made.values()
    assert list(values) == [name for each in REQUESTS for name in each.names]
    assert {name for name, value in values.items() if value is not None} <= {"SESSION_VWAP"}
    assert None not in fed(BARS).values().values()


def test_a_revised_last_bar_is_as_exact_as_if_it_had_come_first() -> None:
    straight, revised = IndicatorSet(REQUESTS), IndicatorSet(REQUESTS)
    for number, (bar, other) in enumerate(zip(BARS, OTHERS, strict=True)):
        assert straight.take(revision(bar, 2)) is Outcome.NEW
        assert revised.take(revision(other, 0)) is Outcome.NEW
        if number % 3 == 0:
            revised = restored(revised)
        assert revised.take(revision(other, 1)) is Outcome.REVISED
        assert revised.take(revision(bar, 2)) is Outcome.REVISED
        assert repr(revised.values()) == repr(straight.values())
        assert revised.exact
    assert revised.state() == straight.state()


def test_a_repeated_bar_changes_nothing() -> None:
    made = fed([revision(each, 1) for each in BARS])
    before = made.state()
    assert made.take(revision(OTHERS[-1], 1)) is Outcome.REPEATED
    assert made.take(revision(OTHERS[-1], 0)) is Outcome.REPEATED
    assert made.state() == before


def test_an_emptied_last_bar_is_as_if_it_had_never_come() -> None:
    made = fed(BARS[:100])
    assert made.take(emptied(BARS[99], 1)) is Outcome.EMPTIED
    assert repr(made.values()) == repr(fed(BARS[:99]).values())
    assert made.take(emptied(BARS[99], 1)) is Outcome.REPEATED
    made = restored(made)
    assert made.take(BARS[100]) is Outcome.NEW
    assert repr(made.values()) == repr(fed([*BARS[:99], BARS[100]]).values())
    assert made.exact


def test_a_trade_that_comes_after_it_was_emptied_brings_the_bar_back() -> None:
    made = fed(BARS[:100])
    made.take(emptied(BARS[99], 1))
    assert made.take(revision(OTHERS[99], 2)) is Outcome.REVISED
    assert made.take(revision(BARS[99], 3)) is Outcome.REVISED
    assert repr(made.values()) == repr(fed(BARS[:100]).values())


def test_a_bar_that_is_empty_when_it_first_comes_is_only_noted() -> None:
    made = fed(BARS[:99])
    assert made.take(emptied(BARS[99], 4)) is Outcome.EMPTIED
    assert repr(made.values()) == repr(fed(BARS[:99]).values())
    assert made.take(revision(BARS[99], 5)) is Outcome.REVISED
    assert repr(made.values()) == repr(fed(BARS[:100]).values())


def test_after_an_emptied_bar_the_one_before_it_is_older() -> None:
    made = fed(BARS[:100])
    made.take(emptied(BARS[99], 1))
    assert made.take(revision(OTHERS[98], 1)) is Outcome.OLDER
    assert not made.exact


def test_with_fill_forward_filled_bars_are_input() -> None:
    filled = msgspec.structs.replace(emptied(BARS[99], 0), vwap=None)
    made = IndicatorSet(REQUESTS, fill_forward=True)
    for each in BARS[:99]:
        made.take(each)
    assert made.take(filled) is Outcome.NEW
    assert made.values()["SMA(20)"] == pytest.approx(
        sum(each.close for each in [*BARS[80:99], filled]) / 20
    )


def test_after_an_older_revision_values_are_not_exact_until_all_have_forgotten_it() -> None:
    requests = parse_indicators("SMA(20),EMA(12)")
    memory = max(each.create().memory or 0 for each in requests)
    bars = sample_bars(23, 400)
    made = IndicatorSet(requests)
    for each in bars[:100]:
        made.take(each)
    before = made.values()
    assert made.take(revision(bars[50], 1)) is Outcome.OLDER
    assert made.values() == before
    for number, each in enumerate(bars[100:], 1):
        assert made.exact == (number > memory)
        made.take(each)
        made = IndicatorSet.from_state(json.loads(json.dumps(made.state())), requests)
    assert made.exact


def test_the_session_vwap_has_forgotten_an_older_revision_with_the_next_session() -> None:
    requests = parse_indicators("SESSION_VWAP")
    sessions = Context(session_of=lambda time: time // (DAY // 24))
    bars = [
        msgspec.structs.replace(each, start=number * DAY // 96)
        for number, each in enumerate(sample_bars(24, 12))
    ]
    made = IndicatorSet(requests, sessions)
    for each in bars[:3]:
        made.take(each)
    made.take(revision(bars[1], 1))
    made.take(bars[3])
    assert not made.exact
    made.take(bars[4])
    assert made.exact
    assert made.values() == {"SESSION_VWAP": pytest.approx(bars[4].vwap)}


def test_totals_never_forget() -> None:
    made = IndicatorSet(parse_indicators("OBV"))
    for each in BARS[:10]:
        made.take(each)
    made.take(revision(BARS[2], 1))
    for each in BARS[10:]:
        made.take(each)
    assert not made.exact


def test_a_state_of_other_indicators_or_another_version_is_refused() -> None:
    state = fed(BARS[:50]).state()
    for requests, wrong in (
        (parse_indicators("SMA(20)"), state),
        (REQUESTS, [2, *state[1:]]),
        (REQUESTS, []),
        (REQUESTS, [*state[:7], []]),
    ):
        with pytest.raises(StateVersionError):
            IndicatorSet.from_state(wrong, requests)
