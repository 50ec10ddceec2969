"""Make, check and remove what a deployment keeps on the broker.

What comes in: the topic table (`app/topics.py`). What goes out: topics that are exactly as the
table says, or one error that names every difference. Nothing here asks the broker about a topic by
name before it is known to exist: with `auto.create.topics.enable` the question would create it, and
aiokafka answers `end_offsets` of a missing topic with a loop (aiokafka 0.14, cluster.py:262).
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from app.connection import AdminError, client_options, connect
from app.exits import RefusalError
from app.groups import delete_groups
from app.identity import deployment_folder
from app.settings import PREFIX, Settings
from app.stages import (
    groups_beside,
    occupied_groups,
    stage_agents,
    stage_groups,
    with_all_agents,
)
from app.topics import TopicSpec, removable_topics, topic_table

#: Seconds for topics to appear or vanish on the broker.
TOPIC_SECONDS = 30.0
#: Seconds between two looks at the broker's metadata.
POLL_SECONDS = 0.05
#: After a group's name: the topic of Faust's leader.
LEADER_SUFFIX = "-__assignor-__leader"

NO_ERROR, UNKNOWN_TOPIC, TOPIC_ALREADY_EXISTS = 0, 3, 36
#: What the operator would change when this setting of a topic is another one.
SETTING_NAMES = {
    "partitions": "TOPICS__PARTITIONS",
    "replication": "TOPICS__REPLICATION",
    "max.message.bytes": "TOPICS__MAX_MESSAGE_BYTES",
    "min.insync.replicas": "TOPICS__MIN_INSYNC_REPLICAS",
    "retention.ms": "TOPICS__RETENTION",
}


class TopicMismatchError(AdminError, RefusalError):
    """A topic exists and is not made as the topic table says."""


class TopicUnavailableError(AdminError):
    """A topic cannot be created, has no leader in time, or does not vanish in time."""


class DeploymentInUseError(AdminError):
    """A worker of the deployment is still a member of its group."""


async def ensure_topics(settings: Settings, seconds: float = TOPIC_SECONDS) -> None:
    """Create the missing topics of the table, and check all of them.

    Returns once every partition of every topic has a leader. Another worker may do the same
    at the same time. `seconds` is the limit for the leaders.

    Raises:
        BrokerUnreachableError: no broker answers.
        TopicMismatchError: topics differ from the table; one line names each difference.
        TopicUnavailableError: the broker refuses to create a topic, or elects no leader in time.
    """
    specs = topic_table(settings)
    async with connect(settings) as client:
        existing = await describe(client)
        missing = [spec for spec in specs if spec.name not in existing]
        await _create(client, missing)
        described = await _wait_for_leaders(client, [spec.name for spec in specs], seconds)
        configured = await configurations(client, specs, seconds)
    if missing:
        await _wait_for_answers(settings, missing, seconds)
    found: dict[str, list[str]] = {}
    for spec in specs:
        for line in differences(spec, described[spec.name], configured[spec.name]):
            found.setdefault(line, []).append(spec.name)
    if found:
        lines = [f"topic {', '.join(names)}: {line}" for line, names in found.items()]
        raise TopicMismatchError("; ".join(lines))


async def describe(client: AIOKafkaAdminClient) -> dict[str, dict[str, Any]]:
    """Return all topics of the cluster by name, as the broker describes them."""
    topics = await client.describe_topics(None)
    return {topic["topic"]: topic for topic in topics if topic["error_code"] != UNKNOWN_TOPIC}


async def _create(client: AIOKafkaAdminClient, specs: Iterable[TopicSpec]) -> None:
    wanted = [
        NewTopic(spec.name, spec.partitions, spec.replication, topic_configs=spec.configuration)
        for spec in specs
    ]
    if not wanted:
        return
    response = await client.create_topics(wanted)
    for name, code, *rest in response.topic_errors:
        if code not in (NO_ERROR, TOPIC_ALREADY_EXISTS):
            reason = (rest[0] if rest else None) or for_code(code).__name__
            raise TopicUnavailableError(
                f"topic {name}: the broker refuses to create it: {reason}; "
                f"change the {PREFIX}TOPICS__... setting it names, or the broker's"
            )


async def _wait_for_leaders(
    client: AIOKafkaAdminClient, names: list[str], seconds: float
) -> dict[str, dict[str, Any]]:
    """Return the descriptions of `names` once each partition has a leader."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        described = await describe(client)
        lacking = [name for name in names if not _has_leaders(described.get(name))]
        if not lacking:
            return described
        if asyncio.get_running_loop().time() > deadline:
            raise TopicUnavailableError(
                f"topic {lacking[0]}: no leader for each partition within {seconds:g} s; "
                "check that all brokers of the cluster are running"
            )
        await asyncio.sleep(POLL_SECONDS)


async def _wait_for_answers(settings: Settings, specs: Sequence[TopicSpec], seconds: float) -> None:
    """Return once the leaders of new topics have taken the role: they answer for their offsets.

    The metadata name a leader a moment before; a producer would be told that it is none.
    """
    places = [
        TopicPartition(spec.name, number) for spec in specs for number in range(spec.partitions)
    ]
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        client_id="candlewick-admin",
        enable_auto_commit=False,
        request_timeout_ms=int(seconds * 1000),
    )
    try:
        await consumer.start()
        # It asks again where a broker is not the leader yet.
        await consumer.end_offsets(places)
    except KafkaError as error:
        raise TopicUnavailableError(
            f"topic {places[0].topic}: its leader does not answer within {seconds:g} s: {error!r}"
        ) from error
    finally:
        await consumer.stop()


def _has_leaders(topic: dict[str, Any] | None) -> bool:
    if topic is None or topic["error_code"] != NO_ERROR or not topic["partitions"]:
        return False
    return all(partition["leader"] >= 0 for partition in topic["partitions"])


async def configurations(
    client: AIOKafkaAdminClient, specs: tuple[TopicSpec, ...], seconds: float
) -> dict[str, dict[str, str]]:
    """Return the configuration entries of each topic; brokers may learn of it one by one."""
    deadline = asyncio.get_running_loop().time() + seconds
    resources = [
        ConfigResource(ConfigResourceType.TOPIC, spec.name, dict.fromkeys(spec.configuration, ""))
        for spec in specs
    ]
    while True:
        found: dict[str, dict[str, str]] = {}
        for response in await client.describe_configs(resources):
            for code, _message, _kind, name, entries in response.resources:
                if code == NO_ERROR:
                    found[name] = {entry[0]: entry[1] for entry in entries}
                elif code != UNKNOWN_TOPIC or asyncio.get_running_loop().time() > deadline:
                    raise TopicUnavailableError(
                        f"topic {name}: the broker does not tell its configuration: "
                        f"{for_code(code).__name__}; check the access rights of this client"
                    )
        if len(found) == len(specs):
            return found
        await asyncio.sleep(POLL_SECONDS)


def differences(
    spec: TopicSpec, topic: dict[str, Any], configuration: dict[str, str]
) -> Iterator[str]:
    """Yield a text for each way in which the topic is not what the table says."""
    partitions = topic["partitions"]
    has = {
        "partitions": str(len(partitions)),
        "replication": str(min(len(partition["replicas"]) for partition in partitions)),
    } | configuration
    expected = {
        "partitions": str(spec.partitions),
        "replication": str(spec.replication),
    } | spec.configuration
    for setting, value in expected.items():
        if has.get(setting) != value:
            yield (
                f"{setting} is {has.get(setting, 'unknown')} on the broker, expected {value}: "
                f"{_remedy(setting, value)}"
            )


def _remedy(setting: str, value: str) -> str:
    elsewhere = f"or use another {PREFIX}TOPIC_PREFIX"
    own = f"set {PREFIX}{SETTING_NAMES[setting]} to match, " if setting in SETTING_NAMES else ""
    if setting in ("partitions", "replication"):
        return own + elsewhere
    return f"{own}set {setting}={value} on the topic with kafka-configs, {elsewhere}"


async def delete_deployment(settings: Settings, seconds: float = TOPIC_SECONDS) -> None:
    """Remove a deployment: output topics and consumer groups of all agents, its local folder.

    The input topics are shared and stay. Nothing is removed while a worker is running, whichever
    agents it runs; the groups go first, because the broker refuses that, too. `seconds` is the
    limit for the topics to vanish.

    Raises:
        BrokerUnreachableError: no broker answers.
        DeploymentInUseError: a worker of the deployment is running.
        TopicUnavailableError: the broker refuses to remove a topic, or does not do it in time.
    """
    whole = with_all_agents(settings)
    async with connect(settings) as client:
        groups = [*await stage_groups(client, whole), *groups_beside(whole)]
        occupied = await occupied_groups(client, groups)
        if not occupied:
            occupied = await delete_groups(client, groups)
        if occupied:
            raise DeploymentInUseError(
                f"group {', '.join(occupied)}: a worker of deployment {settings.deployment!r} is "
                "running; stop it first (a killed one leaves after broker.session_timeout)"
            )
        existing = await describe(client)
        own = set(removable_topics(whole))
        # Faust's own topic of an app, where it was not switched off (topic_disable_leader).
        own |= {
            name
            for name in existing
            if name.endswith(LEADER_SUFFIX)
            and stage_agents(whole, name.removesuffix(LEADER_SUFFIX))
        }
        await _delete(client, sorted(own & existing.keys()), seconds)
    folder = deployment_folder(settings)
    if folder.is_dir():
        shutil.rmtree(folder)


async def _delete(client: AIOKafkaAdminClient, names: list[str], seconds: float) -> None:
    if not names:
        return
    response = await client.delete_topics(names)
    for name, code in response.topic_error_codes:
        if code not in (NO_ERROR, UNKNOWN_TOPIC):
            raise TopicUnavailableError(
                f"topic {name}: the broker refuses to remove it: {for_code(code).__name__}; "
                "check delete.topic.enable and the access rights of this client"
            )
    deadline = asyncio.get_running_loop().time() + seconds
    while left := set(names) & set(await describe(client)):
        if asyncio.get_running_loop().time() > deadline:
            raise TopicUnavailableError(f"topic {min(left)}: still there after {seconds:g} s")
        await asyncio.sleep(POLL_SECONDS)
