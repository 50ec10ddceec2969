"""What a broker's folder and command line contain: ports, ``server.properties``, Java's options."""

import base64
import random
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.broker.errors import BrokerError, PortInUseError

HOST = "127.0.0.1"
#: `deploy/` lies beside `app/` in a checkout and in the image.
DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "kafka"
#: Below the ports that Linux and macOS hand to outgoing connections (32768 and up, 49152 and up):
#: a port of those may be taken, for minutes, by any client when the broker starts again.
FREE_PORTS = range(20_000, 32_768)
#: `offsets.topic.num.partitions` and `transaction.state.log.num.partitions` of the template.
COORDINATOR_PARTITIONS = 8


def free_port(excluded: frozenset[int] = frozenset()) -> int:
    """Return a port on loopback that nothing listens on at this moment.

    Raises:
        PortInUseError: When 200 random ports were all taken.
    """
    for _ in range(200):
        port = random.SystemRandom().choice(FREE_PORTS)
        if port not in excluded and port_is_free(port):
            return port
    raise PortInUseError(
        f"no free port found on {HOST} among {FREE_PORTS.start}-{FREE_PORTS.stop - 1}; "
        f"end some servers or give a port"
    )


def port_is_free(port: int) -> bool:
    """Tell whether a server could listen on the port, as Java would: with SO_REUSEADDR."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def new_cluster_id() -> str:
    """Return a cluster id in Kafka's form: a UUID in 22 characters of URL-safe base64."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):  # it would be read as an option
            return text


@dataclass(frozen=True)
class Listener:
    """One more address on loopback, for clients that use TLS or SASL.

    The plain listener stays: the broker itself and its readiness probe use it.

    Attributes:
        name: Upper-case letters and digits.
        protocol: SSL, SASL_PLAINTEXT, SASL_SSL, or PLAINTEXT behind a proxy.
        port: Of this listener, on 127.0.0.1.
        properties: Kafka properties of this listener alone, without ``listener.name.NAME.``.
        advertised_host: What clients are told to call it; a name or number of loopback.
        advertised_port: What clients are told to connect to, such as a proxy's; None is the port.
    """

    name: str
    protocol: str
    port: int
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)
    advertised_host: str = HOST
    advertised_port: int | None = None


def _listener_properties(listeners: Sequence[Listener]) -> dict[str, str]:
    found = {}
    for listener in listeners:
        for name, value in listener.properties.items():
            found[f"listener.name.{listener.name.lower()}.{name}"] = value
    return found


def render_properties(
    template: str,
    *,
    port: int,
    controller_port: int,
    folder: Path,
    extra: Mapping[str, str],
    listeners: Sequence[Listener] = (),
) -> str:
    """Return the template's text with this node's addresses and folder, then ``extra``.

    Raises:
        BrokerError: When ``extra`` sets an address or folder, which the broker fills itself.
    """
    own = {
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "listeners": ",".join(
            [
                f"PLAINTEXT://{HOST}:{port}",
                f"CONTROLLER://{HOST}:{controller_port}",
                *(f"{one.name}://{HOST}:{one.port}" for one in listeners),
            ]
        ),
        "advertised.listeners": ",".join(
            [
                f"PLAINTEXT://{HOST}:{port}",
                *(
                    f"{one.name}://{one.advertised_host}:{one.advertised_port or one.port}"
                    for one in listeners
                ),
            ]
        ),
        "listener.security.protocol.map": ",".join(
            [
                "PLAINTEXT:PLAINTEXT",
                "CONTROLLER:PLAINTEXT",
                *(f"{one.name}:{one.protocol}" for one in listeners),
            ]
        ),
        "log.dirs": _escaped(str(folder)),
    }
    refused = sorted(own.keys() & extra.keys())
    if refused:
        raise BrokerError(
            f"extra broker properties contain {', '.join(refused)}, which the embedded broker "
            f"sets itself; remove them, or use folder and port"
        )
    added = {**_listener_properties(listeners), **extra}
    overrides = {**own, **{name: _escaped(value) for name, value in added.items()}}
    lines: list[str] = []
    for line in template.splitlines():
        name, separator, _ = line.partition("=")
        if separator and not line.startswith("#") and name.strip() in overrides:
            name = name.strip()
            line = f"{name}={overrides.pop(name)}"
        lines.append(line)
    lines += [f"{name}={value}" for name, value in overrides.items()]
    return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    # Java reads a backslash in a properties file as the start of an escape.
    return value.replace("\\", "\\\\")


def read_template(name: str) -> str:
    """Return a file of ``deploy/kafka``.

    Raises:
        BrokerError: When the checkout has no such file.
    """
    path = DEPLOY / name
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BrokerError(
            f"{path} cannot be read ({error}); the embedded broker runs from a whole checkout"
        ) from error


def java_options(heap_megabytes: int, folder: Path) -> list[str]:
    """Return the options of the Java runtime for a broker in ``folder``."""
    return [
        f"-Xmx{heap_megabytes}m",
        f"-Xms{min(heap_megabytes, 128)}m",
        # Measured on two cores with 2 M records of 100 bytes: start 2.3 s and a million records
        # written a second with either, but 235 MB resident instead of 284 MB with G1, and no
        # collector threads beside the worker that is being measured.
        "-XX:+UseSerialGC",
        "-XX:+ExitOnOutOfMemoryError",  # a broker without memory must not linger half alive
        "-XX:-UsePerfData",  # no files in the system's temporary folder,
        f"-Djava.io.tmpdir={folder / 'tmp'}",  # nor the codecs' native libraries after a kill
        "-Djava.awt.headless=true",
        "-Djava.net.preferIPv4Stack=true",
        "-Dlog4j2.disableJmx=true",
        f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
        f"-Dcandlewick.kafka.log={folder / 'kafka.log'}",
    ]
