"""Seeded faults in real ticks: what must be found, and how seldom else there is an alarm."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.anomalies.faults import read_day
from tests.anomalies.ticks import evaluate

pytestmark = [pytest.mark.realdata, pytest.mark.slow]


def test_wrong_prices_and_silences_are_found_at_one_false_alarm_a_day(realdata: Path) -> None:
    folder = realdata / "equity/tick/spy"
    days = [read_day(folder / f"2013100{day}_trade.zip") for day in (7, 8)]
    clean, faulty = evaluate(days, range(4))
    assert clean.false_alarms <= 2
    assert faulty.false_alarms <= 2 * faulty.days
    for kind in ("fat finger", "spike", "silence"):
        assert faulty.by_threshold[kind] >= 3, kind
    assert faulty.recall() >= 0.5
