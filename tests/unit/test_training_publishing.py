"""A trained model becomes a version: what is said of it, and that it is not published twice."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from app import __version__
from app.training.publishing import (
    Published,
    commit_of,
    describe,
    find_same,
    markets_of,
    publish_model,
)
from models.predicting.conformal import Calibration
from models.predicting.manifest import (
    FILL_FORWARD,
    Description,
    Manifest,
    TrainedMarket,
    draft_manifest,
    seal,
    unseal,
)
from models.predicting.planted import planted_rows
from models.predicting.registry import Registry
from models.predicting.registry_errors import CorruptModelError, MismatchedModelError
from models.predicting.training import TrainedModel, TrainingSettings, train
from tables.markets import Instrument, Instruments, load_market
from tests.unit.model_records import FILES, described

pytest.importorskip("xgboost")
AROUND_THE_CLOCK = Instruments()


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return train(planted_rows(1_000, 0.3), TrainingSettings(folds=2, rounds=15))


def description(model: TrainedModel, **changes: str) -> Description:
    found = describe(model, "planted", AROUND_THE_CLOCK, created=5, commit="abc")
    return msgspec.structs.replace(found, **changes)


def test_a_version_says_all_that_is_known_of_its_model(model: TrainedModel, tmp_path: Path) -> None:
    registry = Registry.at(tmp_path)
    published = publish_model(registry, description(model), model.model)
    assert published == Published("planted", 1, existed=False)
    version = registry.load("planted", 1)
    manifest = version.manifest
    assert version.files == {"model.ubj": model.model}
    assert (manifest.created, manifest.commit, manifest.kind) == (5, "abc", "xgboost")
    assert (manifest.feature_set, manifest.feature_names) == (
        model.feature_set,
        model.feature_names,
    )
    assert (manifest.interval, manifest.horizon, manifest.symbols) == ("1m", 1, ("S0", "S1"))
    assert (manifest.data_from, manifest.data_to) == (model.data_from, model.data_to)
    assert (manifest.rows, manifest.fitted_rows, manifest.calibration_rows) == (
        (model.rows, model.fitted_rows, model.calibration_rows)
    )
    assert isinstance(manifest.calibration, Calibration)
    assert manifest.calibration == model.calibration
    assert manifest.importance == model.importance
    assert manifest.drift == model.drift
    assert manifest.scores == model.manifest_scores()
    assert manifest.libraries == model.libraries | {"candlewick": __version__}
    assert manifest.parameters == model.parameters | {
        "across_sessions": False,
        "fill_forward": False,
        "trees": model.rounds,
    }
    assert manifest.market == (TrainedMarket("24/7", "24/7", ("S0", "S1")),)


def test_the_same_model_is_not_published_twice(model: TrainedModel, tmp_path: Path) -> None:
    registry = Registry.at(tmp_path)
    publish_model(registry, description(model), model.model)
    later = msgspec.structs.replace(description(model, commit="other"), created=6)
    again = publish_model(registry, later, model.model)
    assert again.existed
    assert again.text == "the same model as planted 1: nothing is published"
    assert registry.versions("planted") == (1,)
    widths = Calibration(model.calibration.scores, model.calibration.scale * 2)
    for other in (
        msgspec.structs.replace(later, calibration=widths),
        msgspec.structs.replace(later, market=None),
        msgspec.structs.replace(later, horizon=2),
        msgspec.structs.replace(later, name="elsewhere"),
    ):
        assert find_same(registry, other, model.model) is None


def test_a_broken_version_is_no_reason_not_to_publish(model: TrainedModel, tmp_path: Path) -> None:
    registry = Registry.at(tmp_path)
    publish_model(registry, description(model), model.model)
    (tmp_path / "planted/versions/000001/manifest.json").write_bytes(b"{")
    assert publish_model(registry, description(model), model.model).version == 2


def test_a_model_that_cannot_predict_is_refused_before_it_has_a_number(
    model: TrainedModel, tmp_path: Path
) -> None:
    registry = Registry.at(tmp_path)
    with pytest.raises((CorruptModelError, MismatchedModelError), match=r"model\.ubj"):
        publish_model(registry, description(model), model.model[: len(model.model) // 2])
    assert registry.versions("planted") == registry.unfinished("planted") == ()


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-C", str(folder)]
    ended = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
    return ended.stdout.strip()


def test_the_commit_is_that_of_the_checkout_and_says_if_files_differ(tmp_path: Path) -> None:
    assert commit_of(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert commit_of(tmp_path) is None
    (tmp_path / "code.py").write_text("1\n")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-q", "-m", "One")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert commit_of(tmp_path) == head
    (tmp_path / "package").mkdir()
    assert commit_of(tmp_path / "package") is None
    (tmp_path / "code.py").write_text("2\n")
    assert commit_of(tmp_path) == f"{head}-dirty"


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(tmp_path) is None


def test_symbols_are_told_by_calendar() -> None:
    pytest.importorskip("exchange_calendars")
    instruments = Instruments([Instrument(symbol="SPY", calendar="XNYS")])
    found = markets_of(instruments, ("SPY", "BTC", "ETH"))
    fingerprint = load_market("XNYS").fingerprint
    assert set(found) == {
        TrainedMarket("24/7", "24/7", ("BTC", "ETH")),
        TrainedMarket("XNYS", fingerprint, ("SPY",)),
    }


MARKETS = (TrainedMarket("24/7", "24/7", ("BTC",)), TrainedMarket("XNYS", "ab" * 32, ("SPY",)))


@pytest.mark.parametrize(
    ("symbol", "fingerprint", "fits"),
    [
        ("SPY", "ab" * 32, True),
        ("SPY", "24/7", False),
        ("BTC", "24/7", True),
        ("BTC", "ab" * 32, False),
        ("IBM", "ab" * 32, True),
        ("IBM", "24/7", True),
        ("IBM", "cd" * 32, False),
    ],
)
def test_a_symbol_needs_a_calendar_that_was_trained_on(
    symbol: str, fingerprint: str, fits: bool
) -> None:
    manifest = draft_manifest(described(market=MARKETS), FILES)
    if fits:
        manifest.require_market("here", symbol, fingerprint)
    else:
        with pytest.raises(MismatchedModelError, match=f"here: trained with .* {symbol} here"):
            manifest.require_market("here", symbol, fingerprint)


@pytest.mark.parametrize(
    ("trained", "here", "fault"),
    [
        (True, True, None),
        (False, False, None),
        (True, False, "trained with bars.fill_forward on; expected bars.fill_forward off"),
        (False, True, "trained with bars.fill_forward off; expected bars.fill_forward on"),
        # Of before it was told.
        (None, True, None),
    ],
)
def test_bars_without_trades_are_input_in_both_or_in_neither(
    trained: bool | None, here: bool, fault: str | None
) -> None:
    parameters = {} if trained is None else {FILL_FORWARD: trained}
    manifest = draft_manifest(described(parameters=parameters), FILES)
    if fault is None:
        manifest.require_filling("here", fill_forward=here)
        return
    with pytest.raises(MismatchedModelError) as refused:
        manifest.require_filling("here", fill_forward=here)
    assert str(refused.value) == f"here: {fault}"


def test_a_manifest_that_names_no_calendar_reads_and_fits() -> None:
    old = draft_manifest(described(), FILES)
    assert old.market is None
    old.require_market("here", "SPY", "anything")
    content = msgspec.json.decode(seal(old))
    del content["market"], content["checksum"]

    # Sealed as an older version would have: the field is not there, nor in the checksum.
    fields = msgspec.defstruct("Fields", [(name, object) for name in content])
    assert unseal(seal(fields(**content)), Manifest, "file") == old


@pytest.mark.parametrize("symbols", [(), ("B", "A"), ("A", "A")])
def test_a_calendar_of_no_symbols_or_of_a_disorder_is_refused(symbols: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"nothing|sorted"):
        TrainedMarket("24/7", "24/7", symbols)


def test_a_score_that_is_not_finite_is_refused(model: TrainedModel) -> None:
    wrong = replace(model, parameters=model.parameters | {"eta": float("nan")})
    with pytest.raises(ValueError, match="not finite"):
        describe(wrong, "planted", AROUND_THE_CLOCK, created=5)
