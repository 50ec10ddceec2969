"""From settings to the plain values of the quality checks; what cannot be meant is named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agents.quality_settings import bounds_of, quality_configuration
from app.cli.profile import profile
from app.setting_groups import QualitySettings
from app.settings import Settings, SettingsError
from tables.quality import QualityConfiguration
from tables.quality.intake import Bounds
from tests.unit.quality_records import SECOND, at, walk
from tests.unit.test_profile import write_csv

OF_BARS = {"late_after", "clock_ahead"}


def test_the_settings_are_the_thresholds_with_the_same_defaults() -> None:
    names = {field.name for field in dataclasses.fields(QualityConfiguration)}
    assert names == set(QualitySettings.model_fields) | OF_BARS
    assert quality_configuration(Settings()) == QualityConfiguration()


def test_late_and_bounds_are_as_for_bars() -> None:
    settings = Settings(
        bars={"grace": "2s", "correction_horizon": "1m", "max_ahead": "3s", "max_symbols": 7},
        quality={"gaps": "1s,2s", "consecutive": "a,b", "outlier_run": 3},
    )
    found = quality_configuration(settings)
    assert (found.late_after, found.gaps) == (62 * SECOND, (SECOND, 2 * SECOND))
    assert (found.consecutive, found.outlier_run) == (("a", "b"), 3)
    assert bounds_of(settings) == Bounds(631_152_000 * SECOND, 3 * SECOND, 7)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"gaps": "5s,1s"}, r"CANDLEWICK_QUALITY__GAPS=\(5000000000, 1000000000\): .*shortest"),
        ({"gap_event": "1ms"}, r"CANDLEWICK_QUALITY__GAP_EVENT=1000000: .*500ms"),
        ({"stale_after": "0s"}, r"CANDLEWICK_QUALITY__STALE_AFTER=0: .*above 0"),
        ({"outlier_window": 9}, r"CANDLEWICK_QUALITY__OUTLIER_WARM_UP=31: .*<= outlier_window"),
    ],
)
def test_a_threshold_that_cannot_be_meant_is_named(chosen: dict[str, Any], message: str) -> None:
    settings = Settings(quality=chosen)
    with pytest.raises(SettingsError, match=message):
        quality_configuration(settings)


def test_the_profile_uses_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trades = walk(300, at("2026-11-20T12:00"))
    data = write_csv(tmp_path / "trades.csv", [*trades[:100], *trades[150:]])
    found = []
    for event in ("5s", "500ms"):
        monkeypatch.setenv("CANDLEWICK_QUALITY__GAP_EVENT", event)
        monkeypatch.setenv("CANDLEWICK_QUALITY__GAP_FACTOR", "5")
        out = tmp_path / event
        chosen = ["--ticks", str(data), "--out", str(out), "--json"]
        result = CliRunner().invoke(profile, chosen, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        (day,) = json.loads(result.stdout)["days"]
        found.append(day["events"].get("gap", 0))
    # 50 trades are missing: some 5 s, whose end and begin are given by the seed.
    length = trades[150].event_time - trades[99].event_time
    assert SECOND < length < 5 * SECOND
    assert found == [0, 1]
