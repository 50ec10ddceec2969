"""Predictors: the same bits alone and in a batch, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.predicting.boosting import TrainingError
from models.predicting.conformal import Calibration
from models.predicting.manifest import draft_manifest
from models.predicting.online import Configuration, OnlinePredictor
from models.predicting.online_version import write_online
from models.predicting.predictor import (
    SHARED_ROWS,
    THREADS,
    BoosterPredictor,
    Predictor,
    assign,
    make_predictor,
    predict_assigned,
    predict_interval,
)
from models.predicting.registry import Registry
from models.predicting.registry_contents import LoadedVersion
from models.predicting.registry_errors import CorruptModelError, MismatchedModelError
from models.predicting.registry_trial import check_publishable
from tests.unit.model_records import NAMES, boosted, described, sample_rows

pytest.importorskip("xgboost")


def loaded(content: bytes | None = None, **changes: Any) -> LoadedVersion:
    files = {"model.ubj": boosted() if content is None else content}
    return LoadedVersion(draft_manifest(described(**changes), files), files, "place")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return make_predictor(loaded())


def bits(values: np.ndarray[Any, Any]) -> list[int]:
    return list(values.view(np.int64))


@given(
    count=st.integers(1, 130),
    cuts=st.sets(st.integers(1, 129)),
    seed=st.integers(0, 1_000),
    strided=st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_a_row_has_the_same_bits_alone_and_in_any_batch(
    predictor: Predictor, count: int, cuts: set[int], seed: int, strided: bool
) -> None:
    rows = sample_rows(count, seed=seed)
    whole = predictor.predict(rows)
    assert whole.dtype == np.float64
    assert len(set(bits(whole))) > 1 or count < 10
    laid = np.asfortranarray(rows) if strided else rows
    parts = np.split(laid, sorted(cut for cut in cuts if cut < count))
    assert bits(np.concatenate([predictor.predict(part) for part in parts])) == bits(whole)
    alone = [predictor.predict(rows[each : each + 1]) for each in range(count)]
    assert bits(np.concatenate(alone)) == bits(whole)
    order = np.random.default_rng(seed).permutation(count)
    assert bits(predictor.predict(rows[order])) == bits(whole[order])


def test_predictions_are_those_of_the_library(predictor: Predictor) -> None:
    import xgboost

    rows = sample_rows(100)
    booster = xgboost.Booster(model_file=bytearray(boosted()))
    oracle = booster.predict(xgboost.DMatrix(rows, feature_names=list(NAMES)))
    assert bits(predictor.predict(rows)) == bits(oracle.astype(np.float64))


def test_json_predicts_as_ubj_does(predictor: Predictor) -> None:
    files = {"model.json": boosted(form="json")}
    version = LoadedVersion(draft_manifest(described(), files), files, "place")
    rows = sample_rows(50)
    assert bits(make_predictor(version).predict(rows)) == bits(predictor.predict(rows))


def test_few_rows_have_one_thread_and_many_have_more_and_none_changes_a_bit(
    predictor: Predictor,
) -> None:
    assert isinstance(predictor, BoosterPredictor)

    def threads() -> int:
        configuration = json.loads(predictor._booster.save_config())
        return int(configuration["learner"]["generic_param"]["nthread"])

    assert threads() == 1
    rows = sample_rows(3 * SHARED_ROWS)
    whole = predictor.predict(rows)
    assert threads() == THREADS
    few = [predictor.predict(part) for part in np.array_split(rows, 7)]
    assert threads() == 1
    assert bits(np.concatenate(few)) == bits(whole)


def test_trees_behind_the_best_are_left_out() -> None:
    import xgboost

    booster = xgboost.Booster(model_file=bytearray(boosted()))
    rows = sample_rows(50)
    booster.set_attr(best_iteration="4")
    cut = make_predictor(loaded(bytes(booster.save_raw("ubj"))))
    expected = booster.inplace_predict(rows, iteration_range=(0, 5)).astype(np.float64)
    assert bits(cut.predict(rows)) == bits(expected)
    assert bits(expected) != bits(booster.inplace_predict(rows).astype(np.float64))


def test_no_rows_have_no_predictions(predictor: Predictor) -> None:
    assert predictor.predict(sample_rows(0)).shape == (0,)


def test_a_row_with_an_infinity_has_no_prediction_and_harms_no_other(predictor: Predictor) -> None:
    rows = sample_rows(5)
    expected = predictor.predict(rows)
    rows[2, 1] = -np.inf
    found = predictor.predict(rows)
    assert np.isnan(found[2])
    assert bits(np.delete(found, 2)) == bits(np.delete(expected, 2))


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((2, len(NAMES))),
        np.zeros(len(NAMES), np.float32),
        np.zeros((2, len(NAMES) + 1), np.float32),
    ],
)
def test_rows_of_another_shape_or_type_are_refused(predictor: Predictor, rows: Any) -> None:
    with pytest.raises(ValueError, match=r"expected float32, \(rows, 4\)"):
        predictor.predict(rows)


@pytest.mark.parametrize("content", [b"text" * 100, b"{}", b"\x00" * 64])
def test_what_the_library_cannot_read_is_corrupt(content: bytes) -> None:
    with pytest.raises(CorruptModelError, match=r"place/model\.ubj: ") as caught:
        make_predictor(loaded(content))
    assert caught.value.file == "place/model.ubj"


def test_a_model_for_other_features_is_named() -> None:
    with pytest.raises(MismatchedModelError, match="2 features; expected 4 features"):
        make_predictor(loaded(boosted(2)))
    changed = (*NAMES[:-1], "other")
    with pytest.raises(MismatchedModelError, match=r"volatility; expected .* other") as caught:
        make_predictor(loaded(feature_names=changed))
    assert caught.value.file == "place/model.ubj"


def test_a_version_without_a_model_file_is_named() -> None:
    files = {"weights.bin": b"1"}
    version = LoadedVersion(draft_manifest(described(), files), files, "place")
    with pytest.raises(MismatchedModelError, match=r"weights\.bin; expected one of model\.ubj"):
        make_predictor(version)


def test_a_kind_has_its_own_files() -> None:
    with pytest.raises(MismatchedModelError, match=r"model\.ubj; expected online\.json"):
        make_predictor(loaded(kind="river"))


def test_the_extra_that_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(TrainingError, match=r"pip install 'candlewick\[models\]'"):
        make_predictor(loaded())


def test_what_cannot_predict_is_not_published() -> None:
    check_publishable(described(), {"model.ubj": boosted()})
    with pytest.raises(MismatchedModelError, match=r"to be published/model\.ubj: 2 features"):
        check_publishable(described(), {"model.ubj": boosted(2)})


def test_a_broken_learner_is_not_published() -> None:
    learner = write_online(OnlinePredictor(NAMES, Configuration()))
    check_publishable(described(kind="river"), {"online.json": learner})
    with pytest.raises(CorruptModelError, match=r"to be published/online\.json"):
        check_publishable(described(kind="river"), {"online.json": learner[:-5]})


def test_bytes_that_end_the_library_end_no_publisher() -> None:
    with pytest.raises(CorruptModelError, match=r"model\.ubj: XGBoost ends by signal 6"):
        check_publishable(described(), {"model.ubj": b""})


def test_an_ensemble_is_the_weighted_mean_of_its_members(tmp_path: Path) -> None:
    registry = Registry.at(tmp_path)
    for seed in (1, 2):
        registry.publish(described(), {"model.ubj": boosted(seed=seed)})
    members = (registry.member("returns", 1, 3.0), registry.member("returns", 2, 1.0))
    version = registry.publish(described(kind="ensemble", members=members), {}).version
    both = make_predictor(registry.load("returns", version))
    first, second = (make_predictor(registry.load("returns", each)) for each in (1, 2))
    rows = sample_rows(130)
    a, b = first.predict(rows), second.predict(rows)
    assert bits(a) != bits(b)
    found = both.predict(rows)
    np.testing.assert_allclose(found, (3 * a + b) / 4, rtol=1e-15)
    alone = [both.predict(rows[each : each + 1]) for each in range(130)]
    assert bits(np.concatenate(alone)) == bits(found)
    assert both.size == first.size + second.size


def test_intervals_are_the_quantile_times_the_scale_around_the_prediction(
    predictor: Predictor,
) -> None:
    rows = sample_rows(20)
    calibration = predictor.manifest.calibration
    assert calibration is not None
    quantile = calibration.quantile(0.1)
    assert quantile is not None
    assert quantile > 0
    predictions, lower, upper = predict_interval(predictor, rows, 0.1)
    assert bits(predictions) == bits(predictor.predict(rows))
    np.testing.assert_allclose(upper - predictions, quantile * 1e-3)
    np.testing.assert_allclose(predictions - lower, quantile * 1e-3)
    scale = np.linspace(1e-4, 1e-2, 20)
    _, low, high = predict_interval(predictor, rows, 0.1, scale)
    np.testing.assert_allclose(high - low, 2 * quantile * scale)


@pytest.mark.parametrize(
    ("calibration", "found"),
    [(None, "no calibration"), (Calibration((1.0, 2.0), 1.0), "2 residuals")],
)
def test_intervals_that_nothing_calibrates_are_refused(
    calibration: Calibration | None, found: str
) -> None:
    bare = make_predictor(loaded(calibration=calibration))
    with pytest.raises(MismatchedModelError, match=f"{found}; expected enough"):
        predict_interval(bare, sample_rows(1), 0.1)


def test_an_assignment_is_the_same_in_every_process_and_version() -> None:
    shares = {"champion": 50, "challenger": 50}
    # `printf 5:first:SPY | sha256sum` begins with 36, of IBM 96, AAPL 31, MSFT be; half is 80.
    assert [assign(each, "first", shares) for each in ("SPY", "IBM", "AAPL", "MSFT")] == [
        "champion",
        "challenger",
        "champion",
        "challenger",
    ]


def test_shares_are_held_on_average() -> None:
    shares = {"champion": 90, "challenger": 10, "idle": 0}
    found = [assign(f"S{number}", "first", shares) for number in range(20_000)]
    assert 0.09 < found.count("challenger") / len(found) < 0.11
    assert "idle" not in found


@given(
    symbols=st.lists(st.text(), max_size=50), share=st.integers(0, 100), more=st.integers(0, 100)
)
def test_a_larger_share_takes_symbols_and_gives_none_back(
    symbols: list[str], share: int, more: int
) -> None:
    low, high = sorted((share, more))
    for symbol in symbols:
        before = assign(symbol, "x", {"challenger": low, "champion": 100 - low})
        after = assign(symbol, "x", {"challenger": high, "champion": 100 - high})
        assert before == after or (before, after) == ("champion", "challenger")


def test_experiments_deal_anew() -> None:
    shares = {"a": 1, "b": 1}
    symbols = [f"S{number}" for number in range(1_000)]
    same = sum(assign(each, "first", shares) == assign(each, "second", shares) for each in symbols)
    assert 400 < same < 600


@pytest.mark.parametrize("shares", [{}, {"a": 0}, {"a": -1, "b": 2}])
def test_shares_of_nothing_are_refused(shares: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected none below 0"):
        assign("SPY", "x", shares)


def test_each_row_is_predicted_by_the_model_it_is_assigned_to(predictor: Predictor) -> None:
    other = make_predictor(loaded(boosted(seed=2)))
    rows = sample_rows(90)
    assigned = [assign(f"S{number}", "x", {"champion": 2, "challenger": 1}) for number in range(90)]
    found = predict_assigned({"champion": predictor, "challenger": other}, assigned, rows)
    for place, name in enumerate(assigned):
        chosen = predictor if name == "champion" else other
        assert bits(found[place : place + 1]) == bits(chosen.predict(rows[place : place + 1]))
    assert len(set(assigned)) == 2
