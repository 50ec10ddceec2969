"""Every derived agent's partition: neither fetches nor restarts change what comes of its log."""

from __future__ import annotations

import random

import pytest

from app.topics import AGENT_TOPICS
from tests.unit.derived_feeding import Fed, restored, settings_of
from tests.unit.good_records import DERIVED, GOOD, PARTITIONS, SECOND

#: Long after all of it, in ns.
APPENDED = 1_800_000_000 * SECOND
#: So that restarts lie within journals and behind them (`tables/journaled.py`).
LONGEST = 24


@pytest.mark.parametrize("partition", range(PARTITIONS))
@pytest.mark.parametrize("agent", DERIVED)
def test_fetches_and_restarts_change_no_byte(agent: str, partition: int) -> None:
    values = GOOD[AGENT_TOPICS[agent].source](partition)
    records = [(offset, APPENDED, value) for offset, value in enumerate(values)]
    whole = Fed(agent, partition)
    whole.take(records)
    whole.checkpoint()
    assert any(whole.published.values())
    parts = Fed(agent, partition)
    dice = random.Random(f"{agent} {partition}")
    while records:
        count = dice.randrange(1, LONGEST)
        parts.take(records[:count])
        del records[:count]
        if dice.random() < 0.5:
            parts.restart()
    parts.checkpoint()
    assert parts.published == whole.published
    assert parts.counts == whole.counts
    held = [restored(agent, partition, each.rows, settings_of(agent)) for each in (parts, whole)]
    assert held[0] == held[1] != {}
