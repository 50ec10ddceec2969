"""The ranking: finds what was planted, claims nothing in noise, and looks at no later row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.predicting.building import build
from models.predicting.dataset import TrainingSet
from models.predicting.features_returns import Returns
from models.predicting.planted import planted_bars, white_noise
from models.store.ranking import rank

ROWS = 1_500


def with_column(rows: TrainingSet, place: int, values: npt.NDArray[Any]) -> TrainingSet:
    features = rows.features.copy()
    features[:, place] = values
    return replace(rows, features=features)


def foretold(rows: TrainingSet, share: float, seed: int = 3) -> npt.NDArray[np.float64]:
    """A column that foretells the target, but for noise."""
    chance = np.random.default_rng(seed)
    signal = share * rows.target / float(rows.target.std())
    return np.asarray(signal + chance.standard_normal(len(rows)), dtype=np.float64)


def test_a_planted_feature_is_first_and_beyond_chance_and_nothing_else_is() -> None:
    noise = white_noise(ROWS)
    for sign in (1, -1):
        found = rank(with_column(noise, 3, sign * foretold(noise, 0.3)), shifts=100)
        assert found.features[0].name == "four"
        assert found.proven == ("four",)
        assert found.features[0].stability == 1.0
        assert all(sign * each > 0 for each in found.features[0].coefficients)


def test_what_was_planted_in_bars_is_found() -> None:
    found = rank(build(planted_bars(1_500, 0.6), Returns, 1), shifts=100)
    assert {"return_1", "return_2"} <= set(found.proven)
    assert found.features[0].score > 2 * found.threshold / 1.5


@pytest.mark.parametrize("horizon", [1, 10])
def test_nothing_is_claimed_in_walks_of_chance(horizon: int) -> None:
    # About one in twenty may be: the sets read the past of the very prices they foretell.
    claimed = [
        bool(rank(build(planted_bars(500, 0.0, seed=seed), Returns, horizon), shifts=100).proven)
        for seed in range(10)
    ]
    assert sum(claimed) <= 2


def test_in_random_walks_no_coefficient_leans_to_a_side() -> None:
    # About their own mean, past and future returns of a block lean against each other: by five
    # standard errors here, if anything is centred by what the block alone knows.
    found: dict[str, list[float]] = {"return_10": [], "ema_26": []}
    for seed in range(16):
        ranking = rank(build(planted_bars(400, 0.0, seed=seed), Returns, 10), shifts=100)
        for each in ranking.features:
            if each.name in found:
                found[each.name].append(float(np.mean(each.coefficients[1:])))
    for values in found.values():
        assert abs(np.mean(values)) < 3 * np.std(values) / len(values) ** 0.5


def test_a_sign_that_turns_each_time_is_worth_nothing() -> None:
    rows = white_noise(ROWS)
    column = foretold(rows, 1.0)
    # Six blocks: the first half, and five.
    turning = np.where(np.arange(ROWS) < ROWS // 2, 1, -1)
    found = rank(with_column(rows, 0, turning * column), shifts=100)
    one = next(each for each in found.features if each.name == "one")
    assert one.coefficients[0] > 0.3
    assert one.coefficients[1] < -0.3
    assert not one.proven
    assert one.stability < 1


def test_later_rows_change_no_earlier_coefficient() -> None:
    rows = white_noise(ROWS)
    found = rank(rows, shifts=100)
    features, target = rows.features.copy(), rows.target.copy()
    last = ROWS - ROWS // 10
    features[last:] *= -1_000
    target[last:] += 1.0
    other = rank(replace(rows, features=features, target=target), shifts=100)
    held = {each.name: each.coefficients for each in found.features}
    for each in other.features:
        assert each.coefficients[:5] == held[each.name][:5]
        assert each.coefficients[5] != held[each.name][5]


def test_a_target_that_only_drifts_is_foretold_by_nothing() -> None:
    rows = white_noise(ROWS)
    found = rank(replace(rows, target=rows.target + 3 * rows.target.std()), shifts=100)
    assert found.proven == ()


def test_of_features_that_say_the_same_the_better_one_is_chosen() -> None:
    noise = white_noise(ROWS)
    column = foretold(noise, 0.5)
    blurred = column + 0.05 * np.random.default_rng(9).standard_normal(ROWS)
    rows = with_column(with_column(noise, 1, column), 4, -np.exp(blurred))
    found = rank(rows, shifts=100)
    first, second = found.features[:2]
    assert {first.name, second.name} == {"two", "five"}
    assert (first.redundant_with, second.redundant_with) == (None, first.name)
    assert (first.chosen, second.chosen) == (True, False)
    assert second.name not in found.chosen
    assert rank(rows, redundant=1.0, shifts=100).features[1].chosen


def test_no_more_are_chosen_than_asked_for() -> None:
    found = rank(white_noise(ROWS), 2, shifts=100)
    assert found.chosen == tuple(each.name for each in found.features[:2])
    assert len(found.features) == 6


def test_a_feature_that_lacks_or_never_changes_has_no_score() -> None:
    rows = with_column(with_column(white_noise(ROWS), 0, np.full(ROWS, np.nan)), 1, np.ones(ROWS))
    found = {each.name: each for each in rank(rows, shifts=100).features}
    assert (found["one"].score, found["one"].missing) == (0.0, 1.0)
    assert found["two"].score == 0.0
    assert not found["one"].proven


def test_the_same_rows_give_the_same_ranking() -> None:
    rows = white_noise(600)
    assert rank(rows, shifts=100) == rank(rows, shifts=100)


def test_too_few_rows_and_numbers_out_of_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 20 or more"):
        rank(white_noise(100), shifts=100)
    for named in ({"best": 0}, {"folds": 1}, {"redundant": 0.0}, {"shifts": 10}):
        with pytest.raises(ValueError, match="at least 100"):
            rank(white_noise(600), **{"shifts": 100, **named})  # type: ignore[arg-type]
