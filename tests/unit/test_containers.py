"""The Dockerfile and the compose files: clean, valid, and doing what they say.

There is no Docker here, so nothing is built; but the linters are real, every variable is read by
the settings, and the container's command is run as it is written, with its environment.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from app.broker import EmbeddedBroker
from app.settings import BOOTSTRAP_NAMES, load_settings
from app.web.bind import free_port

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
COMPOSE = [ROOT / "docker-compose.yml", ROOT / "deploy" / "compose.external-kafka.yml"]
#: What an operator gives where a file says `${NAME:?...}`.
GIVEN = {
    "CANDLEWICK_BROKER__URL": "kafka://kafka.example.org:9093",
    "CANDLEWICK_BROKER__USERNAME": "candlewick",
}
#: Instruction and arguments, with continued lines joined and comments within them left out.
Instruction = tuple[str, str]


def instructions() -> list[Instruction]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    lines = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    return [(name, " ".join(rest.split())) for name, rest in lines]


def final_stage() -> list[Instruction]:
    found = instructions()
    last = max(place for place, (name, _) in enumerate(found) if name == "FROM")
    return found[last:]


def image_environment() -> dict[str, str]:
    """What ENV says in the last stage."""
    values = [rest for name, rest in final_stage() if name == "ENV"]
    return dict(pair.split("=", 1) for rest in values for pair in rest.split())


def in_json(name: str) -> list[str]:
    """The argument vector of the last instruction of that name."""
    *_, text = (rest for kind, rest in final_stage() if kind == name)
    found: list[str] = json.loads(text[text.index("[") :])
    return found


def compose(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load(path)
    return loaded


def services() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path in COMPOSE:
        for name, service in compose(path)["services"].items():
            yield path.name, name, service


def ours() -> list[tuple[str, str, dict[str, Any]]]:
    return [one for one in services() if one[2]["image"].startswith("candlewick:")]


def given(value: str) -> str:
    """A value as compose reads it."""
    return re.sub(r"\$\{(\w+):\?[^}]*\}", lambda match: GIVEN[match[1]], value)


# --- the files ----------------------------------------------------------------------------------


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_hadolint_finds_nothing(tmp_path: Path) -> None:
    ended = run(BIN / "hadolint", "--no-color", "Dockerfile")
    assert (ended.returncode, ended.stdout) == (0, "")
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python\nRUN cd /x\n")
    assert run(BIN / "hadolint", bad).returncode != 0


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_compose_files_are_valid(path: Path, tmp_path: Path) -> None:
    check = (BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec")
    ended = run(*check, path)
    assert ended.returncode == 0, ended.stdout
    bad = tmp_path / "compose.yml"
    bad.write_text(path.read_text().replace("environment:", "enviroment:"))
    assert run(*check, bad).returncode != 0


def ignored(name: str) -> bool:
    """Whether .dockerignore leaves out a path; its last line that matches decides."""
    result = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = [name, *(name[: place.start()] for place in re.finditer("/", name))]
        where = [*parts, Path(name).name] if "**/" in line else parts
        if line and not line.startswith("#") and any(fnmatch.fnmatch(w, pattern) for w in where):
            result = not line.startswith("!")
    return result


def test_every_copied_file_exists_and_is_sent_to_the_build() -> None:
    sources = [
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert "requirements.lock" in sources
    for source in sources:
        assert (ROOT / source).exists()
        assert source == "." or not ignored(source), source
    for needed in ("app/broker/kafka-4.1.0.sha256", "tables/_kernel.pyx", "setup.py", "README.md"):
        assert not ignored(needed), needed
    left_out = ("tests/conftest.py", "app/x.so", "app/cli/__pycache__/a.pyc", "candlewick.toml")
    for name in (*left_out, "deploy/secrets/kafka_password", ".venv/bin/python", "data/x"):
        assert ignored(name), name


def test_what_is_packaged_is_sent_to_the_build() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]:
        assert not ignored(f"{pattern.rstrip('*')}/module.py"), pattern
    for name in (project["project"]["readme"], *project["project"]["license-files"]):
        assert not ignored(name)


def test_the_image_has_a_user_by_number_and_no_compiler() -> None:
    stage = final_stage()
    user = [rest for name, rest in stage if name == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user[-1])
    assert "slim" in stage[0][1]
    commands = " ".join(rest for name, rest in stage if name == "RUN")
    assert not re.search(r"\b(apt-get|pip|gcc)\b", commands)
    before = instructions()[: -len(stage)]
    assert all(
        "--require-hashes" in part and "--only-binary :all:" in part
        for name, rest in before
        if name == "RUN"
        for part in rest.split("&&")
        if "pip install" in part and "--editable" not in part
    )


# --- the variables ------------------------------------------------------------------------------


def variables() -> Iterator[tuple[str, dict[str, str]]]:
    """The image's own, and with them those of each of our services."""
    image = image_environment()
    yield "Dockerfile", image
    for path, name, service in ours():
        yield f"{path}:{name}", image | {k: given(v) for k, v in service["environment"].items()}


@pytest.mark.parametrize("place", [place for place, _ in variables()])
def test_every_variable_is_a_setting_with_a_valid_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    environment = dict(variables())[place]
    for name in list(os.environ):
        if name.upper().startswith("CANDLEWICK_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    used = {name: value for name, value in environment.items() if name.startswith("CANDLEWICK_")}
    assert used.keys().isdisjoint(BOOTSTRAP_NAMES)
    for name, value in used.items():
        monkeypatch.setenv(name, value)
    assert str(load_settings().data_dir) == "/var/lib/candlewick"


def test_no_file_holds_a_secret() -> None:
    for path, name, service in services():
        for variable, value in service.get("environment", {}).items():
            secret = re.search("PASSWORD|SECRET|TOKEN|_KEY", variable)
            given_by_operator = re.fullmatch(r"\$\{\w+:-\}", str(value))
            assert not secret or variable.endswith("_FILE") or given_by_operator, (
                f"{path} {name} {variable}={value}"
            )
    assert not any(re.search("PASSWORD|SECRET|TOKEN", name) for name in image_environment())


# --- the network --------------------------------------------------------------------------------


def test_everything_is_published_on_loopback_only() -> None:
    published = [(name, port) for _, name, one in services() for port in one.get("ports", ())]
    assert len(published) == 5
    for name, port in published:
        assert ipaddress.ip_address(port.split(":")[0]).is_loopback, f"{name} {port}"
    assert all(one.get("network_mode") != "host" for _, _, one in services())


def test_several_workers_do_not_collide() -> None:
    """What two containers of one service would share: names, published ports, state."""
    workers = [service for _, name, service in ours() if name == "worker"]
    assert len(workers) == 2
    for service in workers:
        assert "container_name" not in service
        assert "hostname" not in service
        assert "volumes" not in service
        ports = service["ports"][0].split(":")[1].split("-")
        assert int(ports[1]) - int(ports[0]) + 1 >= load_settings().topics.partitions
    assert ("VOLUME", image_environment()["CANDLEWICK_DATA_DIR"]) in final_stage()


def test_clients_find_kafka_where_it_says_it_is() -> None:
    kafka = compose(COMPOSE[0])["services"]["kafka"]["environment"]
    advertised = kafka["KAFKA_ADVERTISED_LISTENERS"].split(",")
    for _, _, service in ours():
        url = service["environment"]["CANDLEWICK_BROKER__URL"]
        if url.startswith("kafka://"):
            assert f"NETWORK://{url.removeprefix('kafka://')}" in advertised
    template = (ROOT / "deploy" / "kafka" / "server.properties").read_text(encoding="utf-8")
    known = dict(re.findall(r"^([\w.]+)=(.*)$", template, re.MULTILINE))
    same = {name[6:].lower().replace("_", "."): value for name, value in kafka.items()}
    placed = ("listeners", "advertised.listeners", "listener.security.protocol.map", "log.dirs")
    for name in (same.keys() & known.keys()) - {*placed, "inter.broker.listener.name"}:
        assert same[name] == known[name], name


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The image's environment, with this checkout's folders in place of the image's."""
    found = image_environment()
    folders = [str(BIN)]
    if not (BIN / "candlewick").exists():
        # As `pip install` writes it, where the checkout is not installed.
        script = tmp_path / "bin" / "candlewick"
        script.parent.mkdir()
        script.write_text(
            f"#!{sys.executable}\nimport sys\nfrom app.cli import main\nsys.exit(main())\n"
        )
        script.chmod(0o755)
        folders.insert(0, str(script.parent))
    assert found["PATH"] == "/opt/venv/bin:$PATH"
    return found | {
        "PATH": os.pathsep.join([*folders, "/usr/bin", "/bin"]),
        "PYTHONPATH": str(ROOT),
        "CANDLEWICK_DATA_DIR": str(tmp_path / "data"),
        "CANDLEWICK_WEB__PORT": str(free_port()),
    }


@pytest.mark.broker
def test_the_containers_command_runs_is_healthy_and_stops(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    command = [*in_json("ENTRYPOINT"), *in_json("CMD")]
    assert command == ["candlewick", "worker"]
    program = shutil.which(command[0], path=environment["PATH"])
    assert program is not None
    healthcheck = in_json("HEALTHCHECK")
    python = shutil.which(healthcheck[0], path=environment["PATH"])
    assert python is not None

    def healthy() -> int:
        return subprocess.run(
            [python, *healthcheck[1:]], env=environment, capture_output=True, check=False
        ).returncode

    assert healthy() != 0
    environment |= {
        "CANDLEWICK_BROKER__URL": kafka.url,
        "CANDLEWICK_TOPIC_PREFIX": f"{unique}.",
    }
    log = tmp_path / "log"
    with log.open("wb") as file:
        worker = subprocess.Popen(
            [program, *command[1:]],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        page = f"http://127.0.0.1:{environment['CANDLEWICK_WEB__PORT']}/readyz"
        deadline = time.monotonic() + 90
        while not answers(page):
            assert worker.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        assert healthy() == 0
        *_, stop = (rest for name, rest in final_stage() if name == "STOPSIGNAL")
        worker.send_signal(signal.Signals[stop])
        assert worker.wait(60) == 0, log.read_text()
    finally:
        worker.kill()
        worker.wait()
    assert healthy() != 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["worker"] for line in lines} == {"worker"}
    assert not [line for line in lines if line["level"] in ("error", "critical")]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
