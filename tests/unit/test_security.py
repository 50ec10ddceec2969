"""Kafka security without a broker: what is refused, what is masked, what clients are given."""

from __future__ import annotations

import ast
import logging
import os
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka.protocol.admin import SaslAuthenticateRequest
from click.testing import CliRunner
from faust.auth import SASLCredentials, SSLCredentials

from app.cli import candlewick
from app.connection import client_options
from app.run.environment import settings_environment
from app.security import client_security
from app.settings import Settings, SettingsError, load_settings
from app.streaming.transaction import ProducerOptions
from app.streaming.transport import faust_credentials
from tests.certificates import Authority

ROOT = Path(__file__).resolve().parents[2]
SECRET = "Wonder-1and"
URL = {"CANDLEWICK_BROKER__URL": "kafka://127.0.0.1:1"}


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.upper().startswith("CANDLEWICK_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca", "ca")


def load(monkeypatch: pytest.MonkeyPatch, **broker: object) -> Settings:
    """Settings from the environment, as an operator gives them."""
    for name, value in URL.items():
        monkeypatch.setenv(name, value)
    for name, value in broker.items():
        monkeypatch.setenv(f"CANDLEWICK_BROKER__{name.upper()}", str(value))
    return load_settings()


SASL = {"security_protocol": "SASL_SSL", "username": "alice", "password": SECRET}


@pytest.mark.parametrize(
    ("broker", "text"),
    [
        ({"security_protocol": "TLS"}, "CANDLEWICK_BROKER__SECURITY_PROTOCOL='TLS': "),
        (SASL | {"sasl_mechanism": "GSSAPI"}, "CANDLEWICK_BROKER__SASL_MECHANISM='GSSAPI': "),
        ({"security_protocol": "SASL_SSL"}, "CANDLEWICK_BROKER__USERNAME is not set"),
        (
            {"security_protocol": "SASL_SSL", "username": "alice"},
            "CANDLEWICK_BROKER__PASSWORD (or CANDLEWICK_BROKER__PASSWORD_FILE) is not set",
        ),
        (
            SASL | {"password_file": "word"},
            "PASSWORD and CANDLEWICK_BROKER__PASSWORD_FILE are both",
        ),
        (SASL | {"password": ""}, "CANDLEWICK_BROKER__PASSWORD is empty"),
        ({"password": SECRET}, "CANDLEWICK_BROKER__PASSWORD is set, and would not be used"),
        ({"username": "alice"}, "CANDLEWICK_BROKER__USERNAME is set, and would not be used"),
        ({"ca_file": "ca.pem"}, "CANDLEWICK_BROKER__CA_FILE is set, and would not be used"),
        (
            {"security_protocol": "SSL", "key_file": "a.key"},
            "CANDLEWICK_BROKER__KEY_FILE is set; expected CANDLEWICK_BROKER__CERTIFICATE_FILE",
        ),
        ({"passwrod": SECRET}, "CANDLEWICK_BROKER__PASSWROD='********': unknown setting"),
        ({"url": f"kafka://alice:{SECRET}@h/x"}, "CANDLEWICK_BROKER__URL='kafka://********@h/x'"),
    ],
)
def test_a_setting_that_would_not_do_what_it_says_is_refused_without_its_secret(
    monkeypatch: pytest.MonkeyPatch, broker: dict[str, str], text: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load(monkeypatch, **broker)
    assert text in str(refused.value)
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_secrets_of_a_wrong_type_in_the_file_are_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "candlewick.toml").write_text(
        '[broker]\nurl = "kafka://h:1"\nsecurity_protocol = "SASL_SSL"\npassword = 73541\n'
    )
    with pytest.raises(SettingsError, match=r"BROKER__PASSWORD='\*{8}'") as refused:
        load_settings()
    assert "73541" not in str(refused.value)


def test_security_without_an_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDLEWICK_BROKER__SECURITY_PROTOCOL", "SSL")
    with pytest.raises(SettingsError, match="CANDLEWICK_BROKER__URL is not set"):
        load_settings()


def test_plaintext_clients_are_given_nothing_more() -> None:
    settings = Settings(broker={"url": "kafka://h:1"})
    assert client_options(settings) == {
        "bootstrap_servers": "h:1",
        "security_protocol": "PLAINTEXT",
    }
    assert faust_credentials(client_security(settings)) is None


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_sasl_over_tls(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, tmp_path: Path, mechanism: str
) -> None:
    # The line break that an editor adds is not part of a password; blanks are.
    (tmp_path / "word").write_text(f" {SECRET}\n")
    told = {"security_protocol": "SASL_SSL", "username": "alice", "sasl_mechanism": mechanism}
    settings = load(monkeypatch, **told, password_file="word", ca_file=authority.file)
    given = client_security(settings)
    context = given["ssl_context"]
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert [found["subject"] for found in context.get_ca_certs()] == [((("commonName", "ca"),),)]
    assert client_security(settings)["ssl_context"] is context
    assert given["sasl_plain_password"] == f" {SECRET}"
    credentials: Any = faust_credentials(given)
    assert isinstance(credentials, SASLCredentials)
    assert credentials.protocol.value == "SASL_SSL"
    assert credentials.mechanism.value == mechanism
    assert (credentials.username, credentials.password) == ("alice", f" {SECRET}")
    assert credentials.ssl_context is context


def test_tls_alone_trusts_the_system_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    given = client_security(load(monkeypatch, security_protocol="SSL"))
    assert given["ssl_context"].verify_mode is ssl.CERT_REQUIRED
    assert given["ssl_context"].check_hostname
    credentials: Any = faust_credentials(given)
    assert isinstance(credentials, SSLCredentials)
    assert credentials.context is given["ssl_context"]


@pytest.mark.parametrize(
    ("mechanism", "text"),
    [("PLAIN", "the password and all data travel"), ("SCRAM-SHA-512", "all data travel in clear")],
)
def test_clear_text_is_said(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    mechanism: str,
    text: str,
) -> None:
    told = SASL | {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": mechanism}
    settings = load(monkeypatch, **told)
    from app import security

    security._warn_of_clear_text.cache_clear()
    for _ in range(3):
        client_security(settings)
    assert [text in message for message in caplog.messages] == [True]
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"ca_file": "nowhere"}, "CA_FILE='nowhere': No such file"),
        ({"ca_file": "."}, "CA_FILE='.': Is a directory"),
        ({"ca_file": "text"}, "CA_FILE='text': expected PEM with -----BEGIN CERTIFICATE-----"),
        ({"ca_file": "cut"}, "CA_FILE='cut': "),
        ({"ca_file": "binary"}, "CA_FILE='binary': not text"),
        ({"certificate_file": "text"}, "CERTIFICATE_FILE='text': expected PEM"),
        ({"certificate_file": "alone"}, "CERTIFICATE_FILE='alone': expected PEM with a PRIVATE"),
        ({"certificate_file": "a.pem", "key_file": "text"}, "KEY_FILE='text': expected PEM with a"),
        ({"certificate_file": "a.pem", "key_file": "b.key"}, "KEY_FILE='b.key': expected the key"),
        ({"certificate_file": "c.pem", "key_file": "c.key"}, "KEY_FILE='c.key': encrypted; expec"),
        (
            {"certificate_file": "c.pem", "key_file": "c.key", "key_password": "Wrong-1"},
            "KEY_FILE='c.key': encrypted; expected the password that opens it",
        ),
        (
            {"certificate_file": "c.pem", "key_file": "c.key", "key_password_file": "two-lines"},
            "KEY_PASSWORD_FILE='two-lines': expected one line",
        ),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, changes: dict[str, str], text: str
) -> None:
    for name, key_password in (("a", None), ("b", None), ("c", SECRET)):
        for path in authority.issue(name, key_password=key_password):
            path.rename(path.name)
    pem = authority.file.read_text()
    Path("text").write_text("hello")
    Path("two-lines").write_text("Wrong-1\nWrong-2\n")
    Path("cut").write_text(pem[: len(pem) // 2])
    Path("binary").write_bytes(b"\x30\x82\xff\xfe")
    Path("alone").write_text(pem)
    settings = load(monkeypatch, security_protocol="SSL", **changes)
    with pytest.raises(SettingsError) as refused:
        client_security(settings)
    assert f"CANDLEWICK_BROKER__{text}" in str(refused.value)
    assert "Wrong-1" not in str(refused.value)


def test_a_client_certificate_with_an_encrypted_key(
    monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> None:
    certificate, key = authority.issue("client", key_password=SECRET, valid=timedelta(days=2))
    files = {"certificate_file": certificate, "key_file": key, "key_password": SECRET}
    settings = load(monkeypatch, security_protocol="SSL", ca_file=authority.file, **files)
    assert isinstance(client_security(settings)["ssl_context"], ssl.SSLContext)


def test_a_worker_gets_the_secrets_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, **SASL)
    for name, value in settings_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings().broker == settings.broker
    assert os.environ["CANDLEWICK_BROKER__PASSWORD"] == SECRET


def test_security_changes_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_settings().results_hash
    assert load(monkeypatch, **SASL).results_hash == before


def test_secrets_are_in_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, **SASL)
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump_json()}"
    options = ProducerOptions(client_options(settings), "id", 1, 1, 1, 1, None, {})
    assert SECRET not in repr(options)
    for choice in ([], ["--json"]):
        shown = CliRunner().invoke(candlewick, ["settings", *choice])
        assert "CANDLEWICK_BROKER__PASSWORD" in shown.output
        assert SECRET not in shown.output


def test_aiokafka_logs_no_request_that_holds_a_password(caplog: pytest.LogCaptureFixture) -> None:
    payload = f"\0alice\0{SECRET}".encode()
    request = SaslAuthenticateRequest(payload).prepare({36: (0, 1)})
    log = logging.getLogger("aiokafka.conn")
    with caplog.at_level(logging.DEBUG, "aiokafka.conn"):
        log.debug("Request to %s:%d %d: %s", "h", 1, 2, request)
        log.debug("Request to %s:%d %d: %s", "h", 1, 3, "another")
    assert SECRET in repr(request)
    assert caplog.messages == ["Request to h:1 3: another"]


def test_every_client_is_given_the_same_options() -> None:
    """Each call that makes an aiokafka client takes `client_options`, or what was made of it."""
    clients = {"AIOKafkaConsumer", "AIOKafkaProducer", "AIOKafkaAdminClient", "AIOKafkaClient"}
    given_by = {
        f"client_options({name})" for name in ("settings", "self.settings", "self._settings")
    }
    spread = {*given_by, "connection", "options.connection", "self._options"}
    found = {}
    for path in sorted((ROOT / "app").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in clients:
                given = {ast.unparse(each.value) for each in node.keywords if each.arg is None}
                found[f"{path.relative_to(ROOT)}:{node.lineno}"] = bool(given & spread)
    assert len(found) >= 6
    assert [place for place, right in found.items() if not right] == []
