"""Settings of the features agents and of the markets: what they give, and what stops the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents import features, quote_features
from agents.featuring import features_configuration
from agents.markets import market_context
from app.settings import Settings, SettingsError
from models.features import FeaturesConfiguration
from models.features.partition import LOADED_PREFIXES

SECOND = 1_000_000_000


def settings_of(**groups: Any) -> Settings:
    return Settings(deployment="d", agents=("features", "quote_features"), **groups)


def test_features_are_made_as_they_are_set() -> None:
    chosen = {"window": "10m", "slide": "2m", "recent": "4m", "gap": "30s", "max_pending": 5}
    made = features_configuration(settings_of(features=chosen, bars={"grace": "3s"}))
    assert (made.window, made.slide, made.recent) == (600 * SECOND, 120 * SECOND, 240 * SECOND)
    assert (made.gap, made.max_pending, made.intake.grace) == (30 * SECOND, 5, 3 * SECOND)
    # What is not set is what the pure part has.
    plain = features_configuration(settings_of())
    assert plain == FeaturesConfiguration(plain.intake)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"window": "100s"}, "WINDOW='100s', .*: window 100s, slide 1m: expected a whole number"),
        ({"slide": "0s"}, "SLIDE='0ns', .*: expected a whole number of slides, up to 600"),
        ({"recent": "6m"}, "RECENT='6m', .*: expected a whole number of slides within the window"),
        ({"gap": "0s"}, "GAP='0ns': gap 0, .*: expected above 0"),
    ],
)
def test_durations_that_do_not_fit_stop_the_start_by_name(
    chosen: dict[str, str], message: str
) -> None:
    for agent in (features, quote_features):
        with pytest.raises(SettingsError, match=f"CANDLEWICK_FEATURES__{message}"):
            agent.make_stage(settings_of(features=chosen))


def test_a_bar_by_activity_that_there_is_not_is_named_as_such() -> None:
    with pytest.raises(SettingsError, match=r"^CANDLEWICK_BARS__ACTIVITY='tack:1'"):
        features_configuration(settings_of(bars={"activity": "tack:1"}))


def test_each_agent_has_its_topics_and_its_state() -> None:
    settings = settings_of()
    trades, quotes = features.make_stage(settings), quote_features.make_stage(settings)
    assert (trades.source, quotes.source) == ("ticks", "quotes")
    assert trades.outputs["features"] == quotes.outputs["features"] == "d.features"
    for stage in (trades, quotes):
        assert stage.outputs["late"] == f"d.{stage.agent}.late"
        assert stage.outputs["dead"] == f"d.{stage.agent}.dead"
        assert stage.loaded_prefixes == LOADED_PREFIXES
        assert stage.load(0, "topic", lambda key: None, ()).next is None


def test_days_are_utc_dates_without_a_calendar() -> None:
    market = market_context(settings_of()).market("SPY")
    assert (market.name, market.session_of(0)) == ("24/7", 19700101)


def test_a_symbol_has_the_calendar_of_its_instrument_or_else_the_one_that_is_set(
    tmp_path: Path,
) -> None:
    file = tmp_path / "instruments.toml"
    file.write_text('[[instrument]]\nsymbol = "BTC*"\ntick_size = 0.5\ncalendar = "24/7"\n')
    found = market_context(settings_of(markets={"calendar": "XNYS", "instruments": file}))
    assert found.market("BTCUSDT").name == "24/7"
    assert found.of("BTCUSDT").tick_size == 0.5
    assert found.market("SPY").name == found.market("").name == "XNYS"


def test_a_calendar_that_there_is_not_stops_the_start_by_name() -> None:
    for agent in (features, quote_features):
        with pytest.raises(SettingsError, match=r"^CANDLEWICK_MARKETS__CALENDAR='XNY': .* one of"):
            agent.make_stage(settings_of(markets={"calendar": "XNY"}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[instrument]]\nsymbol = "A"\ncolour = 1\n', r"toml:1: colour = 1: "),
        ("[[", "not TOML"),
        (None, "No such file"),
    ],
)
def test_a_file_of_instruments_that_cannot_be_used_stops_the_start_by_name(
    tmp_path: Path, text: str | None, message: str
) -> None:
    file = tmp_path / "instruments.toml"
    if text is not None:
        file.write_text(text)
    expected = f"^CANDLEWICK_MARKETS__INSTRUMENTS='{file}': .*{message}"
    with pytest.raises(SettingsError, match=expected):
        market_context(settings_of(markets={"instruments": file}))
