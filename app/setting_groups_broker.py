"""The settings of the broker: where it is, how clients talk to it, and as whom."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator

from app.setting_types import PREFIX, Duration, Group, written


def _broker(name: str) -> str:
    return f"{PREFIX}BROKER__{name.upper()}"


class BrokerSettings(Group):
    """Where Kafka is and how the clients talk to it."""

    url: str | None = Field(
        default=None, pattern=r"^kafka://[^/]+$", description="none: the embedded broker is used"
    )
    folder: Path | None = Field(
        default=None, description="of the embedded broker; none: data_dir/broker"
    )
    port: int = Field(
        default=0, ge=0, le=65535, description="of the embedded broker; 0: a free one"
    )
    session_timeout: Duration = written("8s", description="a dead worker is noticed after it")
    heartbeat_interval: Duration = written(
        "300ms", description="how soon workers learn of a rebalance"
    )
    fetch_max_wait: Duration = written("100ms")
    fetch_max_bytes: int = Field(
        default=4 * 1024 * 1024, ge=1024, description="a partition and fetch"
    )
    transaction_timeout: Duration = written("10s")
    check_crcs: bool = True
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    username: str | None = Field(default=None, min_length=1)
    password: SecretStr | None = None
    password_file: Path | None = Field(default=None, description="holds the password alone")
    ca_file: Path | None = Field(
        default=None, description="PEM, whom to trust; none: the system's authorities"
    )
    certificate_file: Path | None = Field(
        default=None, description="PEM, of this client, where the broker asks for one"
    )
    key_file: Path | None = Field(
        default=None, description="PEM; none: the key is in certificate_file"
    )
    key_password: SecretStr | None = None
    key_password_file: Path | None = Field(default=None, description="holds the password alone")

    @model_validator(mode="after")
    def _check_security(self) -> BrokerSettings:
        """Refuse what would connect otherwise than its writer meant; files are read later."""
        for secret in ("password", "key_password"):
            value: SecretStr | None = getattr(self, secret)
            if value is not None and not value.get_secret_value():
                raise ValueError(f"{_broker(secret)} is empty; expected a password, or no setting")
            if value is not None and getattr(self, f"{secret}_file") is not None:
                raise ValueError(
                    f"{_broker(secret)} and {_broker(secret + '_file')} are both set; expected one"
                )
        protocol = self.security_protocol
        sasl, encrypted = protocol.startswith("SASL_"), protocol.endswith("SSL")
        if protocol != "PLAINTEXT" and self.url is None:
            raise ValueError(
                f"{_broker('url')} is not set; expected kafka://host:port with "
                f"{_broker('security_protocol')}={protocol!r}: the embedded broker has PLAINTEXT "
                "alone"
            )
        if sasl and (self.username is None or not (self.password or self.password_file)):
            lacking = "username" if self.username is None else "password"
            other = "" if lacking == "username" else f" (or {_broker('password_file')})"
            raise ValueError(
                f"{_broker(lacking)}{other} is not set; expected with "
                f"{_broker('security_protocol')}={protocol!r}"
            )
        self._refuse_idle(("username", "password", "password_file"), sasl, "SASL_SSL")
        files = ("ca_file", "certificate_file", "key_file", "key_password", "key_password_file")
        self._refuse_idle(files, encrypted, "SSL or SASL_SSL")
        if self.certificate_file is None:
            of_key = ("key_file", "key_password", "key_password_file")
            for name in (name for name in of_key if getattr(self, name) is not None):
                raise ValueError(f"{_broker(name)} is set; expected {_broker('certificate_file')}")
        return self

    def _refuse_idle(self, names: tuple[str, ...], used: bool, expected: str) -> None:
        for name in (name for name in names if getattr(self, name) is not None and not used):
            raise ValueError(
                f"{_broker(name)} is set, and would not be used with "
                f"{_broker('security_protocol')}={self.security_protocol!r}; expected {expected}"
            )
