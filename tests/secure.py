"""A Kafka with a listener for each way of securing one; all on loopback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from app.broker import BrokerConfig, EmbeddedBroker, Listener
from app.broker.configuration import free_port
from tests.certificates import Authority

USER, PASSWORD = "alice", "Wonder-1and"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_PLAIN = (
    f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
)
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


@dataclass(frozen=True)
class SecureKafka:
    """A running broker and what its clients need."""

    broker: EmbeddedBroker
    authority: Authority
    stranger: Authority
    ports: Mapping[str, int]

    def url(self, name: str, host: str = "127.0.0.1") -> str:
        """Of a listener; PLAINTEXT is the plain one."""
        return self.broker.url if name == "PLAINTEXT" else f"kafka://{host}:{self.ports[name]}"

    def settings(self, name: str, protocol: str) -> dict[str, str]:
        """What a client is told that does everything right."""
        chosen = {
            "CANDLEWICK_BROKER__URL": self.url(name),
            "CANDLEWICK_BROKER__SECURITY_PROTOCOL": protocol,
        }
        if protocol.endswith("SSL"):
            chosen["CANDLEWICK_BROKER__CA_FILE"] = str(self.authority.file)
        if protocol.startswith("SASL"):
            chosen["CANDLEWICK_BROKER__USERNAME"] = USER
            chosen["CANDLEWICK_BROKER__PASSWORD"] = PASSWORD
        return chosen


def secure_kafka(folder: Path) -> SecureKafka:
    """Make the broker, not yet started, with these listeners.

    TLS (SSL), MUTUAL (SSL, asks for a certificate), CLEAR (SASL_PLAINTEXT), SECURE (SASL_SSL), and
    SASL_SSL with a fault: EXPIRED, ELSEWHERE (a certificate of another host); and RENAMED (SSL),
    which calls itself by a name that is not in its certificate.
    """
    authority, stranger = Authority(folder / "ours", "ours"), Authority(folder / "other", "other")
    right, _ = authority.issue("right", "127.0.0.1", "localhost")
    expired, _ = authority.issue("expired", "127.0.0.1", valid=timedelta(days=-2))
    address, _ = authority.issue("address", "127.0.0.1")
    elsewhere, _ = authority.issue("elsewhere", "kafka.example.org")

    def tls(certificate: Path) -> dict[str, str]:
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(certificate),
        }

    sasl = {"sasl.enabled.mechanisms": ",".join(MECHANISMS), "plain.sasl.jaas.config": _PLAIN}
    sasl |= {f"{each.lower()}.sasl.jaas.config": _SCRAM for each in MECHANISMS[1:]}
    asks = {
        "ssl.client.auth": "required",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.file),
    }
    made = {
        "TLS": ("SSL", tls(right)),
        "MUTUAL": ("SSL", tls(right) | asks),
        "CLEAR": ("SASL_PLAINTEXT", sasl),
        "SECURE": ("SASL_SSL", tls(right) | sasl),
        "EXPIRED": ("SASL_SSL", tls(expired) | sasl),
        "ELSEWHERE": ("SASL_SSL", tls(elsewhere) | sasl),
        "RENAMED": ("SSL", tls(address)),
    }
    ports: dict[str, int] = {}
    for name in made:
        ports[name] = free_port(frozenset(ports.values()))
    called = {"RENAMED": "localhost"}
    listeners = [
        Listener(name, protocol, ports[name], properties, called.get(name, "127.0.0.1"))
        for name, (protocol, properties) in made.items()
    ]
    config = BrokerConfig(folder / "kafka", listeners=listeners, scram_users={USER: PASSWORD})
    return SecureKafka(EmbeddedBroker(config), authority, stranger, ports)
