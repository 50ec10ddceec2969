"""A deployment is removed whole: also what its settings had switched on once, and do not now."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.settings import Settings
from app.stages import with_all_agents
from app.topics import INPUTS, RAISING, input_topic, own_topics, removable_topics

#: Settings that ask for topics which there are not without them.
ASKED: dict[str, Any] = {
    "bars": {"activity": "tick:1000"},
    "pairs": {"pairs": "SPY/IBM@1m"},
    "portfolio": {"enabled": True},
    "raising": {"agents": RAISING},
    "sinks": {"drivers": ("archive",)},
}
NOW = removable_topics(with_all_agents(Settings()))


@given(st.sets(st.sampled_from(sorted(ASKED))))
def test_whatever_was_switched_on_once_goes(names: set[str]) -> None:
    once = with_all_agents(Settings(**{name: ASKED[name] for name in names}))
    assert set(own_topics(once)) <= set(NOW)


@pytest.mark.parametrize(
    ("name", "topic"), [("bars", "default.activity"), ("sinks", "default.sinks.dead")]
)
def test_it_is_no_topic_of_the_settings_now(name: str, topic: str) -> None:
    assert topic in own_topics(with_all_agents(Settings(**{name: ASKED[name]})))
    assert topic not in own_topics(with_all_agents(Settings()))
    assert topic in NOW


def test_inputs_stay() -> None:
    assert not {input_topic(Settings(), name) for name in INPUTS} & set(NOW)
    assert len(NOW) == len(set(NOW))
