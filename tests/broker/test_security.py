"""TLS and SASL against a real Kafka: who gets in, and the one line where one does not.

The faults are an operator's: a wrong password, authority, certificate, host, protocol. Each is
met by the same code in every command (`app/connection.py`), so each command is tried with one and
the client's own way in with all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.connection import BrokerRefusesError, connect
from app.exits import REFUSED, USAGE
from app.feeds.producer import TickSender
from app.feeds.replayer import replay
from app.run.drain import input_bounds, wait_until_drained
from app.run.export import read_bars
from app.run.outcomes import read_outcomes
from app.settings import Settings, load_settings
from tests.broker.worker import SESSION_SECONDS, WorkerProcess
from tests.command import MARKS, candlewick
from tests.secure import MECHANISMS, PASSWORD, USER, SecureKafka, secure_kafka

pytestmark = pytest.mark.broker

PROTOCOL = "CANDLEWICK_BROKER__SECURITY_PROTOCOL"
#: Listener by the protocol that it speaks.
LISTENERS = {
    "PLAINTEXT": "PLAINTEXT",
    "SSL": "TLS",
    "SASL_PLAINTEXT": "CLEAR",
    "SASL_SSL": "SECURE",
}
CSV = "symbol,price,size,event_time\n" + "".join(
    f"{symbol},{10 + second},2,2013-10-07T14:00:{second:02}Z\n"
    for second in range(30)
    for symbol in ("A", "B", "C")
)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    kafka = secure_kafka(tmp_path_factory.mktemp("secure"))
    kafka.broker.start()
    try:
        kafka.broker.wait_ready()
        yield kafka
    finally:
        kafka.broker.stop()


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("CANDLEWICK_"):
            monkeypatch.delenv(name)


def settings_of(environment: dict[str, str]) -> Settings:
    """The settings that a process with this environment has."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return load_settings()


def changed(environment: dict[str, str], **broker: object) -> dict[str, str]:
    """The environment with other settings of the broker; None takes one away."""
    new = {f"CANDLEWICK_BROKER__{name.upper()}": value for name, value in broker.items()}
    together: dict[str, object] = environment | new
    return {name: str(value) for name, value in together.items() if value is not None}


async def topics(environment: dict[str, str]) -> int:
    """Connect as every command does."""
    async with connect(settings_of(environment)) as client:
        return len(await client.describe_topics(None))


async def refusal(environment: dict[str, str]) -> str:
    """Why the connection is refused."""
    with pytest.raises(BrokerRefusesError) as refused:
        await topics(environment)
    assert PASSWORD not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
async def test_the_right_user_gets_in_and_a_wrong_password_does_not(
    secure: SecureKafka, protocol: str, mechanism: str
) -> None:
    told = changed(secure.settings(LISTENERS[protocol], protocol), sasl_mechanism=mechanism)
    assert await topics(told) > 0
    line = await refusal(changed(told, password="wrong"))
    assert line.startswith(f"{told['CANDLEWICK_BROKER__URL']} refuses the user {USER!r} (")
    assert line.endswith(
        "check CANDLEWICK_BROKER__USERNAME and CANDLEWICK_BROKER__PASSWORD (or _PASSWORD_FILE)"
    )


@pytest.mark.parametrize("spoken", LISTENERS)
@pytest.mark.parametrize("wanted", LISTENERS)
async def test_every_protocol_at_every_listener(
    secure: SecureKafka, wanted: str, spoken: str
) -> None:
    told = secure.settings(LISTENERS[wanted], spoken)
    if spoken == wanted:
        assert await topics(told) > 0
        return
    line = await refusal(told)
    _, _, expected = line.partition(f"{PROTOCOL}={spoken!r}, expected ")
    # Where TLS is at fault, SASL is not known yet.
    assert wanted in expected.split(" or "), line


@pytest.mark.parametrize(
    ("listener", "authority", "text"),
    [
        ("SECURE", "stranger", "not trusted (unable to get local issuer certificate); check "),
        ("SECURE", None, "not trusted (unable to get local issuer certificate); check "),
        ("EXPIRED", "authority", "has a certificate that has expired, or the authority in "),
        ("ELSEWHERE", "authority", "has a certificate of another host (IP address mismatch"),
    ],
)
async def test_a_broker_that_is_not_to_be_trusted(
    secure: SecureKafka, listener: str, authority: str | None, text: str
) -> None:
    file = None if authority is None else getattr(secure, authority).file
    told = changed(secure.settings(listener, "SASL_SSL"), ca_file=file)
    line = await refusal(told)
    assert line.startswith(f"{told['CANDLEWICK_BROKER__URL']} has a certificate ")
    assert text in line
    assert "CANDLEWICK_BROKER__" in line


async def test_a_name_is_compared_with_the_certificate(secure: SecureKafka) -> None:
    """`localhost` is in the certificate; the advertised address is the other name in it."""
    told = secure.settings("SECURE", "SASL_SSL")
    assert await topics(changed(told, url=secure.url("SECURE", "localhost"))) > 0


async def test_the_brokers_that_are_named_are_asked_too(secure: SecureKafka) -> None:
    """The first address may be right and the advertised one not in the certificate."""
    told = changed(secure.settings("RENAMED", "SSL"), url=secure.url("RENAMED"))
    line = await refusal(told)
    assert line.startswith(f"kafka://localhost:{secure.ports['RENAMED']} has a certificate of an")


async def test_a_broker_that_asks_for_a_certificate(secure: SecureKafka) -> None:
    told = secure.settings("MUTUAL", "SSL")
    certificate, key = secure.authority.issue("client", key_password="opens-1t")
    files = {"certificate_file": certificate, "key_file": key, "key_password": "opens-1t"}
    assert await topics(changed(told, **files)) > 0
    unknown, _ = secure.stranger.issue("client")
    for given in ({}, {"certificate_file": unknown}):
        line = await refusal(changed(told, **given))
        assert "wants another certificate of this client (" in line
        assert "CANDLEWICK_BROKER__CERTIFICATE_FILE and CANDLEWICK_BROKER__KEY_FILE" in line


@pytest.fixture
def own(secure: SecureKafka, unique: str) -> dict[str, str]:
    """A deployment of one's own over SASL_SSL."""
    return changed(
        secure.settings("SECURE", "SASL_SSL"),
        sasl_mechanism="SCRAM-SHA-512",
        session_timeout=f"{SESSION_SECONDS:g}s",
        heartbeat_interval="300ms",
    ) | {
        "CANDLEWICK_TOPIC_PREFIX": f"{unique}.",
        "CANDLEWICK_TOPICS__PARTITIONS": "2",
        "CANDLEWICK_WEB__PORT": "0",
        "CANDLEWICK_AGENTS": "bars",
    }


def one_line(errors: str) -> str:
    """The only line that a command has said."""
    lines = errors.splitlines()
    assert len(lines) == 1, errors
    assert lines[0].startswith(MARKS)
    assert PASSWORD not in errors
    return lines[0]


COMMANDS = [["topics", "--create"], ["replay", "ticks.csv"], ["worker"]]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_a_command_that_is_refused_says_so_once_and_soon(
    own: dict[str, str], tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "ticks.csv").write_text(CSV)
    ended = candlewick(tmp_path, *arguments, settings=changed(own, password="wrong"), seconds=60)
    assert ended.code == REFUSED
    assert f"refuses the user {USER!r}" in one_line(ended.errors)
    ended = candlewick(tmp_path, *arguments, settings=changed(own, ca_file="none"), seconds=60)
    assert ended.code == USAGE
    assert "CANDLEWICK_BROKER__CA_FILE='none': No such file" in one_line(ended.errors)


@pytest.mark.parametrize("fault", ["password", "authority", "expired", "host", "protocol", "file"])
async def test_a_faust_worker_that_is_refused_says_so_once_and_ends(
    own: dict[str, str], secure: SecureKafka, tmp_path: Path, fault: str
) -> None:
    changes: dict[str, dict[str, object]] = {
        "password": {"password": "wrong"},
        "authority": {"ca_file": secure.stranger.file},
        "expired": {"url": secure.url("EXPIRED")},
        "host": {"url": secure.url("ELSEWHERE")},
        "protocol": {"url": secure.url("CLEAR")},
        "file": {"password": None, "password_file": tmp_path / "nowhere"},
    }
    settings = settings_of(changed(own, **changes[fault]))
    settings = settings.model_copy(update={"data_dir": tmp_path / "data"})
    async with WorkerProcess(settings) as worker:
        assert await worker.wait() == REFUSED
        said = [line for line in worker.log.splitlines() if line.startswith(MARKS)]
        assert len(said) == 1, worker.tail
        assert "CANDLEWICK_BROKER__" in said[0]
        assert "Traceback" not in worker.log
        assert "Unable connect" not in worker.log
        assert PASSWORD not in worker.log


async def test_bars_over_tls_and_scram_and_the_password_nowhere(
    own: dict[str, str], tmp_path: Path
) -> None:
    """Worker, replay and readers, at `debug`: the bars are right, and nothing holds the secret."""
    path = tmp_path / "ticks.csv"
    path.write_text(CSV)
    settings = settings_of(own | {"CANDLEWICK_LOG__LEVEL": "debug"})
    settings = settings.model_copy(update={"data_dir": tmp_path / "data"})
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        arguments = " ".join(psutil.Process(worker.pid).cmdline())
        summary = await replay(settings, [path])
        await wait_until_drained(settings, await input_bounds(settings), lambda *_: None)
        bars = await read_bars(settings)
        outcomes = await read_outcomes(settings)
        assert await worker.stop() == 0, worker.tail
        log = worker.log
    assert summary.trades == outcomes.counts["applied"] == 90
    # 30 of 1 s, 3 of 10 s, one each of 1 m, 5 m, 15 m, for three symbols.
    assert len(bars) == 3 * (30 + 3 + 3)
    assert "Request to " in log
    assert PASSWORD not in log
    assert PASSWORD not in arguments
    for kept in (one for one in (tmp_path / "data").rglob("*") if one.is_file()):
        assert PASSWORD.encode() not in kept.read_bytes(), kept


async def test_a_sender_is_authenticated_too(own: dict[str, str], tmp_path: Path) -> None:
    """Not only because the admin client was before it."""
    settings = settings_of(own)
    ended = candlewick(tmp_path, "topics", "--create", settings=own)
    assert ended.code == 0, ended.errors
    async with TickSender(settings) as sender:
        await sender.send(0, [(None, b"x")])
        await sender.flush()
        assert sender.acknowledged == [1, 0]
