"""10,000 alerts in a minute, the web hook down for half of it, the worker killed once.

What arrives is compared with what the pure book makes of the committed log.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app import exits
from app.broker import EmbeddedBroker
from app.notify.consumer import ROUND_RECORDS
from app.notify.webhooks import IDEMPOTENCY
from app.settings import Settings
from app.topics import output_topic, source_topic
from tables.alerts import AlertBook
from tables.alerts.book import OTHER_TYPES
from tables.alerts.records import decode, encoder
from tests.broker.test_alerts_worker import hook_settings, wait_delivered
from tests.broker.test_engine_quotes import append
from tests.broker.test_metrics_worker import samples
from tests.broker.worker import WorkerProcess, until
from tests.chaos.deployment import read_topic, symbol_of
from tests.notify.conftest import http as http
from tests.notify.servers import Answer, HttpServer, Request

pytestmark = pytest.mark.broker

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
COUNT, KEYS, TRACKED = 10_000, 60, 40
COOL_DOWN = 10 * SECOND
DOWN: Answer = (503, {}, "down")


def storm() -> list[tuple[int, bytes]]:
    """Partition and value of each event: of 60 keys each, more than are tracked one by one."""
    chance = random.Random(7)
    names = [[symbol_of(number, 2, each) for each in range(KEYS)] for number in range(2)]
    found = []
    for number in range(COUNT):
        partition = chance.randrange(2)
        event = {
            "alert_type": "anomaly.price",
            "key": chance.choice(names[partition]),
            "severity": chance.choices(("warning", "critical"), (50, 1))[0],
            "title": f"event {number}",
            "event_time": START + number * 60 * SECOND // COUNT,
            "value": float(number),
        }
        found.append((partition, encoder.encode(event)))
    return found


class Hook:
    """What the web hook has taken; it may be down, or let a request hang."""

    def __init__(self, http: HttpServer) -> None:
        self.http, self.down, self.refused = http, False, 0
        self.taken: list[Request] = []
        http.judge = self._judge

    def _judge(self, request: Request) -> Answer | None:
        if self.down:
            self.refused += 1
            return DOWN
        self.taken.append(request)
        return None

    async def wait(self, count: int) -> None:
        """Wait until so many were taken."""
        async with asyncio.timeout(90):
            while len(self.taken) < count:
                await asyncio.wait([asyncio.ensure_future(self.http.arrived.get())], timeout=0.05)

    @property
    def ids(self) -> list[str]:
        return [request.headers[IDEMPOTENCY] for request in self.taken]

    @property
    def bodies(self) -> dict[str, Any]:
        """What a receiver keeps that knows the idempotency key."""
        return {each.headers[IDEMPOTENCY]: json.loads(each.body) for each in self.taken}


@dataclass
class Greatest:
    """The greatest figures that a worker has told."""

    held: float = 0.0
    rows: float = 0.0
    resident: float = 0.0
    looks: int = 0

    @asynccontextmanager
    async def watch(self, worker: WorkerProcess) -> AsyncIterator[None]:
        """Look at the metrics all the time."""
        task = asyncio.create_task(self._look(worker))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _look(self, worker: WorkerProcess) -> None:
        while True:
            status, text = await worker.get("/metrics")
            if status == 200:
                found = samples(text)
                self.looks += 1
                for name, value in ((key[0], found[key]) for key in found):
                    if name == "candlewick_notifications_held":
                        self.held = max(self.held, value)
                    elif name == "candlewick_state_rows":
                        self.rows = max(self.rows, value)
                    elif name == "process_resident_memory_bytes":
                        self.resident = max(self.resident, value)
            await asyncio.sleep(0.1)


async def expected(settings: Settings) -> dict[int, list[dict[str, Any]]]:
    """The notifications that the committed log leads to, record by record; nothing is left."""
    found: dict[int, list[dict[str, Any]]] = {}
    bars = settings.bars
    rules = settings.alerts.rules(settings.deployment, bars.clock_ahead, bars.max_ahead)
    log = await read_topic(settings, source_topic(settings, "alerts"))
    for partition, records in log.items():
        book, found[partition] = AlertBook(rules, partition), []
        for each in records:
            made = book.apply(decode(each.value or b""), each.timestamp * 1_000_000)
            found[partition] += [json.loads(encoder.encode(one)) for one in made]
        totals = book.totals
        assert totals.fired == totals.told > COUNT / 3
        assert totals.others > 0
        assert not any(alert.pending.count for alert in book.alerts.values())
    return found


async def test_a_storm_is_told_once_a_key_and_cool_down_but_for_one_repeat_after_the_kill(
    kafka: EmbeddedBroker,
    unique: str,
    tmp_path: Path,
    http: HttpServer,
    record_property: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    alerts = {"routes": "*:warning:webhook", "cool_down": "10s", "max_keys": TRACKED}
    notify = {"first_backoff": "20ms", "breaker_failures": 3, "breaker_rest": "300ms"}
    settings = hook_settings(kafka, unique, tmp_path, http, alerts=alerts, notify=notify)
    settings = settings.model_copy(update={"agents": ("alerts",)})
    hook, greatest, events = Hook(http), Greatest(), storm()
    topic = source_topic(settings, "alerts")

    async def send(begin: int, end: int) -> None:
        for number in range(2):
            values: list[bytes | None] = [
                value for partition, value in events[begin:end] if partition == number
            ]
            await append(settings, topic, number, values)

    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        async with greatest.watch(worker):
            await send(0, COUNT // 4)
            await hook.wait(2 * TRACKED)
            hook.down = True
            await send(COUNT // 4, 3 * COUNT // 4)
            waiting = await _made(settings, worker, 5 * TRACKED)
            await until(_at_least(lambda: hook.refused, 6), lambda: worker.tail)
            hook.down = False
            await hook.wait(len(hook.taken) + 20)
            # The next one arrives, and the worker never hears that it was taken.
            http.gate.clear()
            seen = len(http.requests)
            await until(_at_least(lambda: len(http.requests), seen + 1), lambda: worker.tail)
            await worker.kill9()
        assert len(set(hook.ids)) < waiting
        http.gate.set()
        await worker.start()
        await worker.wait_ready()
        async with greatest.watch(worker):
            await send(3 * COUNT // 4, COUNT)
            # The last ones are told by the clock alone, when their cool-downs are over.
            await until(lambda: _all_told(settings), lambda: worker.tail, 90)
            await wait_delivered(settings, worker, 1)
        assert await worker.stop() == exits.OK
        assert "Traceback" not in worker.log

    published = await _notifications(settings)
    assert published == await expected(settings)
    everything = [each for messages in published.values() for each in messages]
    wanted = {each["id"]: {"deployment": settings.deployment, **each} for each in everything}
    assert hook.bodies == wanted
    # One had arrived when the worker was killed, and came again.
    again = {name: count for name, count in Counter(hook.ids).items() if count > 1}
    assert list(again.values()) == [2]
    assert sum(body["count"] for body in hook.bodies.values()) == COUNT
    for messages in published.values():
        _assert_cool_down(messages)

    # The keys that are tracked, and one row for the others of their type.
    assert greatest.rows == TRACKED + 1 <= TRACKED + OTHER_TYPES + 1
    assert 0 < greatest.held <= ROUND_RECORDS
    assert greatest.looks > 20
    megabytes = greatest.resident / 1e6
    record_property("resident_megabytes", megabytes)
    with capsys.disabled():
        print(
            f"\nstorm: {COUNT:,} alerts, {len(wanted):,} messages, {hook.refused} refused, "
            f"{len(again)} repeated, at most {greatest.held:.0f} held, {greatest.rows:.0f} rows a "
            f"partition, {megabytes:.0f} MB resident"
        )


def _at_least(value: Any, least: int) -> Any:
    async def met() -> bool:
        return bool(value() >= least)

    return met


async def _notifications(settings: Settings) -> dict[int, list[dict[str, Any]]]:
    found = await read_topic(settings, output_topic(settings, "notifications"))
    return {
        number: [json.loads(each.value or b"") for each in records]
        for number, records in found.items()
    }


async def _made(settings: Settings, worker: WorkerProcess, least: int) -> int:
    """Wait until so many notifications are made; how many those are."""
    count = 0

    async def made() -> bool:
        nonlocal count
        count = sum(map(len, (await _notifications(settings)).values()))
        return count >= least

    await until(made, lambda: f"{count} of {least}: {worker.tail}")
    return count


async def _all_told(settings: Settings) -> bool:
    found = await _notifications(settings)
    counts: list[int] = [each["count"] for messages in found.values() for each in messages]
    return sum(counts) == COUNT


def _assert_cool_down(messages: list[dict[str, Any]]) -> None:
    """Between two messages about a key lies the cool-down, but where it got more severe."""
    last: dict[str, int] = {}
    repeats = 0
    for each in messages:
        key = each["key"]
        if key in last and each["action"] != "escalate":
            assert each["action"] == "repeat"
            assert each["time"] - last[key] >= COOL_DOWN
            repeats += 1
        last[key] = each["time"]
    assert "*" in last
    assert len(last) == TRACKED + 1
    assert repeats > 2 * TRACKED
