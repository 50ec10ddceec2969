"""A worker that finds a fault, tells of it and delivers the message: stops, faults of settings.

The web hook is a real server of this process.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from agents import quality
from app import exits
from app.admin import delete_deployment
from app.broker import EmbeddedBroker
from app.connection import connect
from app.contracts.batch import RecordBatch
from app.contracts.wire import encoder
from app.groups import committed_offsets
from app.notify.groups import notify_group
from app.notify.webhooks import IDEMPOTENCY
from app.run.environment import settings_environment
from app.settings import Settings
from app.topics import output_topic, source_topic, ticks_topic
from tests.broker.backpressure import Away, Watch, killed, own_broker, paused
from tests.broker.test_engine_quotes import append
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import FLUSH, HISTORICAL, START, read_topic, symbol_of, trade
from tests.notify.conftest import http as http
from tests.notify.servers import HttpServer
from tests.unit.quality_records import walk

pytestmark = pytest.mark.broker

AGENTS = ("alerts", "quality")
HOOK = {"routes": "*:warning:webhook"}


def hook_settings(
    kafka: EmbeddedBroker, unique: str, folder: Path, http: HttpServer, **groups: Any
) -> Settings:
    """A deployment that looks at trades and posts what it finds."""
    chosen = {"alerts": HOOK, "webhook": {"url": http.url}} | groups
    return worker_settings(kafka, unique, folder, **chosen).model_copy(update={"agents": AGENTS})


def ticks(
    fault: int = 500, begin: int = START, seed: int = 0, partition: int = 0
) -> list[bytes | None]:
    """Trades of a symbol of a partition, one of which has a wrong price."""
    trades = walk(600, begin, seed=seed, symbol=symbol_of(partition, 2))
    trades[fault] = msgspec.structs.replace(trades[fault], price=trades[fault].price * 2)
    return [encoder.encode(each) for each in trades]


def bodies(http: HttpServer) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in http.requests]


async def notifications(settings: Settings) -> list[dict[str, Any]]:
    found = await read_topic(settings, output_topic(settings, "notifications"))
    return [json.loads(each.value or b"") for records in found.values() for each in records]


async def wait_delivered(settings: Settings, worker: WorkerProcess, count: int) -> None:
    """Wait until so many notifications are made, and the channel's offsets are behind them."""
    group, topic = notify_group(settings, "webhook"), output_topic(settings, "notifications")
    found: dict[int, int] = {}
    async with connect(settings) as client:

        async def done() -> bool:
            nonlocal found
            made = await read_topic(settings, topic)
            found = await committed_offsets(client, group, topic, 2)
            ends = {number: each[-1].offset + 1 for number, each in made.items() if each}
            total = sum(map(len, made.values()))
            return total >= count and all(found.get(each, 0) >= ends[each] for each in ends)

        await until(done, lambda: f"{found} {worker.tail}")


async def test_a_planted_fault_leads_to_one_message_at_the_web_hook(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path, http: HttpServer
) -> None:
    settings = hook_settings(kafka, unique, tmp_path, http)
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await append(settings, source_topic(settings, "quality"), 0, ticks())
        await wait_delivered(settings, worker, 1)
        metrics = (await worker.get("/metrics"))[1]
        assert await worker.stop() == exits.OK
    (body,) = bodies(http)
    assert (body["alert_type"], body["action"]) == ("quality.ticks.outlier", "fire")
    assert (body["key"], body["severity"], body["count"]) == (symbol_of(0, 2), "critical", 1)
    assert body["source"] == "ticks, found at offset 500"
    (made,) = await notifications(settings)
    assert body == {"deployment": settings.deployment, **made}
    sample = 'candlewick_notifications_total{channel="webhook",result="delivered"} 1.0'
    assert sample in metrics
    assert "Traceback" not in worker.log
    assert "delivery ended: 1 delivered" in worker.log


async def raised(settings: Settings, agent: Any) -> dict[int, list[bytes]]:
    """The events that an agent's committed log leads to, in one undisturbed batch, by partition."""
    found: dict[int, list[bytes]] = {0: [], 1: []}
    stage = agent.make_stage(settings)
    for number, records in (await read_topic(settings, stage.source)).items():
        state = stage.load(number, "topic", lambda key: None, ())
        state.begin(0)
        batch = RecordBatch(
            stage.source,
            number,
            0,
            records[-1].offset + 1,
            [record.value for record in records],
            np.array([record.offset for record in records], dtype=np.int64),
            np.array([record.timestamp * 1_000_000 for record in records], dtype=np.int64),
        )
        state.apply(batch)
        for record in state.take("topic").outputs["alerts"]:
            found[record.partition].append(record.value)
    return found


async def test_events_and_messages_are_made_once_although_the_worker_is_killed(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path, http: HttpServer
) -> None:
    settings = hook_settings(kafka, unique, tmp_path, http)
    topic = source_topic(settings, "quality")
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        for number in range(2):
            values = ticks(100, partition=number, seed=number)
            # A second wrong price, which counts for the same alert.
            values[500] = ticks(500, partition=number, seed=number)[500]
            await append(settings, topic, number, values[:300])
            if number:
                await worker.kill9()
                await worker.start()
            await worker.wait_ready()
            await append(settings, topic, number, values[300:])
        # The end of the cool-down is five minutes away: the second is not told.
        await wait_delivered(settings, worker, 2)
        await until(lambda: _has(settings, 4), lambda: worker.tail)
        assert await worker.stop() == exits.OK
    events = await read_topic(settings, output_topic(settings, "alerts.events"))
    published = {number: [each.value for each in records] for number, records in events.items()}
    assert published == await raised(settings, quality)
    assert {body["key"] for body in bodies(http)} == {symbol_of(0, 2), symbol_of(1, 2)}
    assert [body["action"] for body in bodies(http)] == ["fire", "fire"]


async def _has(settings: Settings, count: int) -> bool:
    """Whether so many alert events are committed."""
    events = await read_topic(settings, output_topic(settings, "alerts.events"))
    return sum(map(len, events.values())) >= count


async def test_a_price_that_a_user_waits_for_is_told_when_a_bar_closes_there(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path, http: HttpServer
) -> None:
    symbol = symbol_of(0, 2)
    watch = {"watch": f"{symbol}>150@1s:critical,{symbol}<50@1s"}
    settings = hook_settings(kafka, unique, tmp_path, http, price_alerts=watch)
    settings = settings.model_copy(update={"agents": ("alerts", "bars", "price_alerts")})
    prices = (100.0, 149.0, 151.0, 152.0, 149.0)
    values: list[bytes | None] = [
        trade(symbol, START + number * 10**9, price) for number, price in enumerate(prices)
    ]
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await append(settings, ticks_topic(settings), 0, [HISTORICAL, *values, FLUSH])
        await wait_delivered(settings, worker, 2)
        assert await worker.stop() == exits.OK
    fired, over = bodies(http)
    assert (fired["alert_type"], fired["key"]) == ("price", f"{symbol} >150@1s")
    assert (fired["action"], fired["severity"], over["action"]) == ("fire", "critical", "resolve")
    assert fired["time"] == START + 3 * 10**9
    assert fired["title"] == f"{symbol} at 151.0 is above 150.0"


async def test_what_waits_for_time_to_pass_is_told_although_nothing_comes(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path, http: HttpServer
) -> None:
    alerts = HOOK | {"quiet_time": "3s", "cool_down": "1s"}
    settings = hook_settings(kafka, unique, tmp_path, http, alerts=alerts)
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await append(settings, source_topic(settings, "quality"), 0, ticks())
        await wait_delivered(settings, worker, 2)
        assert await worker.stop() == exits.OK
    assert [body["action"] for body in bodies(http)] == ["fire", "resolve"]
    # Event time has gone on by the clock records alone, from when the fault was.
    fired, resolved = (body["time"] for body in bodies(http))
    assert resolved - fired == 3 * 10**9
    events = await read_topic(settings, output_topic(settings, "alerts.events"))
    clocks = [each for each in events[0] if b'"type":"clock"' in (each.value or b"")]
    assert 1 <= len(clocks) <= 10


async def test_a_stop_does_not_wait_for_a_web_hook_that_hangs_and_the_next_start_sends_it(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path, http: HttpServer
) -> None:
    settings = hook_settings(kafka, unique, tmp_path, http)
    http.gate.clear()
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await append(settings, source_topic(settings, "quality"), 0, ticks())
        await http.arrived.get()
        assert await worker.stop(20.0) == exits.OK
        assert "Traceback" not in worker.log
        http.gate.set()
        await worker.start()
        await wait_delivered(settings, worker, 1)
        assert await worker.stop() == exits.OK
    first, second = http.requests
    assert first.body == second.body
    assert first.headers[IDEMPOTENCY] == second.headers[IDEMPOTENCY]


async def test_where_it_is_delivered_elsewhere_the_worker_makes_messages_and_sends_none(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path, http: HttpServer
) -> None:
    settings = hook_settings(kafka, unique, tmp_path, http)
    # The worker need not know how to reach the channel either.
    own = worker_settings(kafka, unique, tmp_path, alerts=HOOK, notify={"in_worker": False})
    async with WorkerProcess(own.model_copy(update={"agents": AGENTS})) as worker:
        await worker.wait_ready()
        await append(settings, source_topic(settings, "quality"), 0, ticks())

        async def made() -> bool:
            return len(await notifications(settings)) == 1

        await until(made, lambda: worker.tail)
        command = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app.cli", "alerts", "deliver"),
            env=settings_environment(settings),
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            await asyncio.wait_for(http.arrived.get(), 60)
            await wait_delivered(settings, worker, 1)
            command.terminate()
            _, said = await asyncio.wait_for(command.communicate(), 30)
        finally:
            if command.returncode is None:
                command.kill()
                await command.wait()
        assert command.returncode == exits.OK
        assert b"delivering to webhook" in said
        assert b"Traceback" not in said
        assert await worker.stop() == exits.OK
        assert "delivering notifications" not in worker.log
    assert len(http.requests) == 1


async def test_a_deployment_that_is_removed_takes_the_channels_offsets_with_it(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path, http: HttpServer
) -> None:
    settings = hook_settings(kafka, unique, tmp_path, http)
    for number in range(2):
        async with WorkerProcess(settings) as worker:
            await worker.wait_ready()
            if not number:
                await append(settings, source_topic(settings, "quality"), 0, ticks())
            # The second deployment reads the same trades, and tells of them by itself.
            await wait_delivered(settings, worker, 1)
            assert len(http.requests) == number + 1
            assert await worker.stop() == exits.OK
        await delete_deployment(settings)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (
            {"alerts": {"routes": "*:info:slack"}},
            "CANDLEWICK_ALERTS__ROUTES names slack; expected CANDLEWICK_SLACK__URL",
        ),
        (
            {"alerts": HOOK, "webhook": {"url_file": "/nowhere"}},
            "CANDLEWICK_WEBHOOK__URL_FILE='/nowhere': No such file or directory; expected a",
        ),
    ],
)
async def test_a_channel_that_cannot_be_reached_by_its_settings_stops_the_start_with_a_line(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path, groups: dict[str, Any], said: str
) -> None:
    chosen = worker_settings(kafka, unique, tmp_path, **groups)
    async with WorkerProcess(chosen.model_copy(update={"agents": AGENTS})) as worker:
        assert await worker.wait() == exits.REFUSED
        (line,) = worker.log.splitlines()
        assert line.startswith(f"candlewick worker: {said}")


@pytest.mark.parametrize("away", [paused, killed])
async def test_a_worker_that_delivers_ends_although_no_broker_answers(
    unique: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    http: HttpServer,
    caplog: pytest.LogCaptureFixture,
    away: Away,
) -> None:
    caplog.set_level(logging.CRITICAL, "aiokafka")
    with own_broker(tmp_path_factory.mktemp("away")) as broker:
        settings = hook_settings(broker, unique, tmp_path, http)
        async with WorkerProcess(settings) as worker:
            await worker.wait_ready()
            await append(settings, source_topic(settings, "quality"), 0, ticks())
            await wait_delivered(settings, worker, 1)
            back = await away(broker)
            try:
                await Watch(worker).says("no broker answers")
                assert await worker.stop() == exits.OK
            finally:
                await back()
            assert "Traceback" not in worker.log
            await worker.start()
            await worker.wait_ready()
            later = START + 3_600 * 10**9
            await append(settings, source_topic(settings, "quality"), 0, ticks(begin=later, seed=1))
            # Also the end of the first one, by quiet time, and the hour without a trade.
            await wait_delivered(settings, worker, 4)
            assert await worker.stop() == exits.OK
    outlier, gap = "quality.ticks.outlier", "quality.ticks.gap"
    assert [(body["alert_type"], body["action"]) for body in bodies(http)] == [
        (outlier, "fire"),
        (outlier, "resolve"),
        (gap, "fire"),
        (outlier, "fire"),
    ]
    assert len({request.headers[IDEMPOTENCY] for request in http.requests}) == 4
