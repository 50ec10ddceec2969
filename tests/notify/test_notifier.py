"""Channels that read a real topic: order, offsets, rest, repeats after a kill, a storm."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic

from app.broker import EmbeddedBroker
from app.connection import bootstrap_servers, connect
from app.groups import committed_offsets
from app.notify.consumer import ROUND_RECORDS, Notifier, notifications_topic
from app.notify.control import alert_events_topic, send_control
from app.notify.deliverer import Deliverer
from app.notify.groups import notify_group
from app.notify.http import Poster
from app.notify.service import DeadNotifications, dead_notifications_topic, notifiers
from app.notify.settings import (
    AlertSettings,
    NotifyGroups,
    NotifySettings,
    SlackSettings,
    WebhookSettings,
)
from app.notify.webhooks import IDEMPOTENCY, SlackChannel, WebhookChannel
from app.settings import Settings
from tables.alerts import AlertBook
from tables.alerts.records import NotificationRecord, encoder
from tests.broker.worker import worker_settings
from tests.notify.notes import note, patience
from tests.notify.servers import OK, Answer, HttpServer, Request, closed_port
from tests.unit.alerts_log import clock, event, rules, run

pytestmark = pytest.mark.broker

PARTITIONS = 2
DOWN: Answer = (503, {}, "down")


@pytest.fixture
async def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    """A deployment whose topics of alerts are there."""
    found = worker_settings(kafka, unique, tmp_path)
    names = (notifications_topic(found), dead_notifications_topic(found), alert_events_topic(found))
    async with connect(found) as client:
        await client.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
    return found


def notes(count: int, first: int = 0) -> list[NotificationRecord]:
    return [note(id=f"{number:032x}", key=f"K{number}") for number in range(first, first + count)]


async def publish(settings: Settings, found: Iterable[NotificationRecord | bytes]) -> None:
    """Append notifications to partition 0, as one transaction."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers(settings), transactional_id=settings.topic_prefix + "p"
    )
    await producer.start()
    try:
        async with producer.transaction():
            for each in found:
                value = each if isinstance(each, bytes) else encoder.encode(each)
                await producer.send(notifications_topic(settings), value, partition=0)
    finally:
        await producer.stop()


def notifier(settings: Settings, url: str, chosen: NotifySettings) -> Notifier:
    channel = WebhookChannel(url, None, "test", Poster(chosen))
    dead = DeadNotifications(settings)
    return Notifier(settings, Deliverer(channel, chosen), dead, chosen.give_up_after)


@asynccontextmanager
async def running(each: Notifier) -> AsyncIterator[asyncio.Task[None]]:
    """Run a notifier; leaving it is the end of a process that was killed."""
    task = asyncio.create_task(each.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await each.deliverer.channel.close()
        assert isinstance(each.dead, DeadNotifications)
        await each.dead.close()


async def answered(http: HttpServer, wanted: Callable[[], bool]) -> None:
    """Wait until requests have brought something about."""
    async with asyncio.timeout(60):
        while not wanted():
            await http.arrived.get()


async def committed(settings: Settings, channel: str = "webhook") -> int:
    async with connect(settings) as client:
        group, topic = notify_group(settings, channel), notifications_topic(settings)
        return (await committed_offsets(client, group, topic, PARTITIONS)).get(0, 0)


async def read(settings: Settings, topic: str, count: int) -> list[Any]:
    """Return the first records of a topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers(settings))
    await consumer.start()
    try:
        places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        async with asyncio.timeout(30):
            return [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()


def keys(http: HttpServer) -> list[str]:
    return [request.headers[IDEMPOTENCY] for request in http.requests]


async def test_notifications_are_delivered_in_order_and_their_offsets_committed(
    settings: Settings, http: HttpServer
) -> None:
    await publish(settings, notes(5))
    hook = notifier(settings, http.url, patience())
    async with running(hook) as task:
        await answered(http, lambda: len(http.requests) == 5)
        hook.stop()
        await task
    assert keys(http) == [each.id for each in notes(5)]
    assert await committed(settings) == 5


async def test_what_is_not_committed_by_its_transaction_is_not_delivered(
    settings: Settings, http: HttpServer
) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers(settings), transactional_id=settings.topic_prefix + "a"
    )
    await producer.start()
    await producer.begin_transaction()
    topic = notifications_topic(settings)
    await producer.send_and_wait(topic, encoder.encode(note(key="X")), partition=0)
    await producer.abort_transaction()
    await producer.stop()
    await publish(settings, notes(1))
    async with running(notifier(settings, http.url, patience())):
        await answered(http, lambda: len(http.requests) == 1)
    assert keys(http) == [notes(1)[0].id]


async def test_a_channel_that_is_down_holds_back_no_other_one_and_catches_up_in_order(
    settings: Settings, http: HttpServer
) -> None:
    http.answers = [DOWN]
    chosen = patience(attempts=2, breaker_failures=2, breaker_rest="100ms")
    await publish(settings, notes(200))
    hook = notifier(settings, http.url, chosen)
    other = HttpServer()
    stop = await other.start()
    slack = SlackChannel(other.url, Poster(chosen))
    beside = Notifier(settings, Deliverer(slack, chosen), DeadNotifications(settings), 10**18)
    try:
        async with running(hook), running(beside):
            await answered(other, lambda: len(other.requests) == 200)
            await answered(http, lambda: len(http.requests) >= 4)
            assert len(set(keys(http))) == 1
            assert hook.status.delivered == 0
            http.answers = [OK]
            await answered(http, lambda: len(set(keys(http))) == 200)
    finally:
        await stop()
    # Each key first comes in order, and only the first one came more than once.
    assert list(dict.fromkeys(keys(http))) == [each.id for each in notes(200)]
    assert {name for name, count in Counter(keys(http)).items() if count > 1} == {notes(1)[0].id}


async def test_a_process_that_is_killed_in_a_delivery_repeats_that_one_alone(
    settings: Settings, http: HttpServer
) -> None:
    await publish(settings, notes(10))
    http.judge = lambda request: http.gate.clear() if len(http.requests) == 5 else None
    async with running(notifier(settings, http.url, patience())):
        # The sixth one has arrived and is never answered.
        await answered(http, lambda: len(http.requests) == 6)
    http.judge = lambda request: None
    http.gate.set()
    async with running(notifier(settings, http.url, patience())):
        await answered(http, lambda: len(http.requests) == 11)
    assert Counter(Counter(keys(http)).values()) == {1: 9, 2: 1}


async def test_what_is_refused_or_cannot_be_read_goes_to_the_dead_topic_with_its_reason(
    settings: Settings, http: HttpServer
) -> None:
    http.answers = [(400, {}, "no"), OK]
    first, second = notes(2)
    await publish(settings, [first, b"{}", second])
    async with running(notifier(settings, http.url, patience())):
        await answered(http, lambda: len(http.requests) == 2)
    letters = await read(settings, dead_notifications_topic(settings), 2)
    reasons = [dict(letter.headers)["reason"].decode() for letter in letters]
    assert reasons[0] == "HTTP 400: no"
    assert reasons[1].startswith("malformed: ")
    assert [letter.value for letter in letters] == [encoder.encode(first), b"{}"]
    assert dict(letters[1].headers)["offset"] == b"1"
    assert dict(letters[1].headers)["channel"] == b"webhook"


async def test_what_is_never_taken_is_dead_after_the_time_that_is_given_to_it(
    settings: Settings, http: HttpServer
) -> None:
    http.judge = lambda request: DOWN if request.headers[IDEMPOTENCY] == notes(1)[0].id else None
    await publish(settings, notes(3))
    chosen = patience(attempts=1, breaker_failures=100, give_up_after="50ms")
    hook = notifier(settings, http.url, chosen)
    async with running(hook):
        await answered(http, lambda: len(set(keys(http))) == 3)
        assert (hook.status.dead, hook.status.last_reason) == (1, "HTTP 503: down")


async def test_a_service_runs_all_routed_channels_and_stops_with_what_is_on_its_way(
    settings: Settings, http: HttpServer
) -> None:
    groups = NotifyGroups(
        alerts=AlertSettings(routes="*:info:slack,*:info:webhook"),
        notify=patience(),
        slack=SlackSettings(url=f"http://127.0.0.1:{closed_port()}/x"),
        webhook=WebhookSettings(url=http.url),
    )
    async with notifiers(settings, groups) as found:
        assert [each.channel for each in found] == ["slack", "webhook"]
        await publish(settings, notes(3))
        await answered(http, lambda: len(http.requests) == 3)
    assert await committed(settings) == 3
    assert await committed(settings, "slack") == 0


async def test_a_control_record_goes_to_every_partition(settings: Settings) -> None:
    assert await send_control(settings, b'{"type":"unsilence","id":"x"}') == PARTITIONS
    records = await read(settings, alert_events_topic(settings), PARTITIONS)
    assert {record.partition for record in records} == set(range(PARTITIONS))
    assert {json.loads(record.value)["id"] for record in records} == {"x"}


async def test_a_storm_with_the_web_hook_down_for_half_of_it_is_told_once_a_key_and_cool_down(
    settings: Settings, http: HttpServer
) -> None:
    """10,000 alerts of 200 keys in a minute; the notifier is killed once."""
    book = AlertBook(rules(deployment="storm", routes=(rules().routes[0],), max_keys=150), 0)
    half = [event(number * 0.006, f"K{number % 200}") for number in range(5_000)]
    other = [event(30 + number * 0.006, f"K{number % 200}") for number in range(5_000)]
    before = run(book, half)
    # Later the repeats: a message a key and cool-down, 150 of keys and one for all others.
    after = run(book, [*other, clock(301)])
    assert len(before) == len(after) == 151
    assert sum(each.count for each in (*before, *after)) == 10_000
    before, after = ([replaced(each) for each in found] for found in (before, after))

    held: list[int] = []
    hooks: list[Notifier] = []

    def judge(request: Request) -> Answer | None:
        held.append(hooks[-1].status.held)
        return None

    http.judge = judge
    chosen = patience(attempts=2, breaker_failures=3, breaker_rest="100ms")
    hooks.append(notifier(settings, http.url, chosen))
    async with running(hooks[-1]):
        await publish(settings, before)
        await answered(http, lambda: len(set(keys(http))) == len(before))
        http.answers = [DOWN]
        await publish(settings, after)
        await answered(http, lambda: hooks[-1].status.failures >= 3)
        http.answers = [OK]
        await answered(http, lambda: hooks[-1].status.delivered >= len(before) + 20)
        http.gate.clear()
        seen = len(http.requests)
        await answered(http, lambda: len(http.requests) > seen)
    http.gate.set()
    taken = len(http.requests)
    hooks.append(notifier(settings, http.url, chosen))
    async with running(hooks[-1]):
        await answered(http, lambda: len(set(keys(http))) == len(before) + len(after))
    assert max(held) <= ROUND_RECORDS
    # Once it was up again, one was on its way when the process was killed.
    again = Counter(keys(http))
    assert set(again) == {each.id for each in (*before, *after)}
    assert len([name for name in keys(http)[:taken] if name in keys(http)[taken:]]) <= 2
    told = Counter((body["key"], body["action"]) for body in bodies(http).values())
    assert set(told.values()) == {1}
    assert sum(body["count"] for body in bodies(http).values()) == 10_000


def replaced(each: NotificationRecord) -> NotificationRecord:
    """Return a notification for the web hook."""
    return msgspec.structs.replace(each, channels=("webhook",))


def bodies(http: HttpServer) -> dict[str, Any]:
    """Return what a receiver keeps that knows the idempotency key."""
    return {request.headers[IDEMPOTENCY]: json.loads(request.body) for request in http.requests}
