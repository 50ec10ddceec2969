"""Why a broker that answers does not let a client in: one line with the setting to look at.

aiokafka tells its own log and raises "Unable to bootstrap" whatever it was (0.14, client.py,
`bootstrap`). Here a connection is made as its client makes them, but for the cause. Where a server
just hangs up, another question tells why: whether it speaks TLS, plain Kafka, or wants SASL.
Nothing is concluded without such an answer: a broker that is starting also hangs up.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka.client import collect_hosts
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from app.settings import PREFIX

#: Seconds for each question.
ANSWER_SECONDS = 3.0
#: A name that no server offers: its refusal shows that it wants SASL, and no one has to log in.
NO_MECHANISM = "NONE"
#: OpenSSL's verify codes.
NOT_YET_VALID, EXPIRED, HOST_MISMATCH, ADDRESS_MISMATCH = 9, 10, 62, 64

Address = tuple[str, int]
_PROTOCOL = f"{PREFIX}BROKER__SECURITY_PROTOCOL"
_FAILURES = (KafkaError, OSError, TimeoutError, asyncio.IncompleteReadError)


async def why_refused(options: Mapping[str, Any]) -> str | None:
    """Return why a broker does not let a client with these options in.

    Asks the configured brokers and those that they name. None where all is well, where nothing
    answers, and where the reason is not one of TLS or SASL.

    Args:
        options: see `app.connection.client_options`.
    """
    security = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    waiting: list[Address] = [
        (host, port) for host, port, _ in collect_hosts(options["bootstrap_servers"])
    ]
    asked: set[Address] = set()
    while waiting:
        address = waiting.pop()
        asked.add(address)
        try:
            waiting += [one for one in await _brokers(address, security) if one not in asked]
        except _FAILURES as error:
            reason = await _explain(error, address, security)
            if reason is not None:
                return f"kafka://{address[0]}:{address[1]} {reason}"
    return None


@asynccontextmanager
async def _connection(
    address: Address, security: Mapping[str, Any]
) -> AsyncIterator[AIOKafkaConnection]:
    """Connect and log in; the socket is closed when this is left, whatever came in between."""
    milliseconds = int(ANSWER_SECONDS * 1000)
    connection = AIOKafkaConnection(*address, request_timeout_ms=milliseconds, **security)
    try:
        await connection.connect()
        yield connection
    finally:
        closed = connection.close()
        # Without a protocol there was no socket, and nobody would end the future.
        if closed is not None and connection._protocol is not None:
            await asyncio.wait([closed], timeout=ANSWER_SECONDS)


async def _brokers(address: Address, security: Mapping[str, Any]) -> list[Address]:
    """Connect, log in, ask a question; the addresses of the cluster's brokers."""
    async with _connection(address, security) as connection:
        metadata: Any = await connection.send(MetadataRequest([]))
    return [(host, port) for _, host, port, *_ in metadata.brokers]


async def _explain(
    error: BaseException, address: Address, security: Mapping[str, Any]
) -> str | None:
    protocol = security["security_protocol"]
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _untrusted(cause)
        if isinstance(cause, SaslAuthenticationFailed):
            return (
                f"refuses the user {security['sasl_plain_username']!r} ({cause.args[0]}); check "
                f"{PREFIX}BROKER__USERNAME and {PREFIX}BROKER__PASSWORD (or _PASSWORD_FILE)"
            )
        if isinstance(cause, UnsupportedSaslMechanismError):
            mechanism = security["sasl_mechanism"]
            return f"does not offer {PREFIX}BROKER__SASL_MECHANISM={mechanism!r}; set another one"
        if isinstance(cause, IllegalSaslStateError):
            without = protocol.removeprefix("SASL_")
            return f"takes no user and password: {_expected(protocol, _plain_name(without))}"
        if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
            return _alert(cause)
    return await _hung_up(address, security)


async def _hung_up(address: Address, security: Mapping[str, Any]) -> str | None:
    """Ask a server that has closed the connection what it speaks instead."""
    protocol = security["security_protocol"]
    encrypted = protocol.endswith("SSL")
    if encrypted and await _speaks_plain(address):
        return f"does not speak TLS: {_expected(protocol, 'PLAINTEXT or SASL_PLAINTEXT')}"
    if not encrypted and await _speaks_tls(address):
        return f"speaks TLS: {_expected(protocol, 'SSL or SASL_SSL')}"
    if not protocol.startswith("SASL_") and await _wants_sasl(address, security):
        wanted = "SASL_SSL" if encrypted else "SASL_PLAINTEXT"
        return f"wants a user and a password: {_expected(protocol, wanted)}"
    return None


def _expected(protocol: str, expected: str) -> str:
    return f"{_PROTOCOL}={protocol!r}, expected {expected}"


def _plain_name(protocol: str) -> str:
    return protocol if protocol == "SSL" else "PLAINTEXT"


def _untrusted(error: ssl.SSLCertVerificationError) -> str:
    name = f"{PREFIX}BROKER__CA_FILE"
    if error.verify_code in (HOST_MISMATCH, ADDRESS_MISMATCH):
        return (
            f"has a certificate of another host ({error.verify_message.rstrip('.')}); expected a "
            f"name of the certificate in {PREFIX}BROKER__URL and in the broker's "
            "advertised.listeners"
        )
    if error.verify_code == EXPIRED:
        return f"has a certificate that has expired, or the authority in {name} has; renew it"
    if error.verify_code == NOT_YET_VALID:
        return "has a certificate that is not valid yet; check the clocks of both machines"
    return f"has a certificate that is not trusted ({error.verify_message}); check {name}"


def _alert(error: ssl.SSLError) -> str:
    """The server's own reason to end a TLS handshake."""
    reason = error.reason.partition("ALERT_")[2].replace("_", " ").lower()
    if "certificate" in reason or "unknown ca" in reason:
        return (
            f"wants another certificate of this client ({reason}); check "
            f"{PREFIX}BROKER__CERTIFICATE_FILE and {PREFIX}BROKER__KEY_FILE"
        )
    return f"ends the TLS handshake ({reason}); expected TLS 1.2 or newer on both sides"


async def _speaks_plain(address: Address) -> bool:
    """Whether a plain connection has its first question answered."""
    try:
        async with _connection(address, {"security_protocol": "PLAINTEXT"}):
            return True
    except _FAILURES:
        return False


async def _speaks_tls(address: Address) -> bool:
    """Whether it goes through a TLS handshake; nothing is sent, so whose it is does not matter."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(*address, ssl=context)
    except _FAILURES as error:
        # It may ask for a certificate or another version: that is TLS, too.
        return any("ALERT" in (getattr(cause, "reason", "") or "") for cause in _chain(error))
    writer.close()
    with suppress(*_FAILURES):
        await asyncio.wait_for(writer.wait_closed(), ANSWER_SECONDS)
    return True


async def _wants_sasl(address: Address, security: Mapping[str, Any]) -> bool:
    """Whether it refuses a mechanism rather than SASL itself."""
    protocol = "SASL_SSL" if security["security_protocol"] == "SSL" else "SASL_PLAINTEXT"
    told = {**security, "security_protocol": protocol, "sasl_mechanism": NO_MECHANISM}
    try:
        async with _connection(address, told):
            return True
    except UnsupportedSaslMechanismError:
        return True
    except _FAILURES:
        return False


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
