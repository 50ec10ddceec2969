"""Checks of the broker and of what the deployment has on it; it is only asked, never written to."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from app.broker import KAFKA_VERSION, BrokerError
from app.connection import AdminError, bootstrap_servers, connect
from app.doctor.finding import Finding, note, ok, one_line, problem
from app.exits import RefusalError
from app.run.drain import committed
from app.run.errors import RunError
from app.run.outcomes import check_deployment
from app.run.reader import bounds, plain_consumer
from app.run.services import broker_folder, embedded_broker, with_broker
from app.settings import PREFIX, Settings, SettingsError
from app.stages import stage_groups
from app.topic_state import TopicState, topic_states
from app.topics import output_topic, source_topic
from app.web.bind import is_loopback

#: Seconds for the broker's first answer.
CONNECT_SECONDS = 2.0
#: Seconds for each check of a broker that has answered; they run at the same time.
CHECK_SECONDS = 5.0
#: Milliseconds that the broker's clock may be ahead of this machine's.
SKEW_MS = 1_000
EXPECTED = (AdminError, SettingsError, RunError, KafkaError, OSError)


async def cluster(settings: Settings) -> list[Finding]:
    """Return the findings; where no broker answers, the one that says so."""
    found, with_address = broker_address(settings)
    if with_address is None:
        return [found]
    try:
        states = await topic_states(with_address, CONNECT_SECONDS)
    except EXPECTED as error:
        return [problem("broker", one_line(error), _start(settings))]
    checks = await asyncio.gather(
        _within("broker", answering(with_address, found)),
        _within("state", state(with_address, states)),
        _within("clock", clock(with_address, states)),
        _within("workers", workers(with_address, states)),
    )
    return [checks[0], *topics(with_address, states), *checks[1:]]


def broker_address(settings: Settings) -> tuple[Finding, Settings | None]:
    """Return what is known of the broker unasked, and settings with its address if it has one."""
    if settings.broker.url is not None:
        return ok("broker", f"configured: kafka://{bootstrap_servers(settings)}"), settings
    folder = broker_folder(settings)
    try:
        status = embedded_broker(settings).status()
    except BrokerError as error:
        return problem("broker", one_line(error), f"rm {folder / 'broker.json'}"), None
    if not status.running or status.url is None:
        return (
            note(
                "broker",
                f"none is configured ({PREFIX}BROKER__URL) and the embedded one in {folder} does "
                "not run; `candlewick up` and `candlewick run` start it by themselves",
                _start(settings),
            ),
            None,
        )
    says = f"embedded Kafka {KAFKA_VERSION}, process {status.pid}, in {folder}, at {status.url}"
    return ok("broker", says), with_broker(settings, status.url)


def _start(settings: Settings) -> str:
    """Return the command that brings a broker."""
    embedded = settings.broker.url is None
    start = "candlewick broker start"
    return start if embedded else f"start it, or: unset {PREFIX}BROKER__URL; {start}"


async def _within(check: str, work: Coroutine[Any, Any, Finding]) -> Finding:
    """Return a check's finding; what may go wrong with a broker is one, too."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await work
    except RefusalError as error:
        return problem(check, one_line(error))
    except TimeoutError:
        return problem(check, f"the broker has not answered within {CHECK_SECONDS:g} s")
    except EXPECTED as error:
        return problem(check, one_line(error))


async def answering(settings: Settings, found: Finding) -> Finding:
    """Tell how many brokers the cluster has, and warn of what travels in clear text."""
    async with connect(settings, CONNECT_SECONDS) as client:
        described = await client.describe_cluster()
    brokers = described["brokers"]
    protocol = settings.broker.security_protocol
    says = (
        f"{found.says}; cluster {described['cluster_id']}, "
        f"{len(brokers)} {'broker' if len(brokers) == 1 else 'brokers'}, {protocol}"
    )
    abroad = sorted({each["host"] for each in brokers if not is_loopback(each["host"])})
    if abroad and not protocol.endswith("SSL"):
        return note(
            "broker",
            f"{says}: data travel in clear text to {', '.join(abroad)}",
            f"set {PREFIX}BROKER__SECURITY_PROTOCOL=SSL or SASL_SSL where the broker offers it",
        )
    return ok("broker", says)


def topics(settings: Settings, states: list[TopicState]) -> list[Finding]:
    """Judge topics: missing ones are made at the first start, others must be as they must be."""
    found = []
    differences: dict[str, list[str]] = {}
    for each in states:
        for text in each.differences:
            differences.setdefault(text, []).append(each.spec.name)
    for text, names in differences.items():
        setting, _, remedy = text.partition(": ")
        found.append(problem("topics", f"{', '.join(names)}: {setting}", remedy))
    missing = [each.spec.name for each in states if not each.exists]
    if missing:
        chosen = f"of deployment {settings.deployment!r} (made at its first start)"
        found.append(
            note(
                "topics",
                f"{len(missing)} of {len(states)} {chosen} are missing: {', '.join(missing)}",
                "candlewick topics --create",
            )
        )
    if not found:
        found.append(ok("topics", f"all {len(states)} are there and as they must be"))
    return found


async def state(settings: Settings, states: list[TopicState]) -> Finding:
    """Check that the deployment's state was made with these settings."""
    there = {each.spec.name for each in states if each.exists}
    agents = tuple(
        agent for agent in settings.agents if output_topic(settings, f"{agent}.changelog") in there
    )
    if not agents:
        return ok("state", f"deployment {settings.deployment!r} has none yet")
    try:
        await check_deployment(settings.model_copy(update={"agents": agents}))
    except RefusalError as error:
        return problem("state", one_line(error), "candlewick reset, or another deployment name")
    return ok("state", f"the state of deployment {settings.deployment!r} is of these settings")


async def clock(
    settings: Settings, states: list[TopicState], now_ns: Callable[[], int] = time.time_ns
) -> Finding:
    """Look for records that the broker has taken at a time that has not come here yet.

    The other way round cannot be seen without sending a record. `now_ns` is this machine's clock.
    """
    there = [each for each in states if each.partitions]
    places = [
        TopicPartition(each.spec.name, partition)
        for each in there
        for partition in range(each.partitions or 0)
    ]
    if not places:
        return ok("clock", "no record to compare it with")
    async with plain_consumer(settings) as consumer:
        now = now_ns() // 1_000_000
        later = await consumer.offsets_for_times(dict.fromkeys(places, now + SKEW_MS))
    ahead = max((each.timestamp - now for each in later.values() if each is not None), default=0)
    if ahead > SKEW_MS:
        return note(
            "clock",
            f"the broker's clock is at least {ahead / 1000:.1f} s ahead of this machine's: times "
            "shown here are off, and records of this machine's producers look old",
            "timedatectl status",
        )
    return ok("clock", "no record of the broker is from this machine's future")


async def workers(settings: Settings, states: list[TopicState]) -> Finding:
    """Tell how many workers the deployment has, and how far they are behind."""
    async with connect(settings, CONNECT_SECONDS) as client:
        groups = await stage_groups(client, settings)
        described = await client.describe_consumer_groups(groups) if groups else []
        members: Counter[str] = Counter()
        unsettled = []
        for response in described:
            for _, name, phase, _, _, joined, *_ in response.groups:
                members[name] += len(joined)
                if joined and phase != "Stable":
                    unsettled.append(f"{name} is {phase}")
        lags = await _lags(client, settings, states)
    behind = ", ".join(f"{agent} {lag:,} records behind" for agent, lag in lags.items())
    count = members.total()
    if not count:
        where = f"; {behind}" if behind else ""
        return note(
            "workers",
            f"none of deployment {settings.deployment!r} runs{where}",
            "candlewick worker",
        )
    says = f"{count} of deployment {settings.deployment!r}; {behind}"
    if unsettled:
        return note("workers", f"{says}; {', '.join(unsettled)}")
    return ok("workers", says)


async def _lags(
    client: AIOKafkaAdminClient, settings: Settings, states: list[TopicState]
) -> dict[str, int]:
    """Return the records that each agent has yet to commit."""
    partitions = {each.spec.name: each.partitions for each in states if each.partitions}
    topics = {agent: source_topic(settings, agent) for agent in settings.agents}
    places = [
        TopicPartition(topic, number)
        for topic in topics.values()
        for number in range(partitions.get(topic, 0))
    ]
    if not places:
        return {}
    ends = await bounds(settings, places)
    reached = await committed(client, settings, ends)
    lags: dict[str, int] = {}
    for agent, topic in topics.items():
        lags[agent] = sum(
            end - min(end, max(first, reached.get(place, first)))
            for place, (first, end) in ends.items()
            if place.topic == topic
        )
    return lags
