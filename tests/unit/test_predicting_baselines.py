"""Baselines and scores: what they predict, against formulas; when skill is claimed."""

import math
from dataclasses import replace

import numpy as np
import pytest

from models.predicting.baselines import BASELINES, FirstOrder, baseline_predictions, last_value
from models.predicting.dataset import TrainingSet
from models.predicting.planted import planted_rows, white_noise
from models.predicting.scoring import rank_correlation, score, skill_interval


def with_last_returns(rows: TrainingSet, slope: float, intercept: float) -> TrainingSet:
    """Rows whose targets follow their last returns exactly."""
    return replace(rows, target=intercept + slope * np.nan_to_num(rows.previous))


def test_zero_and_last_value_predict_what_their_names_say() -> None:
    rows = white_noise(200, horizon=2)
    found = baseline_predictions(rows.take(slice(0, 100)), rows.take(slice(100, 200)))
    assert tuple(found) == BASELINES
    assert not found["zero"].any()
    assert found["last_value"].tolist() == rows.previous[100:].tolist()
    # Unknown is no move.
    assert np.isnan(rows.previous[:4]).all()
    assert last_value(rows)[:4].tolist() == [0.0] * 4


def test_ar1_finds_the_line_of_the_training_rows_alone() -> None:
    rows = white_noise(400)
    train = with_last_returns(rows.take(slice(10, 200)), slope=-0.3, intercept=2e-4)
    test = with_last_returns(rows.take(slice(200, 400)), slope=0.9, intercept=0.0)
    found = baseline_predictions(train, test)["ar1"]
    np.testing.assert_allclose(found, 2e-4 - 0.3 * test.previous, rtol=1e-9)


def test_ar1_is_the_least_squares_line() -> None:
    rows = planted_rows(500, 0.1, seed=3)
    known = np.isfinite(rows.previous)
    slope, intercept = np.polyfit(rows.previous[known], rows.target[known], 1)
    model = FirstOrder.fit(rows)
    assert (model.slope, model.intercept) == (pytest.approx(slope), pytest.approx(intercept))
    at_unknown = model.predict(rows)[~known]
    np.testing.assert_allclose(at_unknown, rows.target[known].mean(), rtol=1e-9)


@pytest.mark.parametrize("previous", [np.nan, 0.0, 1e-3])
def test_without_last_returns_that_differ_ar1_is_the_mean(previous: float) -> None:
    rows = white_noise(60)
    rows = replace(rows, previous=np.full(60, previous))
    np.testing.assert_allclose(FirstOrder.fit(rows).predict(rows), rows.target.mean(), rtol=1e-9)


def test_a_score_is_the_formulas_of_its_parts() -> None:
    target = np.array([1.0, -2.0, 0.0, 3.0, -1.0])
    prediction = np.array([0.5, -1.0, 1.0, -1.0, 0.0])
    time = np.arange(5, dtype=np.int64)
    found = score(target, prediction, {"zero": np.zeros(5)}, time, 1)
    assert found.mse == (0.25 + 1 + 1 + 16 + 1) / 5
    (zero,) = found.skills
    assert (zero.mse, zero.skill) == (3.0, pytest.approx(1 - 3.85 / 3))
    # Five times are too few to say what is chance.
    assert (zero.low, zero.high, zero.proven, found.proven) == (None, None, False, False)
    # Of the three rows where neither is 0.
    assert (found.hit_rows, found.hit_rate) == (3, pytest.approx(2 / 3))


def test_the_rank_correlation_knows_ties_and_constants() -> None:
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: Pearson's of those, by hand.
    one, other = np.array([1.0, 5.0, 5.0, 9.0]), np.array([0.1, 0.2, 0.3, 0.4])
    assert rank_correlation(one, other) == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert rank_correlation(one, -(other**3)) == pytest.approx(-4.5 / math.sqrt(4.5 * 5))
    assert rank_correlation(one, np.ones(4)) is None


def test_a_perfect_baseline_leaves_no_skill_to_claim() -> None:
    rows = np.zeros(500)
    found = score(rows, rows, {"zero": rows}, np.arange(500, dtype=np.int64), 1)
    (zero,) = found.skills
    assert (zero.skill, zero.low, found.proven) == (None, None, False)
    assert (found.hit_rate, found.hit_rows, found.rank_correlation) == (None, 0, None)


def test_skill_needs_every_baseline() -> None:
    chance = np.random.default_rng(1)
    target = chance.standard_normal(2_000)
    good, time = target * 0.5, np.arange(2_000, dtype=np.int64)
    assert score(target, good, {"zero": np.zeros(2_000)}, time, 1).proven
    beside = {"zero": np.zeros(2_000), "better": target * 0.6}
    found = score(target, good, beside, time, 1)
    assert [each.proven for each in found.skills] == [True, False]
    assert not found.proven


def test_the_interval_of_overlapping_errors_holds_the_true_skill() -> None:
    """Errors of 20 overlapping bars: intervals of single rows would be far too narrow."""
    horizon, inside, rounds = 20, 0, 40
    for seed in range(rounds):
        chance = np.random.default_rng(seed)
        noise = np.convolve(chance.standard_normal(3_000 + horizon - 1), np.ones(horizon), "valid")
        own = np.convolve(chance.standard_normal(3_000 + horizon - 1), np.ones(horizon), "valid")
        # Two predictions as good as each other: the true skill is 0.
        low, high = skill_interval(
            (noise - own * 0.3) ** 2,
            (noise + own * 0.3) ** 2,
            np.arange(3_000, dtype=np.int64),
            horizon,
        )
        assert low is not None
        assert high is not None
        inside += low <= 0 <= high
    assert inside >= 0.85 * rounds


def test_symbols_of_one_time_are_drawn_together_and_twice_the_same() -> None:
    chance = np.random.default_rng(2)
    errors, beside = chance.random(1_000), 1.2 * chance.random(1_000)
    time = np.arange(1_000, dtype=np.int64)
    alone = skill_interval(errors, beside, time, 1)
    # Ten copies of each row say no more than one.
    repeated = skill_interval(np.repeat(errors, 10), np.repeat(beside, 10), np.repeat(time, 10), 1)
    assert repeated == pytest.approx(alone)
    assert skill_interval(errors, beside, time, 1) == alone


def test_no_rows_are_not_scored() -> None:
    with pytest.raises(ValueError, match="no rows"):
        score(np.zeros(0), np.zeros(0), {}, np.zeros(0, dtype=np.int64), 1)
