"""Input partitions that say nothing: for how long they are waited for, and what goes on then."""

from __future__ import annotations

from typing import Any

import pytest

from app.contracts.portfolio import PortfolioRecord, PositionRecord, PriceRecord, ProgressRecord
from tables.portfolio.partition import Outcome, PortfolioPartition
from tests.unit.portfolio_stage import BASE, DAY, MINUTE, SECOND, Stage

PATIENCE = 10 * SECOND


class Timed(Stage):
    """A stage whose records are appended when the test says; bars have two partitions."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(inputs={"bars": 2, "transactions": 1}, patience=PATIENCE, **changes)
        self.now = BASE

    def take(self, record: Any) -> Outcome:
        self._offset += 1
        return self.partition.take(record, self._offset, self.now)

    def at(self, second: float) -> Timed:
        """The broker's clock is so many seconds after `BASE`."""
        self.now = BASE + int(second * SECOND)
        return self

    def mark(self, name: str, second: float, partition: int = 0, **fields: Any) -> None:
        mark = BASE + int(second * SECOND)
        self.take(ProgressRecord(name, partition, mark, **fields))

    def clock(self, idle: float) -> int | None:
        """The clock record that is asked for when the log was quiet for so long, and taken."""
        due = self.partition.clock_due(int(idle * SECOND))
        if due is not None:
            self.now += int(idle * SECOND)
            assert self.partition.take_clock(due, self.now) == Outcome("control")
        return due

    def settle(self) -> int:
        """Let time pass until no clock record is asked for; how many were."""
        for count in range(20):
            if all(self.clock(idle) is None for idle in (1, 5, 11, 61)):
                return count
        raise AssertionError("clock records without end")

    def causes(self) -> list[str]:
        return [each.cause for each in self.out(PortfolioRecord)]


def test_a_silent_partition_is_given_up_after_the_patience_and_not_before() -> None:
    stage = Timed()
    stage.trade(1, 1, 10.0)
    stage.mark("transactions", 2)
    stage.at(5).mark("bars", 2)
    stage.trade(3, 1, 10.0)
    stage.at(9.9).mark("transactions", 4)
    assert stage.causes() == []
    assert stage.partition.marks.slowest == ("bars", 1)
    stage.at(10).mark("transactions", 4)
    assert stage.causes() == ["transaction"]
    # The other partition of bars has said its last word later.
    assert stage.partition.marks.slowest == ("bars", 0)
    stage.at(14.9).mark("transactions", 4)
    assert stage.causes() == []
    stage.at(15).mark("transactions", 4)
    assert stage.causes() == ["transaction"]
    assert stage.partition.marks.slowest == ("transactions", 0)


def test_what_is_idle_is_not_waited_for_until_it_speaks() -> None:
    stage = Timed()
    stage.trade(1, 1, 10.0)
    stage.mark("bars", 0, 0, idle=True)
    stage.mark("bars", 2, 1)
    stage.mark("transactions", 2)
    assert stage.causes() == ["transaction"]
    stage.trade(3, 1, 10.0)
    stage.mark("bars", 1, 0)
    stage.mark("bars", 4, 1)
    stage.mark("transactions", 4)
    assert stage.causes() == []
    assert stage.partition.marks.slowest == ("bars", 0)


def test_what_is_given_up_is_waited_for_again_once_it_speaks() -> None:
    stage = Timed()
    stage.trade(1, 1, 10.0)
    stage.at(10).mark("transactions", 2)
    stage.mark("bars", 9, 0)
    stage.mark("bars", 0, 1)
    stage.trade(3, 1, 10.0)
    stage.at(15).mark("transactions", 9)
    assert stage.causes() == ["transaction"]
    stage.at(16).mark("bars", 9, 1)
    assert stage.causes() == ["transaction"]


def test_patience_begins_with_what_waits() -> None:
    stage = Timed()
    stage.trade(1, 1, 10.0)
    for name, partition in (("transactions", 0), ("bars", 0), ("bars", 1)):
        stage.at(60).mark(name, 61, partition)
    assert stage.causes() == ["transaction", "valuation"]
    # Nothing happens for a while; then one input is a little ahead of the others.
    for second in range(65, 600, 5):
        stage.at(second).mark("transactions", 61)
    stage.trade(600, 1, 10.0)
    stage.mark("transactions", 601)
    assert stage.causes() == []
    stage.at(602).mark("bars", 601)
    stage.mark("bars", 601, 1)
    assert stage.causes() == ["transaction"]


def test_a_log_that_was_silent_itself_says_nothing_of_its_inputs() -> None:
    stage = Timed()
    stage.trade(1, 1, 10.0)
    stage.mark("transactions", 2)
    # All workers were down; the first to come back is not the only one.
    stage.at(1000).mark("transactions", 3)
    assert stage.causes() == []
    for partition in range(2):
        stage.at(1002).mark("bars", 3, partition)
    assert stage.causes() == ["transaction"]


def test_a_replayed_input_keeps_clocks_away_and_what_has_spoken_is_waited_for() -> None:
    stage = Timed()
    stage.trade(1, 1, 10.0)
    stage.mark("transactions", 30, historical=True)
    stage.mark("bars", 0)
    stage.at(5).mark("transactions", 30, historical=True)
    assert stage.partition.clock_due(DAY) is None
    stage.at(11).mark("transactions", 30, historical=True)
    # The partition of bars that never spoke is given up, the other is not.
    assert stage.partition.marks.slowest == ("bars", 0)
    assert stage.partition.clock_due(DAY) is None
    stage.at(10_000).mark("transactions", 30, historical=True)
    assert stage.causes() == []
    stage.mark("bars", 20)
    assert stage.causes() == ["transaction"]
    stage.mark("transactions", 30, idle=True)
    assert stage.settle() > 0
    assert stage.causes() == ["valuation"]


@pytest.mark.parametrize("idle", [False, True])
def test_a_quiet_log_comes_to_its_end_by_clock_records_and_then_asks_for_none(idle: bool) -> None:
    stage = Timed()
    stage.trade(1, 1, 10.0)
    stage.price(60, 11.0)
    stage.mark("transactions", 2, idle=idle)
    stage.mark("bars", 60)
    assert 1 <= stage.settle() <= 3
    assert stage.causes() == ["transaction", "valuation"]
    assert len(stage.partition.held) == 0
    assert stage.partition.book.due is None
    assert stage.partition.clock_due(DAY) is None


def test_a_deployment_without_transactions_holds_no_prices_for_ever() -> None:
    stage = Timed()
    most = 0
    for second in range(0, 600, 5):
        stage.at(second).mark("bars", second)
        stage.price(second // 60 * 60, 10.0, partition=0)
        most = max(most, len(stage.partition.held))
    assert most < 6
    assert stage.partition.book.accounts == {}
    stage.settle()
    assert len(stage.partition.held) == 0


def test_where_too_much_waits_the_slowest_is_given_up_and_nothing_is_lost() -> None:
    stage = Timed(max_held=5)
    for second in range(1, 101):
        # So fast that nobody was silent for long.
        stage.at(60 + second / 100)
        assert stage.trade(second, 1, 10.0) == Outcome("applied")
        stage.mark("transactions", second)
    assert len(stage.partition.held) <= 5
    assert stage.partition.marks.slowest == ("transactions", 0)
    for partition in range(2):
        stage.mark("bars", 110, partition)
    stage.mark("transactions", 110)
    assert stage.out(PositionRecord)[-1].quantity == 100


def test_of_an_input_by_account_its_own_partition_alone_is_waited_for() -> None:
    own = frozenset({"transactions"})
    stage = Stage(inputs={"bars": 1, "transactions": 2}, partitions=2, own_inputs=own)
    account = next(
        name for name in "abcdefgh" if stage.trade(1, 1, 10.0, account=name).name == "applied"
    )
    other = ProgressRecord("transactions", 1, BASE)
    assert stage.take(other) == Outcome("dead", "unknown_input")
    trade = {"account": account, "transaction_id": "t"}
    assert stage.trade(2, 1, 10.0, partition=1, **trade) == Outcome("dead", "unknown_input")
    stage.take(ProgressRecord("transactions", 0, BASE + MINUTE))
    stage.take(ProgressRecord("bars", 0, BASE + MINUTE))
    assert len(stage.out(PositionRecord)) == 1


def test_a_clock_far_ahead_is_dead_and_changes_nothing() -> None:
    stage = Timed()
    stage.trade(1, 1, 10.0)
    before = stage.partition.changed_rows()["stage"]
    outcome = stage.partition.take_clock(BASE + DAY, BASE)
    assert outcome == Outcome("dead", "event_time_too_late")
    after = stage.partition.changed_rows()["stage"]
    assert after is not None
    assert before is not None
    # But for what was counted.
    assert (after[1:5], after[7:]) == (before[1:5], before[7:])


def test_silence_survives_a_restart() -> None:
    stage = Timed()
    stage.trade(1, 1, 10.0)
    stage.mark("transactions", 2)
    rows = stage.partition.changed_rows()
    kept = {name: row for name, row in rows.items() if row is not None}
    configuration = stage.partition.configuration
    stage.partition = PortfolioPartition.from_rows(configuration, 0, kept)
    stage.at(10).mark("transactions", 3)
    assert stage.causes() == ["transaction"]
    price = PriceRecord("AAA", "1m", BASE - MINUTE, BASE, 10.0, 0, 1)
    assert stage.take(price).name == "revised"
