"""Settings: where they come from, what is refused, and that they survive the way as text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from app.identity import deployment_folder, group_id, transactional_id, worker_folder
from app.run.environment import (
    environment_name,
    setting_text,
    settings_environment,
    walk_settings,
)
from app.settings import Settings, SettingsError, load_settings
from app.web.bind import require_loopback

SECOND = 1_000_000_000


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither this machine's environment nor a file beside the checkout has a say."""
    for name in list(os.environ):
        if name.upper().startswith("CANDLEWICK_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_options_win_over_environment_over_file_over_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(
        tmp_path / "candlewick.toml",
        'deployment = "from-file"\n[bars]\npolicy = "sip"\ngrace = "2s"\nintervals = "1s,1m"\n',
    )
    monkeypatch.setenv("CANDLEWICK_BARS__GRACE", "3s")
    monkeypatch.setenv("CANDLEWICK_BARS__POLICY", "algoseek")
    settings = load_settings(bars={"policy": "all"})
    assert settings.bars.policy == "all"
    assert settings.bars.grace == 3 * SECOND
    assert settings.bars.intervals == (SECOND, 60 * SECOND)
    assert settings.deployment == "from-file"
    assert settings.bars.correction_horizon == 900 * SECOND


def test_an_unknown_name_in_the_environment_is_refused_with_name_and_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CANDLEWICK_BARS__GRACES", "3s")
    with pytest.raises(SettingsError, match=r"CANDLEWICK_BARS__GRACES='3s': unknown"):
        load_settings()


def test_an_unknown_name_in_the_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "candlewick.toml", "[bars]\ngraces = 1\n")
    with pytest.raises(SettingsError, match=r"BARS__GRACES"):
        load_settings()


def test_a_file_that_is_named_and_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDLEWICK_CONFIG", "nowhere.toml")
    with pytest.raises(SettingsError, match=r"nowhere\.toml.*no such file"):
        load_settings()


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "candlewick.toml", "this is not TOML")
    with pytest.raises(SettingsError, match="expected TOML"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CANDLEWICK_BARS__GRACE", "soon"),
        ("CANDLEWICK_BARS__GRACE", "1h"),
        ("CANDLEWICK_BARS__INTERVALS", "7s"),
        ("CANDLEWICK_BARS__INTERVALS", "1s,1s"),
        ("CANDLEWICK_BARS__INTERVALS", ""),
        ("CANDLEWICK_BARS__POLICY", "mine"),
        ("CANDLEWICK_DEPLOYMENT", "a.b"),
        ("CANDLEWICK_TOPIC_PREFIX", "no-dot"),
        ("CANDLEWICK_TOPICS__PARTITIONS", "0"),
        ("CANDLEWICK_TOPICS__MIN_INSYNC_REPLICAS", "2"),
        ("CANDLEWICK_BROKER__URL", "http://localhost"),
        ("CANDLEWICK_WEB__PORT", "70000"),
    ],
)
def test_a_value_out_of_bounds_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError):
        load_settings()


def test_every_setting_survives_the_way_through_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = load_settings(
        deployment="d-1",
        topic_prefix="p.",
        data_dir=tmp_path / "data",
        broker={"url": "kafka://user:word@127.0.0.1:9092", "fetch_max_bytes": 1024},
        bars={"intervals": "100ms,1s,12h", "grace": "1500us", "fill_forward": True},
        web={"port": 0},
    )
    for name, value in settings_environment(settings).items():
        if name.startswith("CANDLEWICK_"):
            monkeypatch.setenv(name, value)
    assert load_settings() == settings
    assert load_settings().results_hash == settings.results_hash


def test_a_workers_environment_holds_nothing_of_the_old_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CANDLEWICK_DEPLOYMENT", "old")
    settings = load_settings(deployment="new")
    found = settings_environment(settings)
    assert found["CANDLEWICK_DEPLOYMENT"] == "new"
    assert "CANDLEWICK_BROKER__URL" not in found


def test_every_setting_has_one_name_and_a_default() -> None:
    names = [environment_name(path) for path, _, _ in walk_settings(Settings())]
    assert len(names) == len(set(names))
    assert "CANDLEWICK_BROKER__SESSION_TIMEOUT" in names


def test_a_secret_is_text_for_a_worker_only() -> None:
    assert setting_text(FieldInfo(), SecretStr("word")) == "word"


def test_names_of_a_deployment_never_meet_those_of_another() -> None:
    one = load_settings(deployment="a", topic_prefix="p.")
    other = load_settings(deployment="a-bars", topic_prefix="p.")
    assert group_id(one) == "p.a.bars-quotes"
    assert group_id(one) != group_id(other)
    assert transactional_id(one, "bars", 3) == "p.a.bars.3"
    assert deployment_folder(one) != deployment_folder(other)
    assert worker_folder(one).parent == deployment_folder(one)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_addresses_are_served(host: str) -> None:
    assert require_loopback(host) == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_other_addresses_are_refused(host: str) -> None:
    with pytest.raises(SettingsError, match="expected a loopback address"):
        require_loopback(host)
