"""Faults in the settings of pairs stop the start, each with name, value and expectation."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from agents import pairs, routing
from app.settings import SettingsError, load_settings
from app.topics import topic_table

AGENTS = [pytest.param(each, id=each.AGENT) for each in (pairs, routing)]
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "none": (
        {"pairs": ()},
        r"CANDLEWICK_PAIRS__PAIRS='': .* nothing to do; expected pairs such as SPY/IBM@1m, or "
        r"CANDLEWICK_AGENTS without",
    ),
    "no pair": (
        {"pairs": "SPY/IBM@1m,SPY"},
        r"CANDLEWICK_PAIRS__PAIRS='SPY/IBM@1m,SPY': 'SPY' is no pair: expected two symbols",
    ),
    "no duration": (
        {"pairs": "SPY/IBM@soon"},
        r"CANDLEWICK_PAIRS__PAIRS='SPY/IBM@soon': 'soon' is",
    ),
    "the same": ({"pairs": "SPY/SPY@1m"}, r"CANDLEWICK_PAIRS__PAIRS=.*expected two different"),
    "twice": (
        {"pairs": "SPY/IBM@1m,SPY/IBM@1m"},
        r"CANDLEWICK_PAIRS__PAIRS='SPY/IBM@1m,SPY/IBM@1m': a pair is named twice",
    ),
    "no such bars": (
        {"pairs": "SPY/IBM@1m,SPY/IBM@7m"},
        r"CANDLEWICK_PAIRS__PAIRS='SPY/IBM@1m,SPY/IBM@7m': there are no bars of '7m' for "
        r"SPY/IBM@7m; expected 1s, 10s, 1m, 5m, 15m \(bars.intervals\)",
    ),
    "too large": (
        {"pairs": "SPY/IBM@1m", "max_waiting": 100_000},
        r"CANDLEWICK_PAIRS__MAX_WAITING=100000 with CANDLEWICK_PAIRS__WINDOW=60: .* may take "
        r"\d+ bytes; expected at most 1047552 \(topics.max_message_bytes is 1048576\)",
    ),
}


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_stops_both_agents_and_is_named(agent: ModuleType, fault: str) -> None:
    chosen, message = FAULTS[fault]
    settings = load_settings(agents=("bars", "routing", "pairs"), pairs=chosen)
    with pytest.raises(SettingsError, match=message):
        agent.make_stage(settings)


@pytest.mark.parametrize(
    "chosen",
    [
        {"pairs": "SPY/IBM@1m"},
        {"pairs": "BTC/USD//ETH/USD@60s,SPY/IBM@1s", "window": 10_000},
        {"pairs": "SPY/IBM@1m", "max_waiting": 1, "window": 2},
    ],
)
def test_what_is_right_makes_both_stages(chosen: dict[str, Any]) -> None:
    settings = load_settings(agents=("bars", "routing", "pairs"), pairs=chosen)
    before, behind = routing.make_stage(settings), pairs.make_stage(settings)
    assert before.outputs["legs"] == behind.source
    assert set(behind.outputs) == {"pairs", "dead"}
    names = {spec.name for spec in topic_table(settings)}
    for stage in (before, behind):
        assert {stage.source, stage.changelog, *stage.outputs.values()} <= names


def test_pairs_are_part_of_the_hash_of_both_agents_and_of_no_other() -> None:
    one = load_settings(pairs={"pairs": "SPY/IBM@1m"})
    two = load_settings(pairs={"pairs": "SPY/IBM@1m", "window": 61})
    for agent in ("routing", "pairs"):
        assert one.hash_of(agent) != two.hash_of(agent)
    assert one.hash_of("bars") == two.hash_of("bars")
    assert one.hash_of("indicators") == two.hash_of("indicators")
