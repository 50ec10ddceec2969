"""Consumer groups: their committed offsets, and the removal of a group.

aiokafka 0.14 has no DeleteGroups request (Kafka protocol, key 42); it is declared here in
aiokafka's own terms. Delete this once `AIOKafkaAdminClient.delete_consumer_groups` exists.
"""

from __future__ import annotations

from typing import Any, ClassVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Schema, String
from aiokafka.structs import TopicPartition

DELETE_GROUPS = 42
NO_ERROR, GROUP_NOT_EMPTY, GROUP_NOT_FOUND = 0, 68, 69


class DeleteGroupsResponse(Response):  # type: ignore[misc]
    """Version 1: an error code for each group."""

    API_KEY = DELETE_GROUPS
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("results", Array(("group_id", String("utf-8")), ("error_code", Int16))),
    )


class DeleteGroupsStruct(RequestStruct):  # type: ignore[misc]
    """Version 1: the names of the groups."""

    API_KEY = DELETE_GROUPS
    API_VERSION = 1
    RESPONSE_TYPE: ClassVar[type[Response]] = DeleteGroupsResponse
    SCHEMA = Schema(("group_names", Array(String("utf-8"))))


class DeleteGroupsRequest(Request[DeleteGroupsStruct]):  # type: ignore[misc]
    """Remove consumer groups that have no member."""

    API_KEY = DELETE_GROUPS

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[DeleteGroupsStruct]) -> DeleteGroupsStruct:
        return request_struct_class(self._names)


async def delete_groups(client: AIOKafkaAdminClient, names: list[str]) -> list[str]:
    """Remove groups and their offsets; return those that still have a member.

    A group that does not exist is fine.

    Raises:
        aiokafka.errors.KafkaError: the broker refuses for another reason.
    """
    occupied = []
    for name in names:
        node = await client.find_coordinator(name)
        response: Any = await client._send_request(DeleteGroupsRequest([name]), node)
        for group, code in response.results:
            if code == GROUP_NOT_EMPTY:
                occupied.append(group)
            elif code not in (NO_ERROR, GROUP_NOT_FOUND):
                raise for_code(code)(f"group {group} cannot be removed")
    return occupied


async def committed_offsets(
    client: AIOKafkaAdminClient, group: str, topic: str, partitions: int
) -> dict[int, int]:
    """Return the group's next offset by partition; a partition without a commit is left out.

    Raises:
        aiokafka.errors.KafkaError: the coordinator does not answer.
    """
    wanted = [TopicPartition(topic, partition) for partition in range(partitions)]
    found = await client.list_consumer_group_offsets(group, partitions=wanted)
    return {
        position.partition: entry.offset for position, entry in found.items() if entry.offset >= 0
    }
