"""What `candlewick doctor` finds on a machine: each fault by itself, with what mends it."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner, Result

from app import exits
from app.broker.jars import read_table
from app.cli import candlewick
from app.cli.doctor import finding_lines
from app.doctor import Finding, examine, machine, place
from app.doctor.cluster import broker_address, topics
from app.doctor.finding import note, ok, problem
from app.run.environment import environment_name, walk_settings
from app.settings import Settings, load_settings
from app.topic_state import TopicState
from app.topics import topic_table


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder of its own, no settings around."""
    for name in list(os.environ):
        if name.upper().startswith("CANDLEWICK_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def call(*arguments: str, environment: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(candlewick, ["doctor", *arguments], env=environment)


def checks(result: Result) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for each in json.loads(result.stdout)["checks"]:
        found.setdefault(each["check"], []).append(Finding(**each))
    return found


def test_a_whole_installation_without_a_broker_has_no_problem(tmp_path: Path) -> None:
    # Any port: a worker of somebody else may have the usual one.
    result = call("--json", environment={"CANDLEWICK_WEB__PORT": "0"})
    found = checks(result)
    del found["disk"]
    assert [each for some in found.values() for each in some if each.result == "problem"] == []
    assert found["python"][0].result == found["packages"][0].result == "ok"
    (broker,) = found["broker"]
    assert (broker.result, broker.mend) == ("note", "candlewick broker start")
    assert not (tmp_path / "data").exists(), "it has made something"
    assert list(tmp_path.iterdir()) == []


def test_a_broker_that_does_not_answer_is_one_problem() -> None:
    environment = {"CANDLEWICK_BROKER__URL": "kafka://reader:sesame@127.0.0.1:1"}
    for arguments in ([], ["--json"]):
        result = call(*arguments, environment=environment)
        assert result.exit_code == exits.FAILURE
        assert "sesame" not in result.output
    (broker,) = checks(result)["broker"]
    assert broker.result == "problem"
    assert "no broker answers at kafka://127.0.0.1:1" in broker.says
    assert "candlewick broker start" in str(broker.mend)
    assert json.loads(result.stdout)["result"] == "problem"


def test_an_unknown_name_is_a_problem_and_the_rest_is_checked() -> None:
    result = call("--json", environment={"CANDLEWICK_BARS__GRACES": "1s"})
    found = checks(result)
    assert result.exit_code == exits.FAILURE
    (settings,) = found["settings"]
    assert "CANDLEWICK_BARS__GRACES" in settings.says
    assert settings.mend == "unset CANDLEWICK_BARS__GRACES; perhaps CANDLEWICK_BARS__GRACE is meant"
    assert found["python"][0].result == "ok"
    assert "broker" not in found


def test_a_wrong_value_is_a_problem() -> None:
    (settings,) = checks(call("--json", environment={"CANDLEWICK_BARS__GRACE": "soon"}))["settings"]
    assert "CANDLEWICK_BARS__GRACE='soon'" in settings.says


def test_the_names_are_those_of_all_settings() -> None:
    names = {environment_name(path) for path, _, _ in walk_settings(Settings())}
    assert place.setting_names() == names | {"CANDLEWICK_CONFIG"}


def test_python_is_judged_by_what_the_project_asks_for() -> None:
    assert machine.python(">=3.11").result == "ok"
    assert machine.python(">=4").result == "problem"
    wanted, packages = machine.requirements()
    assert wanted.startswith(">=3.11")
    assert any(each.startswith("aiokafka") for each in packages)


def test_without_a_checkout_the_installed_names_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest stands for our own distribution, which a checkout need not have installed.
    monkeypatch.setattr(machine, "DISTRIBUTION", "pytest")
    wanted, packages = machine.requirements(tmp_path)
    assert wanted.startswith(">=3")
    assert any(each.startswith("pluggy") for each in packages)
    assert not any("extra ==" in each for each in packages)


def test_packages_are_compared_with_what_is_asked_for() -> None:
    wanted = ["click>=8", "numpy<1", "no-such-package>=1", 'never; python_version < "3"']
    (found,) = machine.packages(wanted)
    assert found.result == "problem"
    assert "no-such-package is not installed" in found.says
    assert "numpy is 2" in found.says
    assert "click" not in found.says
    assert "never" not in found.says
    (fine,) = machine.packages(wanted[:1])
    assert fine.result == "ok"


def test_a_missing_compiled_module_is_a_note_with_its_cost() -> None:
    (found,) = machine.compiled({"tables._no_kernel": "slow"})
    assert found.result == "note"
    assert "tables._no_kernel cannot be imported" in found.says
    assert ": slow" in found.says
    assert "--no-build-isolation" in str(found.mend)


def test_a_command_that_is_not_installed_is_a_note() -> None:
    assert machine.command("no-such-distribution").result == "note"
    assert machine.command("click").result == "ok"


def test_jars_are_a_problem_only_where_the_embedded_broker_is_used(tmp_path: Path) -> None:
    assert machine.jars(embedded=True, folder=tmp_path).result == "problem"
    assert machine.jars(embedded=False, folder=tmp_path).result == "note"
    for jar in read_table():
        (tmp_path / jar.file_name).touch()
    assert machine.jars(embedded=True, folder=tmp_path).result == "ok"


def test_java_is_a_problem_only_where_the_embedded_broker_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.broker.java._packaged_java", lambda: None)
    monkeypatch.setattr("app.broker.java._machine_candidates", list)
    assert machine.java(embedded=True).result == "problem"
    assert machine.java(embedded=False).result == "note"


def test_few_open_files_are_a_note() -> None:
    assert machine.open_files(256).result == "note"
    assert machine.open_files(4096).result == "ok"
    assert machine.open_files(resource.RLIM_INFINITY).result == "ok"


def test_a_data_folder_must_be_one_that_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert place.data_folder(tmp_path / "a" / "b").result == "ok"
    (tmp_path / "file").touch()
    assert place.data_folder(tmp_path / "file" / "state").result == "problem"
    # The tests may run as root, whom no mode keeps out.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    found = place.data_folder(tmp_path / "a")
    assert found.result == "problem"
    assert "CANDLEWICK_DATA_DIR" in str(found.mend)


@pytest.mark.parametrize(
    ("free", "result"),
    [(place.NO_ROOM - 1, "problem"), (place.NO_ROOM, "note"), (place.LITTLE_ROOM, "ok")],
)
def test_free_room_is_judged(tmp_path: Path, free: int, result: str) -> None:
    assert place.disk(tmp_path / "data", free).result == result
    assert place.disk(tmp_path / "data").says.endswith(str(tmp_path))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server's socket on a port of its own."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server


def answer(listener: socket.socket, body: bytes) -> None:
    """Answer one request of HTTP with a body."""
    connection, _ = listener.accept()
    with connection:
        connection.recv(65_536)
        head = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection.sendall(head + body)


HEALTH = {"deployment": "d", "worker": "w", "phase": "ready", "partitions": []}


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (json.dumps(HEALTH).encode(), "ok"),
        (b'{"phase": "ready"}', "problem"),
        (b"<html>", "problem"),
        (b"[]", "problem"),
    ],
)
def test_a_web_port_in_use_is_fine_if_a_worker_of_ours_has_it(
    listener: socket.socket, body: bytes, result: str
) -> None:
    port = listener.getsockname()[1]
    server = Thread(target=answer, args=(listener, body))
    server.start()
    found = place.web_port(load_settings(web={"port": port}))
    server.join(10)
    assert found.result == result
    assert (f"port {port}") in found.says


def test_web_ports_are_judged(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    assert place.web_port(load_settings(web={"port": port})).result == "ok"
    assert place.web_port(load_settings(web={"port": 0})).result == "ok"
    assert place.web_port(load_settings(web={"enabled": False})).result == "note"
    elsewhere = {"port": port, "host": "192.0.2.1"}
    assert place.web_port(load_settings(web=elsewhere)).result == "problem"
    opened = {"port": port, "host": "0.0.0.0", "open_without_authentication": True}
    found = place.web_port(load_settings(web=opened))
    assert found.result == "note"
    assert "without authentication" in found.says


def test_a_damaged_record_of_the_broker_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "data" / "broker").mkdir(parents=True)
    (tmp_path / "data" / "broker" / "broker.json").write_text("{")
    found, settings = broker_address(load_settings())
    assert settings is None
    assert found.result == "problem"
    assert str(found.mend).startswith("rm ")


def test_topics_that_differ_are_a_problem_and_missing_ones_a_note() -> None:
    settings = load_settings()
    specs = topic_table(settings)
    fine = [TopicState(spec, spec.partitions) for spec in specs]
    (all_there,) = topics(settings, fine)
    assert all_there.result == "ok"
    text = "partitions is 2 on the broker, expected 4: set CANDLEWICK_TOPICS__PARTITIONS to match"
    changed = [TopicState(spec, 2, (text,)) for spec in specs[:2]]
    differs, missing = topics(settings, [*changed, *fine[2:-1], TopicState(specs[-1], None)])
    assert differs.result == "problem"
    assert differs.says == "ticks, quotes: partitions is 2 on the broker, expected 4"
    assert differs.mend == "set CANDLEWICK_TOPICS__PARTITIONS to match"
    assert (missing.result, missing.mend) == ("note", "candlewick topics --create")
    assert specs[-1].name in missing.says


def test_findings_are_lines_with_what_mends_them() -> None:
    lines = finding_lines([ok("a", "fine"), note("long", "so so"), problem("b", "bad", "do it")])
    assert lines == [
        "ok       a     fine",
        "note     long  so so",
        "problem  b     bad",
        "               mend: do it",
        "",
        "3 findings: 1 problem, 1 note",
    ]


def test_nothing_is_left_open_where_no_broker_answers() -> None:
    settings = load_settings(broker={"url": "kafka://127.0.0.1:1"})
    found = asyncio.run(examine(settings))
    assert [each.check for each in found].count("broker") == 1
