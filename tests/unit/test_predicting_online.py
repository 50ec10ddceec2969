"""The online learner: what it says, what it learns, its version, the command."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cli.models import models
from models.predicting.boosting import TrainingError
from models.predicting.building import build
from models.predicting.features_registry import find_feature_set
from models.predicting.manifest import draft_manifest, seal, unseal
from models.predicting.online import MOST_UNITS, Configuration, Note, OnlinePredictor, import_river
from models.predicting.online_training import new_online_version, play, run_online
from models.predicting.online_version import FILE, OnlineFile, OnlineVersion, write_online
from models.predicting.planted import planted_bars, planted_rows, white_noise
from models.predicting.predictor import make_predictor, predict_interval
from models.predicting.registry import Registry
from models.predicting.registry_contents import LoadedVersion
from models.predicting.registry_errors import CorruptModelError, MismatchedModelError
from tests.unit.model_records import NAMES, described, sample_rows
from tests.unit.training_bars import write_bars

pytest.importorskip("river", reason="the online learner needs river: pip install river")

QUICK = Configuration(rate=0.05, memory=200, warm_up=5, prior=0.1)


def taught(
    count: int = 300, seed: int = 1, configuration: Configuration = QUICK
) -> OnlinePredictor:
    """A learner whose targets are a share of the first feature."""
    learner = OnlinePredictor(NAMES, configuration)
    for row in sample_rows(count, seed=seed):
        note = note_of(learner, row)
        learner.learn(note, 1e-3 * float(np.nan_to_num(row[0])))
    return learner


def note_of(learner: OnlinePredictor, row: np.ndarray[Any, Any]) -> Note:
    note = learner.look(row).note
    assert note is not None
    return note


def vector(*values: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(values, dtype=np.float32)


def published(learner: OnlinePredictor, **changes: Any) -> LoadedVersion:
    return loaded(write_online(learner), **changes)


def loaded(content: bytes, file: str = FILE, **changes: Any) -> LoadedVersion:
    files = {file: content}
    manifest = draft_manifest(described(kind="river", **changes), files)
    return LoadedVersion(manifest, files, "place")


# --- what it says ------------------------------------------------------------------------------


def test_it_predicts_as_river_does_bit_for_bit() -> None:
    river: Any = import_river()
    scaler = river.preprocessing.StandardScaler()
    sgd = river.optim.SGD(QUICK.rate / 8)
    oracle = river.linear_model.LinearRegression(sgd, intercept_lr=0.0)
    oracle._weights = river.utils.VectorDict(dict.fromkeys(NAMES, 0.0))
    learner = OnlinePredictor(NAMES, QUICK)
    # Fewer rows than the memory, and features within bounds: nothing of ours but unit and trust.
    for row in np.clip(sample_rows(150), -1, 1):
        there = {n: v for n, v in zip(NAMES, row.tolist(), strict=True) if v == v}
        raw = oracle.predict_one(scaler.transform_one(there))
        note = note_of(learner, row)
        assert note[0] == raw
        target = 1e-3 * float(np.nan_to_num(row[0]))
        counted = max(-MOST_UNITS, min(MOST_UNITS, target / learner.unit))
        learner.learn(note, target)
        scaler.learn_one(there)
        oracle.learn_one(scaler.transform_one(there), counted)
    value = learner.value
    assert value is not None
    assert value.weights == tuple(oracle.weights[name] for name in NAMES)


def test_nothing_is_predicted_before_the_warm_up_is_over() -> None:
    learner = OnlinePredictor(NAMES, QUICK)
    rows = sample_rows(6)
    for row in rows[:5]:
        assert learner.predict(row) is None
        learner.learn(note_of(learner, row), 1e-3)
    assert learner.predict(rows[5]) is not None


def test_what_lacks_counts_as_the_mean() -> None:
    learner = taught()
    *_, means, _, _ = learner.state()
    row = sample_rows(40, seed=9)[~np.isnan(sample_rows(40, seed=9)).any(axis=1)][0]
    lacking, at_mean = row.copy(), row.copy()
    lacking[2], at_mean[2] = np.nan, means[2]
    with_mean = learner.predict(at_mean)
    assert with_mean != learner.predict(row)
    assert learner.predict(lacking) == pytest.approx(with_mean, rel=1e-5)
    assert learner.predict(vector(*[math.nan] * 4)) == 0.0


def test_a_row_with_an_infinity_is_no_row() -> None:
    for infinity in (math.inf, -math.inf):
        assert taught().look(vector(0, infinity, 0, 0)) == (None, None)


@pytest.mark.parametrize(
    "row", [np.zeros(4), np.zeros(3, np.float32), np.zeros((1, 4), np.float32)]
)
def test_another_row_is_refused(row: Any) -> None:
    with pytest.raises(ValueError, match=r"expected float32, \(4,\)"):
        taught(10).look(row)


def test_a_note_of_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match="a note of 3 features: expected 4"):
        taught(10).learn([0.0, 1.0, 1.0, 1.0], 0.0)


# --- what it learns ----------------------------------------------------------------------------


def test_one_outlier_among_the_targets_moves_it_as_little_as_eight_units() -> None:
    row = sample_rows(5, seed=2)[0]
    states = []
    for target in (1e300, 1.0):
        learner = taught()
        assert MOST_UNITS * learner.unit < 1.0
        learner.learn(note_of(learner, row), target)
        states.append(learner.state())
    assert states[0] == states[1]


def test_a_target_that_is_no_number_teaches_nothing() -> None:
    learner = taught()
    before = learner.state()
    note = note_of(learner, sample_rows(1)[0])
    for target in (math.nan, math.inf, -math.inf):
        learner.learn(note, target)
    assert learner.state() == before


def test_one_outlier_of_a_feature_is_forgotten() -> None:
    learner, straight = taught(), taught()
    rows = sample_rows(400, seed=5)
    learner.learn(note_of(learner, vector(3e38, 0, 0, 0)), 1e-3)
    for row in rows:
        for each in (learner, straight):
            each.learn(note_of(each, row), 1e-3 * float(np.nan_to_num(row[0])))
    row = vector(1, 0, 0, 0)
    assert learner.predict(row) == pytest.approx(straight.predict(row), rel=0.15)


def test_what_was_usual_long_ago_is_forgotten() -> None:
    learner = taught(2_000)
    *_, variances, _ = learner.state()
    for row in 10 * sample_rows(1_000, seed=6):
        learner.learn(note_of(learner, row), 1e-3)
    *_, later, _ = learner.state()
    assert max(variances) < 2
    assert min(later) > 50


def test_targets_of_nothing_do_not_shrink_the_unit() -> None:
    learner = OnlinePredictor(NAMES, QUICK)
    for number, row in enumerate(sample_rows(2_000)):
        learner.learn(note_of(learner, row), 0.0 if number % 5 else 2e-3 * (-1) ** number)
    assert learner.unit == pytest.approx(2e-3, rel=0.05)


def test_a_feature_that_was_always_the_same_may_move_beside_an_outlier() -> None:
    learner = OnlinePredictor(NAMES, QUICK)
    for row in sample_rows(100):
        row[3] = 7
        learner.learn(note_of(learner, row), 1e-3)
    learner.learn(note_of(learner, vector(1e6, 0, 0, 8)), 1e-3)
    *_, means, variances, _ = learner.state()
    assert abs(means[0]) < 1
    assert means[3] > 7
    assert variances[3] > 0


@pytest.mark.parametrize("size", [1e-6, 1e-4, 1e-2])
def test_predictions_are_in_the_unit_of_the_targets(size: float) -> None:
    learner = OnlinePredictor(NAMES, QUICK)
    for row in sample_rows(3_000):
        learner.learn(note_of(learner, row), size * float(np.nan_to_num(row[0])))
    assert learner.predict(vector(1, 0, 0, 0)) == pytest.approx(size, rel=0.2)


@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(width=32), min_size=4, max_size=4),
            st.floats(),
        ),
        max_size=60,
    )
)
@settings(max_examples=60, deadline=None)
def test_whatever_comes_predictions_are_numbers_and_the_state_is_json(
    items: list[tuple[list[float], float]],
) -> None:
    learner = taught(20)
    for values, target in items:
        prediction, note = learner.look(vector(*values))
        assert prediction is None or math.isfinite(prediction)
        if note is not None:
            learner.learn(json.loads(json.dumps(note, allow_nan=False)), target)
    json.dumps(learner.state(), allow_nan=False)


def test_another_process_says_the_same_bits() -> None:
    code = (
        "from tests.unit.test_predicting_online import taught, sample_rows\n"
        "learner = taught()\n"
        "print(repr([learner.predict(row) for row in sample_rows(20, seed=3)]))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    here = taught()
    assert said == {f"{[here.predict(row) for row in sample_rows(20, seed=3)]!r}\n"}


def test_a_state_of_other_features_or_settings_is_refused() -> None:
    state = taught().state()
    for names, configuration in ((NAMES[::-1], QUICK), (NAMES, None)):
        with pytest.raises(ValueError, match="names and configuration"):
            OnlinePredictor.from_state(state, names, configuration)
    for place, wrong in ((2, "1"), (3, -1.0), (3, math.nan), (5, None), (8, [1.0, 1.0, -1.0, 1.0])):
        broken = list(state)
        broken[place] = wrong
        with pytest.raises(ValueError, match="does not fit"):
            OnlinePredictor.from_state(broken, NAMES, QUICK)


@pytest.mark.parametrize(
    "wrong", [{"rate": 0.06}, {"rate": 0.0}, {"prior": 0.0}, {"memory": 99}, {"warm_up": 0}]
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Configuration(**wrong)


# --- what it is worth --------------------------------------------------------------------------


@pytest.mark.parametrize("horizon", [1, 5])
def test_a_planted_signal_is_found(horizon: int) -> None:
    run = run_online(planted_rows(6_000, 0.2, horizon=horizon))
    zero = run.score.skills[0]
    assert zero.baseline == "zero"
    assert zero.proven
    assert zero.skill is not None
    # Linear in the features, of a signal that is not, it can find 0.32 of 20 %.
    assert 0.03 < zero.skill < 0.08
    assert run.learner.trust > 0.8
    assert 0.87 < run.intervals.coverage < 0.93


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("seed", [1, 2])
def test_on_white_noise_it_loses_less_than_a_thousandth(horizon: int, seed: int) -> None:
    run = run_online(white_noise(6_000, horizon=horizon, seed=seed))
    skill = run.score.skills[0].skill
    assert skill is not None
    assert -1e-3 < skill < 1e-3
    assert not run.score.proven


def test_without_trust_it_loses_more_on_white_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = white_noise(6_000)
    monkeypatch.setattr(OnlinePredictor, "trust", 1.0)
    skill = run_online(rows).score.skills[0].skill
    assert skill is not None
    assert skill < -1e-3


def test_a_target_is_learned_only_once_it_is_known() -> None:
    rows = planted_rows(600, 0.2, horizon=5)
    whole = play(OnlinePredictor(rows.names, QUICK), rows)
    assert np.isfinite(whole[20:]).all()
    cut = 400
    targets = rows.target.copy()
    unknown = rows.label_time > rows.time[cut]
    targets[unknown] += 1.0
    other = play(OnlinePredictor(rows.names, QUICK), replace(rows, target=targets))
    assert np.array_equal(whole[: cut + 1], other[: cut + 1], equal_nan=True)
    # The bar after it has learned from two of the changed ones.
    assert not np.array_equal(whole[cut + 2 :], other[cut + 2 :])


def test_too_few_rows_are_told() -> None:
    with pytest.raises(TrainingError, match="250 rows are too few: the warm start takes 200"):
        run_online(white_noise(250))
    with pytest.raises(TrainingError, match="too few"):
        run_online(white_noise(500), Configuration(warm_up=450))


# --- its version -------------------------------------------------------------------------------


def test_a_version_goes_on_from_what_was_published_and_stays_as_it_was() -> None:
    learner = taught()
    version = make_predictor(published(learner))
    assert isinstance(version, OnlineVersion)
    rows = sample_rows(30, seed=4)
    said = version.predict(rows)
    assert said.tolist() == [learner.predict(row) for row in rows]
    working = version.start()
    for row in rows:
        working.learn(note_of(working, row), 1e-3)
        learner.learn(note_of(learner, row), 1e-3)
    assert working.state() == learner.state()
    assert version.resume(json.loads(json.dumps(working.state()))).state() == learner.state()
    assert version.predict(rows).tolist() == said.tolist()
    prediction, low, high = predict_interval(version, rows, 0.1)
    assert (low < prediction).all()
    assert (prediction < high).all()


def test_a_version_before_its_warm_up_predicts_nothing() -> None:
    version = OnlineVersion(published(OnlinePredictor(NAMES)))
    assert np.isnan(version.predict(sample_rows(3))).all()
    assert version.size == len(write_online(OnlinePredictor(NAMES)))


@pytest.mark.parametrize("length", [0, 1, 100, -2, -30])
def test_a_truncated_file_is_corrupt(length: int) -> None:
    content = write_online(taught())[:length]
    with pytest.raises(CorruptModelError) as caught:
        OnlineVersion(loaded(content))
    assert caught.value.file == f"place/{FILE}"
    assert "not JSON" in caught.value.found


def test_a_changed_digit_is_corrupt() -> None:
    content = write_online(taught())
    changed = content.replace(b'"memory": 200', b'"memory": 300')
    assert changed != content
    with pytest.raises(CorruptModelError, match="checksum"):
        OnlineVersion(loaded(changed))


def resealed(**changes: Any) -> bytes:
    held = unseal(write_online(taught()), OnlineFile, "x")
    return seal(msgspec.structs.replace(held, **changes))


def test_other_features_are_named() -> None:
    other = (*NAMES[:-1], "other")
    with pytest.raises(MismatchedModelError, match=r"volatility; expected .* other"):
        OnlineVersion(published(taught(), feature_names=other))


def test_another_format_or_state_is_named() -> None:
    with pytest.raises(MismatchedModelError, match="format 9; expected format 1"):
        OnlineVersion(loaded(resealed(format=9)))
    state = taught().state()
    with pytest.raises(MismatchedModelError, match=r"has version 7.* state of version 1"):
        OnlineVersion(loaded(resealed(state=[7, *state[1:]])))
    with pytest.raises(CorruptModelError, match="does not fit"):
        OnlineVersion(loaded(resealed(state=state[:-1])))
    with pytest.raises(MismatchedModelError, match=r"model\.ubj; expected online\.json"):
        OnlineVersion(loaded(write_online(taught()), "model.ubj"))


def test_settings_out_of_bounds_in_a_file_are_corrupt() -> None:
    class Unchecked(msgspec.Struct, kw_only=True):
        format: int
        feature_names: list[str]
        configuration: dict[str, Any]
        river: str
        state: list[Any]

    content = msgspec.json.decode(write_online(taught()), type=Unchecked)
    assert isinstance(OnlineVersion(loaded(seal(content))), OnlineVersion)
    content.configuration["rate"] = 5.0
    with pytest.raises(CorruptModelError, match=r"rate 5\.0"):
        OnlineVersion(loaded(seal(content)))


def test_the_extra_that_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    version = published(taught())
    for name in ("river", "river.linear_model", "river.optim"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TrainingError, match=r"pip install 'candlewick\[online\]'"):
        make_predictor(version)


def test_a_version_is_published_with_honest_scores(tmp_path: Path) -> None:
    rows = planted_rows(3_000, 0.2)
    description, files, run = new_online_version("learner", rows, created=5)
    registry = Registry.at(tmp_path)
    manifest = registry.publish(description, files)
    registry.promote("learner", "challenger", 1, reason="new", time=6)
    assert manifest.kind == "river"
    assert manifest.parameters["rate"] == 0.005
    assert manifest.rows == 3_000
    assert manifest.calibration_rows == len(run.scored) == 1_800
    behind = rows.take(slice(1_200, None))
    mse = float(((behind.target - run.prediction) ** 2).mean())
    assert manifest.scores["model"]["mse"] == pytest.approx(mse)
    assert manifest.scores["zero"]["mse"] == pytest.approx(float((behind.target**2).mean()))
    version = make_predictor(registry.load("learner", 1))
    assert isinstance(version, OnlineVersion)
    assert version.start().targets == 3_000
    again = new_online_version("learner", rows, created=5)
    assert (again[0], again[1]) == (description, files)


def test_an_ensemble_takes_no_member_that_learns(tmp_path: Path) -> None:
    registry = Registry.at(tmp_path)
    description, files, _ = new_online_version("learner", planted_rows(600, 0.2), created=5)
    registry.publish(description, files)
    whole = msgspec.structs.replace(
        description, kind="ensemble", members=(registry.member("learner", 1, 1.0),)
    )
    registry.publish(whole, {})
    with pytest.raises(MismatchedModelError, match="member 1 of kind river"):
        make_predictor(registry.load("learner", 2))


# --- the command -------------------------------------------------------------------------------


def test_the_command_publishes_and_names(tmp_path: Path) -> None:
    bars = tmp_path / "bars.csv"
    write_bars(bars, planted_bars(500, 0.5))
    place = tmp_path / "registry"
    command = ["online", "learner", "--bars", str(bars), "--features", "returns@1", "--interval"]
    command += ["1m", "--horizon", "5", "--promote", "challenger", "--registry", str(place)]
    shown = CliRunner().invoke(models, command)
    assert shown.exit_code == 0, shown.output
    assert "learner 1\nlearner challenger: version 1, generation 1" in shown.output
    assert "zero" in shown.output
    manifest = Registry.at(place).verify("learner", 1)
    rows = build(planted_bars(500, 0.5), find_feature_set("returns@1"), 5)
    assert (manifest.interval, manifest.horizon) == ("1m", 5)
    assert (manifest.feature_set, manifest.rows) == (rows.feature_set, len(rows))
    found = json.loads(CliRunner().invoke(models, [*command, "--json"]).stdout)
    assert (found["version"], found["generation"]) == (2, 2)
    assert set(found["scores"]) == {"model", "zero", "last_value", "ar1"}


def test_without_bars_the_command_refuses(tmp_path: Path) -> None:
    shown = CliRunner().invoke(models, ["online", "learner", "--registry", str(tmp_path)])
    assert shown.exit_code == 2
    assert "Missing option '--bars'" in shown.output
