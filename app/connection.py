"""Reach the broker: what every client is given, an admin client, one clear error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError

from app.exits import OperatorError, RefusalError
from app.handshake import why_refused
from app.security import client_security
from app.settings import PREFIX, Settings

#: Seconds for the first answer of the broker.
CONNECT_SECONDS = 5.0
#: Seconds between two attempts.
RETRY_SECONDS = 0.1


class AdminError(OperatorError):
    """Any failure to reach or to administer the broker; catch this one to catch them all."""


class BrokerUnreachableError(AdminError):
    """No broker answers at the configured address."""


class BrokerRefusesError(AdminError, RefusalError):
    """A broker answers and does not let us in, or is not whom we trust: trying again is no use."""


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


def client_options(settings: Settings) -> dict[str, Any]:
    """Return what each aiokafka client of ours is given: the brokers, TLS, user and password.

    Raises:
        BrokerUnreachableError: no address is configured.
        SettingsError: see `client_security`.
    """
    return {"bootstrap_servers": bootstrap_servers(settings), **client_security(settings)}


class _QuietFilter(logging.Filter):
    """Keeps aiokafka's own lines back where one error of this module says it all.

    By context, not by level: several tasks may open clients at once, and the clients of the
    worker itself keep their voice. Never a request with a password in it, which aiokafka logs at
    `debug` (0.14, conn.py, `send`); nor its warning of SASL_PLAINTEXT for each connection, which
    `app/security.py` gives once.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        told = record.args if isinstance(record.args, tuple) else ()
        if any(type(each).__name__.startswith("SaslAuthenticate") for each in told):
            return False
        return not (_quiet.get() or str(record.msg).startswith("Sending username and password"))


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
        BrokerRefusesError: a broker answers, and TLS or SASL fails.
        SettingsError: see `client_security`.
    """
    servers = bootstrap_servers(settings)
    client = AIOKafkaAdminClient(
        **client_options(settings), client_id="candlewick-admin", request_timeout_ms=15_000
    )
    _quiet.set(True)
    try:
        try:
            await _start(client, settings, seconds)
        except (KafkaError, TimeoutError, OSError) as error:
            raise _unreachable(servers, error) from error
        try:
            yield client
        except (KafkaConnectionError, NodeNotReadyError) as error:
            # Bootstrapped, but not at the address that the broker goes by.
            await _check_refusal(settings)
            raise _unreachable(servers, error) from error
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


async def _check_refusal(settings: Settings) -> None:
    """Look for the cause of a failure, which aiokafka keeps to itself, with connections more.

    Raises:
        BrokerRefusesError: it is TLS or SASL.
    """
    reason = await why_refused(client_options(settings))
    if reason is not None:
        raise BrokerRefusesError(reason)


async def _start(client: AIOKafkaAdminClient, settings: Settings, seconds: float) -> None:
    """Start until it works: a broker that is just starting refuses for a second or two."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            left = deadline - asyncio.get_running_loop().time()
            await asyncio.wait_for(_started(client), left)
            return
        except (KafkaError, TimeoutError):
            await _check_refusal(settings)
            if asyncio.get_running_loop().time() > deadline - RETRY_SECONDS:
                raise
            await asyncio.sleep(RETRY_SECONDS)


async def _started(client: AIOKafkaAdminClient) -> None:
    """Start a client and wait until it knows a broker.

    A broker that was away for longer than its session with the controller answers with a list of
    brokers that it is not yet on again, and aiokafka (0.14, client.py, `bootstrap`) calls that a
    start: the first request then has no node to go to. Needed as long as
    `tests/broker/test_connection.py` fails without it.
    """
    await client.start()
    while not client._client.cluster.brokers():
        await client._client.force_metadata_update()
        await asyncio.sleep(RETRY_SECONDS)
