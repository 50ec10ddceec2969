"""How every Kafka client of ours proves who it is and whom it talks to: TLS and SASL.

One function gives aiokafka's options, so that no client can be opened without them. Files are
read here and not in `app/settings.py`: a password never becomes a setting's value, and a file
that is replaced is read again by the next client. With TLS the broker's certificate and its name
are always checked; there is no setting that leaves it out.
"""

from __future__ import annotations

import logging
import ssl
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from app.setting_groups_broker import BrokerSettings
from app.settings import PREFIX, Settings, SettingsError

logger = logging.getLogger(__name__)

#: Bytes of a file with a password; more is another file by mistake.
SECRET_BYTES = 4096
CERTIFICATE, PRIVATE_KEY = "-----BEGIN CERTIFICATE-----", "PRIVATE KEY-----"
#: Of PKCS #8, and of the older form.
ENCRYPTED = "ENCRYPTED"


def client_security(settings: Settings) -> dict[str, Any]:
    """Return the options of an aiokafka client: protocol, TLS context, SASL mechanism and user.

    Raises:
        SettingsError: a file is missing, not readable or not what it should be.
    """
    broker = settings.broker
    protocol = broker.security_protocol
    options: dict[str, Any] = {"security_protocol": protocol}
    if protocol.endswith("SSL"):
        options["ssl_context"] = _context(
            broker.ca_file,
            broker.certificate_file,
            broker.key_file,
            _secret(broker, "key_password"),
        )
    if protocol.startswith("SASL_"):
        options["sasl_mechanism"] = broker.sasl_mechanism
        options["sasl_plain_username"] = broker.username
        options["sasl_plain_password"] = _secret(broker, "password")
        if protocol == "SASL_PLAINTEXT":
            _warn_of_clear_text(broker.sasl_mechanism)
    return options


def _name(setting: str) -> str:
    return f"{PREFIX}BROKER__{setting.upper()}"


@cache
def _warn_of_clear_text(mechanism: str) -> None:
    """Say it once a process."""
    travels = "the password and all data travel" if mechanism == "PLAIN" else "all data travel"
    logger.warning(
        "%s=SASL_PLAINTEXT: %s in clear text to the broker; expected SASL_SSL outside of a network "
        "that is trusted",
        _name("security_protocol"),
        travels,
    )


def _secret(broker: BrokerSettings, setting: str) -> str | None:
    """Return a secret from its setting or its file, whose last line break is not part of it."""
    value: SecretStr | None = getattr(broker, setting)
    if value is not None:
        return value.get_secret_value()
    path: Path | None = getattr(broker, f"{setting}_file")
    if path is None:
        return None
    text = _read(f"{setting}_file", path).removesuffix("\n").removesuffix("\r")
    if not text or "\n" in text or len(text) > SECRET_BYTES:
        raise _fault(f"{setting}_file", path, "expected one line that is the password")
    return text


def _read(setting: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise _fault(setting, path, f"{error.strerror}; expected a readable file") from None
    except UnicodeDecodeError:
        raise _fault(setting, path, "not text; expected PEM or a password") from None


def _fault(setting: str, path: Path, message: str) -> SettingsError:
    return SettingsError(f"{_name(setting)}={str(path)!r}: {message}")


@lru_cache(maxsize=8)
def _context(
    ca_file: Path | None, certificate: Path | None, key: Path | None, key_password: str | None
) -> ssl.SSLContext:
    """Return a context that checks the broker's certificate and name, made once."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    if ca_file is not None:
        # Whom the system trusts is not trusted then.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if CERTIFICATE not in _read("ca_file", ca_file):
            raise _fault("ca_file", ca_file, f"expected PEM with {CERTIFICATE}")
        try:
            context.load_verify_locations(cafile=ca_file)
        except ssl.SSLError as error:
            raise _fault("ca_file", ca_file, f"{_reason(error)}; expected PEM") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        _load_own(context, certificate, key, key_password)
    return context


def _load_own(
    context: ssl.SSLContext, certificate: Path, key: Path | None, key_password: str | None
) -> None:
    """Load this client's certificate and key.

    Raises:
        SettingsError: they are not PEM, do not belong together, or the key's password is wrong.
    """
    if CERTIFICATE not in _read("certificate_file", certificate):
        raise _fault("certificate_file", certificate, f"expected PEM with {CERTIFICATE}")
    setting, path = ("certificate_file", certificate) if key is None else ("key_file", key)
    if PRIVATE_KEY not in _read(setting, path):
        raise _fault(setting, path, f"expected PEM with a {PRIVATE_KEY.rstrip('-')}")
    try:
        # Without a callback OpenSSL would ask on the terminal.
        context.load_cert_chain(certificate, path, password=lambda: key_password or "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = f"expected the key of {_name('certificate_file')}={str(certificate)!r}"
        elif ENCRYPTED in _read(setting, path):
            message = f"encrypted; expected the password that opens it in {_name('key_password')}"
        else:
            message = f"{_reason(error)}; expected PEM"
        raise _fault(setting, path, message) from None


def _reason(error: ssl.SSLError) -> str:
    """Return OpenSSL's reason in small letters, without its place in the source of Python."""
    return (error.reason or "OpenSSL cannot read it").replace("_", " ").lower()
