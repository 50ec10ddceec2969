"""Training: finds what is there, claims nothing where nothing is, the same bytes twice."""

import builtins
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.predicting import boosting
from models.predicting.boosting import PARAMETERS, load_booster, power_of_two_near, scaled
from models.predicting.dataset import TrainingSet
from models.predicting.planted import planted_bars, planted_rows, white_noise
from models.predicting.training import (
    TrainedModel,
    TrainingError,
    TrainingSettings,
    needed_rows,
    train,
)

FAST = TrainingSettings(folds=2, rounds=80, patience=10)


def said(model: TrainedModel) -> str:
    skills = ", ".join(
        f"{each.baseline} {each.skill:+.4f} [{each.low:+.4f}, {each.high:+.4f}]"
        for each in model.score.skills
        if each.skill is not None
    )
    return f"skill {'proven' if model.score.proven else 'not proven'} against {skills}"


@pytest.fixture(scope="module")
def planted() -> TrainedModel:
    return train(planted_rows(8_000, 0.08, seed=11))


def test_a_planted_signal_is_found(planted: TrainedModel) -> None:
    print("planted:", said(planted))
    assert planted.score.proven
    zero, last, first_order = planted.score.skills
    assert zero.low is not None
    assert zero.low > 0.02
    assert zero.skill is not None
    assert zero.skill < 0.08, "more than there is to find"
    assert last.proven
    assert first_order.proven
    assert list(planted.importance)[:2] in (["one", "two"], ["two", "one"])
    assert planted.score.hit_rate is not None
    assert planted.score.hit_rate > 0.53
    assert planted.score.rank_correlation is not None
    assert planted.score.rank_correlation > 0.15


@pytest.mark.parametrize("horizon", [1, 5])
def test_in_white_noise_no_skill_is_claimed(horizon: int) -> None:
    for seed in (1, 2):
        model = train(white_noise(4_000, horizon=horizon, seed=seed), FAST)
        print(f"noise, horizon {horizon}, seed {seed}:", said(model))
        assert not model.score.proven
        # Nothing worse than zero is left over either.
        assert model.score.skills[0].skill == pytest.approx(0, abs=0.03)


def test_intervals_out_of_sample_hold_what_they_promise(planted: TrainedModel) -> None:
    tested = planted.out_of_sample
    assert len(tested.adaptive.covered) >= 3_000
    print(f"coverage {tested.adaptive.coverage:.4f} of {len(tested.adaptive.covered)}")
    assert 0.88 <= tested.adaptive.coverage <= 0.92
    assert 0.88 <= tested.split.coverage <= 0.92


def test_the_same_rows_give_the_same_bytes() -> None:
    rows = planted_rows(3_000, 0.08)
    first, second = train(rows, FAST), train(rows, FAST)
    assert first.model == second.model
    assert first.calibration == second.calibration
    assert first.score == second.score
    other = train(replace(rows, target=rows.target + 1e-6 * np.sin(np.arange(3_000))), FAST)
    assert other.model != first.model


def test_the_final_model_has_not_seen_what_it_is_calibrated_on() -> None:
    rows = planted_rows(3_000, 0.08)
    model = train(rows, FAST)
    spoiled = rows.target.copy()
    spoiled[-model.calibration_rows :] = 0.5
    assert train(replace(rows, target=spoiled), FAST).model == model.model
    # Of the last 600 rows; the purge takes a horizon, the embargo another, of two symbols.
    assert (model.calibration_rows, model.fitted_rows) == (600, 3_000 - 600 - 4)


def test_predictions_of_the_last_fold_know_nothing_of_its_targets() -> None:
    rows = planted_rows(3_000, 0.08)
    first = train(rows, FAST).out_of_sample
    begin = int(np.flatnonzero(first.fold == 2)[0]) + len(rows) - len(first.fold)
    spoiled = rows.target.copy()
    spoiled[begin:] *= -50
    second = train(replace(rows, target=spoiled), FAST).out_of_sample
    assert (first.prediction == second.prediction).all()
    assert (first.baselines["ar1"] == second.baselines["ar1"]).all()
    # What came before is trained on.
    spoiled[begin - 500 :] *= -50
    third = train(replace(rows, target=spoiled), FAST).out_of_sample
    assert (third.prediction[first.fold == 2] != first.prediction[first.fold == 2]).any()
    assert (third.prediction[first.fold == 1] == first.prediction[first.fold == 1]).all()


def test_a_model_predicts_returns_and_knows_its_features(planted: TrainedModel) -> None:
    booster = load_booster(planted.model)
    assert tuple(booster.feature_names) == planted.feature_names
    assert booster.num_boosted_rounds() == planted.rounds
    features = np.zeros((1, 6), dtype=np.float32)
    features[0, :2] = 1.0
    up = float(booster.inplace_predict(features)[0])
    features[0, 0] = -1.0
    down = float(booster.inplace_predict(features)[0])
    # The signal is 2 x 0.08 of the variance there: 5e-4 x 0.4.
    assert up == pytest.approx(2e-4, rel=0.5)
    assert down == pytest.approx(-2e-4, rel=0.5)


def test_xgboost_by_itself_finds_nothing_in_returns_and_scaled_it_does() -> None:
    """The reason for the scale: fails when XGBoost splits for gains below 1e-6."""
    import xgboost

    rows = planted_rows(2_000, 0.08, deviation=1e-5)

    def booster(scale: float) -> Any:
        matrix = xgboost.DMatrix(rows.features, rows.target / scale, nthread=1)
        return xgboost.train(PARAMETERS, matrix, 20)

    assert booster(1.0).get_score() == {}
    scale = power_of_two_near(rows.target)
    found = booster(scale)
    assert found.get_score()
    returned = load_booster(scaled(found, scale)).inplace_predict(rows.features)
    # A power of two: not a bit is lost.
    assert (returned == found.inplace_predict(rows.features) * np.float32(scale)).all()


@pytest.mark.parametrize("size", [1e-12, 1e6])
def test_targets_of_any_size_are_learned_alike(size: float) -> None:
    rows = planted_rows(2_000, 0.3)
    resized = replace(rows, target=rows.target * size, previous=rows.previous * size)
    assert train(resized, FAST).score.proven


def test_the_folds_are_trained_on_the_past(planted: TrainedModel) -> None:
    assert len(planted.folds) == 5
    for fold in planted.folds:
        assert fold.trained_from <= fold.trained_to < fold.tested_from <= fold.tested_to
        # A horizon for the purge and one for the embargo.
        assert fold.tested_from - fold.trained_to > 2 * 60_000_000_000
    assert sum(fold.score.rows for fold in planted.folds) == planted.score.rows
    assert len(planted.out_of_sample.prediction) == planted.score.rows


def test_what_the_manifest_needs_is_there_and_plain(planted: TrainedModel) -> None:
    scores = planted.manifest_scores()
    assert list(scores) == ["model", "zero", "last_value", "ar1"]
    assert scores["model"]["skill_against_zero"] > 0
    json.dumps([scores, planted.parameters, planted.libraries], allow_nan=False)
    assert planted.libraries["xgboost-cpu"].startswith("3.")
    assert planted.parameters["embargo"] == 60_000_000_000
    assert planted.feature_set == "planted@1:0000000000000000"
    assert 0 < len(planted.calibration.scores) <= 1_999
    assert sum(planted.importance.values()) == pytest.approx(1)


def without(rows: TrainingSet, column: int | None) -> TrainingSet:
    features = rows.features.copy()
    features[:, slice(None) if column is None else column] = np.nan
    return replace(rows, features=features)


@pytest.mark.parametrize("column", [3, None])
def test_features_that_are_nothing_do_no_harm(column: int | None) -> None:
    model = train(without(planted_rows(2_000, 0.3), column), FAST)
    assert model.score.proven is (column == 3)
    assert np.isfinite(model.out_of_sample.prediction).all()


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_constant_targets_are_trained_on_and_prove_nothing(value: float) -> None:
    rows = white_noise(2_000)
    constant = np.full(2_000, value)
    model = train(replace(rows, target=constant, previous=constant), FAST)
    assert not model.score.proven
    assert model.out_of_sample.prediction == pytest.approx(constant[: model.score.rows], rel=0.1)
    assert model.out_of_sample.adaptive.coverage > 0.8


def test_too_few_rows_say_how_many_are_needed() -> None:
    with pytest.raises(TrainingError, match="300 rows are too few: about 1,2"):
        train(white_noise(300, horizon=30))
    needed = needed_rows(TrainingSettings(), 4)
    assert len(train(white_noise(needed)).folds) == 5
    with pytest.raises(TrainingError, match=f"about {needed} are needed"):
        train(white_noise(needed - 1))


def test_gaps_that_eat_the_training_rows_are_named() -> None:
    rows = white_noise(2_000)
    with pytest.raises(TrainingError, match="0 rows in the training window of fold 1, to fit on"):
        train(replace(rows, label_time=rows.label_time + 10**15))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": np.full(1_000, np.nan)}, "a target is not a finite number"),
        ({"features": np.full((1_000, 6), np.inf, dtype=np.float32)}, "feature one is infinite"),
        ({"names": ("a", "b", "c", "d", "e", "f[0]")}, r"feature 'f\[0\]'"),
        ({"names": (), "features": np.zeros((1_000, 0), dtype=np.float32)}, "no features"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        train(replace(white_noise(1_000), **change))


@pytest.mark.parametrize(
    "wrong",
    [{"folds": 1}, {"stopping_share": 1.0}, {"alpha": 0.0}, {"rounds": 0}, {"embargo": -1}],
)
def test_settings_out_of_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TrainingError, match="at least"):
        train(white_noise(1_000), TrainingSettings(**wrong))


def test_without_xgboost_the_command_to_install_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    there = builtins.__import__

    def absent(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "xgboost":
            raise ImportError(name)
        return there(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(TrainingError, match=r"pip install 'candlewick\[models\]'"):
        boosting.import_xgboost()


def test_progress_is_told_for_each_fit() -> None:
    told: list[tuple[int, int]] = []
    train(white_noise(1_500), FAST, lambda done, total: told.append((done, total)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_planted_bars_turn_back_after_two_moves_and_a_walk_does_not() -> None:
    for strength, low, high in ((0.5, -0.65, -0.35), (0.0, -0.15, 0.15)):
        bars = [bar for bar in planted_bars(5_000, strength) if bar.symbol == "AAA"]
        moves = np.diff(np.log([bar.close for bar in bars])) / 5e-4
        signs = np.where(np.abs(moves) > 0.5, np.sign(moves), 0)
        twice = np.flatnonzero(np.abs(signs[:-2] + signs[1:-1]) == 2)
        assert low < (moves[twice + 2] * signs[twice]).mean() < high
        assert all(bar.low <= min(bar.open, bar.close) for bar in bars)
    assert planted_bars(50, 1.0) == planted_bars(50, 1.0)
