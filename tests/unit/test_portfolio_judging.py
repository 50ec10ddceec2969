"""What the portfolio stage takes, turns away and forgets; its bounds, rows and configuration."""

from __future__ import annotations

from typing import Any

import pytest

from app.contracts.portfolio import (
    PortfolioRecord,
    PositionRecord,
    ProgressRecord,
)
from tables.learning import StateVersionError
from tables.portfolio.account import Portfolio
from tables.portfolio.book import Refused
from tables.portfolio.configuration import PortfolioConfiguration
from tables.portfolio.money import MONEY
from tables.portfolio.partition import Outcome, PortfolioPartition
from tests.unit.portfolio_stage import BASE, DAY, INPUTS, MINUTE, SECOND, Stage


def test_late_records_are_taken_at_the_mark_and_too_late_ones_go_away() -> None:
    stage = Stage()
    stage.reach(1_000)
    assert stage.trade(990, 10, 10.0) == Outcome("revised")
    assert stage.trade(399, 10, 10.0) == Outcome("late", "beyond_horizon")
    assert stage.trade(400, 1, 10.0) == Outcome("revised")
    stage.reach(1_001)
    assert [(each.time - BASE) // SECOND for each in stage.out(PositionRecord)] == [1_000, 1_000]


def test_the_same_id_counts_once_while_it_is_remembered_and_for_each_account() -> None:
    stage = Stage(late_horizon=MINUTE, identifier_horizon=MINUTE)
    assert stage.trade(1, 1, 10.0, transaction_id="t") == Outcome("applied")
    assert stage.trade(1, 1, 10.0, transaction_id="t") == Outcome("duplicate")
    assert stage.trade(1, 1, 10.0, transaction_id="t", account="two") == Outcome("applied")
    stage.reach(61)
    assert stage.trade(61, 1, 10.0, transaction_id="t") == Outcome("duplicate")
    stage.reach(62)
    assert stage.trade(61, 1, 10.0, transaction_id="t") == Outcome("revised")


def test_a_record_that_names_no_partition_is_judged_by_the_lowest_mark_of_its_input() -> None:
    stage = Stage(inputs={"transactions": 2}, late_horizon=10 * SECOND)
    for partition, second in ((0, 100), (1, 200), (0, 300)):
        stage.take(ProgressRecord("transactions", partition, BASE + second * SECOND))
    assert stage.trade(195, 1, 10.0) == Outcome("revised")
    assert stage.trade(189, 1, 10.0) == Outcome("late", "beyond_horizon")
    assert stage.trade(295, 1, 10.0, partition=0) == Outcome("revised")
    assert stage.trade(289, 1, 10.0, partition=0) == Outcome("late", "beyond_horizon")
    assert stage.trade(289, 1, 10.0, partition=1) == Outcome("applied")


def test_a_cancel_is_known_after_a_restart() -> None:
    stage = Stage()
    stage.trade(1, 10, 10.0, transaction_id="t")
    stage.reach(2)
    rows = stage.partition.changed_rows()
    stage.update(3, "cancel", transaction_id="t")
    stage.reach(4)
    rows |= stage.partition.changed_rows()
    kept = {name: row for name, row in rows.items() if row is not None}
    stage.partition = PortfolioPartition.from_rows(stage.partition.configuration, 0, kept)
    stage.update(5, "cancel", transaction_id="t")
    stage.reach(6)
    assert [each.reason for each in stage.out(Refused)] == ["unknown_transaction"]


def test_a_session_that_began_before_a_restart_is_not_the_last_one_after_it() -> None:
    stage = Stage()
    stage.trade(1, 1, 10.0)
    stage.trade(2, -1, 4.0)
    stage.reach(100)
    rows = stage.partition.changed_rows()
    # The first account does nothing and holds nothing when the session begins.
    stage.trade(13 * 3_600, 1, 10.0, account="two")
    stage.reach(13 * 3_600 + 1)
    rows |= stage.partition.changed_rows()
    kept = {name: row for name, row in rows.items() if row is not None}
    stage.partition = PortfolioPartition.from_rows(stage.partition.configuration, 0, kept)
    stage.update(13 * 3_600 + 2, "fee", amount=1.5)
    stage.reach(13 * 3_600 + 3)
    (totals,) = stage.out(PortfolioRecord)
    assert (totals.pnl, totals.session_pnl) == (-7.5, -1.5)


def test_an_account_that_was_closed_out_before_a_restart_is_valued_after_it() -> None:
    stage = Stage()
    stage.trade(1, 1, 10.0)
    stage.trade(2, -1, 4.0)
    stage.reach(10)
    kept = {name: row for name, row in stage.partition.changed_rows().items() if row is not None}
    stage.partition = PortfolioPartition.from_rows(stage.partition.configuration, 0, kept)
    stage.reach(121)
    (totals,) = stage.out(PortfolioRecord)
    assert (totals.cause, totals.time, totals.pnl) == ("valuation", BASE + MINUTE, -6.0)


def test_a_close_that_comes_again_is_no_reason_for_a_valuation() -> None:
    stage = Stage()
    stage.trade(1, 10, 10.0)
    stage.price(60, 11.0)
    stage.reach(90)
    stage.out(PortfolioRecord)
    stage.price(60, 11.0)
    stage.reach(300)
    assert stage.out(PortfolioRecord) == []


def test_nothing_is_released_before_every_input_has_spoken() -> None:
    stage = Stage(inputs={"bars": 2, "transactions": 1})
    stage.trade(1, 1, 10.0)
    for name, partition in (("transactions", 0), ("bars", 1)):
        stage.take(ProgressRecord(name, partition, BASE + MINUTE))
    assert stage.out(PositionRecord) == []
    assert stage.partition.marks.slowest == ("bars", 0)
    stage.take(ProgressRecord("bars", 0, BASE + 2 * SECOND))
    assert len(stage.out(PositionRecord)) == 1


def test_idle_inputs_are_not_waited_for_and_all_idle_takes_everything() -> None:
    stage = Stage()
    stage.trade(10, 1, 10.0)
    stage.take(ProgressRecord("bars", 0, BASE, True))
    assert stage.out(PositionRecord) == []
    stage.take(ProgressRecord("transactions", 0, BASE, True))
    assert [each.cause for each in stage.out(PositionRecord)] == ["transaction", "valuation"]
    # What comes behind that afterwards is taken where the stage is.
    assert stage.trade(20, 1, 10.0) == Outcome("revised")
    stage.reach(200)
    (added, *_) = stage.out(PositionRecord)
    assert (added.time, added.quantity) == (BASE + MINUTE + 1, 2.0)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"currency": "EUR"}, "other_currency"),
        ({"partition": 7}, "unknown_input"),
        ({"event_time": 1}, "event_time_too_early"),
        ({"event_time": BASE + 2 * DAY}, "event_time_too_late"),
    ],
)
def test_a_misplaced_transaction_is_dead_with_its_reason(
    fields: dict[str, Any], reason: str
) -> None:
    stage = Stage()
    assert stage.trade(1, 1, 10.0, **fields) == Outcome("dead", reason)
    assert stage.partition.reasons == {reason: 1}
    assert stage.trade(1, 1, 10.0, currency="USD") == Outcome("applied")


def test_accounts_of_other_partitions_and_marks_of_unknown_inputs_are_dead() -> None:
    stage = Stage(partitions=2)
    outcomes = [stage.trade(1, 1, 10.0, account=f"a{number}") for number in range(40)]
    assert set(outcomes) == {Outcome("applied"), Outcome("dead", "wrong_partition")}
    assert stage.take(ProgressRecord("bars", 9, BASE)) == Outcome("dead", "unknown_input")
    ahead = ProgressRecord("bars", 0, BASE + 2 * DAY)
    assert stage.take(ahead) == Outcome("dead", "event_time_too_late")


def test_every_bound_has_its_reason() -> None:
    stage = Stage(max_accounts=1, max_symbols=1, max_held=3)
    assert stage.trade(1, 1, 10.0) == Outcome("applied")
    assert stage.trade(1, 1, 10.0, account="two") == Outcome("dead", "too_many_accounts")
    assert stage.price(60, 1.0) == Outcome("applied")
    assert stage.price(60, 1.0, "BBB") == Outcome("dead", "too_many_symbols")
    assert stage.trade(2, 1, 10.0) == Outcome("applied")
    assert stage.trade(3, 1, 10.0) == Outcome("dead", "too_many_held")
    stage.reach(10)
    assert stage.trade(11, 1, 10.0) == Outcome("applied")


def test_ids_beyond_the_bound_are_forgotten_early_and_counted() -> None:
    stage = Stage(max_identifiers=2)
    for second in (3, 1, 2):
        stage.trade(second, 1, 10.0, transaction_id=f"t{second}")
    assert len(stage.partition.remembered) == 2
    assert stage.partition.remembered.forgotten_early == 1
    assert stage.trade(3, 1, 10.0, transaction_id="t3") == Outcome("duplicate")
    assert stage.trade(1, 1, 10.0, transaction_id="t1") == Outcome("applied")


def test_a_new_symbol_takes_the_place_of_what_is_closed_for_longest_or_is_refused() -> None:
    stage = Stage(max_positions=2)
    stage.trade(1, 1, 10.0, "AAA")
    stage.trade(2, -1, 12.0, "AAA")
    stage.trade(3, 1, 10.0, "BBB")
    stage.trade(4, -1, 11.0, "BBB")
    stage.trade(5, 1, 10.0, "CCC")
    stage.trade(6, 1, 10.0, "BBB")
    stage.trade(7, 1, 10.0, "DDD")
    stage.reach(10)
    account = stage.partition.book.accounts["one"]
    assert sorted(account.positions) == ["BBB", "CCC"]
    assert account.positions["BBB"].changed_at == BASE + 6 * SECOND
    assert account.positions["BBB"].realised == MONEY
    assert account.realised == 3 * MONEY
    outputs = list(stage.partition.outputs)
    refused = [each for each in outputs if isinstance(each, Refused)]
    assert [each.reason for each in refused] == ["too_many_positions"]
    totals = [each for each in outputs if isinstance(each, PortfolioRecord)][-1]
    assert (totals.realised, totals.cash) == (3.0, -17.0)
    rows = stage.partition.changed_rows()
    assert rows["position\0one\0AAA"] is None


def test_a_position_does_not_grow_without_end() -> None:
    stage = Stage()
    stage.trade(1, 10, 10.0)
    for second in range(2, 12):
        stage.update(second, "split", symbol="AAA", split_to=1_000_000, split_from=1)
    stage.trade(20, 1e12, 1.0)
    stage.reach(30)
    refused = stage.out(Refused)
    assert [each.reason for each in refused] == ["quantity_too_large"] * 8
    assert stage.partition.book.accounts["one"].positions["AAA"].quantity == quantity_after_splits()


def quantity_after_splits() -> int:
    """Two splits of the ten were taken, and the trade after them."""
    return (10 * 1_000_000**2 + 10**12) * 10**10


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": {"bars": 1}},
        {"inputs": {"transactions": 0}},
        {"inputs": {"transactions": 1, "quotes": 1}},
        {"limits": {"max_fun": 1.0}},
        {"limits": {"max_short": float("nan")}},
        {"limits": {"max_short": -1.0}},
        {"late_horizon": 3 * DAY},
        {"max_lots": 0},
    ],
)
def test_a_configuration_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|below"):
        PortfolioConfiguration(**{"inputs": INPUTS, **changes})


def test_state_of_another_version_is_refused() -> None:
    stage = Stage()
    stage.trade(1, 1, 1.0)
    stage.reach(2)
    rows = {name: row for name, row in stage.partition.changed_rows().items() if row is not None}
    configuration = stage.partition.configuration
    with pytest.raises(StateVersionError):
        PortfolioPartition.from_rows(configuration, 0, rows | {"stage": [99, *rows["stage"][1:]]})
    with pytest.raises(StateVersionError):
        Portfolio.from_state("one", [99, *rows["account\0one"][1:]], {}, 1, 1)


def test_rows_are_those_of_what_has_changed_since_they_were_last_taken() -> None:
    stage = Stage()
    stage.trade(1, 1, 1.0)
    stage.trade(9, 1, 1.0, account="two")
    stage.price(0, 1.0)
    stage.reach(5)
    first = stage.partition.changed_rows()
    assert sorted(name.split("\0")[0] for name in first) == [
        *("account", "held", "known", "known", "position", "price", "stage"),
    ]
    assert list(stage.partition.changed_rows()) == ["stage"]
    stage.reach(10)
    second = stage.partition.changed_rows()
    gone = [name for name, row in second.items() if row is None]
    assert gone == [name for name in first if name.startswith("held")]
    assert "account\0one" not in second
