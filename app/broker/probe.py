"""Ask a single-node Kafka whether it is ready, over a plain socket.

Four requests of the Kafka protocol, encoded by hand: a client library would bring an event loop, a
background refresh and seconds of back-off to what is a question of a few bytes. An open port tells
nothing: for a moment after it opens, the coordinators answer error 15 (not available) or 14
(loading), and the first user of a group or transaction would meet them.
"""

import socket
import struct

METADATA, OFFSET_FETCH, FIND_COORDINATOR, DESCRIBE_TRANSACTIONS = 3, 9, 10, 65
NO_ERROR, TRANSACTIONAL_ID_NOT_FOUND = 0, 105
GROUP_KEY, TRANSACTION_KEY = 0, 1
CLIENT = b"candlewick-probe"
#: Seconds a single answer may take; creating the internal topics happens within it.
ANSWER_SECONDS = 5.0


class NotReadyError(Exception):
    """The broker does not answer a request as a ready one does; the message tells which."""


def check_ready(host: str, port: int, coordinator_partitions: int) -> None:
    """Return when metadata, every group and every transaction coordinator partition answer.

    Args:
        host, port: The clients' address of the broker.
        coordinator_partitions: Partitions of ``__consumer_offsets`` and ``__transaction_state``.

    Raises:
        NotReadyError: When a request is refused, unanswered or answered with an error.
    """
    try:
        with socket.create_connection((host, port), timeout=ANSWER_SECONDS) as connection:
            _check_metadata(connection)
            for index in range(coordinator_partitions):
                # A coordinator partition is Java's hash of the name modulo the count, and names
                # that differ by one in their last character have consecutive hashes: all are met.
                name = b"candlewick-probe-" + bytes([ord("A") + index])
                _check_coordinator(connection, name, GROUP_KEY)
                _check_coordinator(connection, name, TRANSACTION_KEY)
                _check_offsets(connection, name)
                _check_transaction(connection, name)
    except (OSError, struct.error) as error:
        raise NotReadyError(f"{host}:{port}: {error}") from error


def _check_metadata(connection: socket.socket) -> None:
    # Version 1: an array of topics, here empty; the answer begins with the array of brokers.
    answer = _ask(connection, METADATA, 1, struct.pack(">i", 0))
    (brokers,) = struct.unpack_from(">i", answer)
    if brokers < 1:
        raise NotReadyError("the metadata names no broker")


def _check_coordinator(connection: socket.socket, name: bytes, kind: int) -> None:
    # Version 1: key, kind of key; the answer is throttle time, error, ...
    answer = _ask(connection, FIND_COORDINATOR, 1, _string(name) + struct.pack(">b", kind))
    (error,) = struct.unpack_from(">h", answer, 4)
    if error != NO_ERROR:
        kinds = {GROUP_KEY: "group", TRANSACTION_KEY: "transaction"}
        raise NotReadyError(f"no {kinds[kind]} coordinator yet (error {error})")


def _check_offsets(connection: socket.socket, name: bytes) -> None:
    # Version 2: group, null for all topics; the answer is the array of topics, error.
    answer = _ask(connection, OFFSET_FETCH, 2, _string(name) + struct.pack(">i", -1))
    (error,) = struct.unpack_from(">h", answer, len(answer) - 2)
    if error != NO_ERROR:
        raise NotReadyError(f"the group coordinator is loading (error {error})")


def _check_transaction(connection: socket.socket, name: bytes) -> None:
    # Version 0, compact encoding: lengths are varints of length + 1, structures end in a tag count.
    body = bytes([2, len(name) + 1]) + name + b"\x00"
    answer = _ask(connection, DESCRIBE_TRANSACTIONS, 0, body, compact=True)
    (error,) = struct.unpack_from(">h", answer, 1 + 4 + 1)  # tags, throttle time, array length
    if error not in (NO_ERROR, TRANSACTIONAL_ID_NOT_FOUND):
        raise NotReadyError(f"the transaction coordinator is loading (error {error})")


def _ask(
    connection: socket.socket, api: int, version: int, body: bytes, *, compact: bool = False
) -> bytes:
    """Send one request and return its answer behind the correlation id."""
    header = struct.pack(">hhi", api, version, 0) + _string(CLIENT) + (b"\x00" if compact else b"")
    connection.sendall(struct.pack(">i", len(header) + len(body)) + header + body)
    (length,) = struct.unpack(">i", _receive(connection, 4))
    return _receive(connection, length)[4:]


def _receive(connection: socket.socket, length: int) -> bytes:
    chunks = bytearray()
    while len(chunks) < length:
        chunk = connection.recv(length - len(chunks))
        if not chunk:
            raise NotReadyError("the broker closed the connection")
        chunks += chunk
    return bytes(chunks)


def _string(value: bytes) -> bytes:
    return struct.pack(">h", len(value)) + value
