"""Portfolio arithmetic by examples that a reader can check by hand."""

from __future__ import annotations

import pytest

from app.contracts.portfolio import (
    LimitRecord,
    PortfolioRecord,
    PositionRecord,
)
from tables.portfolio.book import Refused
from tables.portfolio.partition import Outcome
from tables.portfolio.position import Position, Split
from tests.unit.portfolio_stage import BASE, MINUTE, SECOND, Stage


def test_first_in_first_out_and_average_differ_in_what_is_realised_and_not_in_the_sum() -> None:
    found = {}
    for basis in ("fifo", "average"):
        stage = Stage(cost_basis=basis)
        stage.price(0, 13.0)
        stage.trade(1, 10, 10.0)
        stage.trade(2, 10, 12.0)
        stage.trade(3, -15, 13.0)
        stage.reach(60)
        found[basis] = stage.out(PositionRecord)[-1]
    fifo, average = found["fifo"], found["average"]
    assert (fifo.realised, fifo.unrealised, fifo.average_price) == (35.0, 5.0, 12.0)
    assert (average.realised, average.unrealised, average.average_price) == (30.0, 10.0, 11.0)


@pytest.mark.parametrize("basis", ["fifo", "average"])
def test_a_trade_across_zero_closes_all_and_opens_the_rest_at_its_price(basis: str) -> None:
    stage = Stage(cost_basis=basis)
    stage.price(0, 8.0)
    stage.trade(1, 10, 10.0)
    stage.trade(2, -25, 12.0)
    stage.trade(3, 20, 9.0)
    stage.reach(60)
    opened, crossed, back = stage.out(PositionRecord)
    assert (opened.quantity, opened.unrealised) == (10.0, -20.0)
    assert (crossed.quantity, crossed.cost, crossed.average_price) == (-15.0, -180.0, 12.0)
    assert (crossed.realised, crossed.market_value, crossed.unrealised) == (20.0, -120.0, 60.0)
    assert crossed.exposure == 120.0
    assert (back.quantity, back.realised, back.average_price) == (5.0, 65.0, 9.0)


def test_fees_and_dividends_are_apart_from_realised_and_a_short_pays_dividends() -> None:
    stage = Stage()
    stage.update(0, "deposit", amount=1000.0)
    stage.trade(1, -10, 10.0, fee=1.5)
    stage.update(2, "dividend", amount=-3.0, symbol="AAA")
    stage.update(3, "fee", amount=0.5)
    stage.trade(4, 10, 8.0, fee=-0.25)
    stage.reach(60)
    totals = stage.out(PortfolioRecord)[-1]
    assert (totals.realised, totals.fees, totals.income) == (20.0, 1.75, -3.0)
    assert totals.pnl == 20.0 - 1.75 - 3.0
    assert totals.cash == totals.equity == 1000.0 + totals.pnl


def test_a_split_keeps_the_cost_and_prices_of_before_it_are_split_too() -> None:
    stage = Stage()
    stage.trade(1, 10, 100.0)
    stage.price(60, 110.0)
    # What ends when the split happens is of before it.
    stage.update(60, "split", symbol="AAA", split_to=4, split_from=1)
    stage.reach(70)
    *_, after = stage.out(PositionRecord)
    assert (after.quantity, after.cost, after.average_price) == (40.0, 1000.0, 25.0)
    assert (after.price, after.unrealised) == (27.5, 100.0)
    stage.price(120, 28.0)
    stage.reach(130)
    assert stage.out(PositionRecord)[-1].unrealised == 120.0


def test_a_split_that_is_known_late_leaves_the_prices_of_after_it_alone() -> None:
    stage = Stage()
    stage.trade(1, 10, 100.0)
    stage.price(60, 26.0)
    stage.reach(90)
    stage.out(PositionRecord)
    stage.update(30, "split", symbol="AAA", split_to=4, split_from=1)
    stage.reach(95)
    (after,) = stage.out(PositionRecord)
    assert (after.time, after.quantity, after.price) == (BASE + 90 * SECOND, 40.0, 26.0)


def test_a_reverse_split_that_leaves_nothing_realises_the_cost() -> None:
    position = Position()
    position.trade(1, 50, 10)
    assert position.split(Split(0, 1, 1000)) == -50
    assert (position.quantity, position.cost, position.realised) == (0, 0, -50)


def test_a_lot_that_a_reverse_split_rounds_away_leaves_its_cost_to_the_next() -> None:
    position = Position()
    for quantity, price in ((1, 50), (3_000, 2), (1, 7)):
        position.trade(quantity, price, 10)
    assert position.split(Split(0, 1, 1000)) == 0
    assert position.lots == [(3, 6_000 + 50 + 7)]
    assert (position.quantity, position.cost) == (3, 6_057)


def test_a_cancel_undoes_a_transaction_once() -> None:
    stage = Stage()
    stage.trade(1, 10, 10.0, transaction_id="t", fee=1.0)
    stage.update(2, "cancel", transaction_id="t")
    stage.update(3, "cancel", transaction_id="t")
    stage.update(4, "cancel", transaction_id="other")
    stage.reach(50)
    outputs = list(stage.partition.outputs)
    refused = [output for output in outputs if isinstance(output, Refused)]
    assert [each.reason for each in refused] == ["unknown_transaction"] * 2
    totals = [output for output in outputs if isinstance(output, PortfolioRecord)][-1]
    assert (totals.cash, totals.fees, totals.pnl, totals.positions) == (0.0, 0.0, 0.0, 0)
    assert stage.partition.reasons == {"unknown_transaction": 2}


def test_a_transfer_is_a_trade_whose_cash_came_from_outside() -> None:
    stage = Stage()
    stage.update(1, "transfer_in", symbol="AAA", quantity=10.0, price=5.0)
    stage.update(2, "transfer_out", symbol="AAA", quantity=4.0, price=6.0)
    stage.reach(10)
    totals = stage.out(PortfolioRecord)[-1]
    assert (totals.cash, totals.net_contributions, totals.realised) == (0.0, 26.0, 4.0)
    assert (totals.equity, totals.unpriced) == (30.0, 1)


def test_a_valuation_is_at_the_closes_of_bars_ended_by_then_and_before_what_happens_then() -> None:
    stage = Stage()
    stage.trade(1, 10, 10.0)
    stage.price(60, 11.0)
    stage.trade(60, 10, 11.5)
    stage.price(120, 12.0)
    stage.reach(60)
    assert [each.cause for each in stage.out(PositionRecord)] == ["transaction"]
    stage.reach(121)
    seen = [
        (each.cause, each.time - BASE, each.quantity, each.price, each.price_age)
        for each in stage.out(PositionRecord)
    ]
    assert seen == [
        ("valuation", MINUTE, 10.0, 11.0, 0),
        ("transaction", MINUTE, 20.0, 11.0, 0),
        ("valuation", 2 * MINUTE, 20.0, 12.0, 0),
    ]


def test_a_position_without_a_price_says_so_and_counts_at_its_cost() -> None:
    stage = Stage()
    stage.update(0, "deposit", amount=100.0)
    stage.trade(1, 2, 10.0)
    stage.trade(2, 1, 5.0, "BBB")
    stage.price(60, 7.0, "BBB")
    stage.reach(61)
    outputs = list(stage.partition.outputs)
    first, second = [each for each in outputs if isinstance(each, PositionRecord)][-2:]
    assert (first.price, first.market_value, first.unrealised, first.price_age) == (None,) * 4
    assert second.unrealised == 2.0
    totals = [each for each in outputs if isinstance(each, PortfolioRecord)][-1]
    assert (totals.equity, totals.unpriced, totals.positions) == (102.0, 1, 2)


def test_quiet_time_is_not_valued_again_and_a_price_says_how_old_it_is() -> None:
    stage = Stage()
    stage.trade(1, 10, 10.0)
    stage.price(60, 11.0)
    stage.reach(3_600)
    assert len(stage.out(PortfolioRecord)) == 2
    stage.price(3_660, 50.0, "BBB")
    stage.reach(3_661)
    (position,) = stage.out(PositionRecord)
    assert (position.price, position.price_age) == (11.0, 60 * MINUTE)


def test_a_revised_close_counts_from_then_on() -> None:
    stage = Stage()
    stage.trade(1, 10, 10.0)
    stage.price(60, 11.0)
    stage.reach(90)
    stage.out(PositionRecord)
    assert stage.price(60, 12.0, revision=1) == Outcome("revised")
    assert stage.price(0, 99.0) == Outcome("revised")
    stage.reach(121)
    (position,) = stage.out(PositionRecord)
    assert (position.time, position.price) == (BASE + 2 * MINUTE, 12.0)


def test_lots_beyond_the_bound_are_merged_into_the_newest() -> None:
    position = Position()
    for price in (10, 20, 40):
        position.trade(1, price, 2)
    assert (position.lots, position.merged_lots) == ([(1, 10), (2, 60)], 1)
    assert position.trade(-2, 50, 2) == 100 - 10 - 30


def limits_of(stage: Stage) -> list[tuple[str, str | None, str, float | None]]:
    """Limit, symbol, state and value of what came out."""
    return [(each.limit, each.symbol, each.state, each.value) for each in stage.out(LimitRecord)]


def test_limits_are_reported_when_they_begin_and_cease_to_be_broken() -> None:
    stage = Stage(limits={"max_position": 10.0, "max_short": 0.0})
    stage.trade(1, 10, 10.0)
    stage.trade(2, 1, 10.0)
    stage.trade(3, 1, 10.0)
    stage.trade(4, -13, 10.0)
    stage.trade(5, 1, 10.0)
    stage.reach(10)
    assert limits_of(stage) == [
        ("max_position", "AAA", "breached", 11.0),
        ("max_position", "AAA", "cleared", 0.0),
        ("max_short", "AAA", "breached", 1.0),
        ("max_short", "AAA", "cleared", 0.0),
    ]


def test_limits_of_the_account_follow_prices() -> None:
    stage = Stage(
        limits={"max_gross_exposure": 1000.0, "max_leverage": 2.0, "max_concentration": 0.75}
    )
    stage.update(0, "deposit", amount=500.0)
    stage.trade(1, 50, 10.0)
    stage.trade(2, -25, 10.0, "BBB")
    stage.price(60, 20.0)
    stage.price(60, 30.0, "BBB")
    stage.price(120, 28.0)
    stage.reach(121)
    assert (
        limits_of(stage)
        == [
            # One position is all of it, two are 2/3 and 1/3.
            ("max_concentration", "AAA", "breached", 1.0),
            ("max_concentration", "AAA", "cleared", pytest.approx(2 / 3)),
            # 1000 + 750, equity 500.
            ("max_gross_exposure", None, "breached", 1750.0),
            ("max_leverage", None, "breached", 3.5),
            # 1400 + 750, equity 900.
            ("max_leverage", None, "breached", 0.0),
        ][:4]
    )


def test_a_limit_that_is_reached_exactly_holds() -> None:
    stage = Stage(
        limits={
            "max_concentration": 0.5,
            "max_gross_exposure": 20.0,
            "max_leverage": 2.0,
            "max_session_loss": 1.0,
        }
    )
    stage.update(0, "deposit", amount=11.0)
    stage.update(1, "transfer_in", symbol="AAA", quantity=1.0, price=0.0)
    stage.trade(2, 1, 10.0, "BBB")
    stage.update(3, "withdraw", amount=1.0)
    stage.update(4, "fee", amount=1.0)
    stage.price(60, 10.0)
    stage.price(60, 10.0, "BBB")
    stage.update(61, "fee", amount=9.0)
    stage.price(120, 10.1)
    stage.reach(121)
    found = limits_of(stage)
    assert found == [
        # Before the first prices a position of no cost is all or nothing.
        ("max_concentration", "BBB", "breached", 1.0),
        ("max_concentration", "BBB", "cleared", 0.5),
        ("max_gross_exposure", None, "breached", 20.1),
        ("max_concentration", "AAA", "breached", pytest.approx(10.1 / 20.1)),
    ]


def test_an_account_has_its_own_limits_until_they_are_taken_back() -> None:
    stage = Stage(limits={"max_position": 5.0})
    stage.update(0, "set_limit", limit="max_position", threshold=20.0)
    stage.trade(1, 10, 10.0)
    stage.update(2, "set_limit", limit="max_position")
    stage.update(3, "set_limit", limit="max_position", threshold=10.0)
    stage.reach(10)
    found = [(each.state, each.threshold) for each in stage.out(LimitRecord)]
    assert found == [("breached", 5.0), ("cleared", 10.0)]


def test_a_loss_counts_from_the_begin_of_the_session() -> None:
    stage = Stage(limits={"max_session_loss": 50.0}, timezone="America/New_York", session_end=0)
    evening = 5 * 3_600 + 12 * 3_600 - 60
    stage.trade(evening - 60, 10, 100.0)
    # 04:59 and 05:00 UTC: what ends at midnight of New York belongs to the day before.
    stage.price(evening, 96.0)
    stage.price(evening + 60, 94.0)
    stage.price(evening + 120, 92.0)
    stage.price(evening + 180, 88.0)
    stage.reach(evening + 181)
    found = [
        ((each.time - BASE) // SECOND - evening, each.state, each.value)
        for each in stage.partition.outputs
        if isinstance(each, LimitRecord)
    ]
    assert found == [(60, "breached", 60.0), (120, "cleared", 20.0), (180, "breached", 60.0)]
    totals = stage.out(PortfolioRecord)[-1]
    assert (totals.pnl, totals.session_pnl) == (-120.0, -60.0)
