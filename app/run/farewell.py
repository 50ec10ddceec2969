"""A dead worker leaves its group at once: its supervisor says so in its name.

A worker that is killed cannot say that it leaves. The group would wait for its session time-out
(`broker.session_timeout`, 8 s), and so would every rebalance meanwhile, for all partitions. The
supervisor knows that the process has ended. It finds the member by a client id that no other
process has, and sends the LeaveGroup that the worker would have sent: a broker takes it from anyone
who may read the group.
"""

from __future__ import annotations

import asyncio
import logging
import secrets

from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.group import LeaveGroupRequest

from app.connection import AdminError, connect
from app.groups import NO_ERROR
from app.identity import group_id
from app.settings import Settings, SettingsError

logger = logging.getLogger(__name__)

#: Where Faust takes the client id of its consumer from.
CLIENT_ID = "BROKER_CLIENT_ID"
#: Seconds for the whole of it: the session time-out comes soon as well.
SECONDS = 5.0
#: The member is gone already.
UNKNOWN_MEMBER = 25


def new_client_id(settings: Settings) -> str:
    """Return a client id that no other process has, for one life of a worker."""
    return f"candlewick-{settings.worker}-{secrets.token_hex(8)}"


async def leave_group_for(settings: Settings, client_id: str) -> bool:
    """Take the members with this client id out of the worker's group; its process has ended.

    Returns:
        Whether there was one. A broker that is away is said in the log and nothing else: the
        session time-out does the same, later.
    """
    try:
        async with asyncio.timeout(SECONDS):
            return await _leave(settings, client_id)
    except (TimeoutError, OSError, KafkaError, AdminError, SettingsError) as error:
        logger.info("%s could not leave its group: %r", settings.worker, error)
        return False


async def _leave(settings: Settings, client_id: str) -> bool:
    group, found = group_id(settings), False
    async with connect(settings) as client:
        for response in await client.describe_consumer_groups([group]):
            for _, _, _, _, _, members, *_ in response.groups:
                for member, its_client_id, *_ in members:
                    if its_client_id != client_id:
                        continue
                    node = await client.find_coordinator(group)
                    answer = await client._send_request(LeaveGroupRequest(group, member), node)
                    if answer.error_code not in (NO_ERROR, UNKNOWN_MEMBER):
                        raise for_code(answer.error_code)(f"{member} cannot leave {group}")
                    found = True
    return found
