"""Settings of predictions: what is refused, and what changes results."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from agents.derived import derived_configuration
from app.settings import Settings
from models.predicting.features_returns import Returns


def settings_of(**predictions: Any) -> Settings:
    chosen: Any = {"models": "returns@1m", **predictions}
    return Settings(predictions=chosen)


@pytest.mark.parametrize(
    "changes",
    [
        {"models": "other@1m"},
        {"challengers": ("river",)},
        {"shares": {"champion": 1}},
        {"experiment": "second"},
        {"alpha": 0.2},
        {"rate": 0.01},
        {"max_horizon": 10},
    ],
)
def test_what_changes_results_changes_the_hash(changes: dict[str, Any]) -> None:
    assert settings_of(**changes).hash_of("predictions") != settings_of().hash_of("predictions")


def test_the_code_of_the_features_is_in_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings_of().hash_of("predictions")
    plan = Returns.plan()

    class Changed:
        label = plan.label[:-1] + ("0" if plan.label[-1] != "0" else "1")

    monkeypatch.setattr(Returns, "plan", classmethod(lambda cls: Changed))
    assert settings_of().hash_of("predictions") != before


def test_the_marker_has_the_hash_that_commands_compare_with() -> None:
    settings = settings_of()
    configuration = derived_configuration(settings, "predictions")
    assert configuration.results_hash == settings.hash_of("predictions")


def test_how_versions_are_held_changes_no_result() -> None:
    held: Any = {"poll": "1s", "max_loaded": 1, "registry": "elsewhere"}
    other = settings_of().model_copy(update={"models": Settings(models=held).models})
    assert other.hash_of("predictions") == settings_of().hash_of("predictions")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": "returns"}, "expected MODEL@INTERVAL"),
        ({"models": "a@1m,a@5m"}, "a model is named twice"),
        ({"challengers": ("champion",)}, "beside the champion"),
        ({"challengers": ("No!",)}, "expected the name of an alias"),
        ({"shares": {"nobody": 1}}, "shares of nobody"),
        ({"shares": {"champion": 0}}, "expected none below 0, and one above"),
        ({"shares": "{"}, "expected JSON"),
        ({"alpha": 1.0}, "less than 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        settings_of(**changes)


def test_a_poll_without_a_pause_is_refused() -> None:
    held: Any = {"poll": "10ms"}
    with pytest.raises(ValidationError, match="expected 100ms or more"):
        Settings(models=held)
