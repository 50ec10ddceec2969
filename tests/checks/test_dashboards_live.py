"""Every panel of every dashboard returns data from a real Prometheus and a real InfluxDB."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.broker import EmbeddedBroker
from tests.checks.dashboards_live import Asked, check, faults, missing, report


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.skipif(missing() is not None, reason=str(missing()))
async def test_every_panel_returns_data(kafka: EmbeddedBroker, tmp_path: Path) -> None:
    asked = await check(tmp_path, kafka)
    assert faults(asked) == [], report(asked)


def test_a_panel_without_data_and_a_query_that_fails_are_told() -> None:
    asked = [
        Asked("market", "A", "A", "influxdb", 0),
        Asked("market", "A", "B", "influxdb", 3),
        Asked("market", "B", "A", "influxdb", 0),
        Asked("market", "C", "A", "prometheus", 0, "parse error"),
        Asked("sinks", "Notifications", "A", "prometheus", 2),
    ]
    found = faults(asked)
    assert "market: B: no data" in found
    assert "market: C A: parse error" in found
    assert any(each.startswith("sinks: Notifications: has data, though") for each in found)
    assert not any(each.startswith("market: A:") for each in found)
    assert "5 queries of 4 panels: 2 queries and 2 panels have data" in report(asked)
