"""Faults in the settings of the portfolio stop the start, each with name, value, expectation."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from agents import portfolio, routing, transactions
from app.dead.letters import DeadLetter
from app.dead.resend import target_of
from app.durations import NANOSECONDS
from app.feeds.partitioning import partition_of
from app.settings import SettingsError, load_settings
from app.topics import output_topics, topic_table

AGENTS = [pytest.param(each, id=each.AGENT) for each in (portfolio, transactions, routing)]
ALL = ("bars", "routing", "transactions", "portfolio")
ON: dict[str, Any] = {"enabled": True}
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no such bars": (
        {"pricing_interval": "7m"},
        r"CANDLEWICK_PORTFOLIO__PRICING_INTERVAL='7m': there are no bars of it; expected one of "
        r"1s, 10s, 1m, 5m, 15m \(bars.intervals\)",
    ),
    "no such limit": (
        {"limits": '{"max_fun": 1}'},
        r"CANDLEWICK_PORTFOLIO__LIMITS=.*max_fun.*expected values of 0 to 1e14 for some of "
        r"max_position, max_short",
    ),
    "a limit below 0": ({"limits": {"max_short": -1}}, r"LIMITS=.*expected values of 0 to 1e14"),
    "no such zone": (
        {"session_timezone": "New York"},
        r"CANDLEWICK_PORTFOLIO__SESSION_TIMEZONE='New York': no such time zone; expected a name",
    ),
    "horizons": (
        {"late_horizon": "2d", "identifier_horizon": "1d"},
        r"CANDLEWICK_PORTFOLIO__IDENTIFIER_HORIZON='1d': .* expected at least portfolio.late_hor",
    ),
    "no part": (
        {"mark_interval": "7s"},
        r"CANDLEWICK_PORTFOLIO__MARK_INTERVAL='7s': expected a whole part of portfolio.pricing_int",
    ),
    "no marks": ({"mark_interval": "0s"}, r"CANDLEWICK_PORTFOLIO__MARK_INTERVAL=.*whole part"),
    "no patience": (
        {"patience": "1m"},
        r"CANDLEWICK_PORTFOLIO__PATIENCE='1m': .* expected at least 62s, which is portfolio.pric",
    ),
    "too large": (
        {"max_lots": 20_000},
        r"CANDLEWICK_PORTFOLIO__MAX_LOTS=20000 with CANDLEWICK_PORTFOLIO__MAX_POSITIONS=1000: .* "
        r"\d+ bytes; expected at most 1047552 \(topics.max_message_bytes is 1048576\)",
    ),
}


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_stops_all_three_agents_and_is_named(agent: ModuleType, fault: str) -> None:
    chosen, message = FAULTS[fault]
    settings = load_settings(agents=ALL, portfolio=ON | chosen)
    with pytest.raises(SettingsError, match=message):
        agent.make_stage(settings)


@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        ({"limits": "{"}, "LIMITS"),
        ({"limits": {"max_short": "none"}}, "LIMITS__MAX_SHORT"),
        ({"cost_basis": "lifo"}, "COST_BASIS"),
        ({"currency": ""}, "CURRENCY"),
        ({"session_end": "24:00"}, "SESSION_END"),
        ({"max_held": 0}, "MAX_HELD"),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(chosen: dict[str, Any], name: str) -> None:
    with pytest.raises(SettingsError, match=f"CANDLEWICK_PORTFOLIO__{name}="):
        load_settings(portfolio=chosen)


@pytest.mark.parametrize("agent", AGENTS[:2])
def test_without_prices_the_agents_have_nothing_to_do(agent: ModuleType) -> None:
    settings = load_settings(agents=ALL, pairs={"pairs": "SPY/IBM@1m"})
    with pytest.raises(
        SettingsError,
        match=r"CANDLEWICK_PORTFOLIO__ENABLED=False: .*transactions and portfolio.*expected True",
    ):
        agent.make_stage(settings)


def test_what_is_right_makes_all_stages_one_behind_the_other() -> None:
    limits = {"max_leverage": 2, "max_session_loss": 5_000.0}
    more = {"limits": limits, "session_end": "16:00", "session_timezone": "America/New_York"}
    settings = load_settings(agents=ALL, portfolio=ON | more)
    behind = portfolio.make_stage(settings)
    stages = (routing.make_stage(settings), transactions.make_stage(settings), behind)
    for stage in stages[:2]:
        assert stage.outputs["portfolio"] == behind.source
    assert stages[1].source == "transactions"
    assert set(behind.outputs) == {"positions", "values", "limits", "alerts", "late", "dead"}
    names = {spec.name for spec in topic_table(settings)}
    for stage in stages:
        assert {stage.source, stage.changelog, *stage.outputs.values()} <= names
    configuration = portfolio.portfolio_configuration(settings)
    assert configuration.session_end == 16 * NANOSECONDS["h"]
    assert configuration.limits == limits
    assert configuration.pricing_label == "1m"
    assert configuration.inputs == {"bars": 4, "transactions": 4}


def test_routing_writes_for_those_alone_that_are_asked_for() -> None:
    pairs = {"pairs": "SPY/IBM@1m"}
    alone = load_settings(agents=("bars", "routing"), portfolio=ON)
    assert set(output_topics(alone, "routing")) == {"portfolio", "dead"}
    assert set(routing.routers_of(alone)) == {"portfolio"}
    both = load_settings(agents=("bars", "routing"), portfolio=ON, pairs=pairs)
    assert set(output_topics(both, "routing")) == {"legs", "portfolio", "dead"}
    assert set(routing.routers_of(both)) == {"legs", "portfolio"}
    neither = load_settings(agents=("bars", "routing"), pairs=pairs)
    assert set(output_topics(neither, "routing")) == {"legs", "dead"}
    assert set(routing.routers_of(neither)) == {"legs"}
    assert "default.portfolio.input" not in {spec.name for spec in topic_table(neither)}


def test_settings_of_the_portfolio_are_part_of_its_agents_hashes_where_it_is_enabled() -> None:
    off, changed = load_settings(), load_settings(portfolio={"currency": "EUR"})
    one, two = load_settings(portfolio=ON), load_settings(portfolio=ON | {"currency": "EUR"})
    for agent in ("routing", "transactions", "portfolio"):
        assert len({settings.hash_of(agent) for settings in (off, changed)}) == 1
        assert len({settings.hash_of(agent) for settings in (off, one, two)}) == 3
    for agent in ("bars", "pairs", "indicators"):
        assert off.hash_of(agent) == one.hash_of(agent)


def test_a_dead_transaction_is_sent_again_to_the_partition_of_its_account() -> None:
    value = b'{"type":"transaction","account":"ACC-7","symbol":"SPY"}'
    letter = DeadLetter("d", 0, 0, "wrong_partition", "transactions", 0, 0, 0, value)
    partitions = 64
    expected = partition_of("ACC-7", partitions)
    assert expected != partition_of("SPY", partitions)
    assert target_of(letter, value, partitions) == (expected, b"ACC-7")
