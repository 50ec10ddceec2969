"""Corrections in the reference, by hand-computed cases.

Base time 2013-10-08 10:00:00 New York; `log.bars` are (seconds after ten, revision, open, high,
low, close, volume, trades).
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.oracle.quotes_reference import QuotesReference
from tests.oracle.reference import Reference, Settings
from tests.oracle.rules import MINUTE, SECOND, Flags, partition_of
from tests.oracle.test_reference import FAR_MS, TEN, Log

FLUSH = b'{"type":"flush"}'


def at(seconds: float) -> int:
    """The event time so many seconds after ten."""
    return TEN + round(seconds * SECOND)


def change(log: Log, action: str, symbol: str = "A", **fields: Any) -> str:
    """Send a correction; its own event time is one that no trade may have."""
    return log.send(type="correction", action=action, symbol=symbol, event_time=0, **fields)


def cancel(log: Log, **fields: Any) -> str:
    """Send a cancel."""
    return change(log, "cancel", **fields)


def correct(log: Log, **fields: Any) -> str:
    """Send a correct."""
    return change(log, "correct", **fields)


def reasons(log: Log) -> list[str]:
    """Why records were dead."""
    return [dead.reason for dead in log.reference.dead]


# --- what a correction does -----------------------------------------------------------------------


def test_a_cancel_in_a_closed_window_is_its_next_revision_without_the_trade() -> None:
    log = Log()
    log.trade(0.1, 10, 1, source="one")
    log.trade(0.2, 30, 2, trade_id="x", source="two")
    log.trade(0.3, 20, 4, source="one")
    log.trade(2.5, 11)
    assert log.bars == [(0, 0, 10, 30, 10, 20, 7, 3)]
    assert cancel(log, trade_id="x") == "control"
    assert log.bars[1:] == [(0, 1, 10, 20, 10, 20, 5, 2)]
    bar = log.reference.bars[-1]
    assert (bar.vwap, bar.sources, bar.is_final, bar.filled) == (90 / 5, ("one",), True, False)
    assert log.reference.outcomes == {"applied": 4, "control": 1}


def test_a_correct_changes_price_and_size_and_leaves_the_place() -> None:
    log = Log()
    log.trade(0.1, 10, 1, sequence=3)
    log.trade(0.9, 20, 4, sequence=4)
    log.trade(2.5, 11)
    first = {"original_event_time": at(0.1), "original_sequence": 3}
    correct(log, **first, new_price=15)
    correct(log, **first, new_size=2)
    correct(log, **first, new_price=50, new_size=8)
    assert log.bars[1:] == [
        (0, 1, 15, 20, 15, 20, 5, 2),
        (0, 2, 15, 20, 15, 20, 6, 2),
        (0, 3, 50, 50, 20, 20, 12, 2),
    ]


def test_a_correct_without_a_new_value_is_a_revision_like_the_one_before() -> None:
    log = Log()
    log.trade(0.1, trade_id="x")
    log.trade(2.5)
    assert correct(log, trade_id="x") == "control"
    assert log.bars[1:] == [(0, 1, 10, 10, 10, 10, 1, 1)]


def test_an_open_window_is_made_anew_and_not_published() -> None:
    log = Log()
    log.trade(0.1, 10, 1)
    log.trade(0.2, 90, 2, trade_id="x")
    log.trade(0.3, 20, 4, trade_id="y")
    assert cancel(log, trade_id="x") == "control"
    assert correct(log, trade_id="y", new_price=5) == "control"
    assert log.bars == []
    log.trade(2.5)
    assert log.bars == [(0, 0, 10, 10, 5, 5, 5, 2)]


def test_each_interval_is_judged_by_its_own_window_shortest_first() -> None:
    log = Log(intervals=(MINUTE, 10 * SECOND, SECOND))
    log.trade(0.1, 10, 1)
    log.trade(0.2, 90, 2, trade_id="x")
    log.trade(15, 11, 1)
    log.reference.bars.clear()
    cancel(log, trade_id="x")
    assert [(bar.interval, bar.revision) for bar in log.reference.bars] == [("1s", 1), ("10s", 1)]
    log.value(FLUSH)
    bar = log.reference.bars[-1]
    assert (bar.interval, bar.revision, bar.high, bar.volume) == ("1m", 0, 11, 2)


def test_a_bar_of_which_nothing_is_left_is_published_as_filled() -> None:
    log = Log()
    log.trade(0.1, 10, 1, trade_id="x", source="one")
    log.trade(0.2, 20, 2, trade_id="y", source="two")
    log.trade(2.5)
    cancel(log, trade_id="y")
    cancel(log, trade_id="x")
    # The close is the one of revision 1, not of revision 0.
    assert log.bars[1:] == [(0, 1, 10, 10, 10, 10, 1, 1), (0, 2, 10, 10, 10, 10, 0, 0)]
    bar = log.reference.bars[-1]
    assert (bar.vwap, bar.sources, bar.is_final, bar.filled) == (None, (), True, True)
    assert repr(bar.volume) == "0.0"
    # A trade that comes later is the next revision, no longer flagged.
    assert log.trade(0.5, 30, 3) == "revised"
    assert log.bars[-1] == (0, 3, 30, 30, 30, 30, 3, 1)
    assert not log.reference.bars[-1].filled


def test_a_bar_that_never_was_is_not_published() -> None:
    matrix = {"odd_lot": Flags(False, False, True), "average_price": Flags(False, False, True)}
    log = Log(policy="sip", sip_matrix=matrix)
    log.trade(0.1, 1, 5, conditions=["odd_lot"], trade_id="x")
    log.trade(9)
    assert cancel(log, trade_id="x") == "control"
    assert log.bars == []


def test_what_had_a_bar_once_is_published_again_without_one() -> None:
    log = Log(policy="sip", sip_matrix={"odd_lot": Flags(False, False, True)})
    log.trade(0.1, 1, 5, conditions=["odd_lot"], trade_id="v")
    log.trade(0.2, 10, 1, trade_id="x")
    log.trade(9)
    assert log.bars == [(0, 0, 10, 10, 10, 10, 6, 2)]
    cancel(log, trade_id="x")
    cancel(log, trade_id="v")
    assert log.bars[1:] == [(0, 1, 10, 10, 10, 10, 0, 0), (0, 2, 10, 10, 10, 10, 0, 0)]
    # Volume alone makes no bar; a price makes one of all that counts.
    log.trade(0.3, 1, 7, conditions=["odd_lot"])
    assert len(log.bars) == 3
    log.trade(0.4, 12, 1)
    assert log.bars[3:] == [(0, 3, 12, 12, 12, 12, 8, 2)]


def test_an_open_window_whose_trades_are_all_cancelled_is_not_closed_by_a_flush() -> None:
    log = Log()
    log.trade(5.1, trade_id="x")
    log.trade(5.2, trade_id="y")
    cancel(log, trade_id="x")
    cancel(log, trade_id="y")
    log.value(FLUSH)
    assert log.bars == []
    assert log.trade(5.5, 12) == "applied"
    log.value(FLUSH)
    assert log.bars == [(5, 0, 12, 12, 12, 12, 1, 1)]


def test_a_closed_window_stays_closed_when_its_trades_are_cancelled() -> None:
    log = Log()
    log.trade(5.1, trade_id="x")
    log.value(FLUSH)
    cancel(log, trade_id="x")
    assert log.trade(5.5, 12) == "revised"
    assert [(bar[1], bar[-1]) for bar in log.bars] == [(0, 1), (1, 0), (2, 1)]


def test_late_duplicate_and_ignored_stay_what_they_were_and_the_watermark_stays() -> None:
    log = Log(correction_horizon=60 * SECOND)
    log.trade(100, trade_id="x")
    assert log.trade(30) == "late"
    before = log.reference.maximum
    assert cancel(log, trade_id="x") == "control"
    assert log.reference.maximum == before
    assert log.trade(30) == "late"
    assert log.trade(100, trade_id="x") == "duplicate"


# --- which record is named ------------------------------------------------------------------------


def test_the_last_record_of_several_is_named_then_the_one_before() -> None:
    log = Log()
    for price in (10, 20, 30):
        log.trade(0.5, price, price)
    log.trade(2.5)
    name = {"original_event_time": at(0.5)}
    outcomes = [cancel(log, **name) for _ in range(4)]
    assert outcomes == ["control"] * 3 + ["dead"]
    assert [bar[2:] for bar in log.bars[1:]] == [
        (10, 20, 10, 20, 30, 2),
        (10, 10, 10, 10, 10, 1),
        (10, 10, 10, 10, 0, 0),
    ]
    assert reasons(log) == ["unknown_trade"]


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"trade_id": "x", "venue": "V"}, "control"),
        ({"trade_id": "x", "venue": None}, "dead"),
        ({"trade_id": "x"}, "dead"),
        ({"trade_id": "x", "venue": "W"}, "dead"),
        ({"trade_id": "X", "venue": "V"}, "dead"),
        ({"trade_id": "x", "venue": "V", "symbol": "B"}, "dead"),
        ({"trade_id": "x", "venue": "V", "original_event_time": TEN}, "control"),
        ({"trade_id": "x", "venue": "V", "original_event_time": TEN + 1}, "dead"),
        # Beside an id the sequence means nothing.
        ({"trade_id": "x", "venue": "V", "original_sequence": 8}, "control"),
        ({"venue": "V", "original_event_time": TEN, "original_sequence": 7}, "control"),
        ({"venue": "V", "original_event_time": TEN, "original_sequence": 8}, "dead"),
        ({"venue": "V", "original_event_time": TEN}, "dead"),
        ({"venue": "V", "original_event_time": TEN + 1, "original_sequence": 7}, "dead"),
        ({"venue": "V", "original_sequence": 7}, "dead"),
        ({"venue": "V"}, "dead"),
        ({"trade_id": "x", "venue": "V", "original_price": 10, "original_size": 3.0}, "control"),
        ({"trade_id": "x", "venue": "V", "original_price": 10.5}, "dead"),
        ({"trade_id": "x", "venue": "V", "original_size": 4}, "dead"),
        ({"trade_id": "x", "venue": "V", "source": "other"}, "control"),
    ],
)
def test_a_record_is_named_by(fields: dict[str, Any], outcome: str) -> None:
    log = Log()
    log.trade(0, 10, 3, trade_id="x", venue="V", sequence=7, source="one")
    assert cancel(log, **fields) == outcome
    assert reasons(log) == ["unknown_trade"] * (outcome == "dead")


def test_a_missing_sequence_names_only_a_record_without_one() -> None:
    log = Log()
    log.trade(0, 10)
    log.trade(0, 20, sequence=0)
    cancel(log, original_event_time=TEN)
    assert cancel(log, original_event_time=TEN) == "dead"
    log.value(FLUSH)
    assert log.bars == [(0, 0, 20, 20, 20, 20, 1, 1)]


def test_original_values_are_compared_as_corrected_so_far() -> None:
    log = Log()
    log.trade(0, 10, 3, trade_id="x")
    assert correct(log, trade_id="x", original_price=10, new_price=11) == "control"
    assert correct(log, trade_id="x", original_price=10, new_price=12) == "dead"
    assert correct(log, trade_id="x", original_price=11, original_size=3, new_size=4) == "control"
    assert cancel(log, trade_id="x", original_price=11, original_size=3) == "dead"
    assert cancel(log, trade_id="x", original_price=11, original_size=4) == "control"
    assert correct(log, trade_id="x", new_price=13) == "dead"
    assert cancel(log, trade_id="x") == "dead"
    assert reasons(log) == ["unknown_trade"] * 4


def test_a_price_chooses_among_records_of_one_time() -> None:
    log = Log()
    for price in (10, 20, 30):
        log.trade(0, price)
    assert cancel(log, original_event_time=TEN, original_price=20) == "control"
    log.value(FLUSH)
    assert log.bars == [(0, 0, 10, 30, 10, 30, 2, 2)]


@pytest.mark.parametrize(("price", "given"), [("-0.0", "0.0"), ("0", "-0.0"), ("-0.0", "-0")])
def test_minus_zero_is_zero(price: str, given: str) -> None:
    log = Log()
    log.value(
        b'{"symbol":"A","price":%s,"size":1,"event_time":%d,"trade_id":"x"}' % (price.encode(), TEN)
    )
    log.value(
        b'{"type":"correction","action":"correct","symbol":"A","event_time":0,"trade_id":"x",'
        b'"original_price":%s,"new_price":-0.0,"new_size":-0.0}' % given.encode()
    )
    log.value(FLUSH)
    bar = log.reference.bars[-1]
    assert repr((bar.open, bar.low, bar.volume)) == "(0.0, 0.0, 0.0)"


@pytest.mark.parametrize("kind", ["late", "duplicate", "ignored", "dead"])
def test_what_was_not_applied_is_named_by_nothing(kind: str) -> None:
    log = Log(
        policy="sip",
        correction_horizon=60 * SECOND,
        sip_matrix={"average_price": Flags(False, False, False)},
    )
    log.trade(100, 10, trade_id="seen")
    name: dict[str, Any] = {"original_event_time": at(99.5)}
    if kind == "late":
        name = {"trade_id": "x"}
        assert log.trade(1, trade_id="x") == kind
    elif kind == "duplicate":
        assert log.trade(99.5, trade_id="seen") == kind
    elif kind == "ignored":
        assert log.trade(99.5, conditions=["average_price"]) == kind
    else:
        assert log.trade(99.5, 1e12, 1e12) == kind
    assert cancel(log, **name) == "dead"
    assert reasons(log)[-1] == "unknown_trade"


def test_an_id_that_was_forgotten_and_seen_again_names_the_last() -> None:
    log = Log(correction_horizon=60 * SECOND)
    log.trade(0, 10, trade_id="x")
    log.trade(200)
    log.trade(200, 20, trade_id="x")
    log.reference.bars.clear()
    assert correct(log, trade_id="x", new_price=21) == "control"
    assert cancel(log, trade_id="x", original_event_time=TEN) == "control"
    assert log.bars == [(0, 1, 10, 10, 10, 10, 0, 0)]
    assert cancel(log, trade_id="x") == "control"
    assert cancel(log, trade_id="x") == "dead"


def test_a_trade_older_than_the_recall_horizon_is_unknown() -> None:
    log = Log(recall_horizon=60 * SECOND, correction_horizon=10 * SECOND)
    log.trade(39, trade_id="old")
    log.trade(38.999, trade_id="older")
    # The watermark is at 99 s.
    log.trade(100)
    assert cancel(log, trade_id="older") == "dead"
    assert reasons(log) == ["unknown_trade"]
    assert cancel(log, trade_id="old") == "control"


def test_a_later_record_that_is_too_old_lets_an_earlier_one_be_named() -> None:
    log = Log(recall_horizon=60 * SECOND, correction_horizon=MINUTE)
    log.trade(50, 10, trade_id="x", sequence=1)
    log.trade(20, 20, sequence=1)
    log.trade(100)
    assert cancel(log, original_event_time=at(20), original_sequence=1) == "dead"
    assert cancel(log, trade_id="x") == "control"


# --- dead ones, in their order --------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "type": "correction",
    "action": "cancel",
    "symbol": "A",
    "event_time": TEN,
    "trade_id": "x",
}


@pytest.mark.parametrize(
    "fields",
    [
        {"more": 1},
        {"price": 1.0},
        {"conditions": []},
        {"action": "undo"},
        {"action": None},
        {"symbol": ""},
        {"symbol": "A" * 33},
        {"event_time": -1},
        {"event_time": 1.0},
        {"event_time": None},
        {"trade_id": 5},
        {"trade_id": ""},
        {"venue": "a\0b"},
        {"source": ""},
        {"original_event_time": "1"},
        {"original_sequence": -1},
        {"original_price": True},
        {"original_size": -1},
        {"new_price": 2e12},
        {"new_size": 1e13},
        {"new_size": "1"},
    ],
)
def test_a_correction_outside_the_contract_is_malformed(fields: dict[str, Any]) -> None:
    log = Log()
    log.trade(0, trade_id="x")
    assert log.send(**GOOD | fields) == "dead"
    assert reasons(log) == ["malformed"]
    assert log.send(**GOOD) == "control"


@pytest.mark.parametrize("name", ["action", "symbol", "event_time"])
def test_a_correction_without_a_required_field_is_malformed(name: str) -> None:
    log = Log()
    log.trade(0, trade_id="x")
    assert log.send(**{key: value for key, value in GOOD.items() if key != name}) == "dead"
    assert reasons(log) == ["malformed"]


def test_a_trade_with_a_correction_s_fields_is_malformed() -> None:
    log = Log()
    assert log.trade(0, new_price=1) == "dead"
    assert log.trade(0, type="trade", action="cancel") == "dead"
    assert reasons(log) == ["malformed"] * 2


@pytest.mark.parametrize("event_time", [0, 5, 2**63 - 1])
def test_the_event_time_of_a_correction_is_not_bounded(event_time: int) -> None:
    log = Log()
    log.trade(0, trade_id="x")
    maximum = log.reference.maximum
    assert log.send(**GOOD | {"event_time": event_time}, append_ms=0) == "control"
    assert log.reference.maximum == maximum


def test_reasons_come_in_the_order_of_the_page() -> None:
    wrong = {"symbol": "*", "trade_id": "unknown"}
    log = Log(policy="algoseek")
    log.trade(0, trade_id="x")
    log.send(**GOOD | wrong | {"more": 1})
    log.send(**GOOD | wrong)
    log.send(**GOOD)
    assert reasons(log) == ["malformed"] + ["policy_without_corrections"] * 2
    log = Log()
    log.trade(0, 1e12, 10, trade_id="x")
    log.send(**GOOD | wrong)
    log.send(**GOOD | {"trade_id": "unknown", "action": "correct", "new_size": 1e12})
    log.send(**GOOD | {"action": "correct", "new_size": 101})
    assert reasons(log) == ["bad_symbol", "unknown_trade", "notional_too_large"]


def test_a_correction_of_another_partition_s_symbol_is_dead() -> None:
    other = 1 - partition_of(b"A", 2)
    reference = Reference(other, 2, Settings())
    assert reference.feed(0, FAR_MS, json.dumps(GOOD).encode()) == "dead"
    assert reference.dead[0].reason == "wrong_partition"


def test_a_dead_correction_changes_nothing() -> None:
    log = Log()
    log.trade(0, 1e12, 1, trade_id="x")
    log.trade(5)
    bars = list(log.bars)
    assert correct(log, trade_id="x", new_price=2, new_size=1e12) == "control"
    assert correct(log, trade_id="x", new_price=1e12) == "dead"
    assert log.bars == [*bars, (0, 1, 2, 2, 2, 2, 1e12, 1)]
    # It is still named by what it was.
    assert cancel(log, trade_id="x", original_price=2, original_size=1e12) == "control"


def test_the_new_values_of_a_cancel_mean_nothing() -> None:
    log = Log()
    log.trade(0, 10, 1, trade_id="x")
    assert cancel(log, trade_id="x", new_price=1e12, new_size=1e12) == "control"


def test_a_correction_counts_no_symbol_and_no_source() -> None:
    log = Log(max_symbols=1)
    for number in range(60):
        log.trade(0, trade_id=str(number), source=f"s{number}")
    assert cancel(log, trade_id="0", source="s61") == "control"
    assert cancel(log, symbol="B", trade_id="0") == "dead"
    log.value(FLUSH)
    assert "s61" not in log.reference.bars[0].sources
    assert len(log.reference.bars[0].sources) == 59
    assert reasons(log) == ["unknown_trade"]


def test_the_topic_of_quotes_refuses_corrections() -> None:
    reference = QuotesReference(0, 1, Settings())
    assert reference.feed(0, FAR_MS, json.dumps(GOOD).encode()) == "dead"
    assert reference.dead[0].reason == "malformed"
