"""Retraining: what is compared on which rows, what is promoted, and what never is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.training import publishing, retraining
from app.training.comparing import Comparison, compare, decide, unseen_rows
from app.training.retraining import Policy, Retrained, newest_created, retrain
from app.training.sources import BarSource
from app.training.training import Progress, Task, Trained, train_bars
from models.predicting.baselines import BASELINES
from models.predicting.conformal import Calibration
from models.predicting.manifest import TrainedMarket
from models.predicting.planted import planted_bars
from models.predicting.registry import Registry
from models.predicting.registry_errors import CorruptModelError, MismatchedModelError
from models.predicting.scoring import Score, Skill
from tests.unit.model_records import described
from tests.unit.training_bars import Given, task

pytest.importorskip("xgboost")
EARLY, LATE = 500, 1_200
NOISE = planted_bars(EARLY, 0.0, seed=1)
PLANTED = planted_bars(LATE, 1.5, seed=2)


_trained: dict[tuple[int, int], Trained] = {}


def train_once(source: BarSource, task: Task, progress: Progress | None = None) -> Trained:
    """Train on the same bars once; twice gives the same (test_predicting_training_report)."""
    bars = source.read(task.interval).bars
    key = (hash(tuple(bar.close for bar in bars)), task.horizon)
    if key not in _trained:
        _trained[key] = train_bars(Given(bars), task)
    return _trained[key]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials cost a process each; test_training_publishing has them."""
    monkeypatch.setattr(publishing, "check_publishable", lambda told, files: None)
    monkeypatch.setattr(retraining, "train_bars", train_once)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.at(tmp_path / "models")


def run(registry: Registry, source: Given, **options: Any) -> Retrained:
    clock = iter(range(1_000, 2_000))
    given = options.pop("task", task())
    out = options.pop("out", None)
    policy = Policy("minutes", **options)
    return retrain(registry, policy, source, given, clock=lambda: next(clock), out=out)


# --- rows


def test_what_is_compared_on_was_seen_by_neither() -> None:
    trained = train_once(Given(PLANTED), task())
    rows, model = trained.rows, trained.model
    embargo = model.parameters["embargo"]
    fitted_until = int(rows.label_time[: model.fitted_rows].max())
    whole = unseen_rows(rows, model, 0)
    assert len(whole) == model.calibration_rows
    assert whole.time[0] > fitted_until + embargo
    middle = int(whole.time[len(whole) // 2])
    later = unseen_rows(rows, model, middle)
    assert later.time[0] == middle + embargo + 60_000_000_000
    assert len(unseen_rows(rows, model, model.data_to)) == 0


# --- decisions


def skill(name: str, found: float | None, low: float | None) -> Skill:
    return Skill(name, 1e-6, found, low, None if low is None else 0.5)


def beside(
    champion: tuple[float | None, float | None], zero: float, times: int = 300
) -> Comparison:
    skills = (skill("champion", *champion), *(skill(each, zero, zero / 2) for each in BASELINES))
    found = Score(600, 1e-6, skills, 0.5, 600, 0.0)
    return Comparison(
        3, 600, times, 100, 1_767_571_200_000_000_000, 1_767_657_600_000_000_000, found
    )


def walk(*lows: float) -> Score:
    skills = tuple(skill(name, 0.1, low) for name, low in zip(BASELINES, lows, strict=True))
    return Score(900, 1e-6, skills, 0.5, 900, 0.0)


@pytest.mark.parametrize(
    ("comparison", "promote", "said"),
    [
        (None, True, "no champion yet. Skill: better than every baseline"),
        (beside((0.04, 0.01), 0.02), True, "better than version 3: skill +4.00%"),
        (beside((0.04, -0.01), 0.02), False, "not better than version 3 beyond chance"),
        (beside((-0.04, -0.08), 0.02), False, "not better than version 3 beyond chance"),
        (beside((0.04, 0.01), 0.0), False, "better than version 3, but not than zero"),
        (beside((0.04, 0.01), -0.02), False, "better than version 3, but not than zero"),
        (beside((None, None), 0.02), False, "not better than version 3 beyond chance"),
        (
            beside((0.04, None), 0.02, 99),
            False,
            "too few rows to compare with version 3: 600 at 99",
        ),
        (Comparison(3, 0, 0, 100), False, "too few rows to compare with version 3: 0 at 0 times"),
    ],
)
def test_only_what_is_better_than_the_champion_and_than_zero_is_promoted(
    comparison: Comparison | None, promote: bool, said: str
) -> None:
    found = decide(walk(0.01, 0.01, 0.01), comparison, "better", None)
    assert found.promote is promote
    assert found.reason.startswith(said)
    never = decide(walk(0.01, 0.01, 0.01), comparison, "never", None)
    assert (never.promote, said in never.reason) == (False, True)
    forced = decide(walk(0.01, 0.01, 0.01), comparison, "better", "Ann says so")
    assert forced.promote
    assert forced.reason.startswith("forced: Ann says so; found: ")
    assert said in forced.reason


@pytest.mark.parametrize("lows", [(-0.01, 0.1, 0.1), (0.1, -0.01, 0.1), (0.1, 0.1, -0.01)])
def test_the_first_champion_must_be_above_every_baseline(lows: tuple[float, ...]) -> None:
    assert not decide(walk(*lows), None, "better", None).promote


# --- the whole


def test_a_signal_takes_the_place_of_noise_and_noise_takes_none(
    registry: Registry, tmp_path: Path
) -> None:
    first = run(registry, Given(NOISE))
    assert first.move is None
    assert first.decision.reason.startswith("no champion yet. No skill")
    assert registry.aliases("minutes") == {}
    registry.promote("minutes", "champion", 1, reason="to begin with", time=1)

    better = run(registry, Given(PLANTED), out=tmp_path / "out", by="Ann", challenger=True)
    assert better.move is not None
    assert (better.move.version, better.move.generation) == (2, 2)
    assert better.move.by == "Ann"
    assert better.move.reason == better.decision.reason
    assert better.move.reason.startswith("better than version 1: skill +")
    assert better.challenger is None
    figures = registry.manifest("minutes", 2).scores["against_champion"]
    assert figures["version"] == 1
    assert figures["skill_low"] > 0
    assert figures["skill"] == pytest.approx(1 - figures["mse"] / figures["champion_mse"])
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["retraining"]["promoted"] is True
    assert report["retraining"]["comparison"]["rows"] == figures["rows"]
    assert "minutes 2 promoted: better than version 1" in (
        (tmp_path / "out/report.html").read_text()
    )
    model = (tmp_path / "out/model.ubj").read_bytes()
    assert registry.load("minutes", 2).files == {"model.ubj": model}

    same = run(registry, Given(PLANTED), challenger=True)
    assert same.published.existed
    assert same.decision.reason == "the same model as version 2, the champion"
    assert (same.move, same.challenger) == (None, None)
    assert registry.versions("minutes") == (1, 2)

    noise = run(registry, Given(planted_bars(LATE + 600, 0.0, seed=4)), challenger=True)
    assert noise.move is None
    assert "better than version 2, but not than zero" in noise.decision.reason
    assert noise.challenger is not None
    assert (noise.challenger.alias, noise.challenger.version) == ("challenger", 3)
    assert registry.resolve("minutes", "champion") == 2


def promoted(registry: Registry) -> Retrained:
    return run(registry, Given(NOISE), force="to begin with")


def test_rows_that_the_champion_has_seen_do_not_count(registry: Registry) -> None:
    promoted(registry)
    found = run(registry, Given(planted_bars(EARLY + 20, 1.5, seed=2)))
    assert found.move is None
    assert found.decision.reason.startswith("too few rows to compare with version 1")
    assert found.comparison is not None
    assert 0 < found.comparison.times <= 20
    assert registry.versions("minutes") == (1, 2)


def test_a_move_that_another_makes_meanwhile_stands(registry: Registry) -> None:
    promoted(registry)
    registry.publish(described(name="minutes"), {"model.ubj": b"another's"})

    def another() -> None:
        registry.promote("minutes", "champion", 2, reason="by hand", time=5)

    found = run(registry, Given(PLANTED, another))
    assert found.move is None
    assert "at generation 2; expected generation 1" in found.decision.reason
    assert "better than version 1" in found.decision.reason
    assert registry.resolve("minutes", "champion") == 2
    assert found.published.version == 3


def test_never_promotes_nothing_and_names_a_challenger(registry: Registry) -> None:
    found = run(registry, Given(PLANTED), when="never", challenger=True)
    assert found.move is None
    assert registry.resolve("minutes", "challenger") == 1
    assert registry.current("minutes", "champion") is None


def _break_model(registry: Registry, folder: Path) -> None:
    (folder / "minutes/versions/000001/model.ubj").write_bytes(b"short")


def _other_calendar(registry: Registry, folder: Path) -> None:
    market = (TrainedMarket("XNYS", "ab" * 32, ("AAA", "BBB")),)
    manifest = registry.manifest("minutes", 1)
    changes = {"market": market, "symbols": manifest.symbols, "name": "minutes"}
    fitting = {
        "feature_set": manifest.feature_set,
        "feature_names": manifest.feature_names,
        "horizon": manifest.horizon,
        "calibration": Calibration((), 0.0),
    }
    registry.publish(described(**changes, **fitting), registry.load("minutes", 1).files)
    registry.promote("minutes", "champion", 2, reason="other", time=2)


@pytest.mark.parametrize(
    ("change", "options", "error", "said"),
    [
        (_break_model, {}, CorruptModelError, r"model\.ubj: 5 bytes; expected"),
        (_other_calendar, {}, MismatchedModelError, r"trained with the calendar XNYS"),
        (
            lambda registry, folder: None,
            {"task": task(horizon=2)},
            MismatchedModelError,
            "a horizon of 1 bars; expected 2 bars",
        ),
    ],
)
def test_a_champion_that_cannot_be_compared_is_named_and_replaced_only_by_force(
    registry: Registry,
    tmp_path: Path,
    change: Callable[[Registry, Path], None],
    options: dict[str, Any],
    error: type[Exception],
    said: str,
) -> None:
    promoted(registry)
    change(registry, tmp_path / "models")
    before = registry.versions("minutes")
    with pytest.raises(error, match=said):
        run(registry, Given(PLANTED), **options)
    assert registry.versions("minutes") == before
    forced = run(registry, Given(PLANTED), force="it is broken", **options)
    assert forced.move is not None
    assert forced.move.version == len(before) + 1
    assert forced.move.reason.startswith("forced: it is broken; not compared: ")


def test_a_champion_is_scored_on_the_rows_it_would_predict(registry: Registry) -> None:
    """A champion that is the new model itself has a skill of 0 against it, and no more."""
    trained = train_once(Given(PLANTED), task())
    published = run(registry, Given(PLANTED), force="x")
    version = registry.load("minutes", published.published.version)
    until = int(trained.rows.label_time[trained.model.fitted_rows])
    manifest = version.manifest
    early = replace(version, manifest=msgspec.structs.replace(manifest, data_to=until))
    found = compare(trained.rows, trained.model, early).skill("champion")
    assert found is not None
    assert (found.skill, found.low, found.high) == (0.0, 0.0, 0.0)
    assert not found.proven


def test_a_version_is_of_the_time_at_which_its_training_began(
    registry: Registry, tmp_path: Path
) -> None:
    assert newest_created(registry, "minutes") is None
    promoted(registry)
    assert newest_created(registry, "minutes") == 1_000
    registry.publish(described(name="minutes", created=7), {"model.ubj": b"x"})
    assert newest_created(registry, "minutes") == 7
    (tmp_path / "models/minutes/versions/000002/manifest.json").write_bytes(b"{")
    assert newest_created(registry, "minutes") == 1_000
