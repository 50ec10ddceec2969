"""What a worker has of the delivery besides its messages: figures, and that nothing ends it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from app.notify.consumer import Notifier
from app.notify.deliverer import Deliverer
from app.notify.gauges import DeliveryGauges
from app.notify.log import LogChannel
from app.notify.service import Delivery
from app.settings import Settings, SettingsError
from tests.metric_table import DOCUMENT
from tests.notify.notes import patience


async def never(letter: object) -> None:
    raise AssertionError(letter)


def notifier() -> Notifier:
    return Notifier(Settings(), Deliverer(LogChannel(), patience()), never, 10**18)


def test_the_figures_of_a_channel_are_those_of_the_documentation() -> None:
    one = notifier()
    one.status.delivered, one.status.attempts, one.status.failures = 3, 5, 2
    one.status.held = 7
    registry = CollectorRegistry()
    registry.register(DeliveryGauges(lambda: [one]))
    text = generate_latest(registry).decode()
    for line in (
        'candlewick_notifications_total{channel="log",result="delivered"} 3.0',
        'candlewick_delivery_attempts_total{channel="log",result="taken"} 3.0',
        'candlewick_delivery_attempts_total{channel="log",result="failed"} 2.0',
        'candlewick_notifications_held{channel="log"} 7.0',
        'candlewick_channel_rest_seconds{channel="log"} 0.0',
    ):
        assert line in text
    names = set(re.findall(r"^(candlewick_\w+)\{", text, re.MULTILINE))
    section = DOCUMENT.read_text(encoding="utf-8")
    section = section.split("### Delivery of notifications")[1].split("\n### ")[0]
    assert names == set(re.findall(r"^\| `(candlewick_\w+)`", section, re.MULTILINE))


async def test_a_fault_that_nobody_thought_of_does_not_end_a_channel(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = notifier()
    reads, again = 0, asyncio.Event()

    @asynccontextmanager
    async def reader() -> AsyncIterator[Any]:
        nonlocal reads
        reads += 1
        if reads == 1:
            raise ValueError("not thought of")
        again.set()
        yield None

    async def round_of(consumer: object) -> None:
        one.stop()

    monkeypatch.setattr(one, "_reader", reader)
    monkeypatch.setattr(one, "_round", round_of)
    monkeypatch.setattr("app.notify.consumer.retry_delay", lambda attempt: 0.0)
    with caplog.at_level(logging.WARNING):
        await asyncio.wait_for(one.run(), 30)
    assert again.is_set()
    assert "notify log: ValueError('not thought of'); again in" in caplog.text


async def test_a_delivery_that_never_began_stops_at_once_and_does_not_begin_then() -> None:
    delivery = Delivery(Settings())
    await delivery.stop()
    delivery.assigned([])
    await delivery.stop()
    assert delivery.running == []


def test_a_delivery_is_not_made_of_settings_that_lack_a_channel(tmp_path: Path) -> None:
    chosen: dict[str, Any] = {"alerts": {"routes": "*:info:webhook"}}
    with pytest.raises(SettingsError, match="names webhook; expected CANDLEWICK_WEBHOOK__URL"):
        Delivery(Settings(**chosen))
    chosen["webhook"] = {"url_file": tmp_path / "none"}
    with pytest.raises(SettingsError, match="CANDLEWICK_WEBHOOK__URL_FILE="):
        Delivery(Settings(**chosen))
