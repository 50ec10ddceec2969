"""Reach the broker for questions beside the stream: address, admin client, one clear error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from app.exits import OperatorError
from app.settings import PREFIX, Settings

#: Seconds for the first answer of the broker.
CONNECT_SECONDS = 5.0
#: Seconds between two attempts.
RETRY_SECONDS = 0.1


class AdminError(OperatorError):
    """Any failure to reach or to administer the broker; catch this one to catch them all."""


class BrokerUnreachableError(AdminError):
    """No broker answers at the configured address."""


def bootstrap_servers(settings: Settings) -> str:
    """Return the brokers as `host:port,host:port`, without any user name of the URL.

    Raises:
        BrokerUnreachableError: no address is configured.
    """
    url = settings.broker.url
    if url is None:
        raise BrokerUnreachableError(
            f"{PREFIX}BROKER__URL is not set: expected kafka://host:port; start the embedded "
            "broker with `candlewick broker start` and set its address"
        )
    return url.removeprefix("kafka://").rpartition("@")[2].replace(";", ",")


class _QuietFilter(logging.Filter):
    """Keeps aiokafka's own lines back where one error of this module says it all.

    By context, not by level: several tasks may open clients at once, and the clients of the
    worker itself keep their voice.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return not _quiet.get()


_quiet: ContextVar[bool] = ContextVar("quiet", default=False)
for _name in ("aiokafka", "aiokafka.client", "aiokafka.cluster", "aiokafka.conn"):
    logging.getLogger(_name).addFilter(_QuietFilter())


@asynccontextmanager
async def connect(
    settings: Settings, seconds: float = CONNECT_SECONDS
) -> AsyncIterator[AIOKafkaAdminClient]:
    """Open an admin client; `seconds` is for the first answer.

    Raises:
        BrokerUnreachableError: no broker answers in time, or the connection is lost later.
    """
    servers = bootstrap_servers(settings)
    client = AIOKafkaAdminClient(
        bootstrap_servers=servers, client_id="candlewick-admin", request_timeout_ms=15_000
    )
    _quiet.set(True)
    try:
        try:
            await _start(client, seconds)
        except (KafkaError, TimeoutError, OSError) as error:
            raise _unreachable(servers, error) from error
        try:
            yield client
        except KafkaError as error:
            raise _unreachable(servers, error) from error
    finally:
        await client.close()
        _quiet.set(False)


def _unreachable(servers: str, error: Exception) -> BrokerUnreachableError:
    usual = isinstance(error, KafkaConnectionError | TimeoutError)
    reason = "" if usual else f": {error!r}"
    return BrokerUnreachableError(
        f"no broker answers at kafka://{servers} ({PREFIX}BROKER__URL){reason}; start it, or "
        f"set {PREFIX}BROKER__URL to the address of a running one"
    )


async def _start(client: AIOKafkaAdminClient, seconds: float) -> None:
    """Start until it works: a broker that is just starting refuses for a second or two."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            await asyncio.wait_for(client.start(), deadline - asyncio.get_running_loop().time())
            return
        except KafkaError:
            if asyncio.get_running_loop().time() > deadline - RETRY_SECONDS:
                raise
            await asyncio.sleep(RETRY_SECONDS)
