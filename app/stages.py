"""The stages of a deployment: which agents run together, and so which consumer groups there are.

Agents of one deployment may run in one worker or in several (`agents`), each way with a group of
its own (`app/identity.py`). State belongs to the agent, not to the stage: so what asks for a
deployment's progress, or removes it, has to look at every group it has ever had.
"""

from __future__ import annotations

from aiokafka.admin import AIOKafkaAdminClient

from app.identity import deployment_name
from app.notify.groups import channel_groups
from app.settings import Settings
from app.sinks.groups import sink_groups
from app.topics import AGENTS

#: States of a consumer group without a member.
VACANT = ("Empty", "Dead")


def with_all_agents(settings: Settings) -> Settings:
    """Return the settings of the whole deployment, whichever stage they were of."""
    return settings.model_copy(update={"agents": AGENTS})


def stage_agents(settings: Settings, group: str) -> tuple[str, ...]:
    """Return the agents of a consumer group: none if it is not one of this deployment."""
    stem, dot, stage = group.rpartition(".")
    agents = tuple(stage.split("-"))
    ours = stem == deployment_name(settings) and dot and set(agents) <= set(AGENTS)
    return agents if ours else ()


async def stage_groups(client: AIOKafkaAdminClient, settings: Settings) -> list[str]:
    """Return the consumer groups of the deployment that the broker knows, sorted.

    Raises:
        aiokafka.errors.KafkaError: a broker does not answer.
    """
    found = await client.list_consumer_groups()
    return sorted(name for name, *_ in found if stage_agents(settings, name))


def groups_beside(settings: Settings) -> list[str]:
    """Return the groups that a deployment may ever have had beside its stages."""
    return [*channel_groups(settings), *sink_groups(settings)]


async def deployment_groups(client: AIOKafkaAdminClient, settings: Settings) -> list[str]:
    """Return all groups of the deployment that the broker knows, sorted: stages, channels, sinks.

    Raises:
        aiokafka.errors.KafkaError: a broker does not answer.
    """
    beside = set(groups_beside(settings))
    found = await client.list_consumer_groups()
    return sorted(name for name, *_ in found if name in beside or stage_agents(settings, name))


async def occupied_groups(client: AIOKafkaAdminClient, groups: list[str]) -> list[str]:
    """Return those of the groups that have a member.

    Raises:
        aiokafka.errors.KafkaError: a coordinator does not answer.
    """
    occupied = []
    for group in groups:
        # One at a time: aiokafka 0.14 misreads an answer about several groups, because it takes
        # version 3 of it for version 2 (protocol/admin.py, DescribeGroupsRequest_v3).
        for response in await client.describe_consumer_groups([group]):
            occupied += [name for _, name, state, *_ in response.groups if state not in VACANT]
    return occupied
