"""What is measured beside ours makes the bars of the trades; those that are not installed skip."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.broker import EmbeddedBroker
from tests.bench.inputs import Input, Plan
from tests.bench.peers import place
from tests.bench.peers.rounds import STARTS
from tests.bench.ticks import FULL

pytestmark = [pytest.mark.broker, pytest.mark.slow]

#: A second of event time and a quarter, so that each symbol closes a bar.
TRADES = 25_000


@pytest.mark.parametrize("way", STARTS)
def test_another_makes_the_bars_of_the_trades(
    kafka: EmbeddedBroker, tmp_path: Path, way: str
) -> None:
    missing = place.missing()
    if way in missing:
        pytest.skip(missing[way])
    plan = Plan(kafka.url, tmp_path, 1_000, FULL, 4, 0, 1024 * 1024, {way: TRADES})
    trades = Input(plan, 20, [way])
    trades.prepare()
    measured = trades.measure(way, 1)
    assert 0 < measured.records < TRADES
    assert measured.rate > 0
    assert measured.cpu > 0
