"""The naive strategy: what it takes, what it pays, what is left."""

from dataclasses import replace

import numpy as np
import pytest

from models.predicting.equity import naive_equity
from models.predicting.planted import planted_rows, white_noise

BPS = 1e-4


def test_only_what_is_foretold_to_move_by_more_than_the_cost_is_traded() -> None:
    rows = white_noise(4, symbols=1)
    rows = replace(rows, target=np.array([3.0, -5.0, 7.0, -2.0]) * BPS)
    found = naive_equity(rows, np.array([2.5, -2.5, 1.9, 2.1]) * BPS, 2.0)
    # Long +3, short -5, none, long -2; each pays 2.
    assert found.trades == 3
    np.testing.assert_allclose(found.equity, 1 + np.array([1, 4, 0]) * BPS, atol=1e-15)
    assert found.time.tolist() == rows.label_time[[0, 1, 3]].tolist()
    assert (found.net, found.costs) == (pytest.approx(0, abs=1e-15), pytest.approx(6 * BPS))
    assert (found.won, found.drawdown) == (pytest.approx(2 / 3), pytest.approx(4 * BPS))


def test_a_symbol_that_is_held_is_not_taken_again_before_its_end() -> None:
    rows = white_noise(9, symbols=1, horizon=3)
    rows = replace(rows, target=np.full(9, 10 * BPS))
    found = naive_equity(rows, np.ones(9), 1.0)
    assert found.time.tolist() == rows.label_time[[0, 3, 6]].tolist()
    assert found.net == pytest.approx(27 * BPS)


def test_symbols_share_the_stake() -> None:
    rows = white_noise(4, symbols=2)
    rows = replace(rows, target=np.array([4.0, 2.0, 4.0, 2.0]) * BPS)
    found = naive_equity(rows, np.ones(4), 1.0)
    assert found.trades == 4
    assert found.net == pytest.approx((3 + 1 + 3 + 1) / 2 * BPS)


def test_without_trades_nothing_is_won_and_nothing_lost() -> None:
    rows = white_noise(50)
    found = naive_equity(rows, np.zeros(50), 1.0)
    assert (found.trades, found.net, found.costs, found.won, found.drawdown) == (0, 0, 0, None, 0)
    assert len(found.equity) == 0


def test_costs_eat_what_chance_earns() -> None:
    rows = white_noise(4_000)
    chance = np.random.default_rng(5).standard_normal(4_000)
    found = naive_equity(rows, chance, 3.0)
    assert found.net == pytest.approx(-found.costs, rel=0.35)


def test_a_perfect_prediction_earns_whatever_the_cost() -> None:
    rows = planted_rows(1_000, 0.1)
    found = naive_equity(rows, rows.target, 1.0)
    assert found.won == 1.0
    assert found.drawdown == 0.0


@pytest.mark.parametrize("cost", [0.0, -1.0, float("nan"), float("inf")])
def test_an_equity_without_costs_is_refused(cost: float) -> None:
    with pytest.raises(ValueError, match="expected above 0"):
        naive_equity(white_noise(10), np.zeros(10), cost)
